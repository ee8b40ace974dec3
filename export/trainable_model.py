"""A model file as the start of a training: its network in torch, checked against the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from export.engine import read_model
from export.onnx_file import torch_scores
from export.onnxruntime_engine import OnnxRuntimeEngine
from export.parity import BOUNDS, difference, random_windows
from export.rebuild import rebuild_network
from export.sidecar import PLAN_SUFFIX, sha256_of
from model.errors import ModelError
from model.metadata import ModelMetadata
from model.network import DeviceNetwork

_CHECKED_WINDOWS = 8


@dataclass(frozen=True)
class TrainableModel:
    """What a training goes on from.

    Attributes:
        network: in evaluation mode.
        metadata: of the file.
        sha256: hex, of the file.
    """

    network: DeviceNetwork
    metadata: ModelMetadata
    sha256: str


def open_trainable(path: Path) -> TrainableModel:
    """Rebuild the network of a model file.

    Raises:
        ModelError: missing, foreign or damaged; an engine, or in another precision than float32; of
            another version; or the network does not compute what the file does.
    """
    if path.suffix == PLAN_SUFFIX:
        raise ModelError(f"{path}: an engine; train from the .onnx model that it was made of")
    engine = OnnxRuntimeEngine(path)
    if engine.precision != "fp32":
        raise ModelError(f"{path}: is in {engine.precision}; train from the float32 original")
    data = read_model(path)
    network = rebuild_network(onnx.load_from_string(data), str(path))
    windows = random_windows(
        network.input_norm.mean.numpy(),
        (1.0 / network.input_norm.scale).numpy(),
        engine.metadata.window_frames,
        _CHECKED_WINDOWS,
        seed=0,
    )
    found = difference(engine.run(windows), torch_scores(network, windows))
    if not found.within(BOUNDS["fp32"]):
        raise ModelError(
            f"{path}: the network that its weights make differs from it by "
            f"{max(found.logits, found.embedding):.2g}"
        )
    return TrainableModel(network, engine.metadata, sha256_of(data))
