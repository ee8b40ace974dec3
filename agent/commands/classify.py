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
from model.errors import AudioError

if TYPE_CHECKING:
    from rich.table import Table

    from agent.classification import Classification


NOTEWORTHY = 0.01  #: probability below which the table leaves a candidate out


@reports_errors
def classify(
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
    threads: ThreadsOption = 1,
    engine_choice: EngineOption = "auto",
) -> None:
    """Tell which device recorded each file.

    Exit code 0 when every file was classified, 3 when one could not be (the others still are), 4
    for a model that cannot be used, 7 or 8 for an engine that cannot run here.
    """
    from agent.classification import classify_audio

    engine = open_engine(model, threads, engine_choice)
    results: list[Classification] = []
    failed = False
    for name in files:
        for source, shown in _expand(name):
            try:
                if isinstance(source, AudioError):
                    raise source
                result = classify_audio(engine, source, shown)
            except AudioError as error:
                failed = True
                complain(str(error))
                if json_lines:
                    print_json({"file": shown, "error": str(error).removeprefix(f"{shown}: ")})
                continue
            if json_lines:
                print_json(result.to_dict(top))
            else:
                results.append(result)
    if results:
        console().print(_table(results, top))
    if failed:
        raise typer.Exit(AudioError.exit_code)


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

    from agent.signal_checks import WARNINGS

    table = Table(pad_edge=False, header_style="bold", expand=True)
    table.add_column("file", overflow="fold", ratio=3)
    table.add_column("device", style="bold cyan", overflow="fold", ratio=2)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("windows", justify="right", no_wrap=True)
    table.add_column("others", overflow="fold", style="dim", ratio=2)
    table.add_column("warnings", overflow="fold", style="yellow", ratio=2)
    for result in results:
        others = ", ".join(
            f"{c.device} {percent(c.probability)}"
            for c in result.candidates[1:top]
            if c.probability >= NOTEWORTHY
        )
        # Text, not markup: a file name may hold square brackets.
        table.add_row(
            Text(result.file),
            Text(result.best.device),
            percent(result.best.probability),
            f"{result.agreeing}/{result.windows}",
            Text(others or "-"),
            Text("; ".join(WARNINGS[code] for code in result.warnings) or "-"),
        )
    return table


def percent(probability: float) -> str:
    """A probability for people; never 100 %, which no evidence gives."""
    return "> 99.9 %" if probability > 0.999 else f"{100 * probability:.1f} %"
