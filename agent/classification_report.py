"""Classified files as the content of a report."""

from __future__ import annotations

from pathlib import Path

from agent.classification import Classification
from agent.known_devices import KnownDevices
from agent.report.content import (
    ClassificationReport,
    ClassifiedFile,
    FailedFile,
    ModelFacts,
    ReferenceSpectrum,
    Verdict,
)
from agent.report.file_facts import measure_file
from agent.report.model_facts import how_made
from agent.signal_checks import WARNINGS
from export.engine import Engine
from model.gallery import Gallery
from model.mel import DoubleArray

SPECTRA = 3  #: candidates whose long-term spectra are drawn


def classified_file(
    source: Path | bytes,
    result: Classification,
    known: KnownDevices,
    engine: Engine,
    gallery: Gallery | None,
) -> ClassifiedFile:
    """One file's section.

    Args:
        source: the file, or its content.
        result: what was made of it.
        known: the devices that it was chosen from.
        engine: the model.
        gallery: where enrolled devices' spectra come from.

    Raises:
        AudioError: the file cannot be read any more.
    """
    open_set = known.open_set
    candidates = result.candidates
    spectra = _spectra(engine, gallery)
    return ClassifiedFile(
        measured=measure_file(source, result.file, engine.metadata.front_end),
        verdict=Verdict(
            device=result.device,
            nearest=candidates[0],
            known_devices=len(known.names),
            windows=result.windows,
            windows_agreeing=result.agreeing,
            threshold_log10_lr=result.threshold,
            # The other thresholds were not chosen by recordings, but by comparisons.
            false_acceptance=(
                open_set.false_acceptance
                if open_set is not None and result.threshold == open_set.threshold
                else None
            ),
            bounds=result.bounds,
            outside=tuple(WARNINGS[code] for code in result.abstained),
        ),
        candidates=candidates,
        windows=result.window_scores,
        references=tuple(
            ReferenceSpectrum(c.device, spectra[c.source, c.device])
            for c in candidates[:SPECTRA]
            if (c.source, c.device) in spectra
        ),
        warnings=tuple(WARNINGS[code] for code in result.warnings),
    )


def classification_report(
    files: list[ClassifiedFile],
    failures: list[tuple[str, str]],
    model: ModelFacts,
    engine: Engine,
    notes: tuple[str, ...] = (),
) -> ClassificationReport:
    """The whole page."""
    return ClassificationReport(
        files=tuple(files),
        model=model,
        made=how_made(engine),
        failures=tuple(FailedFile(name, reason) for name, reason in failures),
        notes=notes,
    )


def _spectra(engine: Engine, gallery: Gallery | None) -> dict[tuple[str, str], DoubleArray]:
    """Long-term spectra by source and name, less their mean over bands."""
    found: dict[tuple[str, str], DoubleArray] = {}
    open_set = engine.metadata.open_set
    if open_set is not None:
        for label, spectrum in zip(engine.metadata.labels, open_set.spectra, strict=True):
            found["built-in", label] = spectrum
    for device in gallery.devices if gallery is not None else ():
        found["gallery", device.name] = device.mean_log_mel - device.mean_log_mel.mean()
    return found
