"""Frequency responses of virtual microphones: drawn from a parametric family, or measured.

The family is the acoustics that a phone's microphone has: the high-pass of a capsule behind a port,
the Helmholtz resonance of port and cavity, and peaks and shelves that the housing adds. Each part
is an analogue minimum-phase filter, so a response is one curve at every sample rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.fft
import soxr

from model.audio import AudioFile
from model.checked_values import built
from model.errors import AudioError, UsageError
from model.files import file_sha256
from model.filter_curves import (
    FLOOR_DB,
    Bell,
    Curve,
    FilterCurve,
    Helmholtz,
    HighPass,
    HighShelf,
    minimum_phase_taps,
)

#: Band over whose logarithmic frequencies a response averages 0 dB: what speech's level comes from.
SPEECH_BAND_HZ = (300.0, 3400.0)
LONGEST_MEASURED_S = 5.0  #: a longer file is a recording, not an impulse response


@dataclass(frozen=True)
class ParametricResponse:
    """A response made of parts, 0 dB on average over :data:`SPEECH_BAND_HZ`.

    Attributes:
        high_pass: of the capsule.
        resonance: of port and cavity.
        bells: peaks and dips of the housing.
        shelves: its tilts.
    """

    kind: ClassVar[str] = "parametric"

    high_pass: HighPass
    resonance: Helmholtz
    bells: tuple[Bell, ...] = ()
    shelves: tuple[HighShelf, ...] = ()

    @classmethod
    def draw(cls, model: np.random.Generator, unit: np.random.Generator) -> ParametricResponse:
        """A response of the family.

        Args:
            model: draws what all units of a model share.
            unit: draws one unit's tolerances: frequencies within a few per cent, gains within
                tenths of a dB.
        """

        def near(value: float, tolerance: float) -> float:
            return float(value * np.exp(np.clip(unit.normal(0, tolerance), -0.2, 0.2)))

        def hz(low: float, high: float, tolerance: float) -> float:
            return near(float(np.exp(model.uniform(np.log(low), np.log(high)))), tolerance)

        def gain_db(spread: float, most: float) -> float:
            return float(np.clip(model.normal(0, spread), -most, most) + unit.normal(0, 0.25))

        return cls(
            high_pass=HighPass(hz(30, 200, 0.05), int(model.integers(1, 3))),
            resonance=Helmholtz(hz(4_000, 16_000, 0.015), near(model.uniform(0.7, 3.5), 0.04)),
            bells=tuple(
                Bell(hz(150, 14_000, 0.015), gain_db(3.5, 9), near(model.uniform(0.7, 5), 0.04))
                for _ in range(int(model.integers(3, 8)))
            ),
            shelves=(
                HighShelf(hz(150, 600, 0.03), gain_db(2, 5)),
                HighShelf(hz(1_000, 5_000, 0.03), gain_db(3, 8)),
            ),
        )

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB at any frequencies from 0 Hz up, at least :data:`FLOOR_DB`."""
        raw = self._raw_db(np.asarray(frequencies_hz, np.float64))
        reference = float(np.mean(self._raw_db(np.geomspace(*SPEECH_BAND_HZ, 64))))
        return np.maximum(raw - reference, FLOOR_DB)

    def _raw_db(self, frequencies_hz: Curve) -> Curve:
        parts: tuple[FilterCurve, ...] = (
            self.high_pass,
            self.resonance,
            *self.bells,
            *self.shelves,
        )
        total = np.zeros(frequencies_hz.shape)
        for part in parts:
            total += part.level_db(frequencies_hz)
        return total

    def impulse_response(self, sample_rate_hz: int) -> tuple[Curve, int]:
        """Taps at a rate, and the index of the tap that stands for no delay (0)."""
        return minimum_phase_taps(self.level_db, sample_rate_hz), 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :func:`response_from_dict` reads it back."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ParametricResponse:
        """Build from :meth:`to_dict`'s mapping without its kind."""
        parts = dict(values)
        if "high_pass" in parts:
            parts["high_pass"] = built(HighPass, parts["high_pass"])
        if "resonance" in parts:
            parts["resonance"] = built(Helmholtz, parts["resonance"])
        for name, kind in (("bells", Bell), ("shelves", HighShelf)):
            if name in parts:
                if not isinstance(parts[name], list | tuple):
                    raise UsageError(f"ParametricResponse: {name} must be a list")
                parts[name] = tuple(built(kind, part) for part in parts[name])
        return built(cls, parts)


