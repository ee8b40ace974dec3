"""``devrec-agent compare``: did the same device make these recordings?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.common import (
    EngineOption,
    ModelOption,
    ThreadsOption,
    complain,
    console,
    open_engine,
    print_json,
    reports_errors,
)
from agent.commands.gallery_option import GalleryOption

if TYPE_CHECKING:
    from agent.compared_recording import ComparedRecording
    from export.engine import Engine
    from model.enrolled_device import ModelIdentity


@reports_errors
def compare(
    questioned: Annotated[
        Path,
        typer.Argument(metavar="QUESTIONED", help="Recording in question.", show_default=False),
    ],
    references: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="REFERENCE",
            help="Recordings, or folders of them, that one known device made.",
            show_default=False,
        ),
    ] = None,
    enrolled: Annotated[
        str | None,
        typer.Option(
            "--enrolled",
            metavar="NAME",
            help="Take the recordings that this device was enrolled with.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
    model: ModelOption = None,
    json_object: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of the tables.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write a page with pictures and the validation, too (extra `report`).",
            show_default=False,
        ),
    ] = None,
    threads: ThreadsOption = 1,
    engine_choice: EngineOption = "auto",
) -> None:
    """Tell whether one device made a questioned recording and the references.

    The answer is a calibrated log10 likelihood ratio, within what its validation supports, and in
    words. It is no probability, and only as good as the validation shown with it.

    Exit code 0 when all recordings were used, 2 when the questioned one is among the references, 3
    when one could not be used (the others still are), 4 for a model that cannot be used or has no
    calibration, 11 for a gallery that cannot, or a device that is not enrolled.
    """
    from agent.comparison import calibrated, compare_recordings
    from agent.comparison_view import show_comparison
    from agent.gallery_access import identity_of
    from agent.report.model_facts import model_facts, model_limits
    from model.builtin import BUILTIN_MODEL
    from model.errors import AudioError

    _check_options(references, enrolled, report)
    engine = open_engine(model, threads, engine_choice)
    path = model or BUILTIN_MODEL
    open_set, identity = calibrated(engine), identity_of(engine, path)
    failed: list[tuple[str, str]] = []
    asked = _readable(engine, [questioned], failed)
    if enrolled is not None:
        enrolled, known = _enrolled(enrolled, gallery, identity)
    else:
        known = _readable(engine, _files(references or []), failed)
    if not asked or not known:
        if json_object:
            print_json({"log10_lr": None, "failed": _failed_to_json(failed)})
        raise typer.Exit(AudioError.exit_code)
    [in_question] = asked
    known = _distinct(in_question, known)
    found = compare_recordings(open_set, in_question, known, identity.sha256, enrolled)
    if report is not None:
        from agent.comparison_report import comparison_report
        from agent.report.page import write_report

        facts = model_facts(engine.metadata, path.name, identity.sha256)
        write_report(comparison_report(found, facts, engine), report)
    if json_object:
        print_json({**found.to_dict(), "failed": _failed_to_json(failed)})
    else:
        show_comparison(console(), found, model_limits(engine.metadata, identity.sha256))
    if failed:
        raise typer.Exit(AudioError.exit_code)


def _check_options(
    references: list[Path] | None, enrolled: str | None, report: Path | None
) -> None:
    """Complain before the model is loaded."""
    from model.errors import UsageError

    if enrolled is None and not references:
        raise UsageError("nothing to compare with: give REFERENCE recordings, or --enrolled NAME")
    if enrolled is not None and references:
        raise UsageError("--enrolled NAME takes the place of REFERENCE recordings")
    if report is None:
        return
    if enrolled is not None:
        raise UsageError(
            "--report shows the recordings, and a gallery does not keep them: give the files "
            "instead of --enrolled"
        )
    from agent.report.page import check_report

    check_report(report)


def _files(references: list[Path]) -> list[Path]:
    from agent.enrolment import recordings_in

    return recordings_in(references)


def _readable(
    engine: Engine, paths: list[Path], failed: list[tuple[str, str]]
) -> list[ComparedRecording]:
    """Those that can be used; a line on stderr for each of the others."""
    from agent.compared_recording import read_recording
    from model.errors import AudioError

    found = []
    for path in paths:
        try:
            found.append(read_recording(engine, path))
        except AudioError as error:
            complain(str(error))
            failed.append((str(path), str(error).removeprefix(f"{path}: ")))
    return found


def _enrolled(
    name: str, gallery: Path | None, identity: ModelIdentity
) -> tuple[str, list[ComparedRecording]]:
    """A device's name as it is spelt in the gallery, and its recordings."""
    from agent.compared_recording import ComparedRecording
    from agent.gallery_access import gallery_folder
    from model.errors import GalleryError
    from model.gallery import Gallery

    folder = gallery_folder(gallery)
    device = Gallery.open(folder, identity).device(name)
    if device is None:
        raise GalleryError(f"{folder}: no device {name} is enrolled")
    return device.name, [ComparedRecording(clip.source, clip) for clip in device.clips]


def _distinct(
    questioned: ComparedRecording, references: list[ComparedRecording]
) -> list[ComparedRecording]:
    """The references, each sound once.

    Raises:
        UsageError: the questioned recording is one of them.
    """
    from model.errors import UsageError

    names: dict[str, str] = {}
    distinct = []
    for reference in references:
        sound = reference.sound
        if sound == questioned.sound:
            raise UsageError(
                f"{questioned.name}: the same recording as the reference {reference.name}: a "
                "recording is no evidence for itself"
            )
        if sound in names:
            complain(f"{reference.name}: the same recording as {names[sound]}; used once")
            continue
        names[sound] = reference.name
        distinct.append(reference)
    return distinct


def _failed_to_json(failed: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"file": name, "error": why} for name, why in failed]
