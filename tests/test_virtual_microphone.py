"""Virtual microphones do what they state: response, noise, gain control, converter, codec."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import AudioError, DevrecError, UsageError
from model.features import FrontEnd
from model.filter_curves import Bell, Helmholtz, HighPass, HighShelf, LowPass
from model.gain_control import GainControl
from model.microphone_response import ParametricResponse
from model.network_config import front_end_for
from model.synthetic_speech import synthetic_speech
from model.virtual_microphone import Codec, Converter, NoiseFloor, VirtualMicrophone

RATE_HZ = 32_000
FLAT = ParametricResponse(HighPass(1, 1), Helmholtz(100_000, 0.7))
FRONT_END = front_end_for("hybrid")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def level_db(samples: npt.NDArray[Any]) -> float:
    return float(20 * np.log10(np.std(samples, dtype=np.float64)))


def mean_log_mel(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Mean over time of the front end's log-mel, without level: the simplest fingerprint."""
    front_end = FrontEnd(FRONT_END)
    frames = np.concatenate([front_end.accept(samples), front_end.flush()])
    mean = frames[:, 3 * FRONT_END.n_static :].mean(axis=0, dtype=np.float64)
    return mean - mean.mean()


@pytest.mark.parametrize("rate_hz", [16_000, 32_000, 44_100])
@pytest.mark.parametrize("seed", [1, 2, 3, 5])  # 2 and 5 have a band limit
def test_response_is_the_stated_curve(seed: int, rate_hz: int) -> None:
    drawn = VirtualMicrophone.draw(seed)
    assert drawn.converter is not None
    device = dataclasses.replace(
        drawn, gain_db=-10.0, gain_control=None, codec=None,
        converter=dataclasses.replace(drawn.converter, knee=1.0, bits=16),
    )  # fmt: skip
    played = 0.1 * rng().standard_normal(12 * rate_hz)
    recorded = device.record(played, rate_hz, rng(1))
    frequencies, across = scipy.signal.csd(played, recorded, rate_hz, nperseg=4096)
    _, into = scipy.signal.welch(played, rate_hz, nperseg=4096)
    measured = 20 * np.log10(np.abs(across / into))
    stated = device.response_db(frequencies) - 10
    assert device.noise is not None
    heard_db = level_db(played) + stated
    above_floor = (heard_db > device.noise.level_dbfs + 10) & (frequencies > 60)
    above_floor &= frequencies < 0.96 * rate_hz / 2
    assert above_floor.mean() > (0.3 if device.converter and device.converter.low_pass else 0.9)
    assert np.abs(measured - stated)[above_floor].max() < 1.0


def test_curves_are_those_of_analogue_filters() -> None:
    frequencies = np.geomspace(20, 20_000, 50)
    s = 2j * np.pi * frequencies

    def agrees(part: Any, numerator: list[float], denominator: list[float]) -> None:
        response = np.polyval(numerator, s) / np.polyval(denominator, s)
        np.testing.assert_allclose(
            part.level_db(frequencies), 20 * np.log10(np.abs(response)), atol=1e-6
        )

    w = 2 * np.pi * 900.0
    agrees(HighPass(900, 2), *map(list, scipy.signal.butter(2, w, "highpass", analog=True)))
    agrees(LowPass(900, 10), *map(list, scipy.signal.butter(10, w, "lowpass", analog=True)))
    agrees(Helmholtz(900, 3), [w**2], [1, w / 3, w**2])
    a = 10 ** (6 / 40)
    agrees(Bell(900, 6, 2), [1, w * a / 2, w**2], [1, w / a / 2, w**2])  # R. Bristow-Johnson
    g = 10 ** (6 / 40)
    agrees(HighShelf(900, 6), [g, w], [1 / g, w])


def test_speech_band_is_at_no_gain_on_average() -> None:
    for seed in range(5):
        response = VirtualMicrophone.draw(seed).response
        assert abs(response.level_db(np.geomspace(300, 3400, 500)).mean()) < 0.1


@pytest.mark.parametrize("slope", [-4.0, -3.0, 0.0, 1.0])
@pytest.mark.parametrize("low_pass", [None, LowPass(7_000, 10)])
def test_noise_floor_is_as_stated(slope: float, low_pass: LowPass | None) -> None:
    device = VirtualMicrophone(
        "x", FLAT, 6.0, NoiseFloor(-60, slope), converter=Converter(24, low_pass=low_pass)
    )
    silence = np.zeros(20 * RATE_HZ)
    recorded = device.record(silence, RATE_HZ, rng())
    assert level_db(recorded) == pytest.approx(-60, abs=1.0)
    frequencies, power = scipy.signal.welch(recorded, RATE_HZ, nperseg=2048)
    band = (frequencies > 100) & (frequencies < 4000)
    octaves = np.log2(frequencies[band])
    assert np.polyfit(octaves, 10 * np.log10(power[band]), 1)[0] == pytest.approx(slope, abs=0.25)
    if low_pass is not None:
        assert power[frequencies > 13_000].max() < 1e-3 * power[band].min()


