"""Rooms: reverberation from synthetic impulse responses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.signal

from model.augmentation.augmentation import Samples, fitted, rms

DIFFUSE_DELAY_S = 0.002  #: between the direct sound and the diffuse tail, at least
BANDS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)  #: over which the decay time changes


def room_response(
    sample_rate_hz: int, rt60_s: float, direct_to_reverberant_db: float, rng: np.random.Generator
) -> Samples:
    """A synthetic room impulse response (Polack's model: Gaussian noise under a decay).

    The direct sound, a handful of early reflections, and a tail that decays faster the higher the
    frequency, as air and walls have it.

    Args:
        sample_rate_hz: of the response.
        rt60_s: time in which the tail falls by 60 dB, at 1 kHz.
        direct_to_reverberant_db: energy of the direct sound over that of all that follows.
        rng: what chance is drawn from.

    Returns:
        float32, 1-D, the direct sound first, with value 1.
    """
    n_samples = max(64, round(1.1 * rt60_s * sample_rate_hz))
    time_s = np.arange(n_samples) / sample_rate_hz
    tail = np.zeros(n_samples)
    nyquist = sample_rate_hz / 2
    edges = [edge for edge in BANDS_HZ if edge < nyquist]
    tilt = rng.uniform(0.05, 0.35)  # how much shorter each band rings than the one below it
    for k, low in enumerate(edges):
        high = edges[k + 1] if k + 1 < len(edges) else nyquist
        decay_s = rt60_s * (1 - tilt) ** (k - 3) if k > 3 else rt60_s * (1 + 0.1 * (3 - k))
        noise = rng.standard_normal(n_samples)
        if low == 0:
            sos = scipy.signal.butter(2, high / nyquist, "lowpass", output="sos")
        elif high >= nyquist:
            sos = scipy.signal.butter(2, low / nyquist, "highpass", output="sos")
        else:
            sos = scipy.signal.butter(2, [low / nyquist, high / nyquist], "bandpass", output="sos")
        tail += scipy.signal.sosfilt(sos, noise) * 10 ** (-3 * time_s / decay_s)
    first = round(rng.uniform(DIFFUSE_DELAY_S, 0.01) * sample_rate_hz)
    tail[:first] = 0
    for _ in range(int(rng.integers(3, 9))):
        at = int(rng.uniform(0.001, 0.03) * sample_rate_hz)
        if at < n_samples:
            tail[at] += rng.choice([-1, 1]) * np.abs(tail).max() * rng.uniform(1, 4)
    energy = float(np.sum(tail**2)) + 1e-12
    tail *= np.sqrt(10 ** (-direct_to_reverberant_db / 10) / energy)
    tail[0] = 1.0
    response: Samples = tail.astype(np.float32)
    return response


@dataclass(frozen=True)
class Reverberation:
    """A synthetic room of a uniform decay time and distance.

    Attributes:
        low_rt60_s: shortest decay by 60 dB.
        high_rt60_s: longest.
        low_drr_db: lowest direct-to-reverberant ratio (far from the talker).
        high_drr_db: highest.
    """

    low_rt60_s: float = 0.15
    high_rt60_s: float = 1.0
    low_drr_db: float = -3.0
    high_drr_db: float = 12.0

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Reverberant copy at the level of the original."""
        rt60_s = rng.uniform(self.low_rt60_s, self.high_rt60_s)
        drr_db = rng.uniform(self.low_drr_db, self.high_drr_db)
        response = room_response(sample_rate_hz, rt60_s, drr_db, rng)
        wet = scipy.signal.fftconvolve(samples, response)[: len(samples)].astype(np.float32)
        scale = rms(samples) / (rms(wet) + 1e-12)
        return fitted(np.clip(wet * np.float32(scale), -1, 1), len(samples))
