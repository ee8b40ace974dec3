"""What an answer means, in the words of evaluative reporting.

The words for a likelihood ratio are those of ENFSI's guideline (2015), as
:data:`model.likelihood_ratio.VERBAL_SCALE` has them. A likelihood ratio is said to be what it is:
how much more probable the findings are under one proposition than under the other, never how
probable a proposition is.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.report.content import ComparisonReport, ComparisonResult, Verdict
from agent.report.number_words import NOTHING, log10_lr, number, percent, probability, times
from model.likelihood_ratio import VERBAL_SCALE, LrBounds, verbal

#: What no answer of this program can show, whichever the model.
LIMITS = (
    "The answer is about the way that the sound took into this file: microphone, housing, "
    "converter, processing and coding of a device. It says nothing about who spoke, where or "
    "when, nor whether the file was edited. Of a recording that was played back and recorded "
    "again, the device of the last recording leaves the freshest traces.",
    "Another unit of the same model can sound nearly the same. The answer is as specific as the "
    "devices that the figures above were measured on.",
    "Rooms, distances, gain settings, noise reduction, resampling and lossy coding change the "
    "traces. Figures hold for conditions like those that they were measured in; whether this "
    "case's are like them is for the examiner to judge.",
)
LR_LIMIT = (
    "A likelihood ratio is not the probability that a device made a recording. That depends on "
    "everything else that is known of the case as well, and is for the court: odds before the "
    "comparison, multiplied by the likelihood ratio, are the odds after it."
)
POSTERIOR_LIMIT = (
    "Probabilities share out certainty among the devices that are known, each taken as equally "
    "likely beforehand. A device that is not among them gets no share, even if it made the "
    "recording."
)


@dataclass(frozen=True)
class Words:
    """An answer in words.

    Attributes:
        headline: a few words.
        sentence: the answer in full.
        meaning: sentences that explain the numbers.
    """

    headline: str
    sentence: str
    meaning: tuple[str, ...]


@dataclass(frozen=True)
class ScaleRow:
    """A row of the verbal scale: the word, and the range of log10 LR and of LR, as shown."""

    word: str
    log10_range: str
    range: str


def strength(value: float) -> str | None:
    """The word for a log10 likelihood ratio or its negative; ``None``: no support."""
    words = [word for least, word in VERBAL_SCALE if abs(value) >= least]
    return words[-1] if words else None


def support(value: float | None) -> str:
    """The word for a table's cell, with the proposition that it supports."""
    if value is None:
        return NOTHING
    word = strength(value)
    if word is None:
        return "none"
    return f"{word}, for" if value > 0 else f"{word}, against"


def verbal_scale() -> tuple[ScaleRow, ...]:
    """The scale as the page prints it, weakest first."""
    leasts = [least for least, _ in VERBAL_SCALE]
    rows = []
    for (least, word), end in zip(VERBAL_SCALE, [*leasts[1:], None], strict=True):
        if end is None:
            span, plain = f"{number(least, 1)} or more", f"{times(least)} or more"
        else:
            span = f"{number(least, 1)} to {number(end, 1)}"
            plain = f"{times(least)} to {times(end)}"
        rows.append(ScaleRow(word, span, plain))
    return tuple(rows)


def classification_words(verdict: Verdict) -> Words:
    """The answer for one file."""
    nearest, known = verdict.nearest, verdict.known_devices
    meaning = []
    if nearest.log10_lr is not None:
        meaning.append(
            _ratio(nearest.log10_lr, nearest.device, "another device", "the recording")
            + _at_bound(nearest.log10_lr, verdict.bounds)
        )
    meaning.append(
        f"Probability {probability(nearest.probability)}: the share of {nearest.device} among the "
        f"{known} known devices, had one of them made the recording and had each been equally "
        "likely beforehand."
    )
    if verdict.threshold_log10_lr is not None:
        threshold = f"A device is named from log10 LR {log10_lr(verdict.threshold_log10_lr)}"
        if verdict.false_acceptance is not None:
            threshold += (
                f"; {percent(verdict.false_acceptance)} of the recordings by devices that the "
                "model did not know reached that when it was chosen"
            )
        meaning.append(threshold + ".")
    meaning.append(
        f"Taken alone, {verdict.windows_agreeing} of {verdict.windows} windows of the recording "
        f"point to {nearest.device}."
    )
    if nearest.log10_lr is None and verdict.device is not None:
        meaning.append(
            "This model has no calibrated likelihood ratios and cannot tell that a device is "
            f"unknown: it names one of its {known} devices, also for a recording that none of them "
            "made."
        )
    headline, sentence = _classified(verdict)
    return Words(headline, sentence, tuple(meaning))


