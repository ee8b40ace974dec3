"""i-vector + SVM: simulated devices told apart."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from model.baselines.ivector_svm import IVectorSvm
from model.errors import CorpusError
from tests.baseline_rig import TRAINING_SPEECH, accuracy, as_clip, assert_deterministic, clips_of

small = partial(IVectorSvm, n_gaussians=8, iterations=5)


@pytest.mark.parametrize("length_normalise", [True, False])
@pytest.mark.parametrize("n_devices", [5, 2])
def test_tells_simulated_devices_apart(length_normalise: bool, n_devices: int) -> None:
    assert accuracy(small(length_normalise=length_normalise), n_devices) >= 0.9


def test_deterministic() -> None:
    assert_deterministic(small)


def test_the_seed_decides() -> None:
    clips, labels = clips_of(3, TRAINING_SPEECH[:2])
    scores = []
    for seed in (0, 1):
        baseline = small(seed=seed)
        baseline.fit(clips, labels)
        scores.append(baseline.scores(clips))
    assert not np.array_equal(*scores)


def test_frames_that_occur_twice_change_no_answer() -> None:
    # The posterior is surer of them, so that the i-vector is longer; its length is taken off.
    clips, labels = clips_of(5, TRAINING_SPEECH)
    baseline = small()
    baseline.fit(clips, labels)
    twice = [
        as_clip(np.tile(clip.features, (2, 1)), clip.samples, clip.sample_rate_hz) for clip in clips
    ]
    np.testing.assert_array_equal(baseline.scores(twice).argmax(axis=1), labels)


def test_parameters() -> None:
    clips, labels = clips_of(5, TRAINING_SPEECH)
    background = 8 + 2 * 8 * 39
    baseline = small(rank=6)
    baseline.fit(clips, labels)
    pairs = 10
    assert baseline.n_parameters == background + 8 * 39 * 6 + 6 + pairs * (6 + 1)
    standardised = small(rank=6, length_normalise=False)
    standardised.fit(clips, labels)
    assert standardised.n_parameters == background + 8 * 39 * 6 + 2 * 6 + pairs * (6 + 1)


def test_the_rank_is_at_most_the_number_of_clips() -> None:
    baseline = small(rank=100)
    baseline.fit(*clips_of(2, TRAINING_SPEECH[:2]))
    assert baseline.n_parameters == 8 + 2 * 8 * 39 + 8 * 39 * 4 + 4 + (4 + 1)


def test_one_device_and_no_fit_are_refused() -> None:
    clips, labels = clips_of(1, TRAINING_SPEECH)
    with pytest.raises(CorpusError, match="two devices"):
        small().fit(clips, labels)
    with pytest.raises(RuntimeError, match="fit"):
        small().scores(clips)
