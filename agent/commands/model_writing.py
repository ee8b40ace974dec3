"""From a trained network to its file: evaluated on what was held out, with where it comes from."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agent import __version__
from export.onnx_file import write_model
from model.crossval import network_scorer
from model.evaluation import evaluate
from model.features import WINDOW_FRAMES, FrontEndConfig
from model.metadata import ModelMetadata
from model.training_data import fixed_windows, label_clips

if TYPE_CHECKING:
    from rich.console import Console

    from agent.commands.prepared_corpus import PreparedCorpus
    from model.network import DeviceNetwork
    from model.training_config import TrainingConfig


def model_metadata(
    network: DeviceNetwork,
    front_end: FrontEndConfig,
    data: PreparedCorpus,
    config: TrainingConfig,
    epochs: int,
    console: Console,
) -> ModelMetadata:
    """Evaluate on the test clips, if any are held out, and collect the provenance.

    Args:
        network: trained on all devices of the corpus, in their order.
        front_end: of its features.
        data: what it was trained on.
        config: of the training.
        epochs: passes done.
        console: is told the figures.
    """
    corpus, split = data.corpus, data.split
    metrics: dict[str, Any] = {"held out": "nothing"}
    if split.test:
        result = evaluate(
            network_scorer(network),
            [(clip, data.features[clip]) for clip in split.test],
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
    return ModelMetadata(
        labels=corpus.devices,
        front_end=front_end,
        network=network.config.to_dict(),
        provenance={
            "version": __version__,
            "torch": torch.__version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "corpus": corpus.name,
            "corpus sha256": data.fingerprint,
            "clips": len(corpus.clips),
            "split": split.name,
            "epochs": epochs,
            "training": config.to_dict(),
            "metrics": metrics,
        },
    )


def write_checked(
    network: DeviceNetwork, metadata: ModelMetadata, path: Path, data: PreparedCorpus
) -> str:
    """Write the model file, compared with the network on clips that were held out, if any were.

    Returns:
        what to tell the user.

    Raises:
        ModelError: the file differs from the network; it is not written.
    """
    clips = data.split.test or data.split.train
    labelled = label_clips(clips, data.features, data.corpus.devices)
    windows, _ = fixed_windows(labelled[:4], hop_frames=64)
    difference = write_model(network, metadata, path, windows.numpy()[:32])
    size = path.stat().st_size / 1e6
    return f"wrote {path} ({size:.1f} MB; differs from the network by at most {difference:.1g})"
