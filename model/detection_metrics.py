"""How well scores tell targets from non-targets: ROC, AUROC, EER, TPR at a FPR, OSCR (numpy).

A *target* trial is one that should be accepted (a known device, a pair of recordings by one
device), a *non-target* trial one that should not. A higher score speaks for a target; a trial is
accepted when its score lies **above** the threshold (not at it). Only the order of the scores
matters, so that infinite ones are allowed; NaN is not.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.mel import DoubleArray

BoolArray = npt.NDArray[np.bool_]
CountArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: from "accept none" (0, 0) to "accept all" (1, 1).

    Attributes:
        fpr: float64 ``(points,)``, share of the non-targets that are accepted; does not fall.
        tpr: float64 ``(points,)``, share of the targets that are accepted; does not fall.
    """

    fpr: DoubleArray
    tpr: DoubleArray


@dataclass(frozen=True)
class Oscr:
    """Open-set classification rate (Dhamija, Günther and Boult, NeurIPS 2018).

    Attributes:
        fpr: float64 ``(points,)``, share of the unknowns that are accepted; does not fall.
        ccr: float64 ``(points,)``, share of the knowns that are accepted and named correctly.
        area: under the curve, 0 to the accuracy without a threshold; ties count half.
    """

    fpr: DoubleArray
    ccr: DoubleArray
    area: float


@dataclass(frozen=True)
class DetectionFigures:
    """Result of :func:`detection_figures`.

    Attributes:
        n_targets: target trials.
        n_nontargets: non-target trials.
        auroc: area under the ROC.
        eer: equal error rate, of the ROC's convex hull.
        fpr_limit: false positive rate that was asked for.
        threshold: scores above it are accepted; infinite where a score was.
        fpr: share of the non-targets above the threshold, at most ``fpr_limit``.
        tpr: share of the targets above the threshold.
        oscr_area: area under the OSCR curve; ``None`` without names.
    """

    n_targets: int
    n_nontargets: int
    auroc: float
    eer: float
    fpr_limit: float
    threshold: float
    fpr: float
    tpr: float
    oscr_area: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; a threshold that is not finite, which JSON lacks, is ``None``."""
        finite = math.isfinite(self.threshold)
        return {**asdict(self), "threshold": self.threshold if finite else None}


def trial_scores(scores: npt.ArrayLike, what: str) -> DoubleArray:
    """The scores of one kind of trials as float64 ``(n,)``.

    Raises:
        ValueError: none, NaN among them, or not one-dimensional.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{what} have the shape {values.shape}, not (n,)")
    if not values.size:
        raise ValueError(f"no {what}")
    if np.isnan(values).any():
        raise ValueError(f"NaN among the {what}")
    return values


