"""``devrec-agent demo``: what the program does, without any data."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.common import console, open_engine, progress_console, reports_errors

if TYPE_CHECKING:
    from agent.demo import Demo

DEFAULT_SEED = 0
WRONG = 1  #: exit code when an answer was not right


@reports_errors
def demo(
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Decides the simulated devices and what they hear."),
    ] = DEFAULT_SEED,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="FOLDER",
            help="Leave recordings and gallery there; must not exist or be empty.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Enrol four simulated devices, name them by other words, and try an unknown fifth, in seconds.

    Needs no recordings, no microphone and no extras. The devices are simulated (virtual
    microphones that play speech-like sound), everything else is the real program: what it answers
    here says how it is used, and nothing about how well it does with real devices.

    The default seed is one of those with which every answer is right; with others some are not.
    Exit code 0 when every answer was right, 1 when one was not.
    """
    from agent.demo import Demo
    from agent.demo_view import show_answers, show_devices, show_enrolment, show_kept
    from agent.gallery_access import identity_of
    from model.builtin import BUILTIN_MODEL

    started = time.monotonic()
    engine = open_engine(None, threads=1)
    identity = identity_of(engine, BUILTIN_MODEL)
    terminal = console()
    with _folder(keep) as folder:
        drawn = Demo.draw(seed, folder)
        show_devices(terminal, drawn)
        _record(drawn)
        drawn.enrol(engine, identity)
        show_enrolment(terminal, drawn, engine.metadata.front_end)
        open_set = drawn.calibrate(engine)
        answers = drawn.identify(engine, identity, open_set)
        show_answers(terminal, drawn, answers, open_set, time.monotonic() - started)
    if keep is not None:
        show_kept(terminal, drawn)
    if not all(answer.right for answer in answers):
        raise typer.Exit(WRONG)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where to write: the folder given, or one that is gone afterwards."""
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="devrec-agent-demo-") as temporary:
        yield Path(temporary) / "demo"


def _record(drawn: Demo) -> None:
    from rich.progress import Progress

    screen = progress_console()
    total = len(drawn.corpus.microphones) * len(drawn.corpus.clips)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("recording with simulated devices", total=total)
        drawn.record(progress=lambda: bar.advance(task))
