"""What is wrong with a signal before anyone scores it: level, clipping, silence."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

QUIET_DBFS = -60.0  #: RMS level below which mostly the converter is heard
CLIPPED_SHARE = 1e-3  #: share of full-scale samples from which clipping is reported
FULL_SCALE = 32767 / 32768  #: largest positive 16-bit sample

#: Codes in JSON output and what they mean to a person.
WARNINGS = {
    "narrowband": "recorded below the model's sample rate: resampling changes the fingerprint",
    "clipping": "clipped: the waveform reaches full scale",
    "quiet": f"very quiet (below {QUIET_DBFS:.0f} dBFS)",
    "multichannel": "several channels: only the first was used",
    "few-windows": "short: fewer than three windows",
    "another-kind": "unlike the recordings that the model was made with",
    "too-quiet": "too quiet to say anything about the device",
    "too-clipped": "too much of it clipped to say anything about the device",
    "too-noisy": "loud and quiet hardly differ: too noisy to say anything about the device",
    "too-narrow": "too narrow a band to say anything about the device",
}


class SignalChecks:
    """Running figures over a signal; feed every block once."""

    def __init__(self) -> None:
        self._count = 0
        self._energy = 0.0
        self._sum = 0.0
        self._clipped = 0
        self.peak = 0.0

    def accept(self, samples: npt.NDArray[np.float32]) -> None:
        """Add a block, float32, 1-D, full scale = 1."""
        if not len(samples):
            return
        wide = samples.astype(np.float64)
        magnitude = np.abs(wide)
        self._count += len(wide)
        self._energy += float(np.dot(wide, wide))
        self._sum += float(wide.sum())
        self._clipped += int(np.count_nonzero(magnitude >= FULL_SCALE))
        self.peak = max(self.peak, float(magnitude.max()))

    @property
    def level_dbfs(self) -> float:
        """RMS level without DC, dB relative to full scale; -inf for digital silence."""
        if not self._count:
            return -math.inf
        variance = self._energy / self._count - (self._sum / self._count) ** 2
        return 10 * math.log10(variance) if variance > 1e-14 else -math.inf

    @property
    def digital_silence(self) -> bool:
        """Whether all samples are zero (a muted input, a placeholder file)."""
        return self.peak == 0.0

    @property
    def dc(self) -> float:
        """Mean of the samples, full scale = 1."""
        return self._sum / self._count if self._count else 0.0

    @property
    def clipped_share(self) -> float:
        """Share of the samples at full scale, 0 to 1."""
        return self._clipped / self._count if self._count else 0.0

    def warnings(self) -> list[str]:
        """Codes out of :data:`WARNINGS`."""
        found = []
        if self.clipped_share > CLIPPED_SHARE:
            found.append("clipping")
        if self.level_dbfs < QUIET_DBFS:
            found.append("quiet")
        return found


def block_level_dbfs(samples: npt.NDArray[np.float32]) -> float:
    """RMS level of one block without DC, in dBFS; -inf for digital silence or no samples."""
    checks = SignalChecks()
    checks.accept(samples)
    return checks.level_dbfs


def level_to_json(level_dbfs: float) -> float | None:
    """A level for a JSON object, to a tenth of a decibel; JSON has no infinity, so digital silence
    is ``None``."""
    return round(level_dbfs, 1) if math.isfinite(level_dbfs) else None
