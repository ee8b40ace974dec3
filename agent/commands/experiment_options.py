"""Options that the experiments share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.experiments.methods import Fitting
    from model.experiments.protocols import Protocol

PRESETS = ("fast", "paper")  #: that recordings are trained on as they are by

#: Passes of our networks where a corpus is small enough to leave one clip out after the other.
SMALL_CORPUS_EPOCHS = 16

OutputOption = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Folder for results and finished parts. Tables may share one: the paper's network is "
        "then trained once for tables 5, 7 and 8.",
    ),
]
ProtocolOption = Annotated[
    str,
    typer.Option(
        "--protocol",
        help="leave-one-clip-out: every content is tested by methods that never heard it; paper: "
        "64/16/20 % of each device's clips by index.",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Hyper-parameters of the paper's network and its parts: fast (16 epochs here) or "
        "paper (100). With --protocol paper the latter, else fast.",
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Of the same.", show_default=False)
]
AcceleratorOption = Annotated[
    str,
    typer.Option("--accelerator", help="That these are trained on: cpu, gpu or auto."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", help="Of weights, crops, dropout, and draws of phones.")
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Parts at a time; one a core without it, or one on a GPU.",
        show_default=False,
    ),
]


def fitting(
    protocol: Protocol, preset: str | None, epochs: int | None, accelerator: str, seed: int
) -> Fitting:
    """What the options come to.

    Raises:
        UsageError: an unknown preset or accelerator, or one that is not there.
    """
    from model.accelerator import check_accelerator
    from model.checked_values import one_of
    from model.experiments.methods import Fitting

    name = one_of("preset", preset or ("paper" if protocol == "paper" else "fast"), PRESETS)
    check_accelerator(accelerator)
    if epochs is None and name != "paper":
        epochs = SMALL_CORPUS_EPOCHS
    return Fitting(seed=seed, preset=name, epochs=epochs, accelerator=accelerator)


def processes(wanted: int | None, accelerator: str) -> int | None:
    """Parts at a time: one where they would share a GPU, unless more are asked for."""
    return 1 if wanted is None and accelerator != "cpu" else wanted