@pytest.mark.parametrize("at_dbfs", [-45.0, -30.0, -12.0])
def test_gain_control_reaches_its_target(at_dbfs: float) -> None:
    control = GainControl(target_dbfs=-20, limit_db=30, attack_s=0.02, release_s=0.3)
    tone = np.sqrt(2) * 10 ** (at_dbfs / 20) * np.sin(2 * np.pi * 500 / RATE_HZ * np.arange(96_000))
    controlled = control(tone, RATE_HZ)
    assert level_db(controlled[-RATE_HZ // 2 :]) == pytest.approx(-20, abs=0.5)
    # It cannot know what is to come: the first block still comes at its own level.
    assert level_db(controlled[:100]) == pytest.approx(level_db(tone[:100]), abs=3)


def test_gain_control_amplifies_no_further_than_its_limit() -> None:
    control = GainControl(target_dbfs=-20, limit_db=12, attack_s=0.02, release_s=0.1)
    quiet = 10 ** (-70 / 20) * rng().standard_normal(2 * RATE_HZ)
    assert level_db(control(quiet, RATE_HZ)[-8000:]) == pytest.approx(-58, abs=0.7)
    assert not control(np.zeros(1000), RATE_HZ).any()


def test_gain_control_takes_its_time() -> None:
    control = GainControl(target_dbfs=-20, limit_db=40, attack_s=0.05, release_s=0.5)
    steps = np.repeat([-20.0, -40.0, -20.0], 2 * RATE_HZ)
    tone = np.sqrt(2) * 10 ** (steps / 20) * np.sin(np.pi / 8 * np.arange(len(steps)))
    controlled = control(tone, RATE_HZ)
    gains_db = np.array([
        level_db(controlled[at : at + 320]) - level_db(tone[at : at + 320])
        for at in range(0, len(tone), 320)
    ])  # fmt: skip
    up, down = gains_db[200:400], gains_db[400:600]
    settled = up[-1]
    assert settled == pytest.approx(20, abs=0.5)
    # 63 % of the way after one time constant, to a block of 10 ms.
    assert np.argmax(up > 0.63 * settled) == pytest.approx(50, abs=3)
    assert np.argmax(down < 0.37 * settled) == pytest.approx(5, abs=2)


@given(
    bits=st.integers(4, 24),
    dc_offset=st.floats(-0.1, 0.1),
    knee=st.floats(0.1, 1),
    loudest=st.floats(0.01, 30),
)
def test_converter(bits: int, dc_offset: float, knee: float, loudest: float) -> None:
    line = np.linspace(-loudest, loudest, 1001)
    converted = Converter(bits, dc_offset, knee)(line)
    steps = converted * 2 ** (bits - 1)
    assert np.array_equal(steps, np.round(steps))
    assert converted.min() >= -1
    assert converted.max() <= 1 - 2.0 ** (1 - bits)
    assert (np.diff(converted) >= 0).all()
    linear = np.abs(line) <= min(knee, 0.85)
    error = np.abs(converted - dc_offset - line)[linear]
    assert (error <= 2.0**-bits + 1e-12).all()


@pytest.mark.parametrize("name", ["mp3", "vorbis", "opus"])
@pytest.mark.parametrize("rate_hz", [16_000, 32_000])
def test_codec_keeps_length_and_alignment(name: Any, rate_hz: int) -> None:
    spoken = synthetic_speech(2.0, 3, rate_hz)[:-13]
    coded = VirtualMicrophone("x", FLAT, codec=Codec(name)).record(spoken, rate_hz, rng())
    plain = VirtualMicrophone("x", FLAT).record(spoken, rate_hz, rng())
    assert coded.shape == plain.shape
    assert not np.array_equal(coded, plain)
    assert np.corrcoef(coded, plain)[0, 1] > 0.97
    likeness = scipy.signal.correlate(coded, plain, "same")
    assert abs(int(likeness.argmax()) - len(plain) // 2) <= 1


def test_draws_are_deterministic_and_differ() -> None:
    spoken = synthetic_speech(1.0, 1)
    for seed in range(4):
        device = VirtualMicrophone.draw(seed)
        assert device == VirtualMicrophone.draw(seed)
        assert device != VirtualMicrophone.draw(seed + 1)
        first = device.record(spoken, RATE_HZ, rng(5))
        assert first.dtype == np.float32
        assert first.shape == spoken.shape
        assert np.array_equal(first, device.record(spoken, RATE_HZ, rng(5)))
        assert not np.array_equal(first, device.record(spoken, RATE_HZ, rng(6)))


def test_units_of_a_model_are_closer_than_models() -> None:
    spoken = synthetic_speech(3.0, 2)

    def heard(seed: int, unit: int = 0) -> npt.NDArray[np.float64]:
        device = VirtualMicrophone.draw(seed, unit)
        return mean_log_mel(device.record(spoken, RATE_HZ, rng(100 * seed + unit)))

    def distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
        return float(np.sqrt(np.mean(np.square(a - b))))

    models = [heard(seed) for seed in range(12)]
    apart = [distance(a, b) for k, a in enumerate(models) for b in models[:k]]
    units = [distance(models[seed], heard(seed, unit)) for seed in range(6) for unit in (1, 2)]
    assert max(units) < min(apart)
    assert np.median(apart) > 5 * np.median(units)
    assert VirtualMicrophone.draw(0, 1) != VirtualMicrophone.draw(0, 2)


def test_front_end_tells_eight_devices_apart() -> None:
    """Nearest mean of the mean log-mel, on clips that no device has been learnt from."""
    devices = [VirtualMicrophone.draw(seed) for seed in range(8)]
    clips = [synthetic_speech(8.0, seed) for seed in range(7)]
    heard = np.array([
        [mean_log_mel(device.record(c, RATE_HZ, rng(10 * k + j))) for j, c in enumerate(clips)]
        for k, device in enumerate(devices)
    ])  # fmt: skip
    means, unheard = heard[:, :4].mean(axis=1), heard[:, 4:]
    distances = np.square(unheard[:, :, None] - means).sum(axis=-1)
    hits = (distances.argmin(axis=-1) == np.arange(8)[:, None]).sum()
    assert hits >= 22  # of 24; chance is 3


numbers = st.floats  # every one finite
parametric = st.builds(
    ParametricResponse,
    st.builds(HighPass, numbers(1, 5000), st.integers(1, 8)),
    st.builds(Helmholtz, numbers(500, 1e5), numbers(0.3, 20)),
    st.lists(st.builds(Bell, numbers(20, 1e5), numbers(-24, 24), numbers(0.1, 30))).map(tuple),
    st.lists(st.builds(HighShelf, numbers(20, 1e5), numbers(-24, 24))).map(tuple),
)
low_passes = st.builds(LowPass, numbers(500, 2e5), st.integers(1, 24))
microphones = st.builds(
    VirtualMicrophone,
    st.text(min_size=1),
    parametric,
    numbers(-80, 80),
    st.none() | st.builds(NoiseFloor, numbers(-140, 0), numbers(-12, 12)),
    st.none()
    | st.builds(GainControl, numbers(-60, 0), numbers(0, 60), numbers(1e-4, 10), numbers(1e-4, 60)),
    st.none()
    | st.builds(
        Converter, st.integers(4, 24), numbers(-0.5, 0.5), numbers(0.1, 1), st.none() | low_passes
    ),
    st.none() | st.builds(Codec, st.sampled_from(["mp3", "vorbis", "opus"]), numbers(0, 1)),
)


@given(microphones)
@settings(deadline=None)
def test_written_down_and_read_back(device: VirtualMicrophone) -> None:
    assert VirtualMicrophone.from_dict(json.loads(json.dumps(device.to_dict()))) == device


@given(microphones, st.sampled_from([8_000, 32_000, 48_000]))
@settings(deadline=None, max_examples=15)
def test_any_device_records_finite_samples(device: VirtualMicrophone, rate_hz: int) -> None:
    recorded = device.record(0.1 * rng().standard_normal(3000), rate_hz, rng())
    assert recorded.shape == (3000,)
    assert np.isfinite(recorded).all()
    assert device.record(np.zeros(0), rate_hz, rng()).shape == (0,)


def changed(path: str, value: object) -> dict[str, Any]:
    """A drawn device's dictionary with one entry replaced, or removed by an ellipsis."""
    whole: dict[str, Any] = json.loads(json.dumps(VirtualMicrophone.draw(2).to_dict()))
    *parents, last = path.split(".")
    inner = whole
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", ""),
        ("gain_db", float("nan")),
        ("gain_db", True),
        ("gain_db", ...),
        ("colour", "red"),
        ("response", "flat"),
        ("response.kind", "drawn"),
        ("response.high_pass.corner_hz", -5),
        ("response.bells", "bells"),
        ("response.bells", [3]),
        ("response.resonance", None),
        ("noise.level_dbfs", "quiet"),
        ("noise", []),
        ("converter.bits", 16.5),
        ("converter.low_pass", {"corner_hz": 8000}),
        ("codec", {"name": "aac", "quality": 0.5}),
        ("codec", {"name": ["mp3"], "quality": 0.5}),
    ],
)
def test_what_is_no_device_is_refused(path: str, value: object) -> None:
    with pytest.raises(UsageError) as raised:
        VirtualMicrophone.from_dict(changed(path, value))
    assert "\n" not in str(raised.value)


def test_what_is_no_mapping_is_refused() -> None:
    for nothing in (None, [], "x", {}):
        with pytest.raises(UsageError):
            VirtualMicrophone.from_dict(nothing)


def test_rates_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="out of range"):
        VirtualMicrophone.draw(1).record(np.ones(100), 100, rng())


