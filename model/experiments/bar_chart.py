"""Accuracies of methods as bars, in the manner of the paper's Figs. 8 to 10 (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from model.files import replacing

matplotlib.use("Agg")
from matplotlib import pyplot


def plot_bars(titles: Sequence[str], shares: Sequence[float], title: str, path: Path) -> None:
    """Write horizontal bars from 0 to 100 % as PNG.

    Args:
        titles: of the methods, from the top down.
        shares: their accuracies, 0 to 1.
        title: one line above.
        path: where to; replaced atomically.
    """
    height = 0.42 * len(titles) + 1.2
    figure, axes = pyplot.subplots(figsize=(8.0, height), layout="constrained")
    places = range(len(titles))
    axes.barh(places, [100 * share for share in shares], height=0.62, color="#4c78a8")
    for place, share in zip(places, shares, strict=True):
        inside = share > 0.15
        axes.text(
            100 * share + (-1 if inside else 1),
            place,
            f"{100 * share:.1f} %",
            va="center",
            ha="right" if inside else "left",
            color="white" if inside else "0.15",
            fontsize=9,
        )
    axes.set_yticks(places, titles)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("clips right, %")
    axes.set_title(title, fontsize=11, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
