"""Band limits and round trips through other sample rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.signal
import soxr

from model.augmentation.augmentation import Samples, fitted


@dataclass(frozen=True)
class Resampling:
    """Through one of several rates and back, as recorders, editors and apps do."""

    rates_hz: tuple[int, ...] = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Copy of the same rate and length."""
        rate = int(rng.choice(self.rates_hz))
        quality = str(rng.choice(["HQ", "MQ", "LQ"]))
        there = soxr.resample(samples, sample_rate_hz, rate, quality)
        back = soxr.resample(there, rate, sample_rate_hz, "HQ")
        return fitted(np.clip(back, -1, 1), len(samples))  # resampling overshoots


@dataclass(frozen=True)
class BandLimit:
    """A low-pass, and sometimes a high-pass, of uniform corner and order.

    Attributes:
        low_pass_hz: lowest and highest corner of the low-pass.
        high_pass_hz: likewise of the high-pass.
        high_pass_share: how often there is one.
    """

    low_pass_hz: tuple[float, float] = (3_000.0, 15_000.0)
    high_pass_hz: tuple[float, float] = (40.0, 400.0)
    high_pass_share: float = 0.5

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Filtered copy."""
        low, high = np.log(self.low_pass_hz)
        corner = min(np.exp(rng.uniform(low, high)), 0.47 * sample_rate_hz)
        order = int(rng.integers(2, 9))
        sos = scipy.signal.butter(order, corner, "lowpass", fs=sample_rate_hz, output="sos")
        limited = scipy.signal.sosfilt(sos, samples)
        if rng.random() < self.high_pass_share:
            low, high = np.log(self.high_pass_hz)
            corner = np.exp(rng.uniform(low, high))
            order = int(rng.integers(1, 5))
            sos = scipy.signal.butter(order, corner, "highpass", fs=sample_rate_hz, output="sos")
            limited = scipy.signal.sosfilt(sos, limited)
        clipped: Samples = np.clip(limited, -1, 1).astype(np.float32)
        return clipped