@dataclass(frozen=True)
class MeasuredResponse:
    """A measured impulse response, 0 dB on average over :data:`SPEECH_BAND_HZ`.

    Measurements seldom keep an absolute level, so only the shape is used. The delay before the
    largest peak is taken out, so that a recording is aligned with the sound.

    Attributes:
        path: the audio file; a device refers to its response, and does not contain it.
        sha256: of the file, as hex.
        taps: samples of the file's first channel.
        sample_rate_hz: their rate.
    """

    kind: ClassVar[str] = "measured"

    path: str
    sha256: str
    taps: Curve = field(init=False, repr=False, compare=False)
    sample_rate_hz: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not isinstance(self.sha256, str):
            raise UsageError("MeasuredResponse: path and sha256 must be text")
        taps, rate_hz = _read_taps(Path(self.path))
        if file_sha256(Path(self.path)) != self.sha256:
            raise AudioError(f"{self.path}: has changed since this device was written down")
        object.__setattr__(self, "sample_rate_hz", rate_hz)
        object.__setattr__(self, "taps", taps)
        band = self._raw_db(np.geomspace(*SPEECH_BAND_HZ, 64))
        object.__setattr__(self, "taps", taps / 10 ** (float(np.mean(band)) / 20))

    @classmethod
    def read(cls, path: Path) -> MeasuredResponse:
        """The response in an audio file.

        Raises:
            AudioError: no audio file, too long for an impulse response, or silent.
        """
        _read_taps(path)  # complains better than hashing about what is not there
        return cls(str(path.resolve()), file_sha256(path))

    def level_db(self, frequencies_hz: Curve) -> Curve:
        """Gain in dB at any frequencies; :data:`FLOOR_DB` above half the measurement's rate."""
        return np.maximum(self._raw_db(np.asarray(frequencies_hz, np.float64)), FLOOR_DB)

    def _raw_db(self, frequencies_hz: Curve) -> Curve:
        size = scipy.fft.next_fast_len(max(1 << 15, 2 * len(self.taps)), real=True)
        amplitude = np.abs(scipy.fft.rfft(self.taps, size))
        bins_hz = scipy.fft.rfftfreq(size, 1 / self.sample_rate_hz)
        inside: Curve = np.interp(frequencies_hz, bins_hz, amplitude, right=0.0)
        return 20 * np.log10(np.maximum(inside, 1e-10))

    def impulse_response(self, sample_rate_hz: int) -> tuple[Curve, int]:
        """Taps at a rate, and the index of the largest, which stands for no delay."""
        taps = self.taps
        if sample_rate_hz != self.sample_rate_hz:
            # Room for the ringing that band limitation puts before the first sample.
            padded = np.pad(taps, round(0.01 * self.sample_rate_hz))
            taps = soxr.resample(padded, self.sample_rate_hz, sample_rate_hz, "VHQ")
            taps = taps * (self.sample_rate_hz / sample_rate_hz)
        return taps, int(np.argmax(np.abs(taps)))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :func:`response_from_dict` reads it back."""
        return {"kind": self.kind, "path": self.path, "sha256": self.sha256}


Response = ParametricResponse | MeasuredResponse


def response_from_dict(values: object) -> Response:
    """Build a response from its ``to_dict``.

    Raises:
        UsageError: keys or values do not fit.
        AudioError: a measured response's file is gone or has changed.
    """
    parts = dict(values) if isinstance(values, Mapping) else {}
    kind = parts.pop("kind", None)
    if kind == ParametricResponse.kind:
        return ParametricResponse.from_dict(parts)
    if kind == MeasuredResponse.kind:
        return built(MeasuredResponse, parts)
    raise UsageError("response: kind must be parametric or measured")


def _read_taps(path: Path) -> tuple[Curve, int]:
    with AudioFile(path) as audio:
        # One sample more than allowed tells too long from just right.
        longest = round(LONGEST_MEASURED_S * audio.sample_rate_hz)
        taps = audio.read(longest + 1).astype(np.float64)
        rate_hz = audio.sample_rate_hz
    if len(taps) > longest:
        raise AudioError(
            f"{path}: longer than {LONGEST_MEASURED_S:g} s: a recording, not an impulse response"
        )
    if not len(taps) or not np.abs(taps).max() > 0:
        raise AudioError(f"{path}: an impulse response without any sound")
    return taps, rate_hz
