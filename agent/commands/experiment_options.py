"""Options that the experiments share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.experiments.methods import Fitting
    from model.experiments.protocols import Protocol

#: Passes of our networks where a corpus is small enough to leave one clip out after the other.
SMALL_CORPUS_EPOCHS = 16

OutputOption = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Folder for results and finished parts; several tables may share one, and what one "
        "has measured serves the others.",
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
        help="Hyper-parameters of our networks: fast (16 epochs here) or the paper's (100). The "
        "paper's with --protocol paper, else fast.",
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Of our networks.", show_default=False)
]
AcceleratorOption = Annotated[
    str,
    typer.Option("--accelerator", help="That our networks are trained on: cpu, gpu or auto."),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes", min=1, help="Parts at a time; one a core without it.", show_default=False
    ),
]


def fitting(
    protocol: Protocol, preset: str | None, epochs: int | None, accelerator: str, seed: int
) -> Fitting:
    """What the options come to.

    Raises:
        UsageError: an unknown preset or accelerator, or the preset of fine-tuning.
    """
    from model.errors import UsageError
    from model.experiments.methods import Fitting
    from model.training_config import TRANSFER
    from model.training_config import preset as known_preset

    name = preset or ("paper" if protocol == "paper" else "fast")
    known_preset(name)
    if name == TRANSFER:
        raise UsageError(f"--preset {TRANSFER} is for fine-tuning, which table9 does by it anyway")
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UsageError(f"unknown accelerator {accelerator}; there are: auto, cpu, gpu")
    if epochs is None and name != "paper":
        epochs = SMALL_CORPUS_EPOCHS
    return Fitting(seed=seed, preset=name, epochs=epochs, accelerator=accelerator)
