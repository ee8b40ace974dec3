"""The pictures of a report with what is to be said of them (matplotlib)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from agent.report.content import (
    ClassifiedFile,
    ComparedFile,
    ComparisonReport,
    ComparisonResult,
    Validation,
)
from agent.report.figures import (
    MOST_COLUMNS,
    MOST_ROWS,
    SHOWN_DB,
    STYLES,
    NumberedReference,
    long_term_figure,
    mel_figure,
    spectrogram_figure,
    timeline_figure,
)
from agent.report.file_facts import MeasuredFile
from agent.report.number_words import kilohertz, log10_lr, percent
from agent.report.spectra import LEVEL_BAND_HZ
from model.detection_plots import render, tippett_figure

SPECTROGRAMS_SHOWN = 8  #: of reference recordings
FULL_BAND = 0.95  #: share of half the sample rate from which a band counts as full


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        uri: an SVG as a data URI.
        title: what it shows.
        caption: how to read it.
        text: the same for those who cannot see it.
    """

    uri: str
    title: str
    caption: str
    text: str


def classification_pictures(file: ClassifiedFile) -> tuple[Picture, ...]:
    """Spectrogram, long-term spectra and, where there are windows, their timeline."""
    numbers = {c.device: place for place, c in enumerate(file.candidates, start=1)}
    pictures = [
        _spectrogram(file.measured, "Spectrogram"),
        _mel(file, numbers),
        _fine(file.measured),
    ]
    if file.windows:
        pictures.append(_timeline(file, numbers))
    return tuple(pictures)


def comparison_pictures(report: ComparisonReport) -> tuple[Picture, ...]:
    """Spectra of the questioned recording over the references', and its spectrogram."""
    return (
        _overlaid(report.questioned, report.references),
        _spectrogram(report.questioned.measured, "Spectrogram of the questioned recording"),
    )


def reference_pictures(references: Sequence[ComparedFile]) -> tuple[Picture, ...]:
    """Spectrograms of the first :data:`SPECTROGRAMS_SHOWN` reference recordings, two in a row."""
    half = len(references) > 1
    return tuple(
        _spectrogram(file.measured, f"Spectrogram of reference {place}", half_width=half)
        for place, file in enumerate(references[:SPECTROGRAMS_SHOWN], start=1)
    )


def tippett_picture(validation: Validation, result: ComparisonResult) -> Picture:
    """Tippett plot of the validation with the case's likelihood ratio marked."""
    figures = validation.figures
    figure = tippett_figure(
        validation.same_log10_lr,
        validation.different_log10_lr,
        result.bounds,
        result.log10_lr,
    )
    caption = (
        "How the likelihood ratios of the validation turned out. Solid: the share of same-device "
        "trials whose LR is at most the value below; dashed: the share of different-device trials "
        "whose LR is at least that. The further apart the curves are, the better the devices are "
        "told apart; where they meet the line at 0 shows how often the LR points the wrong way."
    )
    at = "" if result.log10_lr is None else f" This case: log10 LR {log10_lr(result.log10_lr)}."
    text = (
        f"Tippett plot of {figures.n_same} same-device and {figures.n_different} different-device "
        f"trials; Cllr {figures.cllr:.3f}, EER {percent(figures.eer)}.{at}"
    )
    return _picture(figure, "Tippett plot of the validation", caption, text)


def _spectrogram(measured: MeasuredFile, title: str, *, half_width: bool = False) -> Picture:
    facts = measured.facts
    caption = (
        f"Dark is strong; shades span {SHOWN_DB:.0f} dB below the strongest point. First channel."
    )
    text = f"Spectrogram of {facts.name}; energy reaches up to {kilohertz(facts.bandwidth_hz)}."
    figure = spectrogram_figure(measured.spectra.spectrogram, half_width=half_width)
    return _picture(figure, title, caption, text)


