"""MFCC + SVM: its two vectors against plain formulas, simulated devices told apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.baselines.baseline import Baseline
from model.baselines.device_svm import DeviceSvm
from model.baselines.mfcc_svm import (
    MfccFramesSvm,
    MfccStatisticsSvm,
    first_frames,
    mfcc_statistics,
)
from model.errors import CorpusError
from tests.baseline_rig import (
    TRAINING_SPEECH,
    accuracy,
    as_clip,
    assert_deterministic,
    clip_of,
    clips_of,
)

BOTH = pytest.mark.parametrize("make", [MfccStatisticsSvm, MfccFramesSvm])


def test_statistics_are_mean_and_standard_deviation() -> None:
    mfcc = clip_of(0, 1).mfcc
    statistics = mfcc_statistics(mfcc)
    n_frames = len(mfcc)
    for column in range(39):
        values = [float(value) for value in mfcc[:, column]]
        mean = sum(values) / n_frames
        variance = sum((value - mean) ** 2 for value in values) / n_frames
        assert statistics[column] == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert statistics[39 + column] == pytest.approx(variance**0.5, rel=1e-9)
    assert len(statistics) == 78


def test_long_clips_are_cut_and_short_ones_repeat() -> None:
    mfcc = np.arange(5 * 39, dtype=np.float32).reshape(5, 39)
    np.testing.assert_array_equal(first_frames(mfcc, 3), mfcc[:3].ravel())
    repeated = first_frames(mfcc, 12).reshape(12, 39)
    for frame in range(12):
        np.testing.assert_array_equal(repeated[frame], mfcc[frame % 5])
    assert first_frames(mfcc).shape == (650 * 39,)


def test_a_clip_of_one_frame_will_do() -> None:
    clips, labels = clips_of(2, TRAINING_SPEECH)
    one = as_clip(clips[0].features[:1], clips[0].samples, clips[0].sample_rate_hz)
    for baseline in (MfccStatisticsSvm(), MfccFramesSvm()):
        baseline.fit([*clips, one], np.append(labels, 0))
        assert np.isfinite(baseline.scores([one])).all()


@pytest.mark.parametrize("n_devices", [5, 2])
def test_statistics_tell_simulated_devices_apart(n_devices: int) -> None:
    assert accuracy(MfccStatisticsSvm(), n_devices) >= 0.9


@pytest.mark.parametrize(("n_devices", "at_least"), [(5, 0.7), (2, 0.8)])
def test_frames_tell_simulated_devices_apart(n_devices: int, at_least: float) -> None:
    # What is said when counts here, too: fewer right.
    assert accuracy(MfccFramesSvm(), n_devices) >= at_least


@BOTH
def test_deterministic(make: Callable[[], Baseline]) -> None:
    assert_deterministic(make)


def test_parameters_of_the_linear_machine() -> None:
    baseline = MfccStatisticsSvm(kernel="linear")
    baseline.fit(*clips_of(5, TRAINING_SPEECH))
    pairs = 5 * 4 // 2
    assert baseline.n_parameters == pairs * (78 + 1) + 2 * 78


def test_parameters_of_the_rbf_machine() -> None:
    # One training clip of each device: all of them are support vectors.
    baseline = MfccFramesSvm(n_frames=10, kernel="rbf")
    baseline.fit(*clips_of(3, TRAINING_SPEECH[:1]))
    vectors, weights, biases, width = 3 * 390, 3 * (3 - 1), 3, 1
    assert baseline.n_parameters == vectors + weights + biases + width + 2 * 390


def test_parameters_of_a_linear_machine_with_fewer_clips_than_pairs() -> None:
    baseline = MfccFramesSvm(n_frames=10)
    baseline.fit(*clips_of(5, TRAINING_SPEECH[:1]))
    vectors, weights, biases = 5 * 390, 5 * (5 - 1), 10
    assert baseline.n_parameters == vectors + weights + biases + 2 * 390


def test_scores_of_two_devices_are_one_margin() -> None:
    baseline = MfccStatisticsSvm()
    clips, labels = clips_of(2, TRAINING_SPEECH)
    baseline.fit(clips, labels)
    scores = baseline.scores(clips)
    np.testing.assert_array_equal(scores[:, 0], -scores[:, 1])


def test_scores_are_a_function_of_the_clip_alone() -> None:
    baseline = MfccStatisticsSvm()
    clips, labels = clips_of(4, TRAINING_SPEECH)
    baseline.fit(clips, labels)
    alone = np.concatenate([baseline.scores([clip]) for clip in clips])
    np.testing.assert_allclose(alone, baseline.scores(clips), rtol=1e-6)
    np.testing.assert_allclose(alone, baseline.scores(clips[::-1])[::-1], rtol=1e-6)


def test_one_device_and_no_fit_are_refused() -> None:
    clips, labels = clips_of(1, TRAINING_SPEECH)
    with pytest.raises(CorpusError, match="two devices"):
        MfccStatisticsSvm().fit(clips, labels)
    with pytest.raises(RuntimeError, match="fit"):
        MfccStatisticsSvm().scores(clips)
    with pytest.raises(RuntimeError, match="fit"):
        _ = DeviceSvm("rbf").n_parameters