def _both(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> tuple[DoubleArray, DoubleArray]:
    return trial_scores(targets, "target scores"), trial_scores(nontargets, "non-target scores")


def _accepted_counts(
    targets: DoubleArray, nontargets: DoubleArray
) -> tuple[CountArray, CountArray]:
    """Accepted non-targets and targets, from none to all: one step for every distinct score."""
    distinct = np.unique(np.concatenate([targets, nontargets]))[::-1]
    counts = []
    for scores in (nontargets, targets):
        below = np.searchsorted(np.sort(scores), distinct, side="left")
        counts.append(np.concatenate([[0], scores.size - below]).astype(np.int64))
    return counts[0], counts[1]


def _area(x: CountArray, y: CountArray) -> float:
    """Under the polygon through the points, which counts ties half; exact, being of integers."""
    return int((np.diff(x) * (y[1:] + y[:-1])).sum()) / 2


def roc(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> Roc:
    """Every operating point that a threshold can reach.

    Args:
        targets: scores ``(n,)`` of the target trials.
        nontargets: scores ``(m,)`` of the non-target trials.

    Raises:
        ValueError: no scores, or NaN among them.
    """
    same, other = _both(targets, nontargets)
    false, true = _accepted_counts(same, other)
    return Roc(fpr=false / other.size, tpr=true / same.size)


def auroc(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> float:
    """Share of the pairs in which the target scores higher; ties count half (Mann-Whitney).

    Raises:
        ValueError: no scores, or NaN among them.
    """
    same, other = _both(targets, nontargets)
    return _area(*_accepted_counts(same, other)) / (same.size * other.size)


def equal_error_rate(targets: npt.ArrayLike, nontargets: npt.ArrayLike) -> float:
    """Where the misses and the false alarms of the ROC's **convex hull** are equal, 0 to 0.5.

    The hull is what the scores reach when thresholds may be drawn at random; its EER is the
    largest error rate of Bayes decisions over all priors (Brummer & de Villiers, The BOSARIS
    Toolkit, 2013), and does not depend on how ties and steps are interpolated.

    Raises:
        ValueError: no scores, or NaN among them.
    """
    same, other = _both(targets, nontargets)
    false, true = _accepted_counts(same, other)
    # In counts, as integers: the turn at a vertex is exact.
    hull: list[tuple[int, int]] = []
    for x, y in zip(false.tolist(), true.tolist(), strict=True):
        while len(hull) >= 2:
            (x0, y0), (x1, y1) = hull[-2:]
            if (x1 - x0) * (y - y0) < (y1 - y0) * (x - x0):
                break
            hull.pop()
        hull.append((x, y))
    corners = np.asarray(hull, dtype=np.float64) / (other.size, same.size)
    false_alarms, misses = corners[:, 0], 1.0 - corners[:, 1]
    return float(np.interp(0.0, false_alarms - misses, false_alarms))


def threshold_at_fpr(nontargets: npt.ArrayLike, fpr: float) -> float:
    """The lowest threshold above which at most a share ``fpr`` of the non-targets lies.

    It is itself one of the scores, and survives a change between float64 and float32. For new
    non-targets of the same kind, the rate is expected at ``(floor(fpr m) + 1) / (m + 1)`` or below.

    Args:
        nontargets: scores ``(m,)``.
        fpr: false positive rate, ``0 <= fpr < 1``.

    Raises:
        ValueError: no scores, NaN among them, or a rate out of range.
    """
    other = trial_scores(nontargets, "non-target scores")
    if not 0.0 <= fpr < 1.0:
        raise ValueError(f"a false positive rate of {fpr} is not in [0, 1)")
    # The margin is for rates like 0.29, whose product with 100 falls short of 29.
    allowed = min(math.floor(fpr * other.size + 1e-9), other.size - 1)
    return float(np.sort(other)[::-1][allowed])


def tpr_at_fpr(targets: npt.ArrayLike, nontargets: npt.ArrayLike, fpr: float) -> float:
    """Share of the targets above :func:`threshold_at_fpr`.

    Raises:
        ValueError: no scores, NaN among them, or a rate out of range.
    """
    threshold = threshold_at_fpr(nontargets, fpr)
    return float((trial_scores(targets, "target scores") > threshold).mean())


def oscr(
    known_scores: npt.ArrayLike, known_correct: npt.ArrayLike, unknown_scores: npt.ArrayLike
) -> Oscr:
    """Correct classification rate of knowns against false positive rate of unknowns.

    Args:
        known_scores: ``(n,)``, the score of the best device for every trial with a known one.
        known_correct: bool ``(n,)``, whether the best device is the right one.
        unknown_scores: ``(m,)``, the score of the best device for every trial with an unknown one.

    Raises:
        ValueError: no scores, NaN among them, or shapes that differ.
    """
    known = trial_scores(known_scores, "scores of knowns")
    unknown = trial_scores(unknown_scores, "scores of unknowns")
    correct: BoolArray = np.asarray(known_correct, dtype=bool)
    if correct.shape != known.shape:
        raise ValueError(f"{known.size} scores of knowns, but {correct.size} marks right or wrong")
    # A known that is named wrongly is never right, whatever the threshold: it only dilutes.
    false, right = _accepted_counts(known[correct], unknown)
    return Oscr(
        fpr=false / unknown.size,
        ccr=right / known.size,
        area=_area(false, right) / (unknown.size * known.size),
    )


def detection_figures(
    targets: npt.ArrayLike,
    nontargets: npt.ArrayLike,
    fpr_limit: float = 0.01,
    correct: npt.ArrayLike | None = None,
) -> DetectionFigures:
    """All figures of one set of trials.

    Args:
        targets: scores ``(n,)`` of the target trials.
        nontargets: scores ``(m,)`` of the non-target trials.
        fpr_limit: false positive rate of the operating point, ``0 <= fpr_limit < 1``.
        correct: bool ``(n,)``, whether the target was also named correctly; for the OSCR.

    Raises:
        ValueError: no scores, NaN among them, shapes that differ, or a rate out of range.
    """
    same, other = _both(targets, nontargets)
    threshold = threshold_at_fpr(other, fpr_limit)
    return DetectionFigures(
        n_targets=same.size,
        n_nontargets=other.size,
        auroc=auroc(same, other),
        eer=equal_error_rate(same, other),
        fpr_limit=fpr_limit,
        threshold=threshold,
        fpr=float((other > threshold).mean()),
        tpr=float((same > threshold).mean()),
        oscr_area=None if correct is None else oscr(same, correct, other).area,
    )
