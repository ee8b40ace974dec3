"""The background model: statistics against scipy's densities, the draw of frames, the fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.baselines import universal_background
from model.baselines.universal_background import (
    DiagonalMixture,
    draw_frames,
    fit_background_model,
)
from model.errors import CorpusError


def random_mixture(rng: np.random.Generator, n_gaussians: int, dims: int) -> DiagonalMixture:
    return DiagonalMixture(
        rng.dirichlet(np.ones(n_gaussians)),
        rng.normal(0.0, 3.0, (n_gaussians, dims)),
        rng.uniform(0.01, 4.0, (n_gaussians, dims)),
    )


def random_frames(rng: np.random.Generator, n: int, dims: int) -> npt.NDArray[np.float32]:
    return rng.normal(0.0, 3.0, (n, dims)).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 30))
def test_statistics_are_those_of_scipys_densities(
    seed: int, n_gaussians: int, dims: int, n_frames: int
) -> None:
    rng = np.random.default_rng(seed)
    mixture = random_mixture(rng, n_gaussians, dims)
    frames = random_frames(rng, n_frames, dims)
    n, f, s = (np.zeros(n_gaussians), *np.zeros((2, n_gaussians, dims)))
    for frame in frames.astype(np.float64):
        logs = np.array(
            [
                np.log(weight) + multivariate_normal(mean, np.diag(variance)).logpdf(frame)
                for weight, mean, variance in zip(
                    mixture.weights, mixture.means, mixture.variances, strict=True
                )
            ]
        )
        posteriors = np.exp(logs - np.logaddexp.reduce(logs))
        for i in range(n_gaussians):
            n[i] += posteriors[i]
            f[i] += posteriors[i] * frame
            s[i] += posteriors[i] * frame**2
    found = mixture.statistics(frames)
    for values, expected in zip(found, (n, f, s), strict=True):
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.lists(st.integers(0, 60), max_size=4),
    st.integers(1, 25),
)
def test_statistics_of_a_clip_are_the_sum_of_those_of_its_chunks(
    seed: int, n_frames: int, cuts: list[int], block: int
) -> None:
    rng = np.random.default_rng(seed)
    mixture = random_mixture(rng, 3, 2)
    frames = random_frames(rng, n_frames, 2)
    whole = mixture.statistics(frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(universal_background, "_BLOCK_FRAMES", block)
        pieces = [mixture.statistics(chunk) for chunk in np.split(frames, sorted(cuts))]
    for order, values in enumerate(whole):
        summed = sum(piece[order] for piece in pieces)
        np.testing.assert_allclose(values, summed, rtol=1e-9, atol=1e-10)
    assert whole.n.sum() == pytest.approx(n_frames)


def test_no_more_than_a_block_of_posteriors_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    densities = DiagonalMixture.log_densities

    def counted(self: DiagonalMixture, frames: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        sizes.append(len(frames))
        return densities(self, frames)

    monkeypatch.setattr(DiagonalMixture, "log_densities", counted)
    rng = np.random.default_rng(0)
    random_mixture(rng, 4, 3).statistics(random_frames(rng, 20_000, 3))
    assert sum(sizes) == 20_000
    assert max(sizes) <= 4096


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_draws_frames_once_each_and_in_order(
    lengths: list[int], max_frames: int, seed: int
) -> None:
    total = sum(lengths)
    numbered = np.arange(total, dtype=np.float32)[:, None]
    clips = np.split(numbered, np.cumsum(lengths)[:-1]) if lengths else []
    drawn = draw_frames(iter(clips), max_frames, np.random.default_rng(seed))
    assert len(drawn) == min(total, max_frames)
    if lengths:
        assert drawn.shape[1:] == (1,)
    assert (np.diff(drawn.ravel()) > 0).all()
    again = draw_frames(iter(clips), max_frames, np.random.default_rng(seed))
    np.testing.assert_array_equal(drawn, again)


def test_every_frame_is_drawn_equally_often() -> None:
    """Whatever the clip, early or late, short or long."""
    clips = [np.arange(0, 3.0)[:, None], np.arange(3.0, 33)[:, None], np.arange(33.0, 40)[:, None]]
    rng = np.random.default_rng(1)
    counts = np.zeros(40)
    for _ in range(4000):
        counts[draw_frames(clips, 10, rng).astype(int).ravel()] += 1
    # 4000 draws of a quarter: standard deviation 27.
    assert np.abs(counts - 1000).max() < 130


def test_fit_finds_a_known_mixture() -> None:
    rng = np.random.default_rng(0)
    known = DiagonalMixture(
        np.array([0.2, 0.8]), np.array([[-3.0, 0.0], [2.0, 1.0]]), np.array([[1, 0.25], [0.5, 2]])
    )
    which = (rng.random(20_000) < 0.8).astype(int)
    frames = known.means[which] + rng.normal(size=(20_000, 2)) * np.sqrt(known.variances[which])
    found = fit_background_model(np.split(frames, 10), n_gaussians=2)
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.weights[order], known.weights, atol=0.02)
    np.testing.assert_allclose(found.means[order], known.means, atol=0.05)
    np.testing.assert_allclose(found.variances[order], known.variances, rtol=0.07)
    assert found.n_parameters == 2 + 4 + 4


def test_fit_is_deterministic_under_a_seed() -> None:
    clips = np.split(random_frames(np.random.default_rng(0), 3000, 4), 10)
    first, again, other = (
        fit_background_model(iter(clips), 8, seed, max_frames=1000) for seed in (5, 5, 6)
    )
    for part in ("weights", "means", "variances"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    assert not np.array_equal(first.means, other.means)


def test_digital_silence_can_be_fitted() -> None:
    clips = [np.full((50, 3), -18.4, np.float32), random_frames(np.random.default_rng(0), 50, 3)]
    mixture = fit_background_model(clips, n_gaussians=4)
    assert (mixture.variances > 0).all()
    assert np.isfinite(mixture.log_densities(np.concatenate(clips))).all()


@pytest.mark.parametrize("clips", [[], [np.zeros((0, 39), np.float32)], [np.ones((63, 39))]])
def test_too_few_frames_are_refused(clips: list[npt.NDArray[np.floating]]) -> None:
    with pytest.raises(CorpusError, match="64 Gaussians needs at least as many frames"):
        fit_background_model(clips)
