"""BED + SVM: the descriptor against a plain loop, and simulated devices told apart."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.baselines.bed_svm as bed
from model.baselines.bed_svm import (
    BedSvm,
    average_power,
    band_energy_differences_db,
    band_energy_signs,
)
from model.errors import AudioError, CorpusError
from model.features import FloatArray
from tests.baseline_rig import (
    TRAINING_SPEECH,
    accuracy,
    as_clip,
    assert_deterministic,
    clip_of,
    clips_of,
)
from tests.simulated import record, speech_like


def plain_power(samples: FloatArray) -> list[float]:
    """Average power of each of the 129 bins: one frame, one bin at a time."""
    power = [0.0] * 129
    n_frames = 0
    start = 0
    while start + 256 <= len(samples):
        windowed = [
            float(samples[start + i]) * (0.5 - 0.5 * np.cos(2 * np.pi * i / 256))
            for i in range(256)
        ]
        spectrum = np.fft.fft(windowed)
        for k in range(129):
            power[k] += spectrum[k].real ** 2 + spectrum[k].imag ** 2
        n_frames += 1
        start += 128
    return [value / n_frames for value in power]


def test_descriptor_as_by_a_plain_loop() -> None:
    samples = clip_of(0, 1).samples[:9999]
    power = plain_power(samples)
    np.testing.assert_allclose(average_power(samples), power, rtol=1e-9)
    signs = [1.0 if power[k + 1] > power[k] else 0.0 for k in range(1, 128)]
    np.testing.assert_array_equal(band_energy_signs(samples), signs)
    assert len(signs) == bed.N_DIFFERENCES
    assert 0 < sum(signs) < len(signs)
    differences = [10 * np.log10(power[k + 1] / power[k]) for k in range(1, 128)]
    np.testing.assert_allclose(band_energy_differences_db(samples), differences, atol=1e-6)


def test_memory_is_bounded_without_changing_the_average(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = clip_of(0, 1).samples
    whole = average_power(samples)
    monkeypatch.setattr(bed, "_FRAMES_AT_ONCE", 7)
    np.testing.assert_allclose(average_power(samples), whole, rtol=1e-12)


@given(st.integers(-10, 10))
def test_gain_does_not_count(exponent: int) -> None:
    samples = clip_of(1, 1).samples[:4000]
    louder = samples * np.float32(2.0**exponent)  # a power of two: exact
    np.testing.assert_array_equal(band_energy_signs(louder), band_energy_signs(samples))
    np.testing.assert_allclose(
        band_energy_differences_db(louder), band_energy_differences_db(samples), atol=1e-3
    )


def test_bin_of_0_hz_does_not_count() -> None:
    # The Hann window leaks an offset into bin 1 and no further: the first difference alone moves.
    noise = np.random.default_rng(0).standard_normal(8192).astype(np.float32)
    moved = band_energy_signs(noise + np.float32(3.0)) != band_energy_signs(noise)
    assert not moved[1:].any()


def test_digital_silence_has_a_descriptor() -> None:
    silence = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(band_energy_signs(silence), np.zeros(127))
    np.testing.assert_array_equal(band_energy_differences_db(silence), np.zeros(127))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("n_devices", [5, 2])
def test_tells_simulated_devices_apart(binary: bool, n_devices: int) -> None:
    assert accuracy(BedSvm(binary), n_devices) >= 0.9


@pytest.mark.parametrize("binary", [True, False])
def test_deterministic(binary: bool) -> None:
    assert_deterministic(partial(BedSvm, binary))


def test_parameters() -> None:
    linear = BedSvm(kernel="linear")
    linear.fit(*clips_of(5, TRAINING_SPEECH))
    assert linear.n_parameters == 10 * (127 + 1) + 2 * 127
    rbf = BedSvm()
    rbf.fit(*clips_of(3, TRAINING_SPEECH[:1]))  # every clip is a support vector
    assert rbf.n_parameters == 3 * 127 + 3 * 2 + 3 + 1 + 2 * 127


def test_short_clips_and_mixed_sample_rates_are_refused() -> None:
    clips, labels = clips_of(2, TRAINING_SPEECH)
    short = as_clip(clips[0].features, clips[0].samples[:255])
    with pytest.raises(AudioError, match="255 samples"):
        BedSvm().fit([*clips, short], np.append(labels, 0))
    baseline = BedSvm()
    baseline.fit(clips, labels)
    slower = record(speech_like(1.0, seed=9, rate_hz=16_000), 0)
    with pytest.raises(CorpusError, match="32000 and 16000 Hz"):
        baseline.scores([as_clip(clips[0].features, slower, 16_000)])
