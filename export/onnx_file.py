"""torch -> ONNX: writing a trained network as one model file, checked against the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from export.graph import build_model
from export.onnxruntime_engine import OnnxRuntimeEngine
from model.errors import ModelError
from model.features import FloatArray
from model.files import replacing
from model.metadata import ModelMetadata
from model.network import DeviceNetwork

#: Largest difference allowed between the file under ONNX Runtime and the torch network, as a share
#: of the largest logit; both compute in float32 but in another order.
PARITY_TOLERANCE = 1e-3


def write_model(
    network: DeviceNetwork, metadata: ModelMetadata, path: Path, windows: FloatArray
) -> float:
    """Write the model file and prove that it computes the same as the network.

    Args:
        network: trained network.
        metadata: travels in the file.
        path: where to; replaced only when the new file has passed.
        windows: float32 ``(n, 128, 73)``, raw features to compare on.

    Returns:
        the largest relative difference of logits and embedding.

    Raises:
        ModelError: the difference exceeds :data:`PARITY_TOLERANCE`; no file is left.
    """
    model = build_model(network, metadata)
    network.eval()
    with torch.no_grad():
        logits, embedding = (part.numpy() for part in network(torch.from_numpy(np.array(windows))))
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
        scores = OnnxRuntimeEngine(temporary).run(windows)
        difference = max(
            float(np.abs(scores.logits - logits).max() / max(1.0, np.abs(logits).max())),
            float(np.abs(scores.embedding - embedding).max() / max(1.0, np.abs(embedding).max())),
        )
        if not difference <= PARITY_TOLERANCE:
            raise ModelError(
                f"{path}: the exported graph differs from the network by {difference:.2g}; "
                "not written"
            )
    return difference
