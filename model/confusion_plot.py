"""Confusion matrix as a picture that stays readable with 45 devices (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from model.files import replacing
from model.metrics import IntArray

matplotlib.use("Agg")
from matplotlib import pyplot


def plot_confusion(confusion: IntArray, labels: Sequence[str], title: str, path: Path) -> None:
    """Write the row-normalised confusion matrix as PNG.

    Args:
        confusion: int64 ``(n, n)`` counts, row = true device.
        labels: device names.
        title: one line above the matrix.
        path: where to; replaced atomically.
    """
    n_devices = len(labels)
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shares = confusion / totals
    side = max(5.0, 0.27 * n_devices + 2.5)
    figure, axes = pyplot.subplots(figsize=(side + 0.8, side), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    size = 8 if n_devices <= 25 else 7
    axes.set_xticks(range(n_devices), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(n_devices), labels, fontsize=size)
    axes.set_xticks(np.arange(-0.5, n_devices), minor=True)
    axes.set_yticks(np.arange(-0.5, n_devices), minor=True)
    axes.grid(which="minor", color="0.92", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        share = shares[row, column]
        if row == column and share == 1.0:
            continue  # a full diagonal cell needs no number
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=size - 1,
            color="white" if share > 0.6 else "0.15",
        )
    axes.set_xlabel("decided")
    axes.set_ylabel("recorded by")
    axes.set_title(title, fontsize=11)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label="share of the device's items")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25 %", "50 %", "75 %", "100 %"])
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
