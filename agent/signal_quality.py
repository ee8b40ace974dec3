"""Whether a recording lies within what probabilities were calibrated for: noise, band, level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent.signal_checks import SignalChecks
from model.features import FloatArray, FrontEndConfig

#: Outside of these nothing is said about the device. The conditions that the built-in model was
#: trained and calibrated under (model/augmentation) lie inside of them: noise at 10 dB SNR leaves
#: more clear bands, a rate of 8 kHz more that sound.
LOWEST_LEVEL_DBFS = -80.0
LARGEST_CLIPPED_SHARE = 0.05
FEWEST_CLEAR, CLEAR_DB = 0.35, 16.0  #: share of bands; loud frames over quiet ones in a clear one
FEWEST_SOUNDING, SOUNDING_DB = 0.45, 40.0  #: share of bands; below the loudest band, at most

#: Codes out of ``agent.signal_checks.WARNINGS`` for what is outside.
OUTSIDE = ("too-quiet", "too-clipped", "too-noisy", "too-narrow")

_LOUD, _QUIET = 0.95, 0.10  #: quantiles of a band's level over time
_LOWEST_DB, _STEP_DB, _STEPS = -120.0, 0.5, 400  #: levels are counted in steps


class SignalQuality:
    """Levels of the mel bands over the windows of a recording, in bounded memory.

    Args:
        front_end: config of the features, for their layout.
    """

    def __init__(self, front_end: FrontEndConfig) -> None:
        self._first_mel = 3 * front_end.n_static
        self._logarithmic = front_end.prefbank == "log"
        self._to_db = (10 if front_end.spectrum == "power" else 20) / np.log(10)
        self._counts = np.zeros((front_end.n_mels, _STEPS), np.int64)

    def accept(self, features: FloatArray) -> None:
        """Take in a window, float32 ``(frames, 73)``."""
        mels = features[:, self._first_mel :].astype(np.float64)
        if not self._logarithmic:
            mels = np.log(np.maximum(mels, 1e-10))
        steps = ((self._to_db * mels - _LOWEST_DB) / _STEP_DB).astype(np.int64)
        steps = np.clip(steps, 0, _STEPS - 1)
        n_bands = len(self._counts)
        flat = (np.arange(n_bands) * _STEPS + steps).ravel()
        self._counts += np.bincount(flat, minlength=n_bands * _STEPS).reshape(n_bands, _STEPS)

    def _quantile(self, share: float) -> npt.NDArray[np.float64]:
        """Level that a share of the frames stays below, dB, ``(bands,)``."""
        below = self._counts.cumsum(axis=1)
        steps = (below < share * below[:, -1:]).sum(axis=1)
        level: npt.NDArray[np.float64] = _LOWEST_DB + _STEP_DB * steps.astype(np.float64)
        return level

    @property
    def clear_bands(self) -> float:
        """Share of the bands in which loud frames stand out from quiet ones: little in noise."""
        return float((self._quantile(_LOUD) - self._quantile(_QUIET) > CLEAR_DB).mean())

    @property
    def sounding_bands(self) -> float:
        """Share of the bands that are about as loud as the loudest: little at a low rate."""
        loud = self._quantile(_LOUD)
        return float((loud > loud.max() - SOUNDING_DB).mean())

    def outside(self, checks: SignalChecks) -> list[str]:
        """What puts the recording out of the calibrated range: codes out of :data:`OUTSIDE`."""
        found = []
        if checks.level_dbfs < LOWEST_LEVEL_DBFS:
            found.append("too-quiet")
        if checks.clipped_share > LARGEST_CLIPPED_SHARE:
            found.append("too-clipped")
        if self._counts.any() and self.clear_bands < FEWEST_CLEAR:
            found.append("too-noisy")
        if self._counts.any() and self.sounding_bands < FEWEST_SOUNDING:
            found.append("too-narrow")
        return found
