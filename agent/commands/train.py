"""``devrec-agent train``: a corpus in, a model file out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent import __version__
from agent.commands import train_options as options
from agent.commands.common import progress_console, reports_errors

if TYPE_CHECKING:
    from rich.console import Console

    from model.corpus import Clip, Corpus
    from model.features import FloatArray
    from model.metadata import ModelMetadata
    from model.network_config import Profile
    from model.open_set import OpenSet
    from model.split import Split
    from model.training import Trained


@reports_errors
def train(
    corpus: options.CorpusArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Model file to write (.onnx).")
    ] = Path("model.onnx"),
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

    Checkpoints go to <output>.run until the model is written; --resume goes on from there.
    """
    from export.onnx_file import write_model
    from model.corpus import speech_corpus
    from model.domain_training import fit_other_domains
    from model.errors import DevrecError, UsageError
    from model.network_config import NetworkConfig, front_end_for
    from model.simulated_domains import speech_parts
    from model.training import train as run_training
    from model.training_data import fixed_windows, label_clips

    if output.suffix != ".onnx":
        raise UsageError(f"{output}: a model file ends in .onnx")
    if not output.parent.is_dir():
        raise DevrecError(f"{output}: the folder does not exist")
    if split_by not in ("clip", "group", "none"):
        raise UsageError(f"unknown split {split_by}; there are: clip, group, none")
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
    loaded = options.load(corpus, front_end, console)
    data, features = loaded.corpus, loaded.features
    split = _split(data, split_by, seed)
    console.print(
        f"{data.name}: {len(data.devices)} devices, {len(split.train)} clips to train on, "
        f"{len(split.validation)} to validate, {len(split.test)} to test ({split.name})",
        markup=False,
    )
    fingerprint = data.content_hash()
    reports = _reports(openset, crossval, fingerprint, kind)
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
        fingerprint=fingerprint,
        accelerator=accelerator,
        console=console,
    )
    if not trained.main_process:
        return
    if trained.stopped_early:
        console.print(f"stopped early after {trained.epochs} of {config.epochs} epochs")
    metadata = _metadata(trained, data, split, features, config.to_dict(), fingerprint, console)
    if reports is not None:
        other = None
        if domains is not None:
            other = fit_other_domains(trained.network, *domains)
        open_set = _open_set(trained, split, features, *reports)
        metadata = replace(metadata, open_set=replace(open_set, other_domains=other))
    test_windows, _ = fixed_windows(
        label_clips(split.test or split.train, features, data.devices)[:4], hop_frames=64
    )
    difference = write_model(trained.network, metadata, output, test_windows.numpy()[:32])
    if not keep_run:
        shutil.rmtree(run_dir)
    size = output.stat().st_size / 1e6
    console.print(
        f"wrote {output} ({size:.1f} MB; differs from the network by at most {difference:.1g})",
        markup=False,
    )


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
    features: dict[Clip, FloatArray],
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


def _split(corpus: Corpus, split_by: str, seed: int) -> Split:
    from model.split import all_for_training, declared_split, share_split

    if split_by == "none":
        return all_for_training(corpus)
    declared = declared_split(corpus)
    if declared is not None:
        return declared
    return share_split(corpus, "group" if split_by == "group" else "clip", seed=seed)


def _metadata(
    trained: Trained,
    corpus: Corpus,
    split: Split,
    features: dict[Clip, FloatArray],
    training: dict[str, Any],
    fingerprint: str,
    console: Console,
) -> ModelMetadata:
    """Evaluate on the test clips, if any are held out, and collect the provenance."""
    from datetime import datetime, timezone

    import torch

    from model.crossval import network_scorer
    from model.evaluation import evaluate
    from model.features import WINDOW_FRAMES
    from model.metadata import ModelMetadata
    from model.network_config import front_end_for

    metrics: dict[str, Any] = {"held out": "nothing"}
    if split.test:
        result = evaluate(
            network_scorer(trained.network),
            [(clip, features[clip]) for clip in split.test],
            corpus.devices,
            WINDOW_FRAMES,
        )
        metrics = {
            "test clips": result.clips.count,
            "test clip accuracy": result.clips.accuracy,
            "test windows": result.windows.count,
            "test window accuracy": result.windows.accuracy,
        }
        console.print(
            f"test: {100 * result.windows.accuracy:.2f} % of {result.windows.count} windows, "
            f"{result.clips.correct} of {result.clips.count} clips"
        )
    network = trained.network.config
    return ModelMetadata(
        labels=trained.labels,
        front_end=front_end_for(network.profile),
        network=network.to_dict(),
        provenance={
            "version": __version__,
            "torch": torch.__version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "corpus": corpus.name,
            "corpus sha256": fingerprint,
            "clips": len(corpus.clips),
            "split": split.name,
            "epochs": trained.epochs,
            "training": training,
            "metrics": metrics,
        },
    )
