"""The ``devrec-agent`` program: its commands and nothing else."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from agent import __version__
from agent.commands.bench import bench
from agent.commands.classify import classify
from agent.commands.compare import compare
from agent.commands.config import config_app
from agent.commands.crossval import crossval
from agent.commands.demo import demo
from agent.commands.devices import devices
from agent.commands.doctor import doctor
from agent.commands.enroll import enroll
from agent.commands.evaluate import evaluate
from agent.commands.evidence import evidence_app
from agent.commands.experiment import experiment_app
from agent.commands.export import export
from agent.commands.gallery import gallery_app
from agent.commands.info import info
from agent.commands.listen import listen
from agent.commands.openset import openset
from agent.commands.simulate import simulate
from agent.commands.soak import soak
from agent.commands.train import train
from agent.commands.verify import verify

app = typer.Typer(
    name="devrec-agent",
    help="Tell which recording device (which phone, which microphone) captured an audio stream "
    "or file.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # fills paragraphs, whatever the width
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(classify)
app.command()(listen)
app.command()(enroll)
app.add_typer(gallery_app, name="gallery")
app.command()(compare)
app.command()(devices)
app.command()(info)
app.command()(train)
app.command()(evaluate)
app.command()(crossval)
app.command()(openset)
app.add_typer(experiment_app, name="experiment")
app.command()(export)
app.command()(verify)
app.command()(bench)
app.command()(simulate)
app.command()(demo)
app.command()(soak)
app.add_typer(config_app, name="config")
app.command()(doctor)
app.add_typer(evidence_app, name="evidence")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"devrec-agent {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""
    # A descriptor that was closed (`>&-`) would be given to the next file that is opened, and what
    # is printed would end in it. The lowest free one is taken first.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    app()
