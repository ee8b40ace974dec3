"""Noise at a signal-to-noise ratio: coloured, babble, mains hum, crackle."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.fft

from model.augmentation.augmentation import Samples, rms
from model.synthetic_speech import synthetic_speech

#: Seconds and number of the synthetic voices that babble is mixed from.
VOICE_SECONDS, VOICES = 8.0, 16


def add_at_snr(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Sum with the noise scaled to a ratio of RMS levels in dB (whole signals, speech pauses
    included); clipped at full scale."""
    level, noise_level = rms(samples), rms(noise)
    if level == 0 or noise_level == 0:
        return samples
    scale = np.float32(level / noise_level / 10 ** (snr_db / 20))
    noisy: Samples = np.clip(samples + noise * scale, -1, 1)
    return noisy


def coloured_noise(n_samples: int, exponent: float, rng: np.random.Generator) -> Samples:
    """Gaussian noise whose power falls as ``1 / f ** exponent`` (0 white, 1 pink, 2 brown).

    Returns:
        float32 ``(n_samples,)``, RMS 1; frequencies below a 4000th of the rate are flat.
    """
    size = scipy.fft.next_fast_len(n_samples, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(size, np.float32))
    frequency = np.maximum(scipy.fft.rfftfreq(size), 1 / 4000)
    noise = scipy.fft.irfft(spectrum * frequency.astype(np.float32) ** (-exponent / 2), size)
    noise = noise[:n_samples]
    scaled: Samples = (noise / (np.std(noise) + 1e-12)).astype(np.float32)
    return scaled


@dataclass(frozen=True)
class ColouredNoise:
    """Noise of a uniform spectral slope at a uniform SNR.

    Attributes:
        low_snr_db: lowest ratio of RMS levels.
        high_snr_db: highest.
        low_exponent: see :func:`coloured_noise`; -1 is blue.
        high_exponent: likewise.
    """

    low_snr_db: float = 8.0
    high_snr_db: float = 50.0
    low_exponent: float = -0.5
    high_exponent: float = 2.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Noisy copy."""
        exponent = rng.uniform(self.low_exponent, self.high_exponent)
        snr_db = rng.uniform(self.low_snr_db, self.high_snr_db)
        return add_at_snr(samples, coloured_noise(len(samples), exponent, rng), snr_db)


@functools.lru_cache(maxsize=2)
def _synthetic_voices(first: int, sample_rate_hz: int) -> tuple[Samples, ...]:
    return tuple(
        synthetic_speech(VOICE_SECONDS, seed=seed, sample_rate_hz=sample_rate_hz)
        for seed in range(first, first + VOICES)
    )


@dataclass(frozen=True)
class Babble:
    """Several voices at once at a uniform SNR.

    Attributes:
        low_snr_db: lowest ratio of RMS levels.
        high_snr_db: highest.
        first_voice: seed of the first of the synthetic voices that it is mixed from.
    """

    low_snr_db: float = 8.0
    high_snr_db: float = 40.0
    first_voice: int = 9000

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Copy with babble."""
        voices = _synthetic_voices(self.first_voice, sample_rate_hz)
        mixed = np.zeros(len(samples), np.float32)
        for _ in range(int(rng.integers(4, 13))):
            voice = voices[int(rng.integers(len(voices)))]
            start = int(rng.integers(len(voice)))
            heard = np.resize(np.roll(voice, -start), len(samples))
            mixed += heard * np.float32(10 ** (rng.uniform(-8, 0) / 20) / (rms(voice) + 1e-9))
        return add_at_snr(samples, mixed, rng.uniform(self.low_snr_db, self.high_snr_db))


@dataclass(frozen=True)
class MainsHum:
    """Hum of 50 or 60 Hz with harmonics at a uniform SNR."""

    low_snr_db: float = 10.0
    high_snr_db: float = 30.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Copy with hum."""
        time_s = np.arange(len(samples)) / sample_rate_hz
        base_hz = float(rng.choice([50.0, 60.0]))
        hum = np.zeros(len(samples))
        for harmonic in range(1, 21):
            amplitude = rng.uniform(0.2, 1.0) / harmonic
            phase = rng.uniform(0, 2 * np.pi)
            hum += amplitude * np.sin(2 * np.pi * base_hz * harmonic * time_s + phase)
        snr_db = rng.uniform(self.low_snr_db, self.high_snr_db)
        return add_at_snr(samples, hum.astype(np.float32), snr_db)


@dataclass(frozen=True)
class Crackle:
    """Short impulses, a uniform number a second, as of a bad contact or wind on the capsule."""

    low_per_s: float = 1.0
    high_per_s: float = 8.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Copy with crackle; each impulse decays over 0.2 to 3 ms."""
        crackling = samples.copy()
        rate = rng.uniform(self.low_per_s, self.high_per_s)
        peak = float(np.abs(samples).max())
        for _ in range(rng.poisson(rate * len(samples) / sample_rate_hz)):
            start = int(rng.integers(len(samples)))
            decay = rng.uniform(0.2e-3, 3e-3) * sample_rate_hz
            length = min(int(6 * decay) + 1, len(samples) - start)
            shape = np.exp(-np.arange(length) / decay) * rng.standard_normal(length)
            impulse = shape * peak * rng.uniform(0.2, 0.8)
            crackling[start : start + length] += impulse.astype(np.float32)
        clipped: Samples = np.clip(crackling, -1, 1)
        return clipped
