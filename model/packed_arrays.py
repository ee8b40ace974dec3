"""Arrays as text for JSON, and long lists of trials made shorter (numpy)."""

from __future__ import annotations

import base64

import numpy as np

from model.mel import DoubleArray

#: Validation trials that a model file keeps of either kind, for Tippett plots.
KEPT_TRIALS = 1000


def packed(values: DoubleArray) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def unpacked(text: str) -> DoubleArray:
    """What :func:`packed` wrote, float64 ``(n,)``; raises ValueError."""
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)


def thinned(trials: DoubleArray) -> DoubleArray:
    """At most :data:`KEPT_TRIALS` of sorted values, evenly by rank, the extremes included."""
    if len(trials) <= KEPT_TRIALS:
        return trials
    kept: DoubleArray = trials[np.linspace(0, len(trials) - 1, KEPT_TRIALS).round().astype(int)]
    return kept
