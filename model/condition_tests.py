"""Testing scorers under many conditions, and what their probabilities are worth there (numpy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.augmentation.conditions import Condition, kinds
from model.corpus import Clip
from model.evaluation import EVALUATION_HOP_FRAMES, Scorer
from model.feature_copies import FeatureCopies
from model.features import WINDOW_FRAMES, windows_of
from model.mel import DoubleArray
from model.posterior import clip_posterior, log_posterior
from model.probability_calibration import fit_temperature, reliability, scale_by_temperature


@dataclass(frozen=True)
class ConditionTests:
    """Clips under conditions.

    Attributes:
        conditions: in the order of the copies; the first is the clip as it is.
        copies: features of every clip under every condition.

    Raises:
        ValueError: other conditions than copies, or a first one that changes the clip.
    """

    conditions: Sequence[Condition]
    copies: FeatureCopies

    def __post_init__(self) -> None:
        if not self.conditions or self.conditions[0].change is not None:
            raise ValueError("the first condition must be the clip as it is")
        if len(self.conditions) != self.copies.n_copies:
            raise ValueError(f"{len(self.conditions)} conditions, {self.copies.n_copies} copies")

    def run(
        self, scorers: Mapping[str, Scorer], clips: Sequence[Clip], labels: Sequence[str]
    ) -> dict[str, Any]:
        """Score clips under every condition.

        Args:
            scorers: windows to logits, by name; the first one's probabilities are kept.
            clips: to test; none of them may have been trained on. Those shorter than a window are
                left out.
            labels: device of each logit.

        Returns:
            JSON-ready: ``conditions``, with per method counts of windows and clips and how many of
            them were right, and ``clip_posteriors``, the first scorer's log posteriors
            ``(condition, clip, device)`` with the ``truth`` of each clip.
        """
        clips = [c for c in clips if len(self.copies.features(0, c)) >= WINDOW_FRAMES]
        truth = [labels.index(clip.device) for clip in clips]
        rows: list[dict[str, Any]] = []
        kept: list[list[list[float]]] = []
        for number, condition in enumerate(self.conditions):
            windows = [
                windows_of(self.copies.features(number, clip), EVALUATION_HOP_FRAMES)
                for clip in clips
            ]
            methods = {}
            for name, scorer in scorers.items():
                posteriors = [log_posterior(scorer(part)) for part in windows]
                decided = [clip_posterior(part) for part in posteriors]
                right = [
                    int((part.argmax(axis=1) == label).sum())
                    for part, label in zip(posteriors, truth, strict=True)
                ]
                methods[name] = {
                    "windows": sum(len(part) for part in posteriors),
                    "windows_right": sum(right),
                    "clips": len(clips),
                    "clips_right": sum(
                        int(part.argmax() == label)
                        for part, label in zip(decided, truth, strict=True)
                    ),
                }
                if name == next(iter(scorers)):
                    kept.append(np.log(np.maximum(decided, 1e-12)).round(4).tolist())
            rows.append(
                {
                    "name": condition.name,
                    "family": condition.family,
                    "seen": condition.seen,
                    "methods": methods,
                }
            )
        return {"conditions": rows, "clip_posteriors": kept, "truth": truth}


def pooled_conditions(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of :meth:`ConditionTests.run` summed over folds, means over kinds, calibration.

    Returns:
        JSON-ready: ``conditions`` as of one fold; ``condition_means``, the mean accuracy of
        windows and of clips over the clean, the seen and the unseen conditions, per method; and
        ``calibration``.
    """
    rows: list[dict[str, Any]] = []
    for number, first in enumerate(folds[0]["conditions"]):
        same = [fold["conditions"][number] for fold in folds]
        methods = {
            name: {key: sum(row["methods"][name][key] for row in same) for key in counts}
            for name, counts in first["methods"].items()
        }
        rows.append({**first, "methods": methods})
    by_kind = kinds([row["seen"] for row in rows])
    means = {
        kind: {
            name: {
                unit: float(
                    np.mean(
                        [
                            rows[k]["methods"][name][f"{unit}_right"]
                            / rows[k]["methods"][name][unit]
                            for k in of
                        ]
                    )
                )
                for unit in ("windows", "clips")
            }
            for name in rows[0]["methods"]
        }
        for kind, of in by_kind.items()
    }
    return {
        "conditions": rows,
        "condition_means": means,
        "calibration": _calibration(folds, by_kind),
    }


def _calibration(
    folds: Sequence[Mapping[str, Any]], by_kind: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Temperature from held-out clips, tested on the clips of the folds it was not fitted on."""
    posteriors = [np.array(fold["clip_posteriors"], np.float64) for fold in folds]
    truths = [np.array(fold["truth"], np.int64) for fold in folds]
    seen = [*by_kind["clean"], *by_kind.get("seen", [])]

    def pooled(which: Sequence[int], kept: Sequence[int]) -> tuple[DoubleArray, Any]:
        stacked = [posteriors[k][list(kept)].reshape(-1, posteriors[k].shape[-1]) for k in which]
        labels = [np.tile(truths[k], len(kept)) for k in which]
        return np.concatenate(stacked), np.concatenate(labels)

    everything = list(range(len(folds)))
    temperature = fit_temperature(*pooled(everything, seen))
    report: dict[str, Any] = {"temperature": temperature}
    for kind, kept in by_kind.items():
        before, after, labels = [], [], []
        for k in everything:
            others = [other for other in everything if other != k]
            own = fit_temperature(*pooled(others, seen)) if others else temperature
            part, label = pooled([k], kept)
            before.append(part)
            after.append(scale_by_temperature(part, own))
            labels.append(label)
        truth = np.concatenate(labels)
        report[kind] = {
            "ece_uncalibrated": reliability(np.concatenate(before), truth).ece,
            **reliability(np.concatenate(after), truth).to_dict(),
        }
    return report
