"""Figures of open-set trials: what is accepted, named and compared, and what to ship (numpy).

The strangers of one half of the devices serve to calibrate the scores and to choose the threshold,
those of the other to test both, and the other way round: no rate at a threshold and no Cllr is of
devices that it was chosen on. AUROC, EER, TPR and names do not depend on the calibration (but for
recordings that seem to be of another kind), and are of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.augmentation.conditions import Condition, kinds
from model.detection_metrics import auroc, detection_figures, equal_error_rate, threshold_at_fpr
from model.likelihood_ratio import Calibration, fit_calibration, lr_bounds
from model.likelihood_ratio_validation import lr_figures
from model.mel import DoubleArray
from model.other_domains import mixed
from model.packed_arrays import thinned
from model.trial_pairs import PairScores, Trials, joined

FALSE_ACCEPTANCE = 0.01  #: of strangers, that the threshold is chosen for


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Test domains, as the network of a draw and fold sees them.

    Attributes:
        domains: the ``(devices, devices)`` pairs of each: first takes with second ones.
        threshold: log10 LR that a device must exceed there.
    """

    domains: Sequence[PairScores]
    threshold: float


def open_set_report(
    conditions: Sequence[Condition],
    by_condition: Sequence[Sequence[Trials]],
    elsewhere: Sequence[Elsewhere],
    measured: bool,
) -> dict[str, Any]:
    """What the trials say.

    Args:
        conditions: the first is the clip as it is.
        by_condition: trials of all draws and folds under each.
        elsewhere: of each draw and fold.
        measured: whether its devices have measured responses.

    Returns:
        JSON-ready: figures per kind of condition (clean, seen, unseen), per condition and of other
        domains; calibration and threshold to ship; validation trials.
    """
    flat = {
        kind: [trials for k in of for trials in by_condition[k]]
        for kind, of in kinds([condition.seen for condition in conditions]).items()
    }
    fitting = flat["clean"] + flat.get("seen", [])
    same, different = _pooled(fitting, "same"), _pooled(fitting, "different")
    calibration = _calibration(fitting, (0, 1))
    # For the strangers of either half, chosen on those of the other.
    calibrations = [_calibration(fitting, (1 - half,)) for half in (0, 1)]
    thresholds = [
        threshold_at_fpr(_best(fitting, calibration, 1 - half), FALSE_ACCEPTANCE) for half in (0, 1)
    ]
    unknown = _best(fitting, calibration)
    known = np.concatenate([part.known.log10_lr(calibration).max(axis=1) for part in fitting])
    threshold = threshold_at_fpr(unknown, FALSE_ACCEPTANCE)
    same_lr, different_lr = same.log10_lr(calibration), different.log10_lr(calibration)
    validation = [_validated(trials, calibrations) for trials in (flat["clean"], fitting)]
    return {
        "kinds": {kind: _figures(part, calibration, thresholds) for kind, part in flat.items()},
        "conditions": [
            {
                "name": condition.name,
                "family": condition.family,
                "seen": condition.seen,
                **_figures(by_condition[k], calibration, thresholds),
            }
            for k, condition in enumerate(conditions)
        ],
        "other_domains": _elsewhere(elsewhere, calibration, threshold, measured),
        "shipped": {
            "calibration": calibration.to_dict(),
            "bounds": lr_bounds(same_lr, different_lr).to_dict(),
            "threshold": threshold,
            "false_acceptance": float((unknown > threshold).mean()),
            "true_acceptance": float((known > threshold).mean()),
        },
        "comparison": {
            name: lr_figures(*trials).to_dict()
            for name, trials in zip(("clean", "clean and seen"), validation, strict=True)
        },
        "validation": {
            name: thinned(np.sort(trials)).round(3).tolist()
            for name, trials in zip(("same", "different"), validation[1], strict=True)
        },
    }


def _calibration(trials: Sequence[Trials], halves: Sequence[int]) -> Calibration:
    """Of the scores, on the strangers of some halves.

    In two steps. How the scores weigh against each other is what best tells clips of known devices
    from those of strangers, each with the known device that it is most like, where few strangers
    may pass: that is the harder question, and where weights for pairs at random fail. How much the
    weighed score is worth is what the pairs of two clips say.
    """
    known = np.concatenate([_nearest(part.known) for part in trials])
    unknown = np.concatenate([_nearest(part.unknown[h]) for part in trials for h in halves])
    weights = np.array(fit_calibration(known, unknown, prior=FALSE_ACCEPTANCE).slopes)
    same, different = (
        joined([getattr(part, name)[h] for part in trials for h in halves]).own @ weights
        for name in ("same", "different")
    )
    weighed = fit_calibration(same, different)
    return Calibration(tuple((weighed.slopes[0] * weights).tolist()), weighed.offset)


def _nearest(pairs: PairScores) -> DoubleArray:
    """Scores of each clip with the device of the highest cosine, ``(n, 2)``."""
    best: DoubleArray = pairs.own[np.arange(len(pairs)), pairs.own[..., 0].argmax(axis=1)]
    return best


