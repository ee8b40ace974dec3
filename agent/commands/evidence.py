"""``devrec-agent evidence``: what to do with the audio that was kept around events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.common import reports_errors

evidence_app = typer.Typer(help="Audio that was kept around events.", no_args_is_help=True)


@evidence_app.command()
@reports_errors
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of evidence.", show_default=False)],
) -> None:
    """Check every FLAC file against its JSON: checksums, decoded samples, nothing missing.

    A line for each bad one, then how many there are. Files of other names are not looked at. While
    an agent writes into the folder, its newest may be reported as incomplete. Exit code 0 when all
    are good, 3 when one is not or there is none at all, 1 for a folder that cannot be read.
    """
    from agent.evidence.store import verify as verify_folder
    from model.errors import AudioError

    good = bad = 0
    for stem, wrong in verify_folder(folder):
        if wrong is None:
            good += 1
        else:
            bad += 1
            print(f"{stem}: {wrong}", flush=True)
    print(f"{good} good, {bad} bad")
    if bad:
        raise typer.Exit(AudioError.exit_code)
