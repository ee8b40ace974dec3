"""Virtual microphones: simulated recording devices that any sound can be played through.

What is recorded with one is simulated, and is to be called so.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
import soundfile
import soxr

from model.augmentation.augmentation import fitted
from model.augmentation.codec import SNDFILE, coded, nearest_rate
from model.checked_values import built, checked
from model.errors import DevrecError, UsageError
from model.filter_curves import Curve, LowPass, minimum_phase_taps
from model.gain_control import GainControl
from model.microphone_response import (
    MeasuredResponse,
    ParametricResponse,
    Response,
    response_from_dict,
)
from model.resample import HIGHEST_RATE_HZ, LOWEST_RATE_HZ

Samples = npt.NDArray[np.float32]
CodecName = Literal["mp3", "vorbis", "opus"]

NOISE_CORNER_HZ = 20.0  #: below which coloured noise is flat


@dataclass(frozen=True)
class NoiseFloor:
    """Gaussian noise of the electronics, as it stands in the recording of silence.

    Attributes:
        level_dbfs: RMS level behind gain and band limit, before automatic gain control.
        slope_db_per_octave: 0 white, -3 pink; flat below 20 Hz.
    """

    level_dbfs: float
    slope_db_per_octave: float = 0.0

    def __post_init__(self) -> None:
        checked(self, level_dbfs=(-140, 0), slope_db_per_octave=(-12, 12))

    def samples(
        self,
        n_samples: int,
        sample_rate_hz: int,
        low_pass: LowPass | None,
        rng: np.random.Generator,
    ) -> Curve:
        """Noise, float64 ``(n_samples,)``; its level is that of the process, not of this draw."""
        size = scipy.fft.next_fast_len(max(n_samples, 1024), real=True)
        frequencies = scipy.fft.rfftfreq(size, 1 / sample_rate_hz)
        octaves = np.log2(np.maximum(frequencies, NOISE_CORNER_HZ) / 1000)
        shape_db = self.slope_db_per_octave * octaves
        if low_pass is not None:
            shape_db = shape_db + low_pass.level_db(frequencies)
        shape = 10 ** (shape_db / 20)
        shape[0] = 0
        shape /= np.sqrt(np.mean(np.square(shape)))
        spectrum = scipy.fft.rfft(rng.standard_normal(size)) * shape
        noise: Curve = scipy.fft.irfft(spectrum, size)[:n_samples]
        return noise * 10 ** (self.level_dbfs / 20)


@dataclass(frozen=True)
class Converter:
    """From voltage to numbers: band limit, soft clipping, DC offset, rounding.

    Attributes:
        bits: of a sample.
        dc_offset: added, full scale = 1.
        knee: amplitude above which peaks are squeezed so that they only approach full scale; 1
            clips hard.
        low_pass: where the band ends; half the sample rate without.
    """

    bits: int = 16
    dc_offset: float = 0.0
    knee: float = 1.0
    low_pass: LowPass | None = None

    def __post_init__(self) -> None:
        checked(self, bits=(4, 24), dc_offset=(-0.5, 0.5), knee=(0.1, 1))
        if not isinstance(self.bits, int):
            raise UsageError(f"Converter: bits must be whole, not {self.bits!r}")

    def __call__(self, samples: Curve) -> Curve:
        """Clipped, offset and rounded samples; the band limit belongs to the response."""
        size = np.abs(samples)
        room = 1 - self.knee
        if room > 0:
            squeezed = self.knee + room * np.tanh(np.maximum(size - self.knee, 0) / room)
            samples = np.where(size > self.knee, np.copysign(squeezed, samples), samples)
        steps = 2.0 ** (self.bits - 1)
        whole = np.round((samples + self.dc_offset) * steps)
        return np.clip(whole, -steps, steps - 1) / steps


@dataclass(frozen=True)
class Codec:
    """What a recording is stored with, through libsndfile.

    Attributes:
        name: ``"mp3"``, ``"vorbis"`` or ``"opus"``.
        quality: 0 (smallest file) to 1 (best).
    """

    name: CodecName
    quality: float = 0.5

    def __post_init__(self) -> None:
        names = get_args(CodecName)
        if not isinstance(self.name, str) or self.name not in names:
            raise UsageError(f"Codec: name must be one of {', '.join(names)}, not {self.name!r}")
        checked(self, quality=(0, 1))


@dataclass(frozen=True)
class VirtualMicrophone:
    """Everything that decides a simulated device; equal ones record equally.

    Sound passes response, gain, noise floor, automatic gain control, converter and codec, in this
    order. Parts that are ``None`` are not there.

    Attributes:
        name: label of the device.
        response: drawn or measured.
        gain_db: of the amplifier.
        noise: of the electronics.
        gain_control: automatic gain control.
        converter: without one, samples stay what they are, and may pass full scale.
        codec: what the recording is stored with.
    """

    name: str
    response: Response
    gain_db: float = 0.0
    noise: NoiseFloor | None = None
    gain_control: GainControl | None = None
    converter: Converter | None = None
    codec: Codec | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError("VirtualMicrophone: name must be text")
        checked(self, gain_db=(-80, 80))

    @classmethod
    def draw(cls, seed: int, unit: int = 0, name: str | None = None) -> VirtualMicrophone:
        """A device of the family.

        Args:
            seed: the model; another seed is another model.
            unit: one of the devices of this model, which differ as a line's products do.
            name: label; ``virtual-<seed>`` or ``virtual-<seed>(<unit>)`` by default.
        """
        model = np.random.default_rng(seed)
        single = np.random.default_rng([seed, 1 + unit])
        response = ParametricResponse.draw(model, single)
        if name is None:
            name = f"virtual-{seed}({unit})" if unit else f"virtual-{seed}"
        return cls(
            name=name,
            response=response,
            gain_db=float(model.uniform(-12, 3) + single.normal(0, 0.5)),
            noise=NoiseFloor(
                float(model.uniform(-82, -62) + single.normal(0, 0.5)),
                float(model.uniform(-4, 1) + single.normal(0, 0.1)),
            ),
            gain_control=_draw_gain_control(model),
            converter=_draw_converter(model, single),
            codec=_draw_codec(model),
        )

    @classmethod
    def from_impulse_response(
        cls, path: Path, *, name: str | None = None, seed: int | None = None
    ) -> VirtualMicrophone:
        """A device with a measured response.

        Args:
            path: audio file with the impulse response.
            name: label; ``virtual-<file name>`` by default.
            seed: draws gain, noise floor and converter (without a band limit) as :meth:`draw` does;
                without it the device is its response and nothing else.

        Raises:
            AudioError: no audio file, too long for an impulse response, or silent.
        """
        response = MeasuredResponse.read(path)
        label = name if name is not None else f"virtual-{path.stem}"
        if seed is None:
            return cls(label, response)
        drawn = cls.draw(seed)
        converter = drawn.converter and dataclasses.replace(drawn.converter, low_pass=None)
        return cls(label, response, drawn.gain_db, drawn.noise, converter=converter)

    def response_db(self, frequencies_hz: npt.ArrayLike) -> Curve:
        """The device's stated frequency response, band limit included, gain not.

        Args:
            frequencies_hz: any, from 0 up.

        Returns:
            dB, float64, same shape; 0 on average over 300 to 3400 Hz without a band limit.
        """
        frequencies = np.asarray(frequencies_hz, np.float64)
        levels = self.response.level_db(frequencies)
        if self._low_pass is not None:
            levels = levels + self._low_pass.level_db(frequencies)
        return levels

    def record(
        self, samples: npt.NDArray[np.floating[Any]], sample_rate_hz: int, rng: np.random.Generator
    ) -> Samples:
        """What the device makes of a sound.

        Args:
            samples: float, 1-D, full scale = 1.
            sample_rate_hz: their rate, and the recording's.
            rng: what the noise is drawn from.

        Returns:
            float32 of the same length, aligned with the sound.

        Raises:
            UsageError: the rate lies outside 2 kHz to 768 kHz.
            DevrecError: libsndfile here cannot write the codec.
        """
        if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
            raise UsageError(f"sample rate {sample_rate_hz} Hz is out of range")
        if not len(samples):
            return np.zeros(0, np.float32)
        taps, origin = _realised(self.response, self._low_pass, sample_rate_hz)
        heard = scipy.signal.oaconvolve(np.asarray(samples, np.float64), taps)
        heard = heard[origin : origin + len(samples)] * 10 ** (self.gain_db / 20)
        if self.noise is not None:
            heard += self.noise.samples(len(samples), sample_rate_hz, self._low_pass, rng)
        if self.gain_control is not None:
            heard = self.gain_control(heard, sample_rate_hz)
        if self.converter is not None:
            heard = self.converter(heard)
        recorded: Samples = heard.astype(np.float32)
        if self.codec is not None:
            recorded = _through_codec(recorded, sample_rate_hz, self.codec)
        return recorded

    @property
    def _low_pass(self) -> LowPass | None:
        return self.converter.low_pass if self.converter is not None else None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        parts = (self.noise, self.gain_control, self.converter, self.codec)
        noise, gain_control, converter, codec = (
            asdict(p) if p is not None else None for p in parts
        )
        return {
            "name": self.name,
            "response": self.response.to_dict(),
            "gain_db": self.gain_db,
            "noise": noise,
            "gain_control": gain_control,
            "converter": converter,
            "codec": codec,
        }

    @classmethod
    def from_dict(cls, values: object) -> VirtualMicrophone:
        """Build a device from :meth:`to_dict`'s mapping.

        Raises:
            UsageError: keys or values do not fit.
            AudioError: a measured response's file is gone or has changed.
        """
        parts: dict[str, Any] = dict(values) if isinstance(values, Mapping) else {}
        kinds = (("noise", NoiseFloor), ("gain_control", GainControl), ("codec", Codec))
        for key, kind in kinds:
            if parts.get(key) is not None:
                parts[key] = built(kind, parts[key])
        converter = parts.get("converter")
        if converter is not None:
            if isinstance(converter, Mapping) and converter.get("low_pass") is not None:
                converter = {**converter, "low_pass": built(LowPass, converter["low_pass"])}
            parts["converter"] = built(Converter, converter)
        if "response" in parts:
            parts["response"] = response_from_dict(parts["response"])
        return built(cls, parts)


def _draw_gain_control(model: np.random.Generator) -> GainControl | None:
    there = model.random() < 0.4
    drawn = GainControl(
        target_dbfs=float(model.uniform(-28, -18)),
        limit_db=float(model.uniform(6, 18)),
        attack_s=float(model.uniform(0.005, 0.05)),
        release_s=float(model.uniform(0.2, 1.5)),
    )
    return drawn if there else None


def _draw_converter(model: np.random.Generator, unit: np.random.Generator) -> Converter:
    low_pass = LowPass(float(np.exp(model.uniform(np.log(6_500), np.log(15_000)))), 10)
    limited = model.random() < 0.35
    return Converter(
        bits=int(model.choice([16, 16, 16, 14, 13])),
        dc_offset=float(np.clip(unit.normal(0, 5e-4), -2e-3, 2e-3)),
        knee=float(model.uniform(0.6, 1.0)),
        low_pass=low_pass if limited else None,
    )


def _draw_codec(model: np.random.Generator) -> Codec | None:
    names: tuple[CodecName, ...] = ("mp3", "vorbis", "opus")
    there = model.random() < 0.3
    drawn = Codec(names[int(model.integers(len(names)))], float(model.uniform(0.3, 0.9)))
    return drawn if there else None


@functools.lru_cache(maxsize=64)
def _realised(
    response: Response, low_pass: LowPass | None, sample_rate_hz: int
) -> tuple[Curve, int]:
    """Taps of response and band limit at a rate, and the index of the tap without delay."""
    taps, origin = response.impulse_response(sample_rate_hz)
    if low_pass is not None:
        taps = scipy.signal.oaconvolve(taps, minimum_phase_taps(low_pass.level_db, sample_rate_hz))
    return taps, origin


def _through_codec(samples: Samples, sample_rate_hz: int, codec: Codec) -> Samples:
    form = SNDFILE[codec.name]
    # Vorbis takes any rate.
    vorbis = codec.name == "vorbis"
    rate = sample_rate_hz if vorbis else nearest_rate(form.rates_hz, sample_rate_hz)
    fed = samples if rate == sample_rate_hz else soxr.resample(samples, sample_rate_hz, rate)
    level = min(1 - codec.quality, 0.999)  # libsndfile refuses 1 for MP3
    try:
        back, back_rate = coded(fed, rate, form, level)
    except (soundfile.SoundFileError, ValueError) as error:
        raise DevrecError(f"libsndfile cannot write {codec.name} here: {error}") from error
    if back_rate != sample_rate_hz:
        back = soxr.resample(back, back_rate, sample_rate_hz)
    return fitted(back, len(samples))
