"""Pictures of the report (matplotlib, without pyplot): all of them can be read in grey, too.

Sizes are those of an A4 page's text width, so that letters come out as large as the text's notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from agent.classification import WindowScore
from agent.report.content import ReferenceSpectrum
from agent.report.number_words import MINUS, shortened, visible
from agent.report.spectra import (
    LongTermSpectrum,
    MelSpectrum,
    Spectrogram,
    decibels_per_log_mel,
)
from model.mel import DoubleArray, hz_to_mel, mel_to_hz

WIDTH = 7.1  #: inches; the text width of the printed page
HALF_WIDTH = 3.45
SMALL = 8  #: points, of tick labels and legends
SHOWN_DB = 80.0  #: range of a spectrogram's shades
SHADES = 32  #: few, so that pictures of many files stay small
MOST_ROWS = 6  #: devices with a row of their own in a timeline
MOST_COLUMNS = 400  #: blocks of a timeline; longer ones are drawn in groups of windows
NAME_LENGTH = 26  #: letters of a device's name in a picture

#: Okabe & Ito's colours, told apart by colour-blind readers, each with a style of its own.
STYLES = (("#0072B2", "--"), ("#D55E00", "-."), ("#009E73", ":"))
ROW_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "0.45")

_HZ_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
_MEL_TICKS = (100, 500, 1000, 2000, 4000, 8000, 16000, 32000)


@dataclass(frozen=True, eq=False)
class NumberedReference:
    """A candidate's reference spectrum, with its number in the table of candidates."""

    number: int
    spectrum: ReferenceSpectrum


def label_of(number: int | None, device: str) -> str:
    """How a picture calls a candidate: the number it has in the table, if any, and its name.

    A long name is shortened, letters that the picture's font lacks become boxes, and nothing in it
    is taken for a formula.
    """
    font = get_font(findfont(FontProperties()))
    name = "".join(
        letter if font.get_char_index(ord(letter)) else "□"
        for letter in shortened(visible(device), NAME_LENGTH)
    ).replace("$", r"\$")
    return name if number is None else f"{number}: {name}"


def spectrogram_figure(spectrogram: Spectrogram, *, half_width: bool = False) -> Figure:
    """Spectrogram over seconds and kHz, dark where it is strong.

    Args:
        spectrogram: of the recording.
        half_width: for two pictures side by side; without the scale of shades.
    """
    rows, columns = spectrogram.level_db.shape
    figure, axes = _figure(1.6 if half_width else 2.2, HALF_WIDTH if half_width else WIDTH)
    steps = SHOWN_DB / SHADES
    image = axes.imshow(
        np.ceil(spectrogram.level_db / steps) * steps,
        origin="lower",
        aspect="auto",
        interpolation="none",
        cmap="magma_r",
        vmin=-SHOWN_DB,
        vmax=0.0,
        extent=(
            spectrogram.first_s,
            spectrogram.first_s + columns * spectrogram.column_s,
            (spectrogram.first_hz - 0.5 * spectrogram.row_hz) / 1000,
            (spectrogram.first_hz + (rows - 0.5) * spectrogram.row_hz) / 1000,
        ),
    )
    axes.set_xlim(0.0, spectrogram.duration_s)
    axes.set_ylim(0.0, spectrogram.nyquist_hz / 1000)
    axes.set_xlabel("time in s", fontsize=SMALL)
    axes.set_ylabel("frequency in kHz", fontsize=SMALL)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda kilohertz, _: f"{kilohertz:g}"))
    if half_width:
        return figure
    bar = figure.colorbar(image, ax=axes, pad=0.015, aspect=15)
    bar.set_label("dB under the strongest", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda level, _: f"{abs(level):.0f}"))
    return figure


