"""``devrec-agent classify``: which device recorded these files?"""

from __future__ import annotations

import sys
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
from model.errors import AudioError

if TYPE_CHECKING:
    from rich.table import Table

    from agent.classification import Classification
    from agent.known_devices import KnownDevices
    from export.engine import Engine
    from model.gallery import Gallery


NOTEWORTHY = 0.01  #: probability below which the table leaves a candidate out


@reports_errors
def classify(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Audio files (wav, flac, ogg, mp3), folders of them, or - for standard input.",
            show_default=False,
        ),
    ],
    model: ModelOption = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a line instead of the table.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Candidates to show per file.")] = 5,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            help="Devices to choose from: built-in (the model's), gallery (enrolled ones), or "
            "both. With --gallery and without this: gallery.",
            show_default="built-in",
        ),
    ] = None,
    gallery: GalleryOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Also write a page for people (.html), one section a file.",
            show_default=False,
        ),
    ] = None,
    threads: ThreadsOption = 1,
    engine_choice: EngineOption = "auto",
) -> None:
    """Tell which device recorded each file, or that none of the known ones did.

    Exit code 0 when every file was classified (unknown is an answer, too), 3 when one could not be
    (the others still are), 4 for a model that cannot be used, 7 or 8 for an engine that cannot run
    here, 11 for a gallery that cannot be used.
    """
    from agent.classification import classify_audio
    from agent.known_devices import known_devices

    if report is not None:
        from agent.report.page import check_report

        check_report(report)
    engine = open_engine(model, threads, engine_choice)
    # The environment only says where a gallery is, not that it is to be used.
    given = context.get_parameter_source("gallery")
    named = given is not None and given.name == "COMMANDLINE"
    choice = devices or ("gallery" if named else "built-in")
    enrolled = None if choice == "built-in" else _open_gallery(engine, model, gallery)
    known = known_devices(engine, enrolled, choice)
    results: list[tuple[Path | bytes, Classification]] = []
    failures: list[tuple[str, str]] = []
    for name in files:
        for source, shown in _expand(name):
            try:
                if isinstance(source, AudioError):
                    raise source
                result = classify_audio(engine, source, shown, known=known)
            except AudioError as error:
                complain(str(error))
                reason = str(error).removeprefix(f"{shown}: ")
                failures.append((shown, reason))
                if json_lines:
                    print_json({"file": shown, "error": reason})
                continue
            if json_lines:
                print_json(result.to_dict(top))
            results.append((source, result))
    if results and not json_lines:
        console().print(_table([result for _, result in results], top))
    if report is not None and (results or failures):
        _write_report(report, results, failures, known, engine, model, enrolled)
    if failures:
        raise typer.Exit(AudioError.exit_code)


def _open_gallery(engine: Engine, model: Path | None, folder: Path | None) -> Gallery:
    from agent.gallery_access import gallery_folder, identity_of
    from model.builtin import BUILTIN_MODEL
    from model.gallery import Gallery

    return Gallery.open(gallery_folder(folder), identity_of(engine, model or BUILTIN_MODEL))


def _write_report(
    path: Path,
    results: list[tuple[Path | bytes, Classification]],
    failures: list[tuple[str, str]],
    known: KnownDevices,
    engine: Engine,
    model: Path | None,
    gallery: Gallery | None,
) -> None:
    from agent.classification_report import classification_report, classified_file
    from agent.report.content import GalleryFacts
    from agent.report.model_facts import model_facts
    from agent.report.page import write_report
    from export.engine import read_model
    from export.sidecar import sha256_of
    from model.builtin import BUILTIN_MODEL

    sections = [
        classified_file(source, result, known, engine, gallery) for source, result in results
    ]
    file = model or BUILTIN_MODEL
    enrolled = None
    if gallery is not None:
        clips = sum(len(device.clips) for device in gallery.devices)
        enrolled = GalleryFacts(str(gallery.folder), None, len(gallery.devices), clips)
    facts = model_facts(engine.metadata, file.name, sha256_of(read_model(file)), enrolled)
    write_report(classification_report(sections, failures, facts, engine), path)


def _expand(name: str) -> list[tuple[Path | bytes | AudioError, str]]:
    """A name on the command line as the sources it stands for, each with what to call it."""
    from model.audio import audio_files_in

    if name == "-":
        return [(sys.stdin.buffer.read(), "-")]
    path = Path(name)
    if not path.is_dir():
        return [(path, name)]
    found = audio_files_in(path)
    if not found:
        return [(AudioError(f"{name}: no audio files in this folder"), name)]
    return [(file, str(file)) for file in found]


def _table(results: list[Classification], top: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    from agent.report.number_words import probability
    from agent.signal_checks import WARNINGS

    table = Table(pad_edge=False, header_style="bold", expand=True)
    table.add_column("file", overflow="fold", ratio=3)
    table.add_column("device", style="bold cyan", overflow="fold", ratio=2)
    table.add_column("probability", justify="right", no_wrap=True)
    scored = any(result.unknown is not None for result in results)
    if scored:
        table.add_column("log10 LR", justify="right", no_wrap=True)
    table.add_column("windows", justify="right", no_wrap=True)
    table.add_column("others", overflow="fold", style="dim", ratio=2)
    table.add_column("warnings", overflow="fold", style="yellow", ratio=2)
    for result in results:
        others = ", ".join(
            f"{c.device} {probability(c.probability)}"
            for c in result.candidates[1:top]
            if c.probability >= NOTEWORTHY
        )
        if result.device is None:
            others = f"nearest: {result.best.device} {probability(result.best.probability)}"
        ratio = result.best.log10_lr
        # Text, not markup: a file name may hold square brackets.
        table.add_row(
            Text(result.file),
            Text("unknown", style="bold yellow")
            if result.device is None
            else Text(result.best.device),
            "-" if result.device is None else probability(result.best.probability),
            *([] if not scored else ["-" if ratio is None else f"{ratio:+.2f}"]),
            f"{result.agreeing}/{result.windows}",
            Text(others or "-"),
            Text("; ".join(WARNINGS[code] for code in result.warnings) or "-"),
        )
    return table
