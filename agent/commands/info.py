"""``devrec-agent info``: what a model file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.common import ModelOption, console, reports_errors

if TYPE_CHECKING:
    from model.metadata import ModelMetadata
    from model.open_set import OpenSet


@reports_errors
def info(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All metadata as one object.")] = False,
) -> None:
    """Show what a model or plan knows: devices, front end, and where it comes from.

    A plan needs neither its GPU nor TensorRT for that.
    """
    from rich.table import Table
    from rich.text import Text

    metadata, engine = _read(model)
    if as_json:
        properties = {
            "labels": list(metadata.labels),
            "front_end": metadata.front_end.to_dict(),
            "network": metadata.network,
            "provenance": metadata.provenance,
            "window_frames": metadata.window_frames,
            "open_set": None if metadata.open_set is None else _open_set(metadata.open_set),
        }
        print(json.dumps(properties, ensure_ascii=False, indent=1))
        return
    front_end = metadata.front_end
    window_s = front_end.samples_for(metadata.window_frames) / front_end.sample_rate_hz
    table = Table(show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "engine": engine,
        "devices": f"{len(metadata.labels)}: " + ", ".join(metadata.labels),
        "window": f"{metadata.window_frames} frames of {front_end.n_features} features, "
        f"{window_s:.2f} s at {front_end.sample_rate_hz} Hz",
        "profile": str(metadata.network.get("profile", "?")),
        "strangers": _strangers(metadata.open_set),
        **{key: _short(value) for key, value in metadata.provenance.items()},
    }
    for key, value in rows.items():
        table.add_row(key, Text(value))
    console().print(table)


def _open_set(open_set: OpenSet) -> dict[str, Any]:
    """What the model knows beyond its devices, without its arrays."""
    return {
        "threshold": open_set.threshold,
        "false_acceptance": open_set.false_acceptance,
        "known_devices": open_set.known_devices,
        "temperature": open_set.temperature,
        "bounds": open_set.bounds.to_dict(),
        "evidence": open_set.evidence,
    }


def _strangers(open_set: OpenSet | None) -> str:
    if open_set is None:
        return "not told from its devices: it names one of them always"
    words = (
        f"log10 LR above {open_set.threshold:.2f} is a known device; of the strangers that it was "
        f"chosen on {100 * open_set.false_acceptance:.1f} % passed"
    )
    others = open_set.evidence.get("strangers_accepted")
    if isinstance(others, dict) and "clean" in others:
        words += f", of others' clean recordings {100 * others['clean']:.1f} %"
    return words


def _read(model: Path | None) -> tuple[ModelMetadata, str]:
    """Metadata, and the engine in words."""
    from export.engine_loading import load_engine
    from export.sidecar import PLAN_SUFFIX, Sidecar
    from model.builtin import BUILTIN_MODEL

    path = model if model is not None else BUILTIN_MODEL
    if path.suffix == PLAN_SUFFIX:
        sidecar = Sidecar.read(path)
        made_for = f"for {sidecar.gpu}" if sidecar.gpu else "built without a GPU"
        words = f"plan of {sidecar.flavour} {sidecar.tensorrt}, {made_for}, {sidecar.precision}"
        return sidecar.metadata(str(path)), words
    engine = load_engine(path)
    return engine.metadata, engine.description


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)
