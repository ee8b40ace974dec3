"""Gain, clipping and automatic gain control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from model.augmentation.augmentation import Samples, rms

#: No copy gets louder than this RMS by a gain: speech peaks about 18 dB above its RMS.
LOUDEST_RMS = 0.12


@dataclass(frozen=True)
class Gain:
    """Scale by a uniform gain in dB; what passes full scale is clipped."""

    low_db: float = -24.0
    high_db: float = 12.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Scaled copy, stored with 16 bits as a file would hold it."""
        gain = 10 ** (rng.uniform(self.low_db, self.high_db) / 20)
        level = rms(samples)
        if gain > 1 and level > 0:
            gain = max(1.0, min(gain, LOUDEST_RMS / level))
        return sixteen_bits(samples * np.float32(gain), rng)


@dataclass(frozen=True)
class Clipping:
    """Clip at the level that a uniform share of the samples exceeds, then restore the peak."""

    low_share: float = 0.0005
    high_share: float = 0.02

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Clipped copy; the clipped samples stand at 98 % of full scale or where they were cut."""
        share = np.exp(rng.uniform(np.log(self.low_share), np.log(self.high_share)))
        limit = float(np.quantile(np.abs(samples), 1 - share))
        if limit <= 0:
            return samples
        clipped: Samples = np.clip(samples, -limit, limit)
        if rng.random() < 0.5:
            clipped = clipped * np.float32(0.98 / limit)
        return clipped


@dataclass(frozen=True)
class AutomaticGain:
    """A gain that follows the level, as recorders and call applications have it.

    Attributes:
        low_ratio: least compression (1 = none).
        high_ratio: most compression.
    """

    low_ratio: float = 1.5
    high_ratio: float = 4.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Compressed copy at about the level of the original."""
        ratio = rng.uniform(self.low_ratio, self.high_ratio)
        smoothing_s = rng.uniform(0.05, 0.4)
        width = max(1, round(smoothing_s * sample_rate_hz))
        power = scipy.ndimage.uniform_filter1d(samples.astype(np.float64) ** 2, width)
        level = np.sqrt(np.maximum(power, 1e-8))
        gain = (level / np.sqrt(np.mean(power) + 1e-8)) ** (1 / ratio - 1)
        gain = np.minimum(gain, 10 ** (rng.uniform(10, 20) / 20))
        louder: Samples = np.clip(samples * gain, -1, 1).astype(np.float32)
        return louder


def sixteen_bits(samples: Samples, rng: np.random.Generator) -> Samples:
    """Rounded to 16 bits, with a triangular dither of one step, and clipped."""
    dither = rng.random(len(samples), np.float32) - rng.random(len(samples), np.float32)
    steps = np.round(samples * np.float32(32768) + dither)
    stored: Samples = (np.clip(steps, -32768, 32767) / np.float32(32768)).astype(np.float32)
    return stored
