"""What every engine offers: windows in, logits and embeddings out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from model.errors import ModelError
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
        properties: the metadata of the model file as it stands there.
        description: runtime and device in words, for reports.
        precision: ``fp32``, ``fp16`` or ``int8``.
    """

    metadata: ModelMetadata
    properties: dict[str, str]
    precision: str

    @property
    def description(self) -> str: ...

    def run(self, windows: FloatArray) -> Scores:
        """Score windows.

        Args:
            windows: float32 ``(n, 128, 73)``, raw front-end features; ``n`` may be 0.

        Raises:
            ValueError: another shape.
        """
        ...


def check_windows(windows: FloatArray, window_shape: tuple[int, int]) -> None:
    """What every engine asks of its windows.

    Raises:
        ValueError: they are not ``(n, *window_shape)``.
    """
    if windows.ndim != 3 or windows.shape[1:] != window_shape:
        raise ValueError(f"windows must be (n, {window_shape}), got {windows.shape}")


def read_model(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelError: missing or unreadable.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
