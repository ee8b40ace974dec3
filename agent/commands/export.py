"""``devrec-agent export``: a model file in, an engine for this machine out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from agent.commands.common import ClipsOption, console, progress_console, reports_errors

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from export.exporting import ExportReport
    from export.precision import Precision
    from export.source_model import Source
    from export.tensorrt_api import Flavour
    from export.tensorrt_build import BuildOptions

TARGETS = ("tensorrt", "tensorrt-rtx", "onnx")


@reports_errors
def export(
    model: Annotated[
        Path | None,
        typer.Argument(help="Model file (.onnx); the built-in one without.", show_default=False),
    ] = None,
    to: Annotated[
        str,
        typer.Option("--to", help="tensorrt (whichever is installed), tensorrt-rtx or onnx."),
    ] = "tensorrt",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Engine file (.plan or .onnx). A plan goes into the cache without it, where "
            "--engine auto finds it.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, fp16 or int8 (needs --clips).")
    ] = "fp32",
    batch: Annotated[
        str, typer.Option("--batch", help="Windows a call: smallest:best:largest.")
    ] = "1:8:64",
    workspace: Annotated[
        int,
        typer.Option(
            "--workspace", min=0, max=1 << 24, help="Scratch memory in MiB; 0: TensorRT's choice."
        ),
    ] = 0,
    hardware_compatible: Annotated[
        bool,
        typer.Option("--hardware-compat", help="Also run on other GPUs, Ampere and newer; slower."),
    ] = False,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Also load in later TensorRT versions; slower."),
    ] = False,
    clips: ClipsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one object.")] = False,
) -> None:
    """Build an engine, compare it with PyTorch, and keep it only if it computes the same.

    Exit code 0 when it was written, 1 when it cannot be (no space), 3 for a recording that cannot
    be read, 4 for a model that cannot be used, 7 when TensorRT or the onnx package is not
    installed, 8 when it cannot be built on this machine, 9 when it does not compute what PyTorch
    computes, 130 when interrupted.
    """
    from agent.clip_windows import windows_of_clips
    from export.exporting import export_onnx
    from export.precision import PRECISIONS
    from export.source_model import Source
    from export.tensorrt_build import BuildOptions, parse_batch
    from model.builtin import BUILTIN_MODEL
    from model.checked_values import one_of

    one_of("target", to, TARGETS)
    kind = one_of("precision", precision, PRECISIONS)
    _check_output(to, output)
    options = BuildOptions(parse_batch(batch), workspace, hardware_compatible, version_compatible)
    path = model if model is not None else BUILTIN_MODEL
    source = Source(path)
    metadata = source.engine.metadata
    source.windows = windows_of_clips(clips or [], metadata.front_end, metadata.window_frames)
    if to == "onnx":
        report = export_onnx(source, cast(Path, output), kind)
    else:
        report = _build(source, output, kind, options, to, progress_console())
    if not len(source.windows):
        report.notes.append("no real windows were compared: give recordings with --clips")
    if as_json:
        import json

        print(json.dumps(_as_dict(report), ensure_ascii=False))
        return
    out = console()
    out.print(_table(report))
    for note in report.notes:
        out.print(f"note: {note}", markup=False)
    size = report.path.stat().st_size / 1e6
    out.print(f"wrote {report.path} ({size:.1f} MB)", markup=False, soft_wrap=True)


def _check_output(to: str, output: Path | None) -> None:
    """Before any work: is there a place to write to, and does its name say what it is?"""
    from model.errors import DevrecError, UsageError

    suffix = ".onnx" if to == "onnx" else ".plan"
    if output is None:
        if to == "onnx":
            raise UsageError("--to onnx needs a file to write (-o)")
        return
    if output.suffix != suffix:
        raise UsageError(f"{output}: an engine for {to} ends in {suffix}")
    if not output.parent.is_dir():
        raise DevrecError(f"{output}: the folder does not exist")


def _build(
    source: Source,
    output: Path | None,
    precision: Precision,
    options: BuildOptions,
    to: str,
    terminal: Console,
) -> ExportReport:
    """Build a plan with a progress line."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from export.exporting import export_tensorrt

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=terminal, transient=True, disable=not terminal.is_terminal
    ) as progress:
        task = progress.add_task("building", total=None)

        def show(phase: str, done: int, steps: int) -> None:
            progress.update(task, description=phase[:50], completed=done, total=steps)

        flavour: Flavour | None = "tensorrt-rtx" if to == "tensorrt-rtx" else None
        return export_tensorrt(source, output, precision, options, flavour=flavour, progress=show)


def _as_dict(report: ExportReport) -> dict[str, object]:
    return {
        "engine": str(report.path),
        "precision": report.precision,
        "compared in": report.engine,
        "build_s": round(report.build_s, 3),
        "parity": [
            {"kind": c.kind, "reference": c.reference, **c.difference.to_dict()}
            for c in report.comparisons
        ],
        "notes": report.notes,
    }


def _table(report: ExportReport) -> Table:
    from agent.parity_view import parity_table

    return parity_table(
        f"{report.precision}, compared in {report.engine}",
        [(c.kind, c.reference, c.difference) for c in report.comparisons],
        report.precision,
    )
