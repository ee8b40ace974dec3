"""MAP adaptation against the equations as they are printed, in plain loops."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.baselines.map_adaptation import AdaptedParts, adapt, supervector
from model.baselines.universal_background import (
    BaumWelchStatistics,
    DiagonalMixture,
)
from model.errors import UsageError
from tests.test_universal_background import random_frames, random_mixture

Frames = npt.NDArray[np.float32]
PARTS: tuple[AdaptedParts, ...] = get_args(AdaptedParts)


def as_printed(mixture: DiagonalMixture, frames: Frames, relevance: float) -> DiagonalMixture:
    """Equations 7 to 14, one number at a time; every Gaussian needs a share of the frames."""
    count, dims = mixture.means.shape
    posteriors = np.zeros((len(frames), count))
    for t, x in enumerate(frames.astype(np.float64)):
        logs = []
        for i in range(count):
            total = np.log(mixture.weights[i])
            for d in range(dims):
                variance = mixture.variances[i, d]
                total -= (x[d] - mixture.means[i, d]) ** 2 / (2 * variance)
                total -= np.log(2 * np.pi * variance) / 2
            logs.append(total)
        shares = np.exp(np.array(logs) - max(logs))
        posteriors[t] = shares / shares.sum()

    weights, means, variances = np.zeros(count), np.zeros((count, dims)), np.zeros((count, dims))
    for i in range(count):
        n = posteriors[:, i].sum()
        alpha = n / (n + relevance)
        weights[i] = alpha * n / len(frames) + (1 - alpha) * mixture.weights[i]
        for d in range(dims):
            x = frames[:, d].astype(np.float64)
            first = (posteriors[:, i] * x).sum() / n
            second = (posteriors[:, i] * x**2).sum() / n
            mean, variance = mixture.means[i, d], mixture.variances[i, d]
            means[i, d] = alpha * first + (1 - alpha) * mean
            variances[i, d] = alpha * second + (1 - alpha) * (variance + mean**2) - means[i, d] ** 2
    return DiagonalMixture(weights / weights.sum(), means, variances)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_gaussians=st.integers(1, 4),
    dims=st.integers(1, 3),
    n_frames=st.integers(1, 25),
    relevance=st.floats(0.1, 100.0),
)
def test_is_what_the_equations_say(
    seed: int, n_gaussians: int, dims: int, n_frames: int, relevance: float
) -> None:
    rng = np.random.default_rng(seed)
    # Wide Gaussians: as printed, the equations divide by n, which must not be nil.
    mixture = random_mixture(rng, n_gaussians, dims)
    mixture = DiagonalMixture(mixture.weights, mixture.means, mixture.variances + 1.0)
    frames = random_frames(rng, n_frames, dims)
    expected = as_printed(mixture, frames, relevance)
    statistics = mixture.statistics(frames)

    whole = adapt(mixture, statistics, relevance, "all")
    np.testing.assert_allclose(whole.weights, expected.weights, rtol=1e-8)
    np.testing.assert_allclose(whole.means, expected.means, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(whole.variances, expected.variances, rtol=1e-8, atol=1e-9)

    means_alone = adapt(mixture, statistics, relevance)
    np.testing.assert_array_equal(means_alone.means, whole.means)
    np.testing.assert_array_equal(means_alone.weights, mixture.weights)
    np.testing.assert_array_equal(means_alone.variances, mixture.variances)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_frames=st.integers(0, 25),
    log_relevance=st.floats(-6, 6),
    offset=st.floats(-1e4, 1e4),
)
def test_an_adapted_mixture_is_a_mixture(
    seed: int, n_frames: int, log_relevance: float, offset: float
) -> None:
    """Frames far from all Gaussians, all alike, or none: variances stay positive."""
    rng = np.random.default_rng(seed)
    mixture = random_mixture(rng, 4, 2)
    frames = np.float32(offset) + np.repeat(random_frames(rng, 1, 2), n_frames, axis=0)
    adapted = adapt(mixture, mixture.statistics(frames), 10.0**log_relevance, "all")
    assert adapted.weights.sum() == pytest.approx(1.0)
    assert (adapted.weights >= 0).all()
    assert np.isfinite(adapted.means).all()
    assert (adapted.variances > 0).all()


@pytest.mark.parametrize("parts", PARTS)
def test_without_frames_nothing_moves(parts: AdaptedParts) -> None:
    mixture = random_mixture(np.random.default_rng(0), 5, 3)
    adapted = adapt(mixture, mixture.statistics(np.zeros((0, 3), np.float32)), parts=parts)
    np.testing.assert_allclose(supervector(adapted, "all"), supervector(mixture, "all"), rtol=1e-14)


def test_a_great_relevance_factor_keeps_the_background_model() -> None:
    rng = np.random.default_rng(0)
    mixture = random_mixture(rng, 5, 3)
    adapted = adapt(mixture, mixture.statistics(random_frames(rng, 200, 3)), 1e12, "all")
    np.testing.assert_allclose(supervector(adapted, "all"), supervector(mixture, "all"), rtol=1e-7)


def test_a_small_relevance_factor_gives_the_clips_own_averages() -> None:
    """Those of one EM step, where every Gaussian has frames."""
    rng = np.random.default_rng(0)
    mixture = random_mixture(rng, 3, 2)
    mixture = DiagonalMixture(np.full(3, 1 / 3), mixture.means, mixture.variances + 4.0)
    n, f, s = mixture.statistics(random_frames(rng, 400, 2))
    adapted = adapt(mixture, BaumWelchStatistics(n, f, s), 1e-9, "all")
    own = f / n[:, None]
    np.testing.assert_allclose(adapted.weights, n / 400, rtol=1e-7)
    np.testing.assert_allclose(adapted.means, own, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(adapted.variances, s / n[:, None] - own**2, rtol=1e-7)


def test_half_way_with_as_many_frames_as_the_relevance_factor() -> None:
    mixture = DiagonalMixture(np.ones(1), np.zeros((1, 2)), np.ones((1, 2)))
    frames = np.tile(np.array([[2.0, -4.0]], np.float32), (10, 1))
    adapted = adapt(mixture, mixture.statistics(frames), parts="all")
    np.testing.assert_allclose(adapted.means, [[1.0, -2.0]])
    # Half of the frames at the new mean's distance on either side, one half with variance 1.
    np.testing.assert_allclose(adapted.variances, [[1.5, 4.5]])


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf])
def test_a_relevance_factor_out_of_range_is_refused(factor: float) -> None:
    mixture = random_mixture(np.random.default_rng(0), 2, 2)
    with pytest.raises(UsageError, match="relevance factor"):
        adapt(mixture, mixture.statistics(np.zeros((1, 2), np.float32)), factor)


def test_supervectors_are_stacked_gaussian_by_gaussian() -> None:
    mixture = random_mixture(np.random.default_rng(0), 64, 39)
    means = supervector(mixture)
    assert means.shape == (2496,)
    np.testing.assert_array_equal(means[39:78], mixture.means[1])
    everything = supervector(mixture, "all")
    assert everything.shape == (5056,) == (mixture.n_parameters,)
    np.testing.assert_array_equal(everything[:64], mixture.weights)
    np.testing.assert_array_equal(everything[64:2560], means)
    np.testing.assert_array_equal(everything[2560 + 39 : 2560 + 78], mixture.variances[1])
