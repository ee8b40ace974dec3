"""Options that ``train`` and ``crossval`` share, and what both do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from model.features import FrontEndConfig
    from model.loading import LoadedCorpus
    from model.network_config import Profile
    from model.training_config import TrainingConfig

CorpusArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS",
        help="A manifest CSV, a folder per device, or a folder of <device>_<clip> files.",
        show_default=False,
    ),
]
ProfileOption = Annotated[str, typer.Option("--profile", help="Network: default or paper.")]
PresetOption = Annotated[
    str, typer.Option("--preset", help="Hyper-parameters: fast, or the paper's.")
]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Instead of the preset's.")
]
BatchOption = Annotated[int | None, typer.Option("--batch", min=2, help="Windows per step.")]
RateOption = Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")]
PatienceOption = Annotated[
    int | None,
    typer.Option("--patience", min=0, help="Epochs without progress before stopping; 0 = never."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of weights, crops, dropout and split.")]
AugmentOption = Annotated[
    list[str] | None,
    typer.Option("--augment", help="Waveform augmentation: gain, noise, resample. Repeatable."),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="32, or 16-mixed / bf16-mixed on a GPU.")
]
AcceleratorOption = Annotated[
    str, typer.Option("--accelerator", help="auto, cpu or gpu (Lightning's).")
]


def check_profile(name: str) -> Profile:
    """The profile by name; raises UsageError."""
    from model.errors import UsageError

    if name == "paper":
        return "paper"
    if name == "default":
        return "default"
    raise UsageError(f"unknown profile {name}; there are: default, paper")


def training_config(
    preset_name: str,
    *,
    epochs: int | None,
    batch: int | None,
    learning_rate: float | None,
    patience: int | None,
    seed: int,
    augment: list[str] | None,
    precision: str,
) -> TrainingConfig:
    """The preset with the options given; raises UsageError."""
    from model.augment import AUGMENTATIONS
    from model.errors import UsageError
    from model.training_config import preset

    if precision not in ("32", "16-mixed", "bf16-mixed"):
        raise UsageError(f"unknown precision {precision}; there are: 32, 16-mixed, bf16-mixed")
    unknown = sorted(set(augment or ()) - set(AUGMENTATIONS))
    if unknown:
        raise UsageError(
            f"unknown augmentation {', '.join(unknown)}; there are: {', '.join(AUGMENTATIONS)}"
        )
    return preset(preset_name).with_changes(
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        augment=tuple(augment) if augment else None,
        precision=precision,
    )


def load(
    path: Path, front_end: FrontEndConfig, console: Console, *, keep_samples: bool
) -> LoadedCorpus:
    """Read a corpus with progress; clips that cannot be read are said and left out.

    Raises:
        CorpusError: not a corpus, or a device has no readable clip.
    """
    from rich.progress import track

    from model.corpus import read_corpus
    from model.loading import load_corpus

    corpus = read_corpus(path)
    return load_corpus(
        corpus,
        front_end,
        keep_samples=keep_samples,
        on_skip=lambda error: console.print(f"left out: {error}", markup=False),
        track=lambda clips: track(
            clips,
            "reading",
            total=len(corpus.clips),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ),
    )
