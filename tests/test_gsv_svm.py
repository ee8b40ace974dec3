"""The GSV + SVM baseline names simulated devices, and does so again under the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.audio import read_clip
from model.baselines.baseline import Baseline, BaselineClip, IntArray
from model.baselines.gsv_svm import GsvSvm
from model.baselines.map_adaptation import AdaptedParts
from model.errors import CorpusError
from model.features import FrontEndConfig, extract
from tests.baseline_rig import as_clip
from tests.simulated import RATE_HZ

Task = tuple[list[BaselineClip], IntArray, list[BaselineClip], IntArray]


@pytest.fixture(scope="module")
def task(simulated_corpus: Path) -> Task:
    """Five simulated devices: clips 1 to 3 of each to learn from, clip 4 as the test."""
    train: list[tuple[BaselineClip, int]] = []
    test: list[tuple[BaselineClip, int]] = []
    for path in sorted(simulated_corpus.glob("*.wav")):
        samples = read_clip(path, RATE_HZ)
        clip = as_clip(extract(samples, FrontEndConfig()), samples)
        device = ord(path.stem[3]) - ord("A")
        (test if path.stem.endswith("_4") else train).append((clip, device))
    assert (len(train), len(test)) == (15, 5)
    return (
        [clip for clip, _ in train],
        np.array([device for _, device in train]),
        [clip for clip, _ in test],
        np.array([device for _, device in test]),
    )


@pytest.mark.parametrize(("parts", "n_gaussians"), [("means", 64), ("means", 16), ("all", 16)])
def test_learns_simulated_devices(task: Task, parts: AdaptedParts, n_gaussians: int) -> None:
    train, labels, test, truth = task
    baseline: Baseline = GsvSvm(n_gaussians=n_gaussians, parts=parts, max_frames=3000)
    baseline.fit(train, labels)
    scores = baseline.scores(test)
    assert scores.shape == (5, 5)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores.argmax(axis=1), truth)
    background = n_gaussians * (1 + 2 * 39)
    values = n_gaussians * 39 if parts == "means" else background
    # Mean and scale of the values, and for each of ten pairs a hyperplane with its offset.
    assert baseline.n_parameters == background + 2 * values + 10 * (values + 1)


def test_deterministic_under_a_seed(task: Task) -> None:
    train, labels, test, _ = task
    runs = []
    for seed in (3, 3, 4):
        baseline = GsvSvm(seed, n_gaussians=8, max_frames=1000)
        baseline.fit(train, labels)
        runs.append(baseline.scores(test))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_two_devices(task: Task) -> None:
    train, labels, test, truth = task
    pair = np.flatnonzero(labels < 2)
    baseline = GsvSvm(n_gaussians=8, max_frames=1000)
    baseline.fit([train[i] for i in pair], labels[pair])
    asked = [clip for clip, device in zip(test, truth, strict=True) if device < 2]
    scores = baseline.scores(asked)
    assert scores.shape == (2, 2)
    np.testing.assert_array_equal(scores.argmax(axis=1), [0, 1])
    np.testing.assert_array_equal(scores[:, 0], -scores[:, 1])


def test_one_clip_of_each_device_and_one_frame_are_enough(task: Task) -> None:
    train, labels, test, truth = task
    first = [int(np.flatnonzero(labels == device)[0]) for device in range(5)]
    baseline = GsvSvm(n_gaussians=8, max_frames=1000)
    baseline.fit([train[i] for i in first], labels[first])
    scores = baseline.scores(test)
    assert (scores.argmax(axis=1) == truth).mean() >= 0.6
    short = as_clip(test[0].features[:1], test[0].samples[:512], RATE_HZ)
    assert np.isfinite(baseline.scores([short])).all()


def test_scores_of_a_clip_do_not_depend_on_the_others(task: Task) -> None:
    train, labels, test, _ = task
    baseline = GsvSvm(n_gaussians=8, max_frames=1000)
    baseline.fit(train, labels)
    alone = np.concatenate([baseline.scores([clip]) for clip in test])
    np.testing.assert_allclose(alone, baseline.scores(test), rtol=1e-5)


def test_one_device_is_refused_and_scoring_needs_a_fit(task: Task) -> None:
    train, labels, test, _ = task
    with pytest.raises(CorpusError, match="at least two devices"):
        GsvSvm().fit(train[:3], np.zeros_like(labels[:3]))
    with pytest.raises(RuntimeError, match="fit"):
        GsvSvm().scores(test)
    with pytest.raises(RuntimeError, match="fit"):
        _ = GsvSvm().n_parameters
