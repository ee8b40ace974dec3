"""i-vectors: where a clip lies in the subspace in which the clips of a corpus vary.

Dehak, Kenny, Dehak, Dumouchel and Ouellet, "Front-end factor analysis for speaker verification",
IEEE TASLP 19(4), 2011. Relative to a universal background model (UBM) of C Gaussians of D
dimensions, the mean of Gaussian c in a clip is ``m_c + T_c w``, with ``w`` standard normal; the
i-vector is the posterior mean of ``w``. ``T`` is trained by expectation maximisation: Kenny,
Boulianne and Dumouchel, "Eigenvoice modeling with sparse training data", IEEE TSAP 13(3), 2005;
Glembek et al., "Simplification and optimization of i-vector extraction", ICASSP 2011. The residual
covariances are those of the UBM and stay as they are.

A clip enters through its Baum-Welch statistics: with the responsibility ``g_tc`` of Gaussian c for
frame ``x_t``, ``n_c = sum_t g_tc`` and ``f_c = sum_t g_tc x_t``. The weights of the UBM are in the
responsibilities and are not needed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_NUMBERS_AT_ONCE = 1 << 22  #: of float64, in the largest array that grows with the clips (32 MiB)
_FEWEST_FRAMES = 1e-3  #: of a Gaussian in all training clips; with fewer its T stays zero


@dataclass(frozen=True, eq=False)
class TotalVariability:
    """A trained extractor. All float64.

    Attributes:
        means: ``(C, D)``, of the UBM.
        variances: ``(C, D)``, of the UBM, positive.
        matrix: ``(C * D, R)``, the total variability matrix T; row ``c * D + d``.
    """

    means: Matrix
    variances: Matrix
    matrix: Matrix

    @property
    def rank(self) -> int:
        """R, the dimensions of an i-vector."""
        return int(self.matrix.shape[1])

    def posterior(self, n: Matrix, f: Matrix) -> tuple[Matrix, Matrix]:
        """Posterior of one clip's ``w``: mean and covariance.

        ``L = I + T' S^-1 N T`` and ``w = L^-1 T' S^-1 (f - N m)`` (Dehak et al. 2011), where S
        are the UBM's variances.

        Args:
            n: ``(C,)``, statistics of order 0.
            f: ``(C, D)``, of order 1, not centred.

        Returns:
            ``(R,)`` and ``L^-1``, ``(R, R)``.
        """
        means, covariances = _posteriors(
            _whitened(self.matrix, self.variances),
            n[None],
            _whitened_statistics(n[None], f[None], self.means, self.variances),
        )
        return means[0], covariances[0]

    def ivectors(self, n: Matrix, f: Matrix) -> Matrix:
        """Posterior means of clips.

        Args:
            n: ``(clips, C)``.
            f: ``(clips, C, D)``.

        Returns:
            ``(clips, R)``.
        """
        whitened = _whitened(self.matrix, self.variances)
        vectors = np.empty((len(n), self.rank))
        for part in _blocks(len(n), whitened):
            centred = _whitened_statistics(n[part], f[part], self.means, self.variances)
            vectors[part] = _posteriors(whitened, n[part], centred)[0]
        return vectors


def train_total_variability(
    n: Matrix,
    f: Matrix,
    means: Matrix,
    variances: Matrix,
    *,
    rank: int = 100,
    iterations: int = 10,
    seed: int = 0,
    minimum_divergence: bool = True,
) -> TotalVariability:
    """Train an extractor by expectation maximisation, from a random start.

    Args:
        n: float64 ``(clips, C)``, statistics of order 0.
        f: float64 ``(clips, C, D)``, of order 1, not centred.
        means: float64 ``(C, D)``, of the UBM.
        variances: float64 ``(C, D)``, of the UBM, positive.
        rank: R; more than the clips or than C x D cannot be learnt.
        iterations: of expectation maximisation; 0 returns the start.
        seed: of the start, Gaussian numbers that together give every dimension of every Gaussian
            its own variance again.
        minimum_divergence: after each iteration, also turn and stretch the subspace so that the
            training clips' ``w`` have second moment I, as the prior has (Kenny, "Joint factor
            analysis of speaker and session variability: theory and algorithms", CRIM 2005; here
            the UBM's means stay, so the moment is about zero). Neither step lowers the likelihood.

    Returns:
        The extractor. A Gaussian that no training frame belongs to has a T of zero: it does not
        move the i-vectors.

    Raises:
        ValueError: shapes that do not fit, no clip, a variance that is not positive, or a rank or
            number of iterations out of range.
    """
    _check(n, f, means, variances, rank, iterations)
    n_gaussians, n_dims = means.shape
    seen = n.sum(axis=0) >= _FEWEST_FRAMES
    rng = np.random.default_rng(seed)
    whitened = rng.standard_normal((n_gaussians, n_dims, rank)) / np.sqrt(rank)
    whitened[~seen] = 0.0
    for _ in range(iterations):
        second, cross, prior = _expectations(whitened, n, f, means, variances)
        # T_c (sum_i n_ic E[w w']) = sum_i f_ic E[w]': the unknown stands on the left.
        whitened[seen] = np.linalg.solve(second[seen], cross[seen].swapaxes(1, 2)).swapaxes(1, 2)
        if minimum_divergence:
            whitened = whitened @ np.linalg.cholesky(prior)
    matrix = whitened * np.sqrt(variances)[:, :, None]
    return TotalVariability(means, variances, matrix.reshape(n_gaussians * n_dims, rank))


def _check(
    n: Matrix, f: Matrix, means: Matrix, variances: Matrix, rank: int, iterations: int
) -> None:
    if means.ndim != 2 or variances.shape != means.shape:
        raise ValueError(f"means {means.shape} and variances {variances.shape} do not fit")
    if f.ndim != 3 or f.shape[1:] != means.shape or n.shape != f.shape[:2] or not len(n):
        raise ValueError(f"statistics {n.shape} and {f.shape} do not fit a UBM of {means.shape}")
    if not np.all(variances > 0):
        raise ValueError("variances must be positive")
    if not 1 <= rank <= min(len(n), means.size):
        raise ValueError(f"rank must be from 1 to {min(len(n), means.size)}, got {rank}")
    if iterations < 0:
        raise ValueError(f"iterations must not be negative, got {iterations}")


def _blocks(n_clips: int, whitened: Matrix) -> list[slice]:
    """Clips in parts whose covariances and centred statistics take bounded memory."""
    n_gaussians, n_dims, rank = whitened.shape
    at_once = max(1, _NUMBERS_AT_ONCE // max(rank * rank, n_gaussians * n_dims))
    return [slice(start, start + at_once) for start in range(0, n_clips, at_once)]


def _whitened(matrix: Matrix, variances: Matrix) -> Matrix:
    """``S^-1/2 T`` as ``(C, D, R)``: with it, every residual covariance is I."""
    return matrix.reshape(*variances.shape, -1) / np.sqrt(variances)[:, :, None]


def _whitened_statistics(n: Matrix, f: Matrix, means: Matrix, variances: Matrix) -> Matrix:
    """``S^-1/2 (f - N m)``, ``(clips, C, D)``."""
    centred: Matrix = (f - n[:, :, None] * means) / np.sqrt(variances)
    return centred


def _posteriors(whitened: Matrix, n: Matrix, centred: Matrix) -> tuple[Matrix, Matrix]:
    """Posterior means ``(clips, R)`` and covariances ``(clips, R, R)``."""
    n_gaussians, _, rank = whitened.shape
    products = np.matmul(whitened.swapaxes(1, 2), whitened).reshape(n_gaussians, -1)
    precisions = (n @ products).reshape(-1, rank, rank) + np.eye(rank)
    covariances = np.linalg.inv(precisions)
    projected = centred.reshape(len(n), -1) @ whitened.reshape(-1, rank)
    means: Matrix = np.matmul(covariances, projected[:, :, None])[:, :, 0]
    return means, covariances


def _expectations(
    whitened: Matrix, n: Matrix, f: Matrix, means: Matrix, variances: Matrix
) -> tuple[Matrix, Matrix, Matrix]:
    """What the maximisation needs, summed over the clips.

    Returns:
        ``sum_i n_ic E[w_i w_i']``, ``(C, R, R)``; ``sum_i f_ic E[w_i]'``, ``(C, D, R)``, whitened;
        and the mean of ``E[w_i w_i']``, ``(R, R)``.
    """
    n_gaussians, n_dims, rank = whitened.shape
    second = np.zeros((n_gaussians, rank * rank))
    cross = np.zeros((n_gaussians * n_dims, rank))
    total = np.zeros((rank, rank))
    for part in _blocks(len(n), whitened):
        centred = _whitened_statistics(n[part], f[part], means, variances)
        w, moments = _posteriors(whitened, n[part], centred)
        moments += w[:, :, None] * w[:, None, :]
        second += n[part].T @ moments.reshape(len(w), -1)
        cross += centred.reshape(len(w), -1).T @ w
        total += moments.sum(axis=0)
    return (
        second.reshape(n_gaussians, rank, rank),
        cross.reshape(n_gaussians, n_dims, rank),
        total / len(n),
    )