def write_response(path: Path, taps: npt.ArrayLike, rate_hz: int = RATE_HZ) -> Path:
    soundfile.write(path, np.asarray(taps, np.float32), rate_hz, subtype="FLOAT")
    return path


def test_dirac_gives_back_the_sound(tmp_path: Path) -> None:
    """Whatever its delay and its level, which measurements do not keep."""
    spoken = synthetic_speech(1.0, 4)
    for delay, height in ((0, 1.0), (50, 0.25), (99, -1.0)):
        taps = np.zeros(100)
        taps[delay] = height
        path = write_response(tmp_path / f"dirac{delay}.wav", taps)
        device = VirtualMicrophone.from_impulse_response(path)
        recorded = device.record(spoken, RATE_HZ, rng())
        np.testing.assert_allclose(recorded, np.sign(height) * spoken, atol=1e-6)
        assert np.abs(device.response_db([50, 1000, 15_000])).max() < 1e-3


def test_measured_response_is_used_as_given(tmp_path: Path) -> None:
    taps = np.concatenate(
        [[0.0, 0.3, 1.0], 0.2 * rng(3).standard_normal(200) * 0.97 ** np.arange(200)]
    )
    path = write_response(tmp_path / "measured.wav", taps)
    device = VirtualMicrophone.from_impulse_response(path, name="m")
    spoken = synthetic_speech(1.0, 4)
    recorded = device.record(spoken, RATE_HZ, rng())
    reference = scipy.signal.lfilter(taps, [1.0], np.append(spoken, [0, 0]))[2:]
    scale = recorded @ reference / (reference @ reference)
    np.testing.assert_allclose(recorded, scale * reference, atol=1e-5)
    assert abs(device.response_db(np.geomspace(300, 3400, 500)).mean()) < 0.3
    # At another rate it is the same curve.
    impulse = np.zeros(8192)
    impulse[1000] = 1.0
    response = np.abs(np.fft.rfft(device.record(impulse, 44_100, rng())))
    frequencies = np.fft.rfftfreq(8192, 1 / 44_100)
    below = (frequencies > 100) & (frequencies < 14_000)
    error = 20 * np.log10(response[below]) - device.response_db(frequencies[below])
    assert np.median(np.abs(error)) < 0.1


