"""``devrec-agent train --from``: an existing model learns other devices by its last layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent.commands.common import progress_console
from model.checked_values import one_of
from model.errors import UsageError
from model.training_config import FREEZES, TRANSFER

if TYPE_CHECKING:
    import typer

    from model.fine_tuning import Epoch
    from model.training_config import TrainingConfig

_AS_THEY_ARE = "what is frozen is computed once, of the recordings as they are"
_NO_STRANGERS = "a fine-tuned model knows no strangers"
_NOTHING_KEPT = "fine-tuning keeps no checkpoints"

#: Parameters of ``train`` that fine-tuning has no use for, and why.
_UNUSED: Mapping[str, str] = MappingProxyType(
    {
        "steps": "fine-tuning goes by --epochs",
        "augment": _AS_THEY_ARE,
        "copies": _AS_THEY_ARE,
        "speech": "the embedding is not trained anew",
        "openset": _NO_STRANGERS,
        "crossval": _NO_STRANGERS,
        "resume": _NOTHING_KEPT,
        "keep_run": _NOTHING_KEPT,
    }
)


def check_options(context: typer.Context) -> None:
    """See that ``train`` was given nothing that does not go with ``--from``.

    Raises:
        UsageError: naming the first that does not.
    """
    values = context.params
    given = [name for name in values if _given(context, name)]
    for name in given:
        if name in _UNUSED:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} does not go with --from: {_UNUSED[name]}")
    wrong = {
        "preset": (TRANSFER,),
        "precision": ("32",),
        "accelerator": ("auto", "cpu"),
    }
    for name, possible in wrong.items():
        if name in given and values[name] not in possible:
            raise UsageError(
                f"--{name} {values[name]} does not go with --from: only {' or '.join(possible)} "
                f"{'does' if len(possible) == 1 else 'do'}"
            )


def given_profile(context: typer.Context) -> str | None:
    """The profile that was asked for; ``None`` without the option."""
    return str(context.params["profile"]) if _given(context, "profile") else None


def fine_tune_model(
    source: Path,
    freeze: str,
    profile: str | None,
    corpus: Path,
    output: Path,
    split_by: str,
    config: TrainingConfig,
) -> None:
    """Fine-tune a model file to the devices of a corpus, and write the result.

    Args:
        source: model file to start from.
        freeze: what stays of it.
        profile: that it must have; ``None`` for any.
        corpus: of the new devices.
        output: model file to write.
        split_by: ``clip``, ``group`` or ``none``.
        config: of the training.

    Raises:
        UsageError: an unknown ``freeze``, or a model of another profile.
        ModelError: a file that cannot be trained on from.
        CorpusError: a corpus that cannot be used.
    """
    from agent.commands import train_options as options
    from agent.commands.model_writing import model_metadata, write_checked
    from agent.commands.prepared_corpus import prepare
    from export.trainable_model import open_trainable
    from model.fine_tuning import fine_tune, fine_tuning_windows, learning_parameters
    from model.training_data import label_clips, training_clips

    kept = one_of("part to freeze", freeze, FREEZES)
    model = open_trainable(source)
    trained = model.network.config.profile
    if profile not in (None, trained):
        raise UsageError(f"--profile {profile}: {source} is of the profile {trained}")
    console = progress_console()
    data = prepare(corpus, model.metadata.front_end, split_by, config.seed, console)
    devices = data.corpus.devices
    clips = training_clips(data.split.train, data.features, devices)
    validation = label_clips(data.split.validation, data.features, devices)
    done: list[Epoch] = []
    network = fine_tune(
        model.network,
        *fine_tuning_windows(clips, config.seed),
        len(devices),
        kept,
        config,
        fine_tuning_windows(validation, config.seed) if validation else None,
        track=options.progress(console, "fine-tuning"),
        on_epoch=done.append,
    )
    if len(done) < config.epochs:
        console.print(f"stopped early after {len(done)} of {config.epochs} epochs")
    learnt = sum(parameter.numel() for parameter in learning_parameters(network, kept))
    console.print(
        f"{len(done)} epochs on {learnt} parameters of {source.name}'s network: {_outcome(done)}",
        markup=False,
    )
    metadata = model_metadata(network, model.metadata.front_end, data, config, len(done), console)
    origin = {
        "file": source.name,
        "sha256": model.sha256,
        "labels": list(model.metadata.labels),
        "freeze": kept,
    }
    metadata = replace(metadata, provenance={**metadata.provenance, "fine-tuned from": origin})
    written = write_checked(network, metadata, output, data)
    if model.metadata.open_set is not None:
        console.print(
            "the new model knows no strangers and takes no gallery, unlike the one it comes from: "
            "for these, enrol the devices with that one (`devrec-agent enroll`), or train from "
            "scratch with --openset"
        )
    console.print(written, markup=False)


def _outcome(epochs: Sequence[Epoch]) -> str:
    """Which weights there are now, and how good they are."""
    kept = next((epoch for epoch in reversed(epochs) if epoch.best), None)
    if kept is None:
        return f"loss {epochs[-1].loss:.4f}"
    return f"epoch {kept.number} was kept, validation loss {kept.validation_loss:.4f}"


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
