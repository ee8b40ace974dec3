"""Inputs of the networks on clips: scales measured clip by clip, and of the right values."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.baselines.baseline import BaselineClip
from model.baselines.clip_inputs import clip_statistics, prepare_inputs, train_extractor
from model.baselines.map_adaptation import adapt, supervector
from model.baselines.universal_background import DiagonalMixture
from model.features import FloatArray
from tests.baseline_rig import as_clip

N_GAUSSIANS = 3


def background() -> DiagonalMixture:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((N_GAUSSIANS, 39))
    return DiagonalMixture(np.full(N_GAUSSIANS, 1 / N_GAUSSIANS), means, np.ones_like(means))


def clips_of_lengths(*lengths: int) -> list[BaselineClip]:
    rng = np.random.default_rng(1)
    frames = [rng.normal(2, 3, (n, 73)).astype(np.float32) for n in lengths]
    return [as_clip(features, np.zeros(8, np.float32)) for features in frames]


def shown(clip: BaselineClip, n_frames: int) -> FloatArray:
    """The first frames, from the start again where the clip has ended."""
    return np.stack([clip.mfcc[t % len(clip.mfcc)] for t in range(n_frames)])


def test_frames_and_supervectors_are_standardised_over_the_training_clips() -> None:
    clips = clips_of_lengths(12, 30, 5)
    inputs = prepare_inputs(clips, background(), n_frames=10)
    rows = np.concatenate([shown(clip, 10) for clip in clips]).astype(np.float64)
    expected = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    got = np.concatenate([inputs.frames(clip.mfcc) for clip in clips])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)

    statistics = [background().statistics(clip.mfcc) for clip in clips]
    vectors = np.stack([supervector(adapt(background(), s)) for s in statistics])
    expected = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    got = np.stack([inputs.supervector(s.n, s.f) for s in statistics])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    values = N_GAUSSIANS * 39
    assert inputs.n_parameters == N_GAUSSIANS + 2 * values + 2 * (39 + values)


def test_values_that_never_vary_become_zero() -> None:
    clip = as_clip(np.full((4, 73), 5, np.float32), np.zeros(8, np.float32))
    inputs = prepare_inputs([clip, clip], background(), n_frames=6)
    np.testing.assert_array_equal(inputs.frames(clip.mfcc), np.zeros((6, 39)))
    n, f, _ = background().statistics(clip.mfcc)
    got = inputs.supervector(n, f)
    np.testing.assert_allclose(got, np.zeros(N_GAUSSIANS * 39), atol=1e-6)


def test_statistics_stand_in_the_order_of_the_clips() -> None:
    clips = clips_of_lengths(4, 9)
    n, f = clip_statistics(background(), clips)
    for index, clip in enumerate(clips):
        expected = background().statistics(clip.mfcc)
        np.testing.assert_array_equal(n[index], expected.n)
        np.testing.assert_array_equal(f[index], expected.f)


def test_known_statistics_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = clips_of_lengths(12, 30, 5)
    mixture = background()
    expected = prepare_inputs(clips, mixture, n_frames=10)
    known = clip_statistics(mixture, clips)
    monkeypatch.setattr(DiagonalMixture, "statistics", lambda *_: pytest.fail("computed"))
    got = prepare_inputs(clips, mixture, 10, known)
    for scale in ("frame_scale", "supervector_scale"):
        for values in ("mean_", "scale_"):
            np.testing.assert_array_equal(
                getattr(getattr(got, scale), values), getattr(getattr(expected, scale), values)
            )


@pytest.mark.parametrize(("rank", "expected"), [(2, 2), (100, 3)])
def test_ivectors_have_no_more_dimensions_than_there_are_clips(rank: int, expected: int) -> None:
    statistics = clip_statistics(background(), clips_of_lengths(12, 30, 5))
    extractor = train_extractor(background(), statistics, rank, iterations=2, seed=0)
    assert extractor.rank == expected
    assert extractor.ivectors(*statistics).shape == (3, expected)