def test_measured_device_is_written_down_by_its_file(tmp_path: Path) -> None:
    path = write_response(tmp_path / "m.wav", [1.0, 0.5])
    device = VirtualMicrophone.from_impulse_response(path, seed=3)
    assert device.name == "virtual-m"
    assert device.noise is not None
    values = json.loads(json.dumps(device.to_dict()))
    again = VirtualMicrophone.from_dict(values)
    assert again == device
    spoken = synthetic_speech(1.0, 4)
    assert np.array_equal(
        device.record(spoken, RATE_HZ, rng()), again.record(spoken, RATE_HZ, rng())
    )
    write_response(path, [1.0, -0.5])
    with pytest.raises(AudioError, match=r"m\.wav: has changed"):
        VirtualMicrophone.from_dict(values)
    path.unlink()
    with pytest.raises(AudioError, match="no such file"):
        VirtualMicrophone.from_dict(values)


@pytest.mark.parametrize(
    ("taps", "says"),
    [
        (np.zeros(100), "without any sound"),
        (np.ones(6 * RATE_HZ), "a recording, not an impulse response"),
        ([], "without any sound"),
        ([np.nan, 1.0], "not numbers"),
        (None, "not an audio file"),
    ],
)
def test_bad_responses_are_one_line(taps: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    if taps is None:
        path.write_text("no audio")
    else:
        write_response(path, taps)
    with pytest.raises(DevrecError, match=says) as raised:
        VirtualMicrophone.from_impulse_response(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
