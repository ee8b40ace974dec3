"""Pictures of verification and calibration: Tippett plot, ROC, reliability diagram (matplotlib).

A figure is drawn first, then rendered to bytes or written to a file. Without pyplot: nothing
global is touched, and nothing stays in memory.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from model.detection_metrics import detection_figures, roc
from model.errors import UsageError
from model.files import replacing
from model.likelihood_ratio import LrBounds
from model.likelihood_ratio_validation import lr_figures, tippett
from model.probability_calibration import ReliabilityFigures

PictureKind = Literal["png", "svg"]

#: Okabe & Ito's colours, told apart by colour-blind readers; lines differ in style as well.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINE_STYLES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"))


def render(figure: Figure, kind: PictureKind = "png") -> bytes:
    """The figure as the bytes of a PNG or an SVG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    if kind == "png":
        figure.savefig(buffer, format="png", dpi=110)
    else:
        with matplotlib.rc_context({"svg.hashsalt": "devrec-agent"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def write_figure(figure: Figure, path: Path) -> None:
    """Write the figure as its path's suffix says, ``.png`` or ``.svg``; replaced atomically.

    Raises:
        UsageError: another suffix.
        DevrecError: the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        raise UsageError(f"{path}: pictures are written as .png or .svg")
    picture = render(figure, "png" if kind == ".png" else "svg")
    with replacing(path) as temporary:
        temporary.write_bytes(picture)


def _laid_out(figure: Figure) -> Figure:
    """The figure with its layout settled: done anew at every drawing, it would move a little."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def tippett_figure(
    targets: npt.ArrayLike,
    nontargets: npt.ArrayLike,
    bounds: LrBounds | None = None,
    case_log10_lr: float | None = None,
) -> Figure:
    """Tippett plot of a validation, with Cllr, minCllr and EER above it.

    Args:
        targets: log10 LR ``(n,)`` of the same-device trials, not limited by the bounds.
        nontargets: log10 LR ``(m,)`` of the different-device trials.
        bounds: what the trials can support; what lies beyond is shaded.
        case_log10_lr: the LR of the case at hand, marked by a line.

    Raises:
        ValueError: no values, or NaN among them.
    """
    curves, figures = tippett(targets, nontargets), lr_figures(targets, nontargets)
    shown = [curves.same_log10_lr, curves.different_log10_lr]
    if bounds is not None:
        shown.append(np.array([bounds.lower, bounds.upper]))
    values = np.concatenate(shown)
    reach = max(1.0, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))
    if case_log10_lr is not None:  # far outside, it would press the curves together
        reach = max(reach, min(abs(case_log10_lr), 1.5 * reach))
    low, high = -1.08 * reach, 1.08 * reach

    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    same = np.clip(np.concatenate([[low], curves.same_log10_lr, [high]]), low, high)
    axes.step(
        same,
        np.concatenate([[0.0], curves.same_share, [1.0]]),
        where="post",
        color=BLUE,
        label=f"same device, LR at most this ({figures.n_same} trials)",
    )
    different = np.clip(np.concatenate([[low], curves.different_log10_lr, [high]]), low, high)
    axes.step(
        different,
        np.concatenate([[1.0], curves.different_share, [0.0]]),
        where="pre",
        color=VERMILION,
        linestyle="--",
        label=f"different devices, LR at least this ({figures.n_different} trials)",
    )
    axes.axvline(0.0, color="0.6", linewidth=0.8)
    if bounds is not None:
        label = "beyond what the trials support"
        for start, end in ((low, bounds.lower), (bounds.upper, high)):
            axes.axvspan(start, end, color="0.9", zorder=0, linewidth=0, label=label)
            label = "_"
    if case_log10_lr is not None:
        at = min(max(case_log10_lr, -reach), reach)
        label = f"this case: log10 LR {case_log10_lr:.2f}".replace("-", "\N{MINUS SIGN}")
        if at != case_log10_lr:
            label += ", off the scale"
        axes.axvline(at, color="black", linestyle=":", linewidth=1.6, label=label)
    axes.set_xlim(low, high)
    axes.set_ylim(0.0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("log10 likelihood ratio (different devices ← 0 → same device)")
    axes.set_ylabel("share of trials")
    axes.set_title(
        f"Cllr {figures.cllr:.3f}, minCllr {figures.min_cllr:.3f}, EER {100 * figures.eer:.1f} %",
        fontsize=11,
    )
    axes.grid(alpha=0.3)
    # Below the axes: the curves leave no corner free for sure.
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return _laid_out(figure)


def roc_figure(
    trials: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    title: str,
    fpr_limit: float = 0.01,
) -> Figure:
    """ROC over a logarithmic false positive rate, one line for each set of trials.

    Args:
        trials: scores of targets and of non-targets by name, four sets at most.
        title: one line above the picture.
        fpr_limit: operating point that is marked on every line, above 0.

    Raises:
        ValueError: no sets, too many, no scores, or NaN among them.
    """
    if not 1 <= len(trials) <= len(LINE_STYLES):
        raise ValueError(f"{len(trials)} sets of trials; 1 to {len(LINE_STYLES)} can be told apart")
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    curves = {name: roc(*scores) for name, scores in trials.items()}
    figures = {name: detection_figures(*scores, fpr_limit) for name, scores in trials.items()}
    # A whole decade that holds half of the smallest rate that any set can show.
    least = min(fpr_limit, *(0.5 / row.n_nontargets for row in figures.values()))
    left = 10.0 ** math.floor(math.log10(least))
    for (name, curve), (colour, style) in zip(curves.items(), LINE_STYLES, strict=False):
        row = figures[name]
        axes.step(
            np.maximum(curve.fpr, left),
            curve.tpr,
            where="post",
            color=colour,
            linestyle=style,
            label=f"{name}: AUROC {row.auroc:.4f}, EER {100 * row.eer:.1f} %, "
            f"TPR {100 * row.tpr:.1f} % at {100 * fpr_limit:g} % FPR "
            f"({row.n_targets} targets, {row.n_nontargets} non-targets)",
        )
        axes.plot(max(row.fpr, left), row.tpr, "o", color=colour, markersize=6, clip_on=False)
    axes.axvline(fpr_limit, color="0.5", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(left, 1.0)
    axes.set_ylim(0.0, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("false positive rate: non-targets accepted (logarithmic; 0 at the left edge)")
    axes.set_ylabel("true positive rate: targets accepted")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=1, fontsize=8, frameon=False)
    return _laid_out(figure)


def reliability_figure(figures: ReliabilityFigures, title: str) -> Figure:
    """Reliability diagram: accuracy over probability, with the number of decisions below.

    Args:
        figures: from :func:`model.probability_calibration.reliability`.
        title: first line above the picture; the second gives ECE, accuracy and mean probability.
    """
    figure = Figure(figsize=(5.6, 6.0), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    filled = [row for row in figures.bins if row.count]
    lower = np.array([row.lower for row in filled])
    width = np.array([row.upper - row.lower for row in filled])
    accuracy = np.array([row.accuracy for row in filled], dtype=np.float64)
    confidence = np.array([row.confidence for row in filled], dtype=np.float64)
    axes.bar(
        lower, accuracy, width, align="edge", color=BLUE, alpha=0.35, edgecolor=BLUE, label="right"
    )
    axes.plot([0.0, 1.0], [0.0, 1.0], color="0.4", linewidth=1.0, linestyle=":", label="calibrated")
    axes.vlines(
        confidence,
        np.minimum(confidence, accuracy),
        np.maximum(confidence, accuracy),
        color=VERMILION,
        linewidth=1.4,
    )
    axes.plot(
        confidence,
        accuracy,
        "o",
        color=VERMILION,
        markersize=5,
        clip_on=False,
        label="mean of a bin, and its gap",
    )
    axes.set_ylim(0.0, 1.04)
    axes.set_ylabel("share of decisions that are right")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.legend(loc="upper left", fontsize=8)
    axes.grid(alpha=0.3)
    axes.set_title(
        f"{title}\nECE {100 * figures.ece:.1f} %, right {100 * figures.accuracy:.1f} %, "
        f"mean probability {100 * figures.confidence:.1f} %",
        fontsize=10,
    )
    counts.bar(
        lower, [row.count for row in filled], width, align="edge", color="0.6", edgecolor="0.4"
    )
    counts.set_xlim(0.0, 1.0)
    counts.set_yscale("log")
    most = max(row.count for row in filled)
    tens = [10**power for power in range(len(str(most)))]
    counts.set_ylim(0.7, 3.0 * most)
    counts.set_yticks(tens, [str(ten) for ten in tens])
    counts.minorticks_off()
    counts.set_ylabel("decisions")
    counts.set_xlabel("probability of the decided device")
    counts.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    counts.grid(alpha=0.3)
    return _laid_out(figure)
