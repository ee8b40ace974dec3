"""``devrec-agent verify``: do two engines compute the same?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.common import ClipsOption, ThreadsOption, console, reports_errors


@reports_errors
def verify(
    first: Annotated[Path, typer.Argument(metavar="A", help="Engine (.onnx or .plan).")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Engine (.onnx or .plan).")],
    clips: ClipsOption = None,
    threads: ThreadsOption = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one object.")] = False,
) -> None:
    """Compare two engines on random windows, and on recordings where some are given.

    The bounds are those of the coarser precision. Exit code 0 when they agree, 9 when they do not,
    3 for a recording that cannot be read, 4, 7 or 8 for an engine that cannot be loaded (file,
    missing TensorRT, this machine).
    """
    from agent.clip_windows import windows_of_clips
    from agent.parity_view import parity_table
    from export.engine_loading import load_engine
    from export.parity import ParityRecord, check_parity, difference
    from export.precision import PRECISIONS
    from model.errors import ModelError

    engines = [load_engine(path, threads) for path in (first, second)]
    a, b = (engine.metadata for engine in engines)
    for what, same in (
        ("devices", a.labels == b.labels),
        ("front ends", a.front_end == b.front_end),
        ("windows", a.window_frames == b.window_frames),
    ):
        if not same:
            raise ModelError(f"{first} and {second} have other {what}: nothing to compare")
    precision = max((engine.precision for engine in engines), key=PRECISIONS.index)
    record = ParityRecord.from_properties(engines[0].properties, str(first), a.window_shape)
    sets = {"random": record.windows()}
    if clips:
        sets["real"] = windows_of_clips(clips, a.front_end, a.window_frames)
    found = [
        (name, str(first), difference(*(engine.run(windows) for engine in engines)))
        for name, windows in sets.items()
    ]
    if as_json:
        report = {
            "engines": [engine.description for engine in engines],
            "bounds": precision,
            "parity": [{"kind": name, **d.to_dict()} for name, _, d in found],
        }
        print(json.dumps(report, ensure_ascii=False))
    else:
        title = f"{second} ({engines[1].description})\nagainst {first} ({engines[0].description})"
        console().print(parity_table(title, found, precision))
    for name, _, measured in found:
        check_parity(measured, precision, f"on {name} windows")
