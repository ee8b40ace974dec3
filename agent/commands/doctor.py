"""``devrec-agent doctor``: can the agent do its work on this machine?"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.common import (
    ConfigOption,
    ModelOption,
    console,
    print_json,
    progress_console,
    reports_errors,
)

if TYPE_CHECKING:
    from agent.doctor.finding import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@reports_errors
def doctor(
    config: ConfigOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            help="Input to listen to for a second; a name as configured, or as `devices` has it.",
            show_default="those configured, else the default input",
        ),
    ] = None,
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Examine this machine: sound, engines, model, configuration, permissions, clock.

    Listens to each input for a second, and scores a window of noise; changes nothing. Run it as the
    user that the agent runs as. Exit code 0 when all is well, warnings or not; 1 when there is a
    problem.
    """
    from agent.doctor.checkup import examine
    from agent.doctor.finding import worst

    flags = {"agent.model": model}
    progress = progress_console()
    with progress.status("examining...") if progress.is_terminal else contextlib.nullcontext():
        findings = examine(config, flags, source, os.environ)
    state = worst(findings)
    if as_json:
        print_json({"state": state, "checks": [finding.to_dict() for finding in findings]})
    else:
        _print_table(findings)
    if state == "problem":
        raise typer.Exit(1)


def _print_table(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", pad_edge=False)
    for title in ("check", "state", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=_COLOURS[finding.state])
        found = "\n".join((finding.found, *finding.details))
        table.add_row(Text(finding.check), state, Text(found), Text(finding.hint))
    console().print(table)
