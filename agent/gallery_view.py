"""Enrolled devices as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from agent.signal_checks import WARNINGS
from model.enrolled_device import EnrolledClip, EnrolledDevice
from model.gallery_file import time_to_json


def device_to_json(device: EnrolledDevice) -> dict[str, Any]:
    """A device without its clips."""
    return {
        "device": device.name,
        "clips": len(device.clips),
        "duration_s": round(device.duration_s, 3),
        "windows": sum(embedding.windows for embedding in device.embeddings),
        "warnings": list(device.warnings),
        "created": time_to_json(device.created),
        "updated": time_to_json(device.updated),
        "model_sha256": device.model.sha256,
    }


def clip_to_json(clip: EnrolledClip) -> dict[str, Any]:
    """A clip without its embedding and features."""
    return {
        "file": clip.source,
        "sha256": clip.sha256,
        "duration_s": round(clip.duration_s, 3),
        "sample_rate_hz": clip.sample_rate_hz,
        "windows": clip.embedding.windows,
        "warnings": list(clip.warnings),
    }


def devices_table(devices: Iterable[EnrolledDevice]) -> Table:
    """A row for each device."""
    table = Table(pad_edge=False, header_style="bold")
    table.add_column("device", style="bold cyan", overflow="fold")
    for heading in ("clips", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("updated", no_wrap=True)
    table.add_column("warnings", overflow="fold", style="yellow")
    for device in devices:
        # Text, not markup: a name may hold square brackets.
        table.add_row(
            Text(device.name),
            str(len(device.clips)),
            f"{device.duration_s:.1f}",
            time_to_json(device.updated),
            Text(", ".join(device.warnings) or "-"),
        )
    return table


def clips_table(clips: Iterable[EnrolledClip]) -> Table:
    """A row for each clip; ``windows`` counts them without overlap."""
    table = Table(pad_edge=False, header_style="bold")
    table.add_column("clip", overflow="fold")
    for heading in ("seconds", "windows", "rate"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("sha256", style="dim", no_wrap=True)
    table.add_column("warnings", overflow="fold", style="yellow")
    for clip in clips:
        table.add_row(
            Text(clip.source),
            f"{clip.duration_s:.1f}",
            f"{clip.embedding.windows:g}",
            f"{clip.sample_rate_hz} Hz",
            clip.sha256[:12],
            Text("; ".join(WARNINGS.get(code, code) for code in clip.warnings) or "-"),
        )
    return table


def counted(number: int, what: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