def mel_figure(spectrum: MelSpectrum, references: Sequence[NumberedReference]) -> Figure:
    """The file's long-term spectrum in the model's bands against the candidates', and, below, by
    how much it differs from each.

    Args:
        spectrum: of the file.
        references: of candidates, best first; more than three are left out. Without any, the
            file's spectrum stands alone.

    Raises:
        ValueError: a reference with another number of bands.
    """
    shown = references[: len(STYLES)]
    unit = decibels_per_log_mel(spectrum.front_end)
    centres = spectrum.centres_hz
    own = unit * spectrum.mean_log_mel
    figure = Figure(figsize=(WIDTH, 4.1 if shown else 2.8), layout="constrained")
    if shown:
        axes, gaps = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    else:
        axes, gaps = figure.subplots(), None
    axes.plot(centres, own, color="black", linewidth=2.0, label="this file")
    for reference, (colour, style) in zip(shown, STYLES, strict=False):
        values = reference.spectrum.mean_log_mel
        if values.shape != own.shape:
            raise ValueError(f"a reference spectrum of shape {values.shape}, not {own.shape}")
        level = unit * (values - values.mean())
        gap = own - level
        label = label_of(reference.number, reference.spectrum.device)
        rms = float(np.sqrt(np.mean(gap**2)))
        line = {"color": colour, "linestyle": style, "linewidth": 1.5}
        axes.plot(centres, level, label=f"{label} (off by {rms:.1f} dB rms)", **line)
        if gaps is not None:
            gaps.plot(centres, gap, **line)
    _level_axis(axes)
    bottom = axes
    if gaps is not None:
        gaps.axhline(0.0, color="0.4", linewidth=0.8)
        _level_axis(gaps)
        reach = 1.1 * max(3.0, float(np.abs(gaps.get_ylim()).max()) / 1.1)
        gaps.set_ylim(-reach, reach)
        gaps.set_ylabel(f"file {MINUS} candidate,\ndB", fontsize=SMALL)
        bottom = gaps
    bottom.set_xscale("function", functions=(hz_to_mel, mel_to_hz))
    _frequency_axis(bottom, _MEL_TICKS, 0.0, spectrum.front_end.sample_rate_hz / 2)
    if shown:
        figure.legend(loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False)
    return figure


