"""Same device or not: a questioned recording against recordings of one known device.

The answer is a calibrated likelihood ratio, as in forensic voice comparison (Morrison 2013): how
much more probable the findings are if one device made them all than if another device made the
questioned one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.compared_recording import ComparedRecording
from agent.comparison_validation import validation_figures, validation_trials, validation_words
from agent.report.number_words import percent
from export.engine import Engine
from model.embedding_scoring import prototype
from model.errors import ModelError
from model.likelihood_ratio import LrBounds, verbal
from model.likelihood_ratio_validation import LrFigures
from model.mel import DoubleArray
from model.open_set import OpenSet

BANDS_DIFFER = 1.5  #: from this ratio on, two recordings' bands are said to differ
MOSTLY = 0.5  #: share of recordings of another kind from which on their validation is shown
DISAGREEMENT = -1.0  #: log10 LR of a reference with the others: moderate support for another device


@dataclass(frozen=True)
class Caution:
    """What makes a comparison doubtful as a whole.

    Attributes:
        code: for programs.
        words: a sentence.
    """

    code: str
    words: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answer.

    Attributes:
        questioned: the recording in question.
        references: recordings of one known device, at least one.
        enrolled: name of that device, if the references are those of a gallery.
        score: cosine of the questioned embedding with the mean of the references', -1 to 1; less
            what recordings of other kinds have in common, where ``another_kind`` is set.
        other_share: how far the recordings, on both sides, are of another kind than the model's
            corpus, 0 to 1.
        unlimited_log10_lr: what the score alone gives.
        log10_lr: within the bounds.
        alone: log10 LR of the questioned recording with each reference alone, within the bounds.
        bounds: of log10 LRs that the validation supports.
        figures: of the validation.
        validation: what it was done with, in words.
        trials: its log10 LRs: of the same device, and of different ones.
        cautions: about the comparison as a whole.
        model_sha256: of the model file that the likelihood ratio is calibrated for, hex.
    """

    questioned: ComparedRecording
    references: tuple[ComparedRecording, ...]
    enrolled: str | None
    score: float
    other_share: float
    unlimited_log10_lr: float
    log10_lr: float
    alone: tuple[float, ...]
    bounds: LrBounds
    figures: LrFigures
    validation: str
    trials: tuple[DoubleArray, DoubleArray]
    cautions: tuple[Caution, ...]
    model_sha256: str

    @property
    def another_kind(self) -> bool:
        """Whether the scores for recordings of another kind than the corpus's count most."""
        return self.other_share >= MOSTLY

    @property
    def limited(self) -> bool:
        """Whether the likelihood ratio was moved to a bound."""
        return self.log10_lr != self.unlimited_log10_lr

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "log10_lr": round(self.log10_lr, 3),
            "lr_verbal": verbal(self.log10_lr),
            "unlimited_log10_lr": round(self.unlimited_log10_lr, 3),
            "score": round(self.score, 6),
            "other_share": round(self.other_share, 3),
            "bounds": self.bounds.to_dict(),
            "questioned": self.questioned.to_dict(),
            "enrolled": self.enrolled,
            "references": [
                {**reference.to_dict(), "log10_lr": round(alone, 3)}
                for reference, alone in zip(self.references, self.alone, strict=True)
            ],
            "warnings": [caution.code for caution in self.cautions],
            "validation": {**self.figures.to_dict(), "data": self.validation},
            "model_sha256": self.model_sha256,
        }


def calibrated(engine: Engine) -> OpenSet:
    """What turns a model's scores into likelihood ratios.

    Raises:
        ModelError: the model has none.
    """
    found = engine.metadata.open_set
    if found is None:
        raise ModelError(
            "this model has no calibrated likelihood ratios: `devrec-agent openset CORPUS` "
            "measures them, and `devrec-agent train --openset` puts them into a model"
        )
    return found


