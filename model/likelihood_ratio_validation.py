"""How good likelihood ratios are: Cllr, minCllr, Tippett curves, and the figures of a validation.

As in forensic voice comparison. *Target* trials compare recordings by the same device, *non-target*
trials by different ones; likelihood ratios are log10.

Calibration and validation need different recordings and devices: figures of the trials that a
calibration was fitted to flatter it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.detection_metrics import equal_error_rate
from model.likelihood_ratio import LN10, LrBounds, log10_lr_trials, lr_bounds
from model.mel import DoubleArray


@dataclass(frozen=True)
class Tippett:
    """The two cumulative curves of a Tippett plot; each a staircase through its points.

    Attributes:
        same_log10_lr: float64 ``(n,)``, rising.
        same_share: float64 ``(n,)``, share of the same-device trials with at most this LR.
        different_log10_lr: float64 ``(m,)``, rising.
        different_share: float64 ``(m,)``, share of the different-device trials with at least it.
    """

    same_log10_lr: DoubleArray
    same_share: DoubleArray
    different_log10_lr: DoubleArray
    different_share: DoubleArray


@dataclass(frozen=True)
class LrFigures:
    """Result of :func:`lr_figures`.

    Attributes:
        n_same: same-device trials.
        n_different: different-device trials.
        cllr: log-likelihood-ratio cost, bits; 0 is perfect, 1 as good as saying nothing; infinite
            if a trial was infinitely sure and wrong.
        min_cllr: what the best monotone calibration would leave of it.
        eer: equal error rate, of the ROC's convex hull.
        bounds: what the trials can support.
    """

    n_same: int
    n_different: int
    cllr: float
    min_cllr: float
    eer: float
    bounds: LrBounds

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; an infinite Cllr, which JSON lacks, is ``None``."""
        return {**asdict(self), "cllr": self.cllr if math.isfinite(self.cllr) else None}


def cllr(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> float:
    """Log-likelihood-ratio cost in bits (Brummer & du Preez 2006, equation for ``C_llr``).

    Args:
        targets: log10 LR ``(n,)`` of the same-device trials; infinite ones may occur.
        nontargets: log10 LR ``(m,)`` of the different-device trials.

    Raises:
        ValueError: no values, or NaN among them.
    """
    same, other = log10_lr_trials(targets, nontargets)
    misses = np.logaddexp(0.0, -LN10 * same).mean()
    false_alarms = np.logaddexp(0.0, LN10 * other).mean()
    return float((misses + false_alarms) / (2.0 * math.log(2.0)))


def isotonic(values: npt.ArrayLike, weights: npt.ArrayLike) -> DoubleArray:
    """The non-decreasing sequence nearest to the values in weighted squares.

    Pool adjacent violators (Ayer et al. 1955).

    Args:
        values: ``(n,)``.
        weights: ``(n,)``, above 0.

    Returns:
        float64 ``(n,)``.
    """
    means: list[float] = []
    totals: list[float] = []
    lengths: list[int] = []
    pairs = zip(
        np.asarray(values, float).tolist(), np.asarray(weights, float).tolist(), strict=True
    )
    for mean, total in pairs:
        length = 1
        while means and means[-1] >= mean:
            below, weight = means.pop(), totals.pop()
            mean = (mean * total + below * weight) / (total + weight)
            total += weight
            length += lengths.pop()
        means.append(mean)
        totals.append(total)
        lengths.append(length)
    return np.repeat(np.asarray(means, dtype=np.float64), lengths)


def pav_log10_lr(
    targets: npt.ArrayLike, nontargets: npt.ArrayLike
) -> tuple[DoubleArray, DoubleArray]:
    """Log10 LRs of the best monotone calibration of these very trials; infinite at the ends.

    Args:
        targets: scores or log10 LR ``(n,)``.
        nontargets: scores or log10 LR ``(m,)``.

    Returns:
        float64 ``(n,)`` and ``(m,)``, in the order given.

    Raises:
        ValueError: no values, or NaN among them.
    """
    same, other = log10_lr_trials(targets, nontargets)
    distinct, place = np.unique(np.concatenate([same, other]), return_inverse=True)
    n_same = np.bincount(place[: same.size], minlength=distinct.size)
    n_all = np.bincount(place, minlength=distinct.size)
    # The share of targets comes from rounded means, but 0 and 1 come out exactly.
    share = isotonic(n_same / n_all, n_all)
    with np.errstate(divide="ignore"):
        log_odds = np.log10(share) - np.log10(1.0 - share)
    log10_lr = (log_odds - math.log10(same.size / other.size))[place]
    return log10_lr[: same.size], log10_lr[same.size :]


def min_cllr(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> float:
    """Cllr after the best monotone calibration: the loss by discrimination alone, 0 to 1 bit.

    Args:
        targets: scores or log10 LR ``(n,)``.
        nontargets: scores or log10 LR ``(m,)``.

    Raises:
        ValueError: no values, or NaN among them.
    """
    return cllr(*pav_log10_lr(targets, nontargets))


def tippett(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> Tippett:
    """The cumulative curves, in the convention of forensic voice comparison (Morrison 2013).

    Args:
        targets: log10 LR ``(n,)`` of the same-device trials.
        nontargets: log10 LR ``(m,)`` of the different-device trials.

    Raises:
        ValueError: no values, or NaN among them.
    """
    same, other = (np.sort(values) for values in log10_lr_trials(targets, nontargets))
    at_most = np.searchsorted(same, same, side="right")
    at_least = other.size - np.searchsorted(other, other, side="left")
    return Tippett(same, at_most / same.size, other, at_least / other.size)


def lr_figures(
    targets: npt.ArrayLike, nontargets: npt.ArrayLike, misleading: float = 1.0
) -> LrFigures:
    """All figures of one validation.

    Args:
        targets: log10 LR ``(n,)`` of the same-device trials.
        nontargets: log10 LR ``(m,)`` of the different-device trials.
        misleading: as for :func:`lr_bounds`.

    Raises:
        ValueError: no values, NaN among them, or a setting out of range.
    """
    same, other = log10_lr_trials(targets, nontargets)
    return LrFigures(
        n_same=same.size,
        n_different=other.size,
        cllr=cllr(same, other),
        min_cllr=min_cllr(same, other),
        eer=equal_error_rate(same, other),
        bounds=lr_bounds(same, other, misleading),
    )
