"""``devrec-agent train``: a corpus in, a model file out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands import train_options as options
from agent.commands.common import progress_console, reports_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.corpus import Clip
    from model.features import FloatArray
    from model.network_config import Profile
    from model.open_set import OpenSet
    from model.split import Split
    from model.training import Trained


@reports_errors
def train(
    context: typer.Context,
    corpus: options.CorpusArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Model file to write (.onnx).")
    ] = Path("model.onnx"),
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Fine-tune this model (.onnx) to the devices of the corpus, instead of training "
            "from scratch.",
            show_default=False,
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze",
            help="With --from, what stays of the model: trunk (all but MLP and softmax; without "
            "the option) or mlp (all but the softmax).",
            show_default=False,
        ),
    ] = None,
    profile: options.ProfileOption = "statistics",
    preset: options.PresetOption = "robust",
    split_by: Annotated[
        str,
        typer.Option(
            "--split-by",
            help="clip: 64/16/20 of each device's clips; group: whole groups (content, session); "
            "none: train on everything, hold nothing out. A split column in the manifest wins.",
        ),
    ] = "clip",
    steps: options.StepsOption = None,
    epochs: options.EpochsOption = None,
    batch: options.BatchOption = None,
    learning_rate: options.RateOption = None,
    patience: options.PatienceOption = None,
    augment: options.AugmentOption = None,
    copies: options.CopiesOption = None,
    speech: options.SpeechOption = None,
    seed: options.SeedOption = 0,
    precision: options.PrecisionOption = "32",
    accelerator: options.AcceleratorOption = "auto",
    openset: Annotated[
        Path | None,
        typer.Option(
            "--openset",
            help="Report of `devrec-agent openset` on this corpus: the model then knows strangers, "
            "galleries and likelihood ratios.",
            show_default=False,
        ),
    ] = None,
    crossval: Annotated[
        Path | None,
        typer.Option(
            "--crossval",
            help="Report of `devrec-agent crossval` on this corpus, for honest probabilities.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a killed run of the same command was.")
    ] = False,
    keep_run: Annotated[
        bool, typer.Option("--keep-run", help="Keep the folder of checkpoints beside the model.")
    ] = False,
) -> None:
    """Train a model on labelled recordings and write it as one .onnx file.

    Checkpoints go to OUTPUT.run until the model is written; --resume goes on from there.

    With --from, an existing model is fine-tuned instead, by the preset transfer: of its network
    only MLP and softmax learn, or the softmax alone, in --epochs whatever the profile.
    """
    from agent.commands.fine_tune import check_options, fine_tune_model, given_profile
    from agent.commands.model_writing import model_metadata, write_checked
    from agent.commands.prepared_corpus import prepare
    from model.accelerator import check_accelerator
    from model.checked_values import one_of
    from model.corpus import speech_corpus
    from model.domain_training import fit_other_domains
    from model.errors import DevrecError, UsageError
    from model.network_config import NetworkConfig, front_end_for
    from model.simulated_domains import speech_parts
    from model.training import train as run_training
    from model.training_config import TRANSFER
    from model.training_config import preset as training_preset

    if output.suffix != ".onnx":
        raise UsageError(f"{output}: a model file ends in .onnx")
    if not output.parent.is_dir():
        raise DevrecError(f"{output}: the folder does not exist")
    one_of("split", split_by, ("clip", "group", "none"))
    if source is not None:
        check_options(context)
        transfer = training_preset(TRANSFER).with_changes(
            epochs=epochs, batch=batch, learning_rate=learning_rate, patience=patience, seed=seed
        )
        asked = given_profile(context)
        fine_tune_model(source, freeze or "trunk", asked, corpus, output, split_by, transfer)
        return
    if freeze is not None:
        raise UsageError("--freeze goes with --from")
    check_accelerator(accelerator)
    kind = options.check_profile(profile)
    config = options.training_config(
        preset,
        profile=kind,
        steps=steps,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        augment=augment,
        copies=copies,
        precision=precision,
    )
    console = progress_console()
    front_end = front_end_for(kind)
    prepared = prepare(corpus, front_end, split_by, seed, console)
    data, features, split = prepared.corpus, prepared.features, prepared.split
    reports = _reports(openset, crossval, prepared.fingerprint, kind)
    run_dir = output.with_name(output.name + ".run")
    domains = None
    if speech is not None and reports is not None:
        parts = speech_parts(speech_corpus(speech), 2)
        domains = options.make_domains(parts, front_end, config, run_dir, console)
    trained = run_training(
        split,
        features,
        NetworkConfig.for_profile(kind, len(data.devices), front_end),
        front_end,
        config,
        run_dir,
        labels=data.devices,
        copies=options.make_copies(data, front_end, config, run_dir / "copies", console),
        speech=options.make_speech(speech, front_end, config, run_dir / "speech", console),
        resume=resume,
        fingerprint=prepared.fingerprint,
        accelerator=accelerator,
        console=console,
    )
    if not trained.main_process:
        return
    if trained.stopped_early:
        console.print(f"stopped early after {trained.epochs} of {config.epochs} epochs")
    metadata = model_metadata(trained.network, front_end, prepared, config, trained.epochs, console)
    if reports is not None:
        other = None
        if domains is not None:
            other = fit_other_domains(trained.network, *domains)
        open_set = _open_set(trained, split, features, *reports)
        metadata = replace(metadata, open_set=replace(open_set, other_domains=other))
    written = write_checked(trained.network, metadata, output, prepared)
    if not keep_run:
        shutil.rmtree(run_dir)
    console.print(written, markup=False)


Reports = tuple["dict[str, Any]", "dict[str, Any] | None"]


def _reports(
    openset: Path | None, crossval: Path | None, fingerprint: str, profile: Profile
) -> Reports | None:
    """The reports given, read before minutes of training; ``None`` for none."""
    from model.errors import UsageError
    from model.open_set_fitting import read_report

    if openset is None:
        if crossval is not None:
            raise UsageError("--crossval goes with --openset")
        return None
    if profile != "statistics":
        raise UsageError("--openset is of the embedding of the statistics profile")
    measured = read_report(openset, "openset", fingerprint)
    folds = read_report(crossval, "crossval", fingerprint) if crossval is not None else None
    return measured, folds


def _open_set(
    trained: Trained,
    split: Split,
    features: Mapping[Clip, FloatArray],
    openset: dict[str, Any],
    crossval: dict[str, Any] | None,
) -> OpenSet:
    """Prototypes of the training clips, with what the reports measured."""
    import numpy as np

    from model.feature_copies import plain_copies
    from model.features import WINDOW_FRAMES
    from model.open_set_fitting import open_set_from
    from model.open_set_trials import clip_embeddings

    clips = [clip for clip in split.train if len(features[clip]) >= WINDOW_FRAMES]
    plain = plain_copies({clip: features[clip] for clip in clips})
    embeddings = clip_embeddings(trained.network, clips, plain, 0)
    owner = np.array([clip.device for clip in clips])
    prototypes = np.stack([embeddings[owner == label].mean(axis=0) for label in trained.labels])
    first_mel = 3 * trained.network.config.n_static
    spectra = np.stack(
        [
            np.concatenate([features[c][:, first_mel:] for c in clips if c.device == label])
            .astype(np.float64)
            .mean(axis=0)
            for label in trained.labels
        ]
    )
    return open_set_from(prototypes, spectra, openset, crossval)