def long_term_figure(
    spectrum: LongTermSpectrum, references: Sequence[LongTermSpectrum] = ()
) -> Figure:
    """The long-term spectrum in bands of 1/12 octave, over those of reference recordings if any.

    The references are drawn as their mean and, if there are several, the range that they span; of
    bands that not all of them have, those that have it.
    """
    figure, axes = _figure(2.9 if references else 2.5)
    own = "questioned recording" if references else "this file"
    axes.plot(spectrum.centres_hz, spectrum.level_db, color="black", linewidth=1.6, label=own)
    if references:
        widest = max((r.centres_hz for r in references), key=len)
        levels = np.full((len(references), len(widest)), np.nan)
        for row, reference in zip(levels, references, strict=True):  # bands are the same for all
            row[: len(reference.level_db)] = reference.level_db
        label = "reference recording"
        if len(references) > 1:
            axes.fill_between(
                widest,
                np.nanmin(levels, axis=0),
                np.nanmax(levels, axis=0),
                color="0.8",
                linewidth=0,
                label=f"range of the {len(references)} references",
            )
            label = "mean of the references"
        mean = np.nanmean(levels, axis=0)
        colour, style = STYLES[0]
        axes.plot(widest, mean, color=colour, linestyle=style, linewidth=1.6, label=label)
    _level_axis(axes)
    low = min(float(s.level_db.min()) for s in (spectrum, *references))
    high = max(float(s.level_db.max()) for s in (spectrum, *references))
    axes.set_ylim(max(low, high - 100.0) - 3.0, high + 3.0)
    axes.set_xscale("log")
    nyquist = max(float(s.centres_hz[-1]) for s in (spectrum, *references))
    _frequency_axis(axes, _HZ_TICKS, float(spectrum.centres_hz[0]), nyquist)
    if references:
        figure.legend(loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def timeline_figure(
    windows: Sequence[WindowScore],
    numbers: Mapping[str, int],
    duration_s: float,
    threshold_log10_lr: float | None = None,
) -> Figure:
    """Best device of every window as a strip with a row for each device; its score below.

    Args:
        windows: in order of time, at least one.
        numbers: of the devices in the table of candidates, which is the order of the rows.
        duration_s: of the recording.
        threshold_log10_lr: drawn as a line where the windows have likelihood ratios.

    Raises:
        ValueError: no windows.
    """
    if not windows:
        raise ValueError("no windows to draw")
    blocks = grouped(windows)
    devices, labels = _timeline_rows(blocks, numbers)
    height = 0.2 * len(labels)
    figure = Figure(figsize=(WIDTH, 1.9 + height), layout="constrained")
    strip, scores = figure.subplots(2, 1, sharex=True, height_ratios=[height, 1.2])
    starts, ends = _block_edges(blocks, duration_s)
    for block, start, end in zip(blocks, starts, ends, strict=True):
        named = block.device in devices
        place = devices.index(block.device) if named else len(devices)
        strip.broken_barh(
            [(start, end - start)],
            (place - 0.4, 0.8),
            facecolor=ROW_COLOURS[place if named else -1],
            edgecolor="white",
            linewidth=0.3,
        )
    strip.set_yticks(range(len(labels)), labels, fontsize=SMALL)
    strip.set_ylim(len(labels) - 0.5, -0.5)
    strip.tick_params(axis="y", length=0)
    strip.grid(axis="x", alpha=0.3)
    strip.set_axisbelow(True)
    ratios = [block.log10_lr for block in blocks]
    values = np.array([b.probability for b in blocks])
    if any(ratio is None for ratio in ratios):
        scores.set_ylim(0.0, 1.03)
        scores.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        scores.set_ylabel("probability", fontsize=SMALL)
    else:
        values = np.array(ratios, dtype=np.float64)
        scores.axhline(0.0, color="0.4", linewidth=0.8)
        scores.set_ylabel("log10 LR", fontsize=SMALL)
        scores.yaxis.set_major_formatter(_minus_formatter())
        if threshold_log10_lr is not None:
            scores.axhline(
                threshold_log10_lr,
                color="#D55E00",
                linestyle="--",
                linewidth=1.2,
                label="a whole file is named from here",
            )
    scores.stairs(values, [*starts, ends[-1]], color="black", linewidth=1.3, baseline=None)
    scores.grid(alpha=0.3)
    scores.set_xlim(0.0, duration_s)
    scores.set_xlabel("time in s", fontsize=SMALL)
    for axes in (strip, scores):
        axes.tick_params(labelsize=SMALL)
    if scores.get_legend_handles_labels()[1]:
        scores.legend(loc="best", fontsize=SMALL)
    return figure


def grouped(windows: Sequence[WindowScore]) -> list[WindowScore]:
    """The windows, or, of more than :data:`MOST_COLUMNS`, groups of equally many: the device that
    is best most often, with the medians of the group."""
    size = -(-len(windows) // MOST_COLUMNS)
    if size == 1:
        return list(windows)
    found = []
    for first in range(0, len(windows), size):
        group = windows[first : first + size]
        ratios = [w.log10_lr for w in group if w.log10_lr is not None]
        found.append(
            WindowScore(
                group[0].start_s,
                group[-1].end_s,
                Counter(w.device for w in group).most_common(1)[0][0],
                float(np.median([w.probability for w in group])),
                float(np.median(ratios)) if len(ratios) == len(group) else None,
            )
        )
    return found


def _timeline_rows(
    blocks: Sequence[WindowScore], numbers: Mapping[str, int]
) -> tuple[list[str], list[str]]:
    """Devices with a row of their own, in order, and the labels of all rows."""
    counts = Counter(block.device for block in blocks)
    last = len(numbers) + 1
    devices = sorted(
        (device for device, _ in counts.most_common(MOST_ROWS)),
        key=lambda device: (numbers.get(device, last), device),
    )
    labels = [label_of(numbers.get(device), device) for device in devices]
    others = len(counts) - len(devices)
    if others:
        labels.append("1 other device" if others == 1 else f"{others} other devices")
    return devices, labels


def _block_edges(
    blocks: Sequence[WindowScore], duration_s: float
) -> tuple[DoubleArray, DoubleArray]:
    """Where each block is drawn: windows overlap, so halfway to the centres of its neighbours."""
    centres = np.array([0.5 * (block.start_s + block.end_s) for block in blocks])
    between = 0.5 * (centres[1:] + centres[:-1])
    first, last = blocks[0].start_s, min(blocks[-1].end_s, duration_s)
    return np.concatenate([[first], between]), np.concatenate([between, [last]])


def _figure(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=SMALL)
    return figure, axes


def _level_axis(axes: Axes) -> None:
    axes.set_ylabel("level in dB", fontsize=SMALL)
    axes.yaxis.set_major_formatter(_minus_formatter())
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)


def _frequency_axis(axes: Axes, ticks: Sequence[int], low: float, high: float) -> None:
    axes.set_xlim(low, high)
    inside = [tick for tick in ticks if low <= tick <= 1.001 * high]
    axes.set_xticks(inside, [f"{t / 1000:g} k" if t >= 1000 else f"{t}" for t in inside])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("frequency in Hz", fontsize=SMALL)


def _minus_formatter() -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS))
