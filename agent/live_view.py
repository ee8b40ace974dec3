"""The live picture of ``listen`` in a terminal (rich)."""

from __future__ import annotations

import math
from collections import deque

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.listening import Listener, LiveReport
from agent.signal_checks import WARNINGS

METER_FLOOR_DBFS = -72.0  #: left end of the level meter
METER_CELLS = 40
TRACE_CELLS = 40  #: windows in the trace of the current device's probability
_BLOCKS = " ▁▂▃▄▅▆▇█"


class LiveView:
    """Keeps what the picture shows; :meth:`render` draws it.

    Args:
        source: name of the input.
        engine: description of the engine.
        top: candidates to show.
    """

    def __init__(self, source: str, engine: str, top: int) -> None:
        self._source, self._engine, self._top = source, engine, top
        self._last: LiveReport | None = None
        self._trace: deque[tuple[str, float]] = deque(maxlen=TRACE_CELLS)

    def update(self, report: LiveReport) -> None:
        """Take in a report."""
        self._last = report
        self._trace.append((report.window_best.device, report.window_best.probability))

    def render(self, listener: Listener) -> RenderableType:
        """The picture now."""
        rows: list[RenderableType] = [self._status(listener), self._meter(listener.level_dbfs)]
        report = self._last
        if report is None:
            rows.append(Text("\nno window yet: the first needs 128 frames\n", style="dim"))
        else:
            best = report.candidates[0]
            headline = Text.assemble(
                "\n", (best.device, "bold cyan"), f"   {_percent(best.probability)}\n"
            )
            rows += [headline, self._candidates(report), self._window_trace(best.device)]
            if report.warnings:
                told = "; ".join(WARNINGS[code] for code in report.warnings)
                rows.append(Text(told, style="yellow"))
        title = Text.assemble("devrec-agent  ", (self._source, "bold"))
        return Panel(Group(*rows), title=title, subtitle=Text(self._engine, style="dim"), width=78)

    def _status(self, listener: Listener) -> Text:
        dropped = self._last.dropped_samples if self._last else 0
        seconds = int(listener.seconds_heard)
        return Text.assemble(
            f"{seconds // 60:d}:{seconds % 60:02d} heard   {listener.windows} windows   ",
            (f"{dropped} samples dropped", "bold red" if dropped else "dim"),
        )

    def _meter(self, level_dbfs: float) -> Text:
        shown = max(level_dbfs, METER_FLOOR_DBFS)
        full = round(METER_CELLS * (1 - shown / METER_FLOOR_DBFS))
        full = min(max(full, 0), METER_CELLS)
        colour = "red" if level_dbfs > -1 else "yellow" if level_dbfs > -6 else "green"
        text = f"{level_dbfs:6.1f} dBFS" if math.isfinite(level_dbfs) else "  silence  "
        return Text.assemble(
            "level ", ("█" * full, colour), ("░" * (METER_CELLS - full), "dim"), " ", text
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

    def _window_trace(self, device: str) -> Text:
        """The last windows, newest right: height = probability, colour = same device or not."""
        trace = Text("\nlast windows ", style="")
        for name, probability in self._trace:
            block = _BLOCKS[max(1, round(probability * (len(_BLOCKS) - 1)))]
            trace.append(block, style="cyan" if name == device else "red")
        return trace


def _percent(probability: float) -> str:
    return "> 99.9 %" if probability > 0.999 else f"{100 * probability:.1f} %"
