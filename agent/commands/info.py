"""``devrec-agent info``: what a model file holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from agent.commands.common import EngineOption, ModelOption, console, open_engine, reports_errors


@reports_errors
def info(
    model: ModelOption = None,
    engine_choice: EngineOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="All metadata as one object.")] = False,
) -> None:
    """Show what a model knows: devices, front end, and where it comes from."""
    from rich.table import Table
    from rich.text import Text

    engine = open_engine(model, 1, engine_choice)
    metadata = engine.metadata
    if as_json:
        properties = {
            "labels": list(metadata.labels),
            "front_end": metadata.front_end.to_dict(),
            "network": metadata.network,
            "provenance": metadata.provenance,
            "window_frames": metadata.window_frames,
        }
        print(json.dumps(properties, ensure_ascii=False, indent=1))
        return
    front_end = metadata.front_end
    window_s = front_end.samples_for(metadata.window_frames) / front_end.sample_rate_hz
    table = Table(show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "engine": engine.description,
        "devices": f"{len(metadata.labels)}: " + ", ".join(metadata.labels),
        "window": f"{metadata.window_frames} frames of {front_end.n_features} features, "
        f"{window_s:.2f} s at {front_end.sample_rate_hz} Hz",
        "profile": str(metadata.network.get("profile", "?")),
        **{key: _short(value) for key, value in metadata.provenance.items()},
    }
    for key, value in rows.items():
        table.add_row(key, Text(value))
    console().print(table)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)
