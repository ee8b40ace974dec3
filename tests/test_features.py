"""The front end: right values, the same for any chunking, in bounded memory."""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ModelError
from model.features import (
    FrontEnd,
    FrontEndConfig,
    extract,
    windows_of,
)
from model.mel import hz_to_mel, mel_to_hz
from tests import reference_features
from tests.simulated import speech_like

SAMPLES = speech_like(1.2, seed=11)
LOG_CONFIG = FrontEndConfig(prefbank="log", remove_dc=True)
CONFIGS = st.builds(
    FrontEndConfig,
    prefbank=st.sampled_from(["linear", "log"]),
    remove_dc=st.booleans(),
    spectrum=st.sampled_from(["magnitude", "power"]),
    delta_width=st.integers(1, 5),
    delta_delta_width=st.integers(1, 2),
)


@pytest.mark.parametrize("remove_dc", [False, True])
@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("log_prefbank", [False, True])
def test_values_are_the_definition(remove_dc: bool, power: bool, log_prefbank: bool) -> None:
    samples = SAMPLES[: 512 + 24 * 256] + np.float32(0.01)
    config = FrontEndConfig(
        remove_dc=remove_dc,
        spectrum="power" if power else "magnitude",
        prefbank="log" if log_prefbank else "linear",
    )
    expected = reference_features.features(
        samples, remove_dc=remove_dc, power=power, log_prefbank=log_prefbank
    )
    ours = extract(samples, config)
    assert ours.shape == (25, 73)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)  # float32 against float64


@settings(max_examples=60, deadline=None)
@given(config=CONFIGS, data=st.data())
def test_any_chunking_gives_the_same_bits(config: FrontEndConfig, data: st.DataObject) -> None:
    n_samples = data.draw(st.integers(0, len(SAMPLES)))
    cuts = data.draw(st.lists(st.integers(0, n_samples), max_size=30))
    whole = extract(SAMPLES[:n_samples], config)
    front_end = FrontEnd(config)
    parts = [front_end.accept(part) for part in np.split(SAMPLES[:n_samples], sorted(cuts))]
    ready = sum(map(len, parts))
    assert ready == front_end.frames_ready == max(0, len(whole) - config.look_ahead)
    parts.append(front_end.flush())
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(whole) == config.frames_in(n_samples)
    # After flush the object is as new.
    again = np.concatenate([front_end.accept(SAMPLES[:n_samples]), front_end.flush()])
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("chunk", [1, 255, 256, 257])
def test_regular_chunks_give_the_same_bits(chunk: int) -> None:
    samples = SAMPLES[:8000] if chunk == 1 else SAMPLES
    front_end = FrontEnd(LOG_CONFIG)
    parts = [front_end.accept(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    parts.append(front_end.flush())
    np.testing.assert_array_equal(np.concatenate(parts), extract(samples, LOG_CONFIG))


def test_minutes_in_one_chunk_equal_small_chunks() -> None:
    samples = np.random.default_rng(0).standard_normal(32_000 * 120).astype(np.float32) * 0.1
    front_end = FrontEnd()
    parts = [front_end.accept(samples[i : i + 9973]) for i in range(0, len(samples), 9973)]
    parts.append(front_end.flush())
    np.testing.assert_array_equal(np.concatenate(parts), extract(samples))


def test_memory_is_bounded_over_an_endless_stream() -> None:
    front_end = FrontEnd()
    chunk = np.random.default_rng(1).standard_normal(3200).astype(np.float32)

    def feed(minutes: float) -> int:
        for _ in range(round(minutes * 600)):
            front_end.accept(chunk)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        after_one = feed(1)
        after_ten = feed(9)
    finally:
        tracemalloc.stop()
    assert after_ten - after_one < 50_000
    assert front_end.frames_ready == FrontEndConfig().frames_in(10 * 60 * 32_000) - 5


def test_gain_shifts_logarithms_only() -> None:
    quiet, loud = extract(0.25 * SAMPLES, LOG_CONFIG), extract(0.5 * SAMPLES, LOG_CONFIG)
    floor = np.log(LOG_CONFIG.mel_floor)
    free = (quiet[:, 39:] > floor + 0.1).all(axis=1)  # frames where no band is at its floor
    free[:5] = free[-5:] = False
    inner = np.flatnonzero(np.convolve(free, np.ones(11), "same") == 11)
    assert len(inner) > 5
    difference = (loud - quiet)[inner]
    np.testing.assert_allclose(difference[:, 12], 2 * np.log(2), atol=1e-4)
    np.testing.assert_allclose(difference[:, 39:], np.log(2), atol=1e-4)
    np.testing.assert_allclose(np.delete(difference[:, :39], 12, axis=1), 0, atol=2e-4)


def test_remove_dc_removes_dc() -> None:
    shifted = SAMPLES + np.float32(0.05)
    with_dc = np.abs(extract(shifted) - extract(SAMPLES))[5:, 39]
    without = np.abs(extract(shifted, LOG_CONFIG) - extract(SAMPLES, LOG_CONFIG))[5:, 39]
    assert np.median(without) < 1e-3 < np.median(with_dc)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e6])
