"""What level and DC offset alone give away: the leak that every figure must be read beside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Levels = npt.NDArray[np.float64]


def level_and_dc(samples: Samples) -> Levels:
    """RMS level in dB (full scale = 0) and DC offset of a clip."""
    wide = samples.astype(np.float64)
    rms = np.sqrt(np.mean(np.square(wide - wide.mean())) + 1e-12)
    return np.array([20 * np.log10(rms), wide.mean()])


def nearest_mean_accuracy(
    train: Sequence[tuple[int, Levels]], test: Sequence[tuple[int, Levels]]
) -> float:
    """Share of test clips whose level and DC lie nearest to their own device's mean.

    Args:
        train: (device index, :func:`level_and_dc`) per clip.
        test: likewise; devices must occur in ``train``.
    """
    values = np.array([levels for _, levels in train])
    labels = np.array([label for label, _ in train])
    scale = values.std(axis=0) + 1e-12
    devices = np.unique(labels)
    means = np.array([values[labels == device].mean(axis=0) for device in devices]) / scale
    hits = 0
    for label, levels in test:
        distance = np.square(means - levels / scale).sum(axis=1)
        hits += int(devices[distance.argmin()] == label)
    return hits / len(test)
