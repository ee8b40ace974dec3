"""From window logits to posteriors of a clip (numpy)."""

from __future__ import annotations

import numpy as np

from model.features import FloatArray
from model.mel import DoubleArray


def log_posterior(logits: FloatArray) -> DoubleArray:
    """Log softmax over the last axis, float64, same shape; equal priors for all devices."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normalised: DoubleArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def clip_posterior(window_log_posteriors: DoubleArray) -> DoubleArray:
    """Posterior of a clip: the normalised exponential of the mean log posterior of its windows.

    Args:
        window_log_posteriors: float64 ``(windows, devices)``, at least one window.

    Returns:
        float64 ``(devices,)``, sums to 1.
    """
    mean = window_log_posteriors.mean(axis=0)
    unnormalised = np.exp(mean - mean.max())
    posterior: DoubleArray = unnormalised / unnormalised.sum()
    return posterior
