"""Noise suppression, as call applications and video editors apply it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.signal

from model.augmentation.augmentation import Samples, fitted

FRAME_S = 0.016  #: of the short-time spectrum
NOISE_QUANTILE = 0.15  #: of a band's magnitudes over time, taken for its noise


@dataclass(frozen=True)
class SpectralSubtraction:
    """Spectral subtraction (Boll 1979) with a floor.

    Attributes:
        low_factor: least over-subtraction.
        high_factor: largest.
        low_floor_db: how far a band is let fall, at least.
        high_floor_db: at most.
    """

    low_factor: float = 1.5
    high_factor: float = 3.0
    low_floor_db: float = 10.0
    high_floor_db: float = 20.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Denoised copy."""
        factor = rng.uniform(self.low_factor, self.high_factor)
        floor = 10 ** (-rng.uniform(self.low_floor_db, self.high_floor_db) / 20)
        length = min(round(FRAME_S * sample_rate_hz), len(samples))
        _, _, spectrum = scipy.signal.stft(samples, sample_rate_hz, nperseg=length)
        magnitude = np.abs(spectrum)
        noise = factor * np.quantile(magnitude, NOISE_QUANTILE, axis=1, keepdims=True)
        gain = np.maximum(1 - noise / np.maximum(magnitude, 1e-9), floor)
        _, cleaned = scipy.signal.istft(spectrum * gain, sample_rate_hz, nperseg=length)
        return fitted(np.clip(cleaned, -1, 1).astype(np.float32), len(samples))