def test_constant_input_gives_finite_frames(value: float) -> None:
    frames = extract(np.full(32_000, value, np.float32), LOG_CONFIG)
    assert np.isfinite(frames).all()
    if value == 0.0:
        assert frames[:, 12] == pytest.approx(np.log(LOG_CONFIG.energy_floor))
        assert frames[:, 39:] == pytest.approx(np.log(LOG_CONFIG.mel_floor))
        np.testing.assert_allclose(frames[:, 13:39], 0, atol=1e-6)


def test_past_frames_do_not_depend_on_the_future() -> None:
    """Constant floors: what comes later, however loud, changes no finished frame."""
    loud_end = SAMPLES.copy()
    loud_end[20_000:] *= 1000
    n_same = LOG_CONFIG.frames_in(20_000) - LOG_CONFIG.look_ahead
    ours, theirs = extract(SAMPLES, LOG_CONFIG), extract(loud_end, LOG_CONFIG)
    np.testing.assert_array_equal(ours[:n_same], theirs[:n_same])


def test_counts() -> None:
    config = FrontEndConfig()
    assert config.n_features == 73
    assert config.look_ahead == 5
    assert config.samples_for(128) == 512 + 127 * 256
    for n_samples in (0, 511, 512, 767, 768, 33_024):
        n_frames = config.frames_in(n_samples)
        assert len(extract(np.zeros(n_samples), config)) == n_frames
        assert config.samples_for(n_frames) <= n_samples
    assert extract(np.zeros(100)).shape == (0, 73)


def test_samples_must_be_one_dimensional() -> None:
    with pytest.raises(ValueError, match="one-dimensional"):
        FrontEnd().accept(np.zeros((2, 100)))


@given(hz=st.floats(0, 20_000))
def test_mel_scale_inverts(hz: float) -> None:
    assert float(mel_to_hz(hz_to_mel(hz))) == pytest.approx(hz, abs=1e-6)


def test_config_travels() -> None:
    config = dataclasses.replace(LOG_CONFIG, sample_rate_hz=16_000, frame_length=256)
    assert FrontEndConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"hop_length": 0},
        {"n_mfcc": 34},
        {"pre_emphasis": 1.0},
        {"mel_floor": 0.0},
        {"spectrum": "cepstrum"},
        {"prefbank": "dB"},
        {"delta_width": 0},
    ],
)
def test_config_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="out of range"):
        FrontEndConfig.from_dict({**FrontEndConfig().to_dict(), **changes})


def test_windows() -> None:
    frames = np.arange(300 * 2, dtype=np.float32).reshape(300, 2)
    windows = windows_of(frames, hop_frames=50)
    assert windows.shape == (4, 128, 2)
    for k in range(4):
        np.testing.assert_array_equal(windows[k], frames[50 * k : 50 * k + 128])
    assert windows_of(frames[:127], 1).shape == (0, 128, 2)
