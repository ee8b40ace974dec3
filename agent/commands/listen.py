"""``devrec-agent listen``: which device is heard on this input, live?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.common import (
    EngineOption,
    ModelOption,
    ThreadsOption,
    console,
    open_engine,
    print_json,
    reports_errors,
)

if TYPE_CHECKING:
    from agent.listening import Listener
    from agent.sources import Source
    from export.engine import Engine


@reports_errors
def listen(
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            help="Name, part of a name or index of an input (see `devices`), or an audio file.",
            show_default="the default input",
        ),
    ] = None,
    model: ModelOption = None,
    hop_s: Annotated[
        float, typer.Option("--hop", min=0.008, max=60.0, help="Seconds between windows.")
    ] = 0.5,
    memory_s: Annotated[
        float, typer.Option("--memory", min=0.1, help="Seconds of evidence behind an answer.")
    ] = 5.0,
    fast: Annotated[
        bool, typer.Option("--fast", help="Run a file as fast as it can be read, not paced.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a window instead of the live view.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Candidates to show.")] = 5,
    threads: ThreadsOption = 1,
    engine_choice: EngineOption = "auto",
) -> None:
    """Score an input window by window until it ends or Ctrl-C.

    Nothing is reported before the first 128 frames (1.04 s). Exit code 0 after the end of a file
    or Ctrl-C, 3 for a file that cannot be read, 4 for a model that cannot be used, 6 for an input
    that cannot be opened or stops delivering, 7 or 8 for an engine that cannot run here.
    """
    from agent.listening import Listener
    from agent.sources import open_source

    # A service manager stops with SIGTERM: leave the same way as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    engine = open_engine(model, threads, engine_choice)
    stream = open_source(source, fast=fast)
    listener = Listener(engine, stream, hop_s, memory_s)
    try:
        if json_lines:
            _print_reports(listener, engine, stream, top)
        else:
            _show_live(listener, engine, stream, top)
    except KeyboardInterrupt:
        pass
    finally:
        stream.close()
        if json_lines:
            ended = {"event": "ended", "time_s": round(listener.seconds_heard, 3)}
            print_json({**ended, "windows": listener.windows, "dropped_samples": stream.dropped})


def _print_reports(listener: Listener, engine: Engine, stream: Source, top: int) -> None:
    print_json(
        {
            "event": "started",
            "input": stream.name,
            "sample_rate_hz": stream.sample_rate_hz,
            "engine": engine.description,
        }
    )
    for report in listener.run():
        if report is not None:
            print_json(report.to_dict(top))


def _show_live(listener: Listener, engine: Engine, stream: Source, top: int) -> None:
    from rich.live import Live

    from agent.live_view import LiveView

    view = LiveView(stream.name, engine.description, top)
    # Live draws on a thread of its own: a slow terminal does not hold up the listening.
    with Live(view.render(listener), console=console(), refresh_per_second=8) as live:
        for report in listener.run():
            if report is not None:
                view.update(report)
            live.update(view.render(listener))
