"""i-vectors: against dense linear algebra on the stacked model, and training by its likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import model.baselines.total_variability as total_variability
from model.baselines.total_variability import TotalVariability, train_total_variability

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A background model and the statistics of clips, drawn from a planted subspace."""

    means: Matrix
    variances: Matrix
    planted: Matrix
    n: Matrix
    f: Matrix


def draw_case(
    seed: int, clips: int, gaussians: int, dims: int, rank: int, frames: float = 20.0
) -> Case:
    """Statistics as frames of the model would have them: ``f ~ N(n (m + T w), n S)``."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 3, (gaussians, dims))
    variances = rng.uniform(0.3, 4.0, (gaussians, dims))
    planted = rng.normal(0, 1, (gaussians, dims, rank))
    n = rng.uniform(0.2, 2.0, (clips, gaussians)) * frames
    w = rng.standard_normal((clips, rank))
    moved = means + np.einsum("cdr,ir->icd", planted, w)
    noise = rng.standard_normal(moved.shape) * np.sqrt(n[:, :, None] * variances)
    return Case(means, variances, planted, n, n[:, :, None] * moved + noise)


def stacked(case: Case, clip: int) -> tuple[Matrix, Matrix, Matrix]:
    """The big matrices of one clip: N ``(CD, CD)``, S ``(CD, CD)``, centred f ``(CD,)``."""
    gaussians, dims = case.means.shape
    blocks = [case.n[clip, c] * np.eye(dims) for c in range(gaussians)]
    big_n: Matrix = scipy.linalg.block_diag(*blocks)
    big_s = np.diag(case.variances.ravel())
    return big_n, big_s, case.f[clip].ravel() - big_n @ case.means.ravel()


def log_likelihood(case: Case, extractor: TotalVariability) -> float:
    """Of all clips' statistics, ``w`` integrated out: ``f - N m ~ N(0, N T T' N + N S)``."""
    total = 0.0
    for clip in range(len(case.n)):
        big_n, big_s, centred = stacked(case, clip)
        between = big_n @ extractor.matrix @ extractor.matrix.T @ big_n
        total += scipy.stats.multivariate_normal.logpdf(
            centred, np.zeros(len(centred)), between + big_n @ big_s
        )
    return float(total)


def train(case: Case, rank: int, iterations: int, **options: bool | int) -> TotalVariability:
    return train_total_variability(
        case.n, case.f, case.means, case.variances, rank=rank, iterations=iterations, **options
    )


sizes = {
    "seed": st.integers(0, 10_000),
    "gaussians": st.integers(1, 4),
    "dims": st.integers(1, 3),
    "rank": st.integers(1, 4),
}


@settings(max_examples=40, deadline=None)
@given(**sizes, scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_posterior_as_by_dense_linear_algebra(
    seed: int, gaussians: int, dims: int, rank: int, scale: float
) -> None:
    case = draw_case(seed, 3, gaussians, dims, rank, frames=scale)
    matrix = case.planted.reshape(gaussians * dims, rank)
    extractor = TotalVariability(case.means, case.variances, matrix)
    together = extractor.ivectors(case.n, case.f)
    for clip in range(3):
        big_n, big_s, centred = stacked(case, clip)
        precision = np.eye(rank) + matrix.T @ np.linalg.inv(big_s) @ big_n @ matrix
        covariance = np.linalg.inv(precision)
        mean = covariance @ matrix.T @ np.linalg.inv(big_s) @ centred
        got_mean, got_covariance = extractor.posterior(case.n[clip], case.f[clip])
        np.testing.assert_allclose(got_mean, mean, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(got_covariance, covariance, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(together[clip], mean, rtol=1e-7, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_posterior_as_by_conditioning_one_gaussian(
    seed: int, gaussians: int, dims: int, rank: int
) -> None:
    # (w, f - N m) is one Gaussian vector; condition it on its second part. No L anywhere.
    case = draw_case(seed, 1, gaussians, dims, rank)
    matrix = case.planted.reshape(gaussians * dims, rank)
    extractor = TotalVariability(case.means, case.variances, matrix)
    big_n, big_s, centred = stacked(case, 0)
    cross = matrix.T @ big_n
    gain = cross @ np.linalg.inv(big_n @ matrix @ cross + big_n @ big_s)
    mean, covariance = extractor.posterior(case.n[0], case.f[0])
    np.testing.assert_allclose(mean, gain @ centred, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(covariance, np.eye(rank) - gain @ cross.T, rtol=1e-6, atol=1e-7)


def test_without_frames_the_posterior_is_the_prior() -> None:
    case = draw_case(0, 1, 3, 2, 2)
    extractor = TotalVariability(case.means, case.variances, case.planted.reshape(6, 2))
    mean, covariance = extractor.posterior(np.zeros(3), np.zeros((3, 2)))
    np.testing.assert_array_equal(mean, np.zeros(2))
    np.testing.assert_array_equal(covariance, np.eye(2))


@settings(max_examples=15, deadline=None)
@given(**sizes, minimum_divergence=st.booleans())
def test_no_iteration_lowers_the_likelihood(
    seed: int, gaussians: int, dims: int, rank: int, minimum_divergence: bool
) -> None:
    case = draw_case(seed, 8, gaussians, dims, rank)
    rank = min(rank, gaussians * dims)
    likelihoods = [
        log_likelihood(case, train(case, rank, k, minimum_divergence=minimum_divergence))
        for k in range(7)
    ]
    slack = 1e-9 * abs(likelihoods[0])
    assert all(after >= before - slack for before, after in pairwise(likelihoods))


def test_minimum_divergence_climbs_faster() -> None:
    case = draw_case(3, 40, 4, 3, 2)
    plain = log_likelihood(case, train(case, 2, 5, minimum_divergence=False))
    assert log_likelihood(case, train(case, 2, 5)) > plain


def test_recovers_a_planted_subspace() -> None:
    case = draw_case(1, 200, 6, 4, 3, frames=200.0)
    extractor = train(case, 3, 20)
    planted = case.planted.reshape(24, 3)
    angles = scipy.linalg.subspace_angles(planted, extractor.matrix)
    assert np.degrees(angles.max()) < 5
    start = train(case, 3, 0).matrix
    assert np.degrees(scipy.linalg.subspace_angles(planted, start).max()) > 45
    # As much variance between the clips as was planted, too: the scale is not lost.
    between = np.trace(extractor.matrix @ extractor.matrix.T) / np.trace(planted @ planted.T)
    assert between == pytest.approx(1.0, abs=0.25)
    # As likely as the truth or more: it is fitted to these clips.
    truth = TotalVariability(case.means, case.variances, planted)
    assert log_likelihood(case, extractor) > log_likelihood(case, truth)


def test_training_vectors_have_the_second_moment_of_the_prior() -> None:
    case = draw_case(2, 100, 4, 3, 2, frames=100.0)
    extractor = train(case, 2, 60)
    moment = np.zeros((2, 2))
    for n, f in zip(case.n, case.f, strict=True):
        mean, covariance = extractor.posterior(n, f)
        moment += covariance + np.outer(mean, mean)
    np.testing.assert_allclose(moment / 100, np.eye(2), atol=0.02)


def test_memory_is_bounded_without_changing_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw_case(5, 11, 3, 2, 2)
    whole = train(case, 2, 4)
    vectors = whole.ivectors(case.n, case.f)
    monkeypatch.setattr(total_variability, "_NUMBERS_AT_ONCE", 18)  # three clips at once
    np.testing.assert_allclose(train(case, 2, 4).matrix, whole.matrix, rtol=1e-9)
    np.testing.assert_allclose(whole.ivectors(case.n, case.f), vectors, rtol=1e-12)


def test_the_seed_decides() -> None:
    case = draw_case(6, 10, 3, 2, 2)
    np.testing.assert_array_equal(train(case, 2, 3).matrix, train(case, 2, 3).matrix)
    assert not np.allclose(train(case, 2, 3).matrix, train(case, 2, 3, seed=1).matrix)


def test_a_gaussian_without_frames_does_not_move_vectors() -> None:
    case = draw_case(7, 10, 3, 2, 2)
    case.n[:, 1] = 0.0
    case.f[:, 1] = 0.0
    extractor = train(case, 2, 5)
    np.testing.assert_array_equal(extractor.matrix[2:4], np.zeros((2, 2)))
    n, f = case.n[0].copy(), case.f[0].copy()
    before = extractor.posterior(n, f)[0]
    n[1], f[1] = 50.0, 1000.0
    np.testing.assert_allclose(extractor.posterior(n, f)[0], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"rank": 7}, "rank"),
        ({"iterations": -1}, "iterations"),
        ({"variances": np.zeros((3, 2))}, "positive"),
        ({"variances": np.ones((3, 1))}, "do not fit"),
        ({"n": np.ones((4, 3))}, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    case = draw_case(8, 10, 3, 2, 2)
    arguments: dict[str, object] = {
        "n": case.n, "f": case.f, "means": case.means, "variances": case.variances, "rank": 2,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        train_total_variability(**(arguments | change))  # type: ignore[arg-type]
