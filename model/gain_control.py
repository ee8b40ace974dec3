"""Automatic gain control of a virtual microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.checked_values import checked

BLOCK_S = 0.01  #: over which the level is measured; one period of 100 Hz
SILENCE_DBFS = -120.0  #: below this all is silence


@dataclass(frozen=True)
class GainControl:
    """A gain that brings the level to a target: down at the attack, up at the release.

    Attributes:
        target_dbfs: RMS level wanted, over blocks of 10 ms.
        limit_db: most that it amplifies; it attenuates without limit.
        attack_s: time constant (63 %) while the gain falls.
        release_s: time constant while it rises.
    """

    target_dbfs: float
    limit_db: float
    attack_s: float
    release_s: float

    def __post_init__(self) -> None:
        checked(
            self,
            target_dbfs=(-60, 0),
            limit_db=(0, 60),
            attack_s=(1e-4, 10),
            release_s=(1e-4, 60),
        )

    def __call__(
        self, samples: npt.NDArray[np.float64], sample_rate_hz: int
    ) -> npt.NDArray[np.float64]:
        """Samples at the controlled level.

        The gain follows what has been heard, never what is to come: a block's level decides the
        gain at its end, and the gain glides from one end to the next in dB. It starts at 0 dB.

        Args:
            samples: float64, 1-D, full scale = 1.
            sample_rate_hz: their rate.

        Returns:
            float64 of the same length; peaks may pass full scale.
        """
        if not len(samples):
            return samples
        block = max(1, round(BLOCK_S * sample_rate_hz))
        starts = np.arange(0, len(samples), block)
        counts = np.diff(np.append(starts, len(samples)))
        power = np.add.reduceat(np.square(samples), starts) / counts
        levels_db = np.maximum(10 * np.log10(power + 1e-30), SILENCE_DBFS)
        wanted_db = np.minimum(self.target_dbfs - levels_db, self.limit_db)
        falling, rising = (1 - np.exp(-BLOCK_S / t) for t in (self.attack_s, self.release_s))
        gains_db = np.zeros(len(starts) + 1)
        gain = 0.0
        for k, wanted in enumerate(wanted_db.tolist()):
            gain += (wanted - gain) * (falling if wanted < gain else rising)
            gains_db[k + 1] = gain
        ends = np.append(starts, starts[-1] + block)
        smooth_db = np.interp(np.arange(len(samples)), ends, gains_db)
        controlled: npt.NDArray[np.float64] = samples * 10 ** (smooth_db / 20)
        return controlled