def _mel(file: ClassifiedFile, numbers: dict[str, int]) -> Picture:
    last = len(numbers)
    ranked = sorted(file.references, key=lambda r: numbers.get(r.device, last + 1))
    known = [NumberedReference(numbers[r.device], r) for r in ranked if r.device in numbers][
        : len(STYLES)
    ]
    bands = len(file.measured.spectra.mel.mean_log_mel)
    title = f"Long-term spectrum in the model's {bands} bands"
    caption = (
        "Mean over time of the logarithmic energy in each mel band of the model's front end, at "
        "the model's sample rate and with its pre-emphasis."
    )
    if known:
        title += ", against the candidates'"
        caption += (
            " Numbers are those of the table of candidates, whose curves are from the recordings "
            "that the model or the gallery learnt them from. Curves differ with the words spoken, "
            "too; the model's answer does not rest on this picture alone."
        )
    else:
        caption += " The model carries no spectra of its devices to lay beside it."
    figure = mel_figure(file.measured.spectra.mel, known)
    text = f"Long-term mel spectrum of {file.measured.facts.name}"
    if known:
        text += " and of " + ", ".join(n.spectrum.device for n in known)
    return _picture(figure, title, caption, text + ".")


def _fine(measured: MeasuredFile) -> Picture:
    caption = (
        "Mean power density in bands of 1/12 octave, at the file's own sample rate. "
        f"{_zero_level()} {_reach(measured)}"
    )
    title = "Long-term spectrum of the file, fine"
    text = f"Long-term spectrum of {measured.facts.name} in bands of 1/12 octave."
    return _picture(long_term_figure(measured.spectra.long_term), title, caption, text)


def _timeline(file: ClassifiedFile, numbers: dict[str, int]) -> Picture:
    verdict = file.verdict
    figure = timeline_figure(
        file.windows, numbers, file.measured.facts.duration_s, verdict.threshold_log10_lr
    )
    ratios = all(window.log10_lr is not None for window in file.windows)
    what = "log10 LR" if ratios else "probability"
    caption = (
        "Above, the device that each window, taken alone, points to, numbered as in the table of "
        f"candidates; below, the {what} of that device. One window is weaker evidence than the "
        "whole file, and neighbouring windows overlap."
    )
    if len(file.windows) > MOST_COLUMNS:
        caption += (
            f" Each block stands for {-(-len(file.windows) // MOST_COLUMNS)} windows: the most "
            "frequent device and the median."
        )
    if len({window.device for window in file.windows}) > MOST_ROWS:
        caption += " Devices beyond the most frequent share the last row."
    text = (
        f"{verdict.windows_agreeing} of {verdict.windows} windows point to "
        f"{verdict.nearest.device}."
    )
    return _picture(figure, "Window by window", caption, text)


def _overlaid(questioned: ComparedFile, references: Sequence[ComparedFile]) -> Picture:
    figure = long_term_figure(
        questioned.measured.spectra.long_term,
        [reference.measured.spectra.long_term for reference in references],
    )
    caption = (
        "Mean power density in bands of 1/12 octave, each file at its own sample rate. "
        f"{_zero_level()} Curves differ with the words spoken, too; the answer does not rest on "
        "this picture."
    )
    text = (
        f"Long-term spectrum of {questioned.measured.facts.name} over those of "
        f"{len(references)} reference recordings."
    )
    return _picture(figure, "Long-term spectra, laid over each other", caption, text)


def _reach(measured: MeasuredFile) -> str:
    """How far up the recording reaches, as a sentence or two."""
    facts = measured.facts
    band, varying, nyquist = facts.bandwidth_hz, facts.varying_up_to_hz, facts.sample_rate_hz / 2
    if band is None:
        return "There is no energy above the floor."
    if band > FULL_BAND * nyquist:
        words = "There is energy up to half the sample rate."
    else:
        words = (
            f"There is no energy above {kilohertz(band)}, although the sample rate would hold "
            f"frequencies up to {kilohertz(nyquist)}."
        )
    if varying is not None and varying < FULL_BAND * band:
        words += (
            f" Above {kilohertz(varying)} the level stays even over time, as a noise floor's does."
        )
    return words


def _zero_level() -> str:
    low, high = LEVEL_BAND_HZ
    return f"0 dB is the mean between {low:.0f} and {high:.0f} Hz."


def _picture(figure: Figure, title: str, caption: str, text: str) -> Picture:
    svg = base64.b64encode(render(figure, "svg")).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{svg}", title, caption, text)
