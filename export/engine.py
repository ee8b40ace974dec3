"""What every engine offers: windows in, logits and embeddings out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from model.features import FloatArray
from model.metadata import ModelMetadata

#: Names of the model file's input and outputs.
INPUT, LOGITS, EMBEDDING = "features", "logits", "embedding"


class Scores(NamedTuple):
    """Result of one engine call.

    Attributes:
        logits: float32 ``(n, devices)``; softmax gives the posterior under equal priors.
        embedding: float32 ``(n, 128)``.
    """

    logits: FloatArray
    embedding: FloatArray


class Engine(Protocol):
    """A compiled model, ready to run.

    Attributes:
        metadata: labels, front end and provenance of the model.
        description: runtime and device in words, for reports.
    """

    metadata: ModelMetadata
    description: str

    def run(self, windows: FloatArray) -> Scores:
        """Score windows.

        Args:
            windows: float32 ``(n, 128, 73)``, raw front-end features; ``n`` may be 0.

        Raises:
            ValueError: another shape.
        """
        ...


def load_engine(path: Path, threads: int = 1) -> Engine:
    """Load a model file into the engine of this machine.

    Args:
        path: an ``.onnx`` model file.
        threads: threads per call.

    Raises:
        ModelError: missing, foreign or damaged file.
    """
    from export.onnxruntime_engine import OnnxRuntimeEngine  # onnxruntime takes 0.1 s to import

    return OnnxRuntimeEngine(path, threads=threads)
