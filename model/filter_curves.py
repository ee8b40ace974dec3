"""Curves of analogue minimum-phase filters in dB, and how a curve becomes taps at a sample rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.fft

from model.checked_values import checked

Curve = npt.NDArray[np.float64]

FLOOR_DB = -100.0  #: no curve goes lower; a zero has no logarithm
TAPS_S = 0.128  #: length of a filter; a high-pass at 30 Hz has died away


class FilterCurve(Protocol):
    """Any of the filters below."""

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB at frequencies from 0 Hz up, same shape."""
        ...


@dataclass(frozen=True)
class HighPass:
    """Butterworth high-pass: the leak of a capsule's back volume, and the filter behind it."""

    corner_hz: float
    order: int

    def __post_init__(self) -> None:
        checked(self, corner_hz=(1, 5_000), order=(1, 8))

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB."""
        ratio = self.corner_hz / np.maximum(frequencies_hz, 1e-3)
        return -10 * np.log10(1 + ratio ** (2 * self.order))


@dataclass(frozen=True)
class LowPass:
    """Butterworth low-pass: where a converter or a codec ends the band."""

    corner_hz: float
    order: int

    def __post_init__(self) -> None:
        checked(self, corner_hz=(500, 200_000), order=(1, 24))

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB."""
        return -10 * np.log10(1 + (frequencies_hz / self.corner_hz) ** (2 * self.order))


@dataclass(frozen=True)
class Helmholtz:
    """Port and cavity: a peak of ``20 log10(q)`` dB, and 12 dB an octave less above it."""

    frequency_hz: float
    q: float

    def __post_init__(self) -> None:
        checked(self, frequency_hz=(500, 100_000), q=(0.3, 20))

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB."""
        ratio = frequencies_hz / self.frequency_hz
        return -10 * np.log10((1 - ratio**2) ** 2 + (ratio / self.q) ** 2)


@dataclass(frozen=True)
class Bell:
    """A peak or a dip of the housing (second order, gain 0 dB far away)."""

    frequency_hz: float
    gain_db: float
    q: float

    def __post_init__(self) -> None:
        checked(self, frequency_hz=(20, 100_000), gain_db=(-24, 24), q=(0.1, 30))

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB."""
        ratio = frequencies_hz / self.frequency_hz
        amplitude = 10 ** (self.gain_db / 40)
        off_peak = (1 - ratio**2) ** 2
        above = off_peak + (ratio * amplitude / self.q) ** 2
        below = off_peak + (ratio / (amplitude * self.q)) ** 2
        return 10 * np.log10((above + 1e-30) / (below + 1e-30))


@dataclass(frozen=True)
class HighShelf:
    """Another level above a frequency (first order, half of the gain in dB there)."""

    frequency_hz: float
    gain_db: float

    def __post_init__(self) -> None:
        checked(self, frequency_hz=(20, 100_000), gain_db=(-24, 24))

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB."""
        square = (frequencies_hz / self.frequency_hz) ** 2
        gain = 10 ** (self.gain_db / 20)
        return 10 * np.log10((1 + square * gain) / (1 + square / gain))


def minimum_phase_taps(level_db: Callable[[Curve], Curve], sample_rate_hz: int) -> Curve:
    """The minimum-phase filter of a curve, through its real cepstrum.

    Oppenheim and Schafer, Discrete-Time Signal Processing: the cepstrum of a minimum-phase
    sequence is causal, and twice the causal half of that of its log magnitude.

    Args:
        level_db: gain in dB at frequencies in Hz.
        sample_rate_hz: rate of the filter.

    Returns:
        float64 ``(TAPS_S * sample_rate_hz,)``, the last tenth faded out.
    """
    n_taps = max(64, round(TAPS_S * sample_rate_hz))
    size = scipy.fft.next_fast_len(16 * n_taps, real=True)
    size += size % 2
    levels = np.maximum(level_db(scipy.fft.rfftfreq(size, 1 / sample_rate_hz)), FLOOR_DB)
    cepstrum = scipy.fft.irfft(levels * (np.log(10) / 20), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    taps: Curve = scipy.fft.irfft(np.exp(scipy.fft.rfft(cepstrum)), size)[:n_taps]
    fade = n_taps // 10
    taps[-fade:] *= 0.5 * (1 + np.cos(np.pi * (np.arange(fade) + 1) / (fade + 1)))
    return taps
