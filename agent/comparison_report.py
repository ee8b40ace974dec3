"""A comparison as the content of a report."""

from __future__ import annotations

from agent.compared_recording import ComparedRecording
from agent.comparison import Comparison
from agent.comparison_words import comparison_limits
from agent.report.content import (
    ComparedFile,
    ComparisonReport,
    ComparisonResult,
    ModelFacts,
    Validation,
)
from agent.report.model_facts import how_made
from export.engine import Engine
from model.errors import UsageError


def comparison_report(
    comparison: Comparison, model: ModelFacts, engine: Engine
) -> ComparisonReport:
    """What the page shows.

    Args:
        comparison: of files.
        model: the model card in short.
        engine: what ran the model.

    Raises:
        UsageError: a recording of which there is no audio.
    """
    same, different = comparison.trials
    shown = len(same), len(different)
    figures, data = comparison.figures, comparison.validation
    if shown != (figures.n_same, figures.n_different):
        data += (
            f" The plot shows {shown[0]:,} same-device and {shown[1]:,} different-device trials of "
            "these, evenly by rank and the extremes among them; its own figures differ a little "
            "for that."
        )
    return ComparisonReport(
        questioned=_compared(comparison.questioned, None),
        references=tuple(
            _compared(reference, alone)
            for reference, alone in zip(comparison.references, comparison.alone, strict=True)
        ),
        result=ComparisonResult(
            score=comparison.score,
            log10_lr=comparison.log10_lr,
            unlimited_log10_lr=comparison.unlimited_log10_lr,
            bounds=comparison.bounds,
        ),
        model=model,
        made=how_made(engine),
        validation=Validation(same, different, figures, data),
        warnings=tuple(caution.words for caution in comparison.cautions),
        notes=comparison_limits(comparison),
    )


def _compared(recording: ComparedRecording, log10_lr: float | None) -> ComparedFile:
    if recording.measured is None:
        raise UsageError(f"{recording.name}: a report needs the recording itself")
    return ComparedFile(recording.measured, recording.warnings, log10_lr)