def _classified(verdict: Verdict) -> tuple[str, str]:
    """Headline and sentence."""
    device, ratio = verdict.device, verdict.nearest.log10_lr
    if verdict.outside:
        return "No answer", (
            "The recording lies outside of what the model was calibrated for ("
            + "; ".join(verdict.outside)
            + "). The numbers below are shown for completeness and support nothing."
        )
    if device is None:
        sentence = (
            f"None of the {verdict.known_devices} known devices is supported enough to be named; "
            f"the nearest is {verdict.nearest.device}."
        )
        return "Unknown device", sentence
    if ratio is None:
        return device, f"Of {verdict.known_devices} known devices, the model names {device}."
    word = strength(ratio)
    if word is None or ratio < 0:
        return f"{device}, without support", (
            f"The model names {device}, but the findings do not support that it, rather than "
            "another device, made the recording."
        )
    return f"{device}: {word} support", (
        f"The findings give {word} support for the proposition that {device} made the recording "
        "over the proposition that another device did."
    )


def comparison_words(report: ComparisonReport) -> Words:
    """The answer of a comparison."""
    result = report.result
    references = (
        "the reference recording"
        if len(report.references) == 1
        else f"the {len(report.references)} reference recordings"
    )
    if result.log10_lr is None:
        return Words(
            "Not calibrated",
            f"The questioned recording and {references} have a score of "
            f"{number(result.score, 3)}, for which this model has no likelihood ratio.",
            ("Without a calibration, the score cannot be read as strength of evidence.",),
        )
    words = verbal(result.log10_lr)
    headline = words[0].upper() + words[1:]
    same = f"the device of {references} also made the questioned recording"
    word = strength(result.log10_lr)
    if word is None:
        sentence = f"The findings support neither that {same} nor that another device did."
    elif result.log10_lr > 0:
        sentence = (
            f"The findings give {word} support for the proposition that {same} over the "
            "proposition that another device did."
        )
    else:
        sentence = (
            f"The findings give {word} support for the proposition that another device made the "
            f"questioned recording over the proposition that the device of {references} did."
        )
    ratio = _ratio(result.log10_lr, "the same device", "different devices", "both recordings")
    return Words(headline, sentence, (ratio + _limited(result),))


def _ratio(value: float, first: str, second: str, made: str) -> str:
    """A log10 likelihood ratio in a sentence: of ``first`` having made ``made``, or ``second``."""
    if value < 0:
        first, second = second, first
    factor = times(abs(value))
    often = "as probable" if factor == "1.0" else f"{factor} times as probable"
    return (
        f"log10 LR {log10_lr(value)}: the findings are about {often} if {first} made {made} as if "
        f"{second} did."
    )


def _at_bound(value: float, bounds: LrBounds | None) -> str:
    """A further sentence where a value stands at a bound."""
    if bounds is None or bounds.lower < value < bounds.upper:
        return ""
    return (
        " The trials of the validation support no value beyond "
        f"{log10_lr(bounds.lower)} to {log10_lr(bounds.upper)}, so this one was set to the limit."
    )


def _limited(result: ComparisonResult) -> str:
    """A further sentence where the value was moved to a bound."""
    found, given, bounds = result.unlimited_log10_lr, result.log10_lr, result.bounds
    if bounds is None or found is None or found == given:
        return ""
    return (
        f" The score alone would give log10 LR {log10_lr(found)}, but the trials of the validation "
        f"support no value beyond {log10_lr(bounds.lower)} to {log10_lr(bounds.upper)}."
    )
