"""From the background model to a clip's own mixture by MAP, and its Gaussian supervector.

Reynolds, Quatieri and Dunn, "Speaker Verification Using Adapted Gaussian Mixture Models", Digital
Signal Processing 10 (2000), section 3.4, equations 11 to 14, one step, with one relevance factor
for all parameters. The supervector of the means is that of Campbell, Sturim and Reynolds,
"Support Vector Machines Using GMM Supervectors for Speaker Verification", IEEE Signal Processing
Letters 13 (2006).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from model.baselines.universal_background import BaumWelchStatistics, DiagonalMixture, WideArray
from model.errors import UsageError

RELEVANCE_FACTOR = 10.0

#: What a clip adapts, and what its supervector holds: the means alone, or weights, means, variances
AdaptedParts = Literal["means", "all"]


def adapt(
    background: DiagonalMixture,
    statistics: BaumWelchStatistics,
    relevance_factor: float = RELEVANCE_FACTOR,
    parts: AdaptedParts = "means",
) -> DiagonalMixture:
    """The background model moved towards a clip, each Gaussian as far as it has frames.

    With ``alpha = n / (n + relevance_factor)`` (equation 14), ``E`` for averages over the clip's
    frames under the Gaussian's posterior, and ``T`` frames::

        weight   = (alpha n / T + (1 - alpha) weight) / sum over the Gaussians    (11)
        mean     = alpha E[x] + (1 - alpha) mean                                  (12)
        variance = alpha E[x^2] + (1 - alpha) (variance + mean^2) - new mean^2    (13)

    Args:
        background: the model to start from.
        statistics: of the clip, under ``background``. Without frames nothing moves.
        relevance_factor: frames at which clip and background model count the same.
        parts: ``"means"`` leaves weights and variances as they are.

    Raises:
        UsageError: the relevance factor is not a positive number.
    """
    means = adapted_means(background, statistics.n, statistics.f, relevance_factor)
    n = statistics.n[:, None]
    if parts == "means":
        return DiagonalMixture(background.weights, means, background.variances)

    tiny = np.finfo(np.float64).tiny
    alpha = n / (n + relevance_factor)
    own_means = statistics.f / np.maximum(n, tiny)
    # Equation 13 as a sum of terms that are not negative; as printed, rounding can cross zero.
    scatter = np.maximum(statistics.s - n * np.square(own_means), 0.0)
    variances = (scatter + relevance_factor * background.variances) / (n + relevance_factor)
    variances += alpha * (1 - alpha) * np.square(own_means - background.means)

    shares = statistics.n / max(statistics.n.sum(), tiny)
    weights = alpha[:, 0] * shares + (1 - alpha[:, 0]) * background.weights
    return DiagonalMixture(weights / weights.sum(), means, variances)


def adapted_means(
    background: DiagonalMixture,
    n: WideArray,
    f: WideArray,
    relevance_factor: float = RELEVANCE_FACTOR,
) -> WideArray:
    """The means alone, equation 12, which needs no statistics of order 2; see :func:`adapt`.

    Args:
        background: the model to start from.
        n: float64 ``(gaussians,)``, statistics of order 0.
        f: float64 ``(gaussians, dims)``, of order 1.
        relevance_factor: frames at which clip and background model count the same.

    Returns:
        float64 ``(gaussians, dims)``.

    Raises:
        UsageError: the relevance factor is not a positive number.
    """
    if not 0.0 < relevance_factor < np.inf:
        raise UsageError(f"the relevance factor must be above 0, not {relevance_factor:g}")
    # alpha E[x] as one quotient: a Gaussian without frames needs no case of its own.
    means: WideArray = (f + relevance_factor * background.means) / (n[:, None] + relevance_factor)
    return means


def supervector(mixture: DiagonalMixture, parts: AdaptedParts = "means") -> WideArray:
    """The mixture's parameters in one vector.

    Args:
        mixture: adapted to a clip.
        parts: what to stack.

    Returns:
        float64; ``"means"``: the Gaussians' means one after another, ``(gaussians * dims,)``, 2496
        values for 64 x 39. ``"all"``: the weights, then the means, then the variances, likewise,
        ``(gaussians * (1 + 2 dims),)``, 5056 values.
    """
    if parts == "means":
        return mixture.means.ravel()
    return np.concatenate([mixture.weights, mixture.means.ravel(), mixture.variances.ravel()])
