"""Strength of evidence as in forensic voice comparison: scores to log10 likelihood ratios.

The two propositions are "the same device made both recordings" (*target* trials) and "different
devices did" (*non-target* trials). All likelihood ratios are **log10**: 0 says nothing, 2 that the
score is 100 times as probable if it was the same device.

How good they are: :mod:`model.likelihood_ratio_validation`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from model.detection_metrics import trial_scores
from model.mel import DoubleArray

LN10 = math.log(10.0)

#: ENFSI Guideline for Evaluative Reporting in Forensic Science (2015): log10 of the likelihood
#: ratio from which on each word applies. The guideline's table has no word between 1 and 2.
VERBAL_SCALE: tuple[tuple[float, str], ...] = (
    (math.log10(2.0), "weak"),
    (1.0, "moderate"),
    (2.0, "moderately strong"),
    (3.0, "strong"),
    (4.0, "very strong"),
    (6.0, "extremely strong"),
)


@dataclass(frozen=True)
class Calibration:
    """An affine map from scores to log10 likelihood ratios.

    Attributes:
        slopes: log10 LR per unit of each score, one for every score of a trial.
        offset: log10 LR at scores of 0.
    """

    slopes: tuple[float, ...]
    offset: float

    def log10_lr(self, scores: npt.ArrayLike) -> DoubleArray:
        """Log10 likelihood ratios, float64 ``(n,)``, not limited to what trials support.

        Args:
            scores: ``(n,)``, or ``(n, k)`` where ``k`` scores of a trial are fused.

        Raises:
            ValueError: another number of scores per trial, or scores that are not finite.
        """
        table = _score_table(scores, "scores")
        if table.shape[1] != len(self.slopes):
            raise ValueError(f"{table.shape[1]} scores a trial; calibrated for {len(self.slopes)}")
        values: DoubleArray = table @ np.asarray(self.slopes) + self.offset
        return values

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return {"slopes": list(self.slopes), "offset": self.offset}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: keys are missing or unknown, or values that are not finite numbers.
        """
        try:
            if set(values) != {"slopes", "offset"}:
                raise ValueError(f"keys {sorted(values)}")
            slopes, offset = tuple(map(float, values["slopes"])), float(values["offset"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a calibration: {error}") from error
        if not slopes or not all(map(math.isfinite, (*slopes, offset))):
            raise ValueError("not a calibration: slopes and offset must be finite")
        return cls(slopes, offset)


@dataclass(frozen=True)
class LrBounds:
    """The log10 likelihood ratios that a number of validation trials can support.

    Attributes:
        lower: log10 LR, at most 0.
        upper: log10 LR, at least 0.
    """

    lower: float
    upper: float

    def limit(self, log10_lr: npt.ArrayLike) -> DoubleArray:
        """The values, moved to the nearer bound where they lie outside; float64, same shape."""
        limited: DoubleArray = np.clip(
            np.asarray(log10_lr, dtype=np.float64), self.lower, self.upper
        )
        return limited

    def to_dict(self) -> dict[str, float]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return {"lower": self.lower, "upper": self.upper}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LrBounds:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: keys are missing or unknown, or values that are no bounds.
        """
        try:
            if set(values) != {"lower", "upper"}:
                raise ValueError(f"keys {sorted(values)}")
            lower, upper = float(values["lower"]), float(values["upper"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"not bounds of likelihood ratios: {error}") from error
        if not -math.inf < lower <= 0.0 <= upper < math.inf:
            raise ValueError(f"not bounds of likelihood ratios: {lower}, {upper}")
        return cls(lower, upper)


def _score_table(scores: npt.ArrayLike, what: str) -> DoubleArray:
    """Finite scores as float64 ``(n, k)``."""
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, np.newaxis]
    if table.ndim != 2 or not table.size:
        raise ValueError(f"no {what}, or not of shape (n,) or (n, k): {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{what} that are not finite")
    return table


def fit_calibration(
    targets: npt.ArrayLike,
    nontargets: npt.ArrayLike,
    prior: float = 0.5,
    misleading: float = 0.1,
) -> Calibration:
    """Prior-weighted logistic regression (Brummer & du Preez 2006; Morrison 2013).

    Minimises ``prior * mean(softplus(-z)) + (1 - prior) * mean(softplus(z))``, over targets and
    non-targets each, with ``z`` the natural log LR plus the prior's log odds.

    Regularised with pseudo-trials, in the spirit of Morrison & Poh (2018): non-targets that weigh
    ``misleading`` trials in all lie on the scores of the targets, and as many targets on the scores
    of the non-targets. So slopes stay finite when the scores are separable (if all scores of a kind
    are alike, the LRs are the bounds of :func:`lr_bounds` for the same weight), the pull towards
    LR = 1 fades with the number of trials, and, unlike with a penalty on the slopes, the scores'
    unit does not matter. The default is below one trial, since such trials are outliers that
    flatten the slope more than they should where scores are far apart; what few trials cannot
    support, :meth:`LrBounds.limit` takes off.

    Args:
        targets: scores ``(n,)`` or ``(n, k)`` of the same-device trials.
        nontargets: scores ``(m,)`` or ``(m, k)`` of the different-device trials.
        prior: probability of a target for which the cost is weighted, 0 to 1 exclusive.
        misleading: weight of the pseudo-trials on either side, in trials, above 0.

    Raises:
        ValueError: no scores, scores that are not finite, shapes that do not fit, or settings out
            of range.
    """
    same, other = _score_table(targets, "target scores"), _score_table(nontargets, "other scores")
    if same.shape[1] != other.shape[1]:
        raise ValueError(f"{same.shape[1]} scores a target, {other.shape[1]} a non-target")
    if not 0.0 < prior < 1.0:
        raise ValueError(f"a prior of {prior} is not between 0 and 1")
    if not 0.0 < misleading < math.inf:
        raise ValueError(f"{misleading} misleading trials")
    pooled = np.concatenate([same, other])
    centre = pooled.mean(axis=0)
    basis = _whitening(pooled - centre, np.abs(centre))
    inputs = np.column_stack([(pooled - centre) @ basis, np.ones(len(pooled))])
    n, m, extra = len(same), len(other), misleading
    for_target = prior / (n + extra) * np.repeat([1.0, extra / m], [n, m])
    for_other = (1.0 - prior) / (m + extra) * np.repeat([extra / n, 1.0], [n, m])
    prior_log_odds = math.log(prior / (1.0 - prior))

    def log_odds(weights: DoubleArray) -> DoubleArray:
        odds: DoubleArray = inputs @ weights + prior_log_odds
        return odds

    def cost(weights: DoubleArray) -> float:
        z = log_odds(weights)
        return float(for_target @ np.logaddexp(0.0, -z) + for_other @ np.logaddexp(0.0, z))

    def gradient(weights: DoubleArray) -> DoubleArray:
        z = log_odds(weights)
        slope: DoubleArray = inputs.T @ (for_other * expit(z) - for_target * expit(-z))
        return slope

    def hessian(weights: DoubleArray) -> DoubleArray:
        z = log_odds(weights)
        curvature = (for_target + for_other) * expit(z) * expit(-z)
        matrix: DoubleArray = inputs.T @ (curvature[:, np.newaxis] * inputs)
        return matrix

    start = np.zeros(inputs.shape[1])
    options = {"gtol": 1e-10}
    found = minimize(cost, start, jac=gradient, hess=hessian, method="trust-exact", options=options)
    slopes = basis @ found.x[:-1] / LN10
    return Calibration(tuple(slopes.tolist()), float(found.x[-1] / LN10 - slopes @ centre))


def _whitening(centred: DoubleArray, magnitude: DoubleArray) -> DoubleArray:
    """``(k, r)`` to uncorrelated scores of unit variance, of the ``r`` directions that vary.

    Scores that are all alike, or follow from the others, then get no slope of their own, instead of
    any whatever.

    Args:
        centred: scores less their mean, ``(n, k)``.
        magnitude: of the scores, ``(k,)``, beside which differences may be mere rounding.
    """
    spread = centred.std(axis=0)
    spread[spread <= 1e-12 * magnitude] = np.inf
    _, sizes, directions = np.linalg.svd(centred / spread, full_matrices=False)
    sizes /= math.sqrt(len(centred))
    varies = sizes > 1e-9
    basis: DoubleArray = directions[varies].T / sizes[varies] / spread[:, np.newaxis]
    return basis


def log10_lr_trials(
    targets: npt.ArrayLike, nontargets: npt.ArrayLike
) -> tuple[DoubleArray, DoubleArray]:
    """Log10 LRs of same-device and of different-device trials as float64 ``(n,)``, ``(m,)``.

    Raises:
        ValueError: no values, NaN among them, or not one-dimensional.
    """
    return (
        trial_scores(targets, "LRs of same-device trials"),
        trial_scores(nontargets, "LRs of different-device trials"),
    )


def lr_bounds(
    targets: npt.ArrayLike, nontargets: npt.ArrayLike, misleading: float = 1.0
) -> LrBounds:
    """Empirical lower and upper bounds, ELUB (Vergeer et al. 2016, Science & Justice 56).

    Going out from LR = 1, the bound is where deciding by the LRs first costs more than deciding
    without them, had ``misleading`` more trials of either kind the most misleading LR there is.
    However far apart the trials are, the upper bound is at most ``log10(n (m + 1) / (n + 1))`` for
    one misleading trial, and the lower one likewise. Exact, not searched on a grid.

    Args:
        targets: log10 LR ``(n,)`` of the same-device trials.
        nontargets: log10 LR ``(m,)`` of the different-device trials.
        misleading: trials to add to either kind, above 0.

    Raises:
        ValueError: no values, NaN among them, or a setting out of range.
    """
    same, other = log10_lr_trials(targets, nontargets)
    if not 0.0 < misleading < math.inf:
        raise ValueError(f"{misleading} misleading trials")
    return LrBounds(
        lower=0.0 - _upper_bound(-other, -same, misleading),
        upper=_upper_bound(same, other, misleading),
    )


def _upper_bound(same: DoubleArray, other: DoubleArray, misleading: float) -> float:
    """First threshold ``t >= 1`` at which accepting LRs of ``t`` or more costs more than nothing.

    ``P(miss) + t P(false alarm) > 1``, the cost of accepting none.
    """
    edges = np.unique(np.concatenate([[0.0], same[same > 0.0], other[other > 0.0]]))
    # Between two edges the rates stay the same, and the cost rises with t.
    hits = same.size - np.searchsorted(np.sort(same), edges, side="right")
    false = other.size - np.searchsorted(np.sort(other), edges, side="right")
    hit_rate = hits / (same.size + misleading)
    false_rate = (false + misleading) / (other.size + misleading)
    with np.errstate(divide="ignore"):
        break_even = np.log10(hit_rate / false_rate)
    first = int(np.argmax(break_even < np.append(edges[1:], np.inf)))
    return float(max(edges[first], break_even[first]))


def verbal(log10_lr: float) -> str:
    """The ENFSI (2015) words for a likelihood ratio, with the proposition that it supports.

    Below 2 (and above 1/2), where the guideline has no word, there is no support.

    Raises:
        ValueError: NaN.
    """
    if math.isnan(log10_lr):
        raise ValueError("a likelihood ratio of NaN has no words")
    words = [word for least, word in VERBAL_SCALE if abs(log10_lr) >= least]
    if not words:
        return "no support for either the same device or different devices"
    supported, against = "the same device", "different devices"
    if log10_lr < 0:
        supported, against = against, supported
    return f"{words[-1]} support for {supported} over {against}"
