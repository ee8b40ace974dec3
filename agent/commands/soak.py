"""``devrec-agent soak``: does the agent endure?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.common import (
    EngineOption,
    ModelOption,
    ThreadsOption,
    complain,
    console,
    print_json,
    progress_console,
    reports_errors,
)


@reports_errors
def soak(
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="Hours of audio.")] = 24.0,
    hop_s: Annotated[
        float, typer.Option("--hop", min=0.008, max=60, help="Seconds between windows.")
    ] = 0.5,
    model: ModelOption = None,
    threads: ThreadsOption = 1,
    engine: EngineOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Push many hours of simulated audio through the real agent, faster than real time.

    Capture pipe, features, engine, decisions, a rotated file of events and evidence with a quota
    work as in `listen`; only the sound card is simulated. Exit code 0 if memory stayed flat (less
    than 5 MB of growth after warm-up), no sample was lost, no window is missing and every event is
    on the disk, else 1.
    """
    import tempfile

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from agent.config.settings import AgentSection
    from agent.soak import soak as run
    from export.engine_choice import check_choice

    check_choice(engine)
    section = AgentSection.model_validate(
        {"model": model, "engine": engine, "threads": threads, "hop_s": hop_s}
    )
    columns = TextColumn("soak"), BarColumn(), TextColumn("{task.percentage:.0f} %")
    with (
        tempfile.TemporaryDirectory(prefix="devrec-soak-") as folder,
        Progress(*columns, TimeRemainingColumn(), console=progress_console()) as progress,
    ):
        task = progress.add_task("soak", total=1.0)
        result = run(
            hours,
            section,
            Path(folder),
            lambda done: progress.update(task, completed=done),
            complain,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        out = console()
        out.print(
            f"{result.audio_h:g} h of audio in {result.wall_s:.0f} s, "
            f"{3600 * result.audio_h / result.wall_s:.0f} times real time\n"
            f"windows      {result.windows} of {result.expected_windows}\n"
            f"lost samples {result.lost_samples}\n"
            f"events       {result.events}, on the disk {result.event_lines}\n"
            f"memory       {result.rss_mb:.1f} MB after warm-up, {result.growth_mb:+.1f} MB at the "
            f"end, at most {result.peak_mb:.1f} MB\n"
            f"left behind  {result.threads} threads, {result.open_files} open files"
        )
    if result.complaints:
        complain(f"soak: {'; '.join(result.complaints)}")
        raise typer.Exit(1)