def compare_recordings(
    open_set: OpenSet,
    questioned: ComparedRecording,
    references: Sequence[ComparedRecording],
    model_sha256: str,
    enrolled: str | None = None,
) -> Comparison:
    """Compare.

    Args:
        open_set: of the model that made the embeddings.
        questioned: the recording in question.
        references: recordings that one device is said to have made.
        model_sha256: of the model.
        enrolled: the device's name, if the references are out of a gallery.

    Raises:
        ValueError: no reference.
    """
    clips = [reference.clip.embedding for reference in references]
    asked, known = questioned.clip.embedding.mean, prototype(clips)[None]
    unlimited = float(open_set.unlimited_log10_lr(known, asked)[0])
    share = float(open_set.other_share(known, asked)[0])
    bounds, another_kind = open_set.bounds_at(share), share >= MOSTLY
    alone = open_set.log10_lr(np.stack([clip.mean for clip in clips]), asked)
    return Comparison(
        questioned=questioned,
        references=tuple(references),
        enrolled=enrolled,
        score=float(open_set.cosines(known, asked, another_kind=another_kind)[0]),
        other_share=share,
        unlimited_log10_lr=unlimited,
        log10_lr=float(bounds.limit(unlimited)),
        alone=tuple(alone.tolist()),
        bounds=bounds,
        figures=dataclasses.replace(
            validation_figures(open_set, another_kind=another_kind), bounds=bounds
        ),
        validation=validation_words(open_set, another_kind=another_kind),
        trials=validation_trials(open_set, another_kind=another_kind),
        cautions=(
            *_another_kind(share),
            *_bands(questioned, references),
            *_disagreement(open_set, references),
        ),
        model_sha256=model_sha256,
    )


def _another_kind(share: float) -> tuple[Caution, ...]:
    """Whether the recordings are of another kind than the model's corpus."""
    if not share:
        return ()
    words = (
        "The recordings are unlike those that the model was made with (another place, other voices "
        "or another kind of device). What such recordings have in common is not held to be the "
    )
    words += (
        "device: the likelihood ratio is calibrated on simulated rooms and microphones, and says "
        "less."
        if share >= MOSTLY
        else f"device: {percent(share)} of the likelihood ratio comes from scores calibrated on "
        "simulated rooms and microphones."
    )
    return (Caution("another-kind", words),)


def _bands(
    questioned: ComparedRecording, references: Sequence[ComparedRecording]
) -> tuple[Caution, ...]:
    """Whether the recordings reach up to different frequencies."""
    asked, known = questioned.band_hz, [reference.band_hz for reference in references]
    if max(asked, *known) < BANDS_DIFFER * min(asked, *known):
        return ()
    span = _kilohertz(min(known))
    if max(known) >= BANDS_DIFFER * min(known):
        span += f" to {_kilohertz(max(known))}"
    return (
        Caution(
            "bands-differ",
            f"The questioned recording has sound up to {_kilohertz(asked)} kHz, the references up "
            f"to {span} kHz. If that comes from what was done to the files and not from the "
            "devices, it pulls the likelihood ratio towards different devices.",
        ),
    )


def _kilohertz(frequency_hz: float) -> str:
    return f"{frequency_hz / 1000:.1f}"


def _disagreement(
    open_set: OpenSet, references: Sequence[ComparedRecording]
) -> tuple[Caution, ...]:
    """Whether one of several references seems to be of another device than the others."""
    odd = []
    for reference in references if len(references) > 1 else ():
        others = [other.clip.embedding for other in references if other is not reference]
        if open_set.same_device(others, reference.clip.embedding) <= DISAGREEMENT:
            odd.append(reference.name)
    if not odd:
        return ()
    return (
        Caution(
            "references-disagree",
            f"Compared with the other references, {', '.join(odd)} "
            f"{'seems' if len(odd) == 1 else 'seem'} to be of another device. The likelihood ratio "
            "is only about one known device if one device made all references.",
        ),
    )
