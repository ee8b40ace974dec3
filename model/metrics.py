"""Classification figures: accuracy, precision, recall, F1 (equations (19)-(22)), confusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """Figures of one set of decisions.

    Attributes:
        count: decisions.
        correct: right ones.
        accuracy: share of right ones.
        precision: mean over devices of right decisions per decision for the device; a device
            never decided for counts 0.
        recall: mean over devices present of right decisions per true item.
        f1: mean over devices of the harmonic mean of precision and recall.
    """

    count: int
    correct: int
    accuracy: float
    precision: float
    recall: float
    f1: float


def confusion_matrix(truth: IntArray, decided: IntArray, n_devices: int) -> IntArray:
    """Counts, int64 ``(n_devices, n_devices)``: row = true device, column = decision."""
    flat = np.bincount(truth * n_devices + decided, minlength=n_devices * n_devices)
    return flat.reshape(n_devices, n_devices).astype(np.int64)


def figures(confusion: IntArray) -> Figures:
    """Macro-averaged figures over the devices that occur in the truth.

    Args:
        confusion: from :func:`confusion_matrix`, with at least one decision.
    """
    hits = np.diag(confusion).astype(np.float64)
    true_items, decisions = confusion.sum(axis=1), confusion.sum(axis=0)
    present = true_items > 0
    precision = hits / np.maximum(decisions, 1)
    recall = hits / np.maximum(true_items, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    count, correct = int(confusion.sum()), int(hits.sum())
    return Figures(
        count=count,
        correct=correct,
        accuracy=correct / count,
        precision=float(precision[present].mean()),
        recall=float(recall[present].mean()),
        f1=float(f1[present].mean()),
    )
