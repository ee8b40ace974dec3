"""Options that ``train``, ``crossval`` and ``openset`` share, and what they do with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from rich.console import Console

    from model.condition_tests import ConditionTests
    from model.corpus import Corpus
    from model.domain_training import Mels
    from model.feature_copies import FeatureCopies
    from model.features import FrontEndConfig
    from model.loading import LoadedCorpus
    from model.network_config import Profile
    from model.training_config import TrainingConfig
    from model.training_data import ClipData

T = TypeVar("T")

CorpusArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS",
        help="A manifest CSV, a folder per device, or a folder of DEVICE_CLIP files.",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str, typer.Option("--profile", help="Network: statistics, hybrid or paper.")
]
PresetOption = Annotated[
    str,
    typer.Option(
        "--preset",
        help="Hyper-parameters: robust (on augmented copies, too), fast, or the paper's.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=2,
        help="Steps of the statistics' training, instead of the preset's; the statistics profile "
        "has no epochs.",
        show_default=False,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        help="Instead of the preset's; not for the statistics profile, but to fine-tune it.",
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch", min=2, help="Windows per step.")]
RateOption = Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")]
PatienceOption = Annotated[
    int | None,
    typer.Option("--patience", min=0, help="Epochs without progress before stopping; 0 = never."),
]
SpeechOption = Annotated[
    Path | None,
    typer.Option(
        "--speech",
        help="Folder of clean speech, one microphone, many voices: virtual devices and other rooms "
        "are made with it as well, so that the embedding is good for more than the corpus.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of weights, crops, dropout and split.")]
AugmentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--augment",
        help="Train on augmented copies too: all, none, or out of reverberation, clipping, noise, "
        "bandwidth, gain, resampling, codec, telephone, gaps; with ffmpeg also aac and calls "
        "(repeatable). The preset's without it.",
        show_default=False,
    ),
]
CopiesOption = Annotated[
    int | None,
    typer.Option("--copies", min=1, help="Augmented copies of every clip.", show_default=False),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="32, or 16-mixed / bf16-mixed on a GPU.")
]
AcceleratorOption = Annotated[
    str, typer.Option("--accelerator", help="auto, cpu or gpu (Lightning's).")
]


def check_profile(name: str) -> Profile:
    """The profile by name; raises UsageError."""
    from model.checked_values import one_of
    from model.network_config import PROFILES

    return one_of("profile", name, PROFILES)


def training_config(
    preset_name: str,
    *,
    profile: Profile = "statistics",
    steps: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    seed: int,
    augment: list[str] | None,
    copies: int | None,
    precision: str = "32",
) -> TrainingConfig:
    """The preset with the options given.

    Raises:
        UsageError: an unknown name or value, or an option that the profile has no use for.
        MissingDependencyError: a codec that is not there.
    """
    from model.augmentation.recipe import check_names
    from model.checked_values import one_of
    from model.errors import UsageError
    from model.training_config import TRANSFER, preset

    if preset_name == TRANSFER:
        raise UsageError(f"--preset {TRANSFER} is for fine-tuning: `train --from MODEL`")
    one_of("precision", precision, ("32", "16-mixed", "bf16-mixed"))
    by_epochs = {
        "--epochs": epochs,
        "--batch": batch,
        "--learning-rate": learning_rate,
        "--patience": patience,
    }
    given = [option for option, value in by_epochs.items() if value is not None]
    if profile == "statistics" and (given or precision != "32"):
        raise UsageError(
            f"{(given or ['--precision'])[0]}: the statistics profile is trained in --steps of its "
            "own size and rate; --profile hybrid and paper are trained in epochs"
        )
    named = None if augment is None else tuple(augment) if augment != ["none"] else ()
    check_names(named or ())
    return preset(preset_name).with_changes(
        warm_up_steps=steps,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        augment=named,
        copies=copies,
        precision=precision,
    )


def load(path: Path, front_end: FrontEndConfig, console: Console) -> LoadedCorpus:
    """Read a corpus with progress; clips that cannot be read are said and left out.

    Raises:
        CorpusError: not a corpus, or a device has no readable clip.
    """
    from model.corpus import read_corpus
    from model.loading import load_corpus

    corpus = read_corpus(path)
    return load_corpus(
        corpus,
        front_end,
        on_skip=lambda error: console.print(f"left out: {error}", markup=False),
        track=progress(console, "reading"),
    )


def make_copies(
    corpus: Corpus,
    front_end: FrontEndConfig,
    config: TrainingConfig,
    folder: Path,
    console: Console,
) -> FeatureCopies | None:
    """The augmented copies that the settings ask for, with progress; ``None`` for none."""
    from model.augmentation.recipe import recipe
    from model.feature_copies import augmented_copies, make_feature_copies

    if not config.augment:
        return None
    return make_feature_copies(
        corpus,
        front_end,
        augmented_copies(recipe(config.augment), config.copies, config.seed),
        folder,
        track=progress(console, "augmenting"),
    )


def make_speech(
    folder: Path | None,
    front_end: FrontEndConfig,
    config: TrainingConfig,
    cache: Path,
    console: Console,
    files: Container[Path] | None = None,
) -> list[ClipData]:
    """Further speech and its augmented copies; nothing without a folder.

    Args:
        folder: with the recordings.
        front_end: config of the features.
        config: ``augment``, ``copies`` and ``seed``.
        cache: folder for the copies.
        console: for progress.
        files: recordings to take; all without.
    """
    from model.augmentation.recipe import recipe
    from model.corpus import speech_corpus
    from model.feature_copies import augmented_copies, make_feature_copies
    from model.training_data import speech_clips

    if folder is None:
        return []
    n_copies = config.copies if config.augment else 0
    variants = augmented_copies(recipe(config.augment), n_copies, config.seed)
    track = progress(console, "augmenting speech")
    copies = make_feature_copies(speech_corpus(folder), front_end, variants, cache, track=track)
    return speech_clips(copies, files)


def make_domains(
    speech: Sequence[tuple[Path, ...]],
    front_end: FrontEndConfig,
    config: TrainingConfig,
    cache: Path,
    console: Console,
) -> tuple[Mels, Mels]:
    """Simulated domains to fit on and to calibrate on, with progress."""
    from model.domain_training import training_domains

    track = progress(console, "simulating other rooms")
    return training_domains(speech, front_end, cache, config.seed, track)


def make_tests(
    corpus: Corpus,
    front_end: FrontEndConfig,
    config: TrainingConfig,
    folder: Path,
    console: Console,
) -> ConditionTests:
    """Every clip under every condition that can be made here, with progress."""
    from model.augmentation.conditions import conditions
    from model.condition_tests import ConditionTests
    from model.feature_copies import make_feature_copies

    known = list(conditions(config.augment))
    copies = make_feature_copies(
        corpus, front_end, known, folder, track=progress(console, "making test conditions")
    )
    return ConditionTests(known, copies)


def progress(console: Console, doing: str) -> Callable[[Sequence[T]], Iterable[T]]:
    """A progress bar on a terminal over what is iterated, nothing elsewhere."""
    from rich.progress import track

    return lambda items: track(
        items, doing, console=console, transient=True, disable=not console.is_terminal
    )
