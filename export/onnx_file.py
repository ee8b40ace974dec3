"""torch -> ONNX: writing a trained network as one model file, checked against the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from export.engine import Scores
from export.graph import build_model
from export.onnxruntime_engine import OnnxRuntimeEngine
from export.parity import BOUNDS, RECORD_KEY, ParityRecord, difference
from model.errors import ModelError
from model.features import FloatArray
from model.files import replacing
from model.metadata import ModelMetadata
from model.network import DeviceNetwork

_BATCH = 32


def torch_scores(network: DeviceNetwork, windows: FloatArray) -> Scores:
    """What PyTorch answers.

    Args:
        network: the network, put into evaluation mode.
        windows: float32 ``(n, 128, 73)``.
    """
    network.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(windows), _BATCH):
            batch = torch.from_numpy(np.array(windows[start : start + _BATCH], np.float32))
            parts.append([part.numpy() for part in network(batch)])
    return Scores(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def write_model(
    network: DeviceNetwork, metadata: ModelMetadata, path: Path, windows: FloatArray
) -> float:
    """Write the model file and prove that it computes the same as the network.

    The file also gets PyTorch's answers on random windows, for the engines to come.

    Args:
        network: trained network.
        metadata: travels in the file.
        path: where to; replaced only when the new file has passed.
        windows: float32 ``(n, 128, 73)``, real windows to compare on; random ones come on top.

    Returns:
        the largest relative difference of logits and embedding.

    Raises:
        ModelError: the difference exceeds the bounds of float32; no file is left.
    """
    record = ParityRecord.make(
        network.input_norm.mean.cpu().numpy(),
        (1.0 / network.input_norm.scale).cpu().numpy(),
        lambda drawn: torch_scores(network, drawn),
        metadata.window_frames,
    )
    model = build_model(network, metadata)
    onnx.helper.set_model_props(
        model, {**metadata.to_properties(), RECORD_KEY: record.to_property()}
    )
    largest = 0.0
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
        engine = OnnxRuntimeEngine(temporary)
        for reference, batch in (
            (torch_scores(network, windows), windows),
            (record.scores, record.windows()),
        ):
            found = difference(reference, engine.run(batch))
            if not found.within(BOUNDS["fp32"]):
                raise ModelError(
                    f"{path}: the exported graph differs from the network by "
                    f"{max(found.logits, found.embedding):.2g}; not written"
                )
            largest = max(largest, found.logits, found.embedding)
    return largest
