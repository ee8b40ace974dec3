"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from export.engine import EMBEDDING, INPUT, LOGITS, Scores, check_windows, read_model
from export.precision import PRECISIONS
from model.errors import ModelError
from model.features import FloatArray
from model.metadata import ModelMetadata

#: Windows per call of the runtime: more are no faster a window, and take memory.
LARGEST_BATCH = 8


def cpu_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU, quiet on stderr: its failures come back as exceptions.

    Args:
        model: serialised ONNX model.
        threads: per call; 0 for all cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRuntimeEngine:
    """A model file run by ONNX Runtime's CPU provider.

    Args:
        path: the ``.onnx`` file.
        threads: intra-op threads.

    Raises:
        ModelError: missing, not ONNX, not a devrec-agent model, or inconsistent with itself.

    Attributes:
        properties: the file's metadata as it stands there.
        precision: ``fp32``, ``fp16`` or ``int8``.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        model = read_model(path)
        try:
            self._session = cpu_session(model, threads)
        except Exception as error:  # onnxruntime raises a class of its own per failure kind
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{path}: not a loadable ONNX file ({reason})") from error
        self.properties = dict(self._session.get_modelmeta().custom_metadata_map)
        self.metadata = ModelMetadata.from_properties(self.properties, str(path))
        self.precision = str(self.metadata.provenance.get("precision", "fp32"))
        if self.precision not in PRECISIONS:
            raise ModelError(f"{path}: unknown precision {self.precision}")
        self._check_shapes(str(path))
        self._runtime = f"ONNX Runtime {onnxruntime.__version__}, CPU"
        self._threads = threads

    @property
    def description(self) -> str:
        """Runtime and precision in words."""
        return f"{self._runtime}, {self.precision}, {self._threads} thread(s)"

    def _check_shapes(self, source: str) -> None:
        """The graph must be what its metadata says, before the first window arrives."""
        shapes = {
            node.name: list(node.shape)
            for node in (*self._session.get_inputs(), *self._session.get_outputs())
        }
        metadata = self.metadata
        self.window_shape = metadata.window_shape
        expected = {
            INPUT: list(self.window_shape),
            LOGITS: [len(metadata.labels)],
            EMBEDDING: None,
        }
        for name, tail in expected.items():
            if name not in shapes:
                raise ModelError(f"{source}: the graph has no {name}")
            if tail is not None and shapes[name][1:] != tail:
                raise ModelError(
                    f"{source}: {name} has shape {shapes[name]}, its metadata says (n, {tail})"
                )
        self._embedding_dim = int(shapes[EMBEDDING][1])
        open_set = metadata.open_set
        if open_set is not None and open_set.prototypes.shape[1] != self._embedding_dim:
            raise ModelError(f"{source}: damaged open-set data: of another embedding")

    def run(self, windows: FloatArray) -> Scores:
        """Score windows; see :class:`export.engine.Engine`."""
        check_windows(windows, self.window_shape)
        logits = np.empty((len(windows), len(self.metadata.labels)), np.float32)
        embedding = np.empty((len(windows), self._embedding_dim), np.float32)
        for start in range(0, len(windows), LARGEST_BATCH):
            part = slice(start, start + LARGEST_BATCH)
            batch = np.ascontiguousarray(windows[part], dtype=np.float32)
            logits[part], embedding[part] = self._session.run([LOGITS, EMBEDDING], {INPUT: batch})
        return Scores(logits, embedding)
