"""Waveform augmentation on the fly: a hook that training calls on each crop; off by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]


class Augmentation(Protocol):
    """Anything that changes a waveform without changing which device recorded it."""

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Return a changed copy of the same length (float32, 1-D)."""
        ...


@dataclass(frozen=True)
class RandomGain:
    """Scale by a uniform gain in dB."""

    low_db: float = -12.0
    high_db: float = 6.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        gain = np.float32(10 ** (rng.uniform(self.low_db, self.high_db) / 20))
        louder: Samples = np.clip(samples * gain, -1.0, 1.0)
        return louder


@dataclass(frozen=True)
class RandomNoise:
    """Add white noise at a uniform signal-to-noise ratio in dB."""

    low_snr_db: float = 20.0
    high_snr_db: float = 50.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        scale = np.sqrt(power / 10 ** (rng.uniform(self.low_snr_db, self.high_snr_db) / 10))
        noise = rng.standard_normal(len(samples), np.float32) * np.float32(scale)
        noisy: Samples = samples + noise
        return noisy


@dataclass(frozen=True)
class RandomResample:
    """Through one of several lower rates and back, as many recorders and apps do."""

    rates_hz: tuple[int, ...] = (16_000, 22_050, 24_000)

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        rate = int(rng.choice(self.rates_hz))
        there = soxr.resample(samples, sample_rate_hz, rate)
        back = np.asarray(soxr.resample(there, rate, sample_rate_hz), dtype=np.float32)
        fitted = np.zeros_like(samples)  # the round trip may be a few samples longer or shorter
        n_samples = min(len(back), len(samples))
        fitted[:n_samples] = back[:n_samples]
        return fitted


@dataclass(frozen=True)
class Chain:
    """Each augmentation in turn, with a probability of its own."""

    steps: Sequence[tuple[float, Augmentation]]

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        for probability, step in self.steps:
            if rng.random() < probability:
                samples = step(samples, sample_rate_hz, rng)
        return samples


#: What ``train --augment`` names.
AUGMENTATIONS: dict[str, Augmentation] = {
    "gain": RandomGain(),
    "noise": RandomNoise(),
    "resample": RandomResample(),
}