def _pooled(trials: Sequence[Trials], name: str, half: int | None = None) -> PairScores:
    """Pairs of a kind over draws, folds and conditions; of one half of the devices or of both."""
    halves = (0, 1) if half is None else (half,)
    return joined([getattr(part, name)[h] for part in trials for h in halves])


def _best(
    trials: Sequence[Trials], calibration: Calibration, half: int | None = None
) -> DoubleArray:
    """Best LR by a known device of each stranger's clip; of one half of the devices or of both."""
    halves = (0, 1) if half is None else (half,)
    return np.concatenate(
        [part.unknown[h].log10_lr(calibration).max(axis=1) for part in trials for h in halves]
    )


def _figures(
    trials: Sequence[Trials], calibration: Calibration, thresholds: Sequence[float]
) -> dict[str, Any]:
    """Detection and enrolment figures, and rates at thresholds chosen on other strangers."""
    ratios = [part.known.log10_lr(calibration) for part in trials]
    known = np.concatenate([table.max(axis=1) for table in ratios])
    named = np.concatenate(
        [table.argmax(axis=1) == part.right for table, part in zip(ratios, trials, strict=True)]
    )
    enrolled = np.concatenate(
        [
            part.enrolled.log10_lr(calibration).argmax(axis=1) == part.enrolled_right
            for part in trials
        ]
    )
    accepted = [(known > threshold).mean() for threshold in thresholds]
    passed = [
        (_best(trials, calibration, half) > threshold).mean()
        for half, threshold in enumerate(thresholds)
    ]
    unknown = _best(trials, calibration)
    return {
        **detection_figures(known, unknown, FALSE_ACCEPTANCE, named).to_dict(),
        "known_named_right": float(named.mean()),
        "enrolled_named_right": float(enrolled.mean()) if len(enrolled) else None,
        "enrolment_trials": len(enrolled),
        "at_threshold_of_other_strangers": {
            "known_accepted": float(np.mean(accepted)),
            "unknown_accepted": float(np.mean(passed)),
        },
        "seem_of_another_kind": float(
            np.mean(np.concatenate([(part.known.share > 0).any(axis=1) for part in trials]))
        ),
    }


def _validated(
    trials: Sequence[Trials], calibrations: Sequence[Calibration]
) -> tuple[DoubleArray, DoubleArray]:
    """Log10 LRs of comparisons, each calibrated on the other half of the strangers."""
    same, different = (
        np.concatenate(
            [
                _pooled(trials, name, half).log10_lr(calibration)
                for half, calibration in enumerate(calibrations)
            ]
        )
        for name in ("same", "different")
    )
    return same, different


def _elsewhere(
    folds: Sequence[Elsewhere],
    calibration: Calibration,
    threshold: float,
    measured: bool,
) -> dict[str, Any] | None:
    """Figures of the test domains: all scores, and those of the corpus alone beside them."""
    if not folds:
        return None
    domains = [domain for fold in folds for domain in fold.domains]
    thresholds = [
        mixed(threshold, fold.threshold, domain.share) for fold in folds for domain in fold.domains
    ]
    return {
        "domains": len(folds[0].domains),
        "devices": len(folds[0].domains[0]),
        "folds": len(folds),
        "measured_responses": measured,
        "seem_of_another_kind": float(np.mean([np.mean(pairs.share > 0) for pairs in domains])),
        "scores": _domain_figures([pairs.log10_lr(calibration) for pairs in domains], thresholds),
        "scores_of_the_corpus_alone": _domain_figures(
            [pairs.own_log10_lr(calibration) for pairs in domains],
            [np.full_like(pairs.share, threshold) for pairs in domains],
        ),
    }


def _domain_figures(
    tables: Sequence[DoubleArray], thresholds: Sequence[DoubleArray]
) -> dict[str, Any]:
    """Of log10 LRs, and thresholds, ``(devices, devices)`` of both takes in each domain."""
    own = np.eye(len(tables[0]), dtype=bool)
    same = np.concatenate([table[own] for table in tables])
    different = np.concatenate([table[~own] for table in tables])
    accepted = [table > limit for table, limit in zip(tables, thresholds, strict=True)]
    right = [table.argmax(axis=1) == np.arange(len(table)) for table in tables]
    return {
        "named_right": float(np.mean(right)),
        "auroc": auroc(same, different),
        "auroc_within_domains": float(np.mean([auroc(t[own], t[~own]) for t in tables])),
        "eer": equal_error_rate(same, different),
        "cllr": lr_figures(same, different).to_dict()["cllr"],
        "same_accepted": float(np.mean([t[own] for t in accepted])),
        "different_accepted": float(np.mean([t[~own] for t in accepted])),
        "different_misleading": float((different > 0).mean()),
        "different_above_2": float((different > 2).mean()),
    }
