"""Clips scored by their windows, for methods that know windows alone (numpy)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.baselines.baseline import BaselineClip
from model.evaluation import EVALUATION_HOP_FRAMES, Scorer
from model.features import FloatArray, windows_of
from model.posterior import log_posterior


def mean_log_posteriors(
    scorer: Scorer, clips: Sequence[BaselineClip], n_devices: int
) -> FloatArray:
    """Scores of clips, float32 ``(clips, devices)``.

    Args:
        scorer: windows to logits.
        clips: each is read once.
        n_devices: logits of a window.

    Returns:
        mean log posteriors of each clip's windows; of a clip shorter than a window nothing is
        known: all alike.
    """
    found = np.zeros((len(clips), n_devices), np.float32)
    for row, clip in zip(found, clips, strict=True):
        windows = windows_of(clip.features, EVALUATION_HOP_FRAMES)
        if len(windows):
            row[:] = log_posterior(scorer(windows)).mean(axis=0)
    return found
