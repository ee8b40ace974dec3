"""From an engine's file to an engine that runs."""

from __future__ import annotations

from pathlib import Path

from export.engine import Engine
from export.sidecar import PLAN_SUFFIX


def load_engine(path: Path, threads: int = 1, *, trusted: bool = False) -> Engine:
    """Load an engine from its file.

    Args:
        path: an ``.onnx`` model file (ONNX Runtime) or a ``.plan`` with its sidecar (TensorRT).
        threads: threads per call, on a CPU.
        trusted: a plan of this program's own making; see :mod:`export.tensorrt_engine`.

    Raises:
        ModelError: missing, foreign or damaged file.
        EngineError: a plan that cannot run on this machine.
        MissingDependencyError: TensorRT is not installed.
    """
    # Each runtime is imported where it is used: they take 0.1 s and more.
    if path.suffix == PLAN_SUFFIX:
        from export.tensorrt_engine import TensorRTEngine

        return TensorRTEngine(path, trusted=trusted)
    from export.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(path, threads=threads)
