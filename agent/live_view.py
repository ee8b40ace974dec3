"""The live picture of ``listen`` in a terminal (rich)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.input_stream import InputStream
from agent.live_report import LiveReport
from agent.signal_checks import WARNINGS

METER_FLOOR_DBFS = -72.0  #: left end of the level meter
METER_CELLS = 40
TRACE_CELLS = 40  #: windows in the trace of the current device's probability
FULL_PANELS = 2  #: up to this many inputs get a panel with candidates; more share a table
LOG_LINES = 6
_BLOCKS = " ▁▂▃▄▅▆▇█"
_STATE_STYLE = {"running": "green", "starting": "dim", "ended": "dim"}


class LiveView:
    """Keeps what the picture shows; :meth:`render` draws it.

    Args:
        top: candidates to show.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._last: dict[str, LiveReport] = {}
        self._traces: dict[str, deque[tuple[str, float]]] = {}
        self._log: deque[Text] = deque(maxlen=LOG_LINES)

    def update(self, report: LiveReport) -> None:
        """Take in a report."""
        self._last[report.input] = report
        trace = self._traces.setdefault(report.input, deque(maxlen=TRACE_CELLS))
        trace.append((report.window_best.device, report.window_best.probability))

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take in an event's JSON object; what the panels show anyway is left out."""
        if event["event"] in ("input_state", "started", "ended"):
            return
        told = _in_words(event)
        self._log.append(Text(f"{event['end'][11:19]}Z {event['input']}: {told}"))

    def say(self, line: str) -> None:
        """Take in a line for the operator."""
        self._log.append(Text(line, style="yellow"))

    def render(self, streams: list[InputStream], engine: str) -> RenderableType:
        """The picture now.

        Args:
            streams: the inputs.
            engine: description of the engine.
        """
        parts: list[RenderableType]
        if len(streams) <= FULL_PANELS:
            parts = [self._panel(stream, engine) for stream in streams]
        else:
            parts = [self._table(streams, engine)]
        parts += list(self._log)
        return Group(*parts)

    def _panel(self, stream: InputStream, engine: str) -> RenderableType:
        figures = stream.figures
        rows: list[RenderableType] = [self._status(stream), _meter(figures.level_dbfs)]
        report = self._last.get(stream.name)
        if report is None:
            rows.append(Text("\nno window yet: the first needs 128 frames\n", style="dim"))
        elif figures.state not in ("running", "ended"):
            rows.append(Text(f"\nno audio: {figures.state}\n", style="bold red"))
        elif report.silent:
            rows.append(Text("\nsilence\n", style="dim"))
        else:
            best = report.candidates[0]
            named = report.device or ("unknown" if report.unknown else "undecided")
            style = "bold cyan" if report.device else "bold yellow" if report.unknown else "dim"
            ratio = "" if report.log10_lr is None else f"   log10 LR {report.log10_lr:+.1f}"
            headline = Text.assemble(
                "\n",
                (named, style),
                f"   {_percent(best.probability)}" if report.device == best.device else "",
                (f"   nearest {best.device}" if report.unknown else "", "dim"),
                (ratio, "dim"),
                "\n",
            )
            rows += [headline, self._candidates(report), self._window_trace(stream.name, best)]
            if report.warnings:
                told = "; ".join(WARNINGS[code] for code in report.warnings)
                rows.append(Text(told, style="yellow"))
        title = Text.assemble("devrec-agent  ", (stream.source.name, "bold"))
        return Panel(Group(*rows), title=title, subtitle=Text(engine, style="dim"), width=78)

    def _status(self, stream: InputStream) -> Text:
        figures = stream.figures
        seconds = int(stream.seconds_heard)
        return Text.assemble(
            f"{seconds // 60:d}:{seconds % 60:02d} heard   {figures.windows} windows   ",
            (
                f"{figures.lost_samples} samples lost",
                "bold red" if figures.lost_samples else "dim",
            ),
        )

    def _candidates(self, report: LiveReport) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=24, no_wrap=True)
        table.add_column(width=32)
        table.add_column(width=9, justify="right")
        for candidate in report.candidates[: self._top]:
            cells = round(32 * candidate.probability)
            table.add_row(
                Text(candidate.device, overflow="ellipsis"),
                Text("━" * cells, style="cyan"),
                _percent(candidate.probability),
            )
        return table

    def _window_trace(self, name: str, best: Any) -> Text:
        """The last windows, newest right: height = probability, colour = same device or not."""
        trace = Text("\nlast windows ", style="")
        for device, probability in self._traces[name]:
            block = _BLOCKS[max(1, round(probability * (len(_BLOCKS) - 1)))]
            trace.append(block, style="cyan" if device == best.device else "red")
        return trace

    def _table(self, streams: list[InputStream], engine: str) -> RenderableType:
        table = Table(header_style="bold", title="devrec-agent", caption=engine, pad_edge=False)
        for title in ("input", "state", "device", "probability", "level", "windows", "lost"):
            table.add_column(title, justify="left" if title in ("input", "device") else "right")
        for stream in streams:
            figures = stream.figures
            table.add_row(
                Text(stream.name, overflow="ellipsis"),
                Text(figures.state, style=_STATE_STYLE.get(figures.state, "bold red")),
                Text(figures.device or "-", overflow="ellipsis"),
                "-" if figures.probability is None else _percent(figures.probability),
                _level(stream),
                str(figures.windows),
                Text(
                    f"{figures.lost_samples}", style="bold red" if figures.lost_samples else "dim"
                ),
            )
        return table


def _meter(level_dbfs: float) -> Text:
    shown = max(level_dbfs, METER_FLOOR_DBFS)
    full = round(METER_CELLS * (1 - shown / METER_FLOOR_DBFS))
    full = min(max(full, 0), METER_CELLS)
    colour = "red" if level_dbfs > -1 else "yellow" if level_dbfs > -6 else "green"
    text = f"{level_dbfs:6.1f} dBFS" if math.isfinite(level_dbfs) else "  silence  "
    return Text.assemble(
        "level ", ("█" * full, colour), ("░" * (METER_CELLS - full), "dim"), " ", text
    )


def _level(stream: InputStream) -> str:
    figures = stream.figures
    if not figures.samples or figures.state not in ("running", "ended"):
        return "-"
    return f"{figures.level_dbfs:.1f} dBFS" if math.isfinite(figures.level_dbfs) else "silence"


def _percent(probability: float) -> str:
    return "> 99.9 %" if probability > 0.999 else f"{100 * probability:.1f} %"


def _in_words(event: Mapping[str, Any]) -> str:
    """An event in one line for people."""
    kind = event["event"]
    if kind == "device_changed":
        return (
            f"{event['previous']} has changed to {event['device']} "
            f"({_percent(event['probability'])})"
        )
    if kind == "device_identified":
        return f"this is {event['device']} ({_percent(event['probability'])})"
    if kind == "unknown":
        return "unknown: none of the known devices, or none that is probable enough"
    if kind == "silence":
        return "digital silence: every sample is zero" if event["digital"] else "silence"
    if kind == "audio_restored":
        lost_s = event["missing_samples"] / max(1, event["sample_rate_hz"])
        return f"audio is back; {lost_s:.1f} s are missing"
    if kind == "gap":
        return f"{event['missing_samples']} samples are missing: {event['reason']}"
    if kind == "audio_lost":
        return f"audio lost: {event['reason']}"
    return str(kind)
