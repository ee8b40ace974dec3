"""Which engine runs a model on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast, get_args

from export.engine import Engine, load_engine
from export.engine_cache import cached_plan, cached_plans_of
from export.precision import PRECISIONS, Precision
from export.sidecar import PLAN_SUFFIX, Sidecar, sha256_of
from model.errors import DevrecError, ModelError, UsageError

EngineChoice = Literal["auto", "onnx", "tensorrt"]
ENGINE_CHOICES: tuple[EngineChoice, ...] = get_args(EngineChoice)

Say = Callable[[str], None]  #: tells the user one line


def choose_engine(path: Path, choice: str, threads: int, say: Say) -> Engine:
    """Load a model into the engine that was asked for.

    Args:
        path: an ``.onnx`` model, or a ``.plan``, which names its engine itself.
        choice: ``onnx``; ``tensorrt``, built now if need be; or ``auto``: TensorRT when the cache
            holds a plan of this model (built again when it is for another TensorRT or GPU), else
            ONNX Runtime. What ``auto`` could not use is said.
        threads: threads per call, on a CPU.
        say: receives such lines.

    Raises:
        UsageError: an unknown choice, or one that does not fit the file.
        ModelError: missing, foreign or damaged file.
        EngineError: ``tensorrt`` cannot run or be built here.
        MissingDependencyError: likewise.
    """
    if choice not in ENGINE_CHOICES:
        raise UsageError(f"unknown engine {choice}; there are: {', '.join(ENGINE_CHOICES)}")
    if path.suffix == PLAN_SUFFIX:
        if choice == "onnx":
            raise UsageError(f"{path}: a plan runs in TensorRT alone")
        return load_engine(path)
    if choice == "onnx":
        return load_engine(path, threads)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    sha256 = sha256_of(path.read_bytes())
    stored = cached_plans_of(sha256)
    if choice == "tensorrt":
        return _tensorrt(path, sha256, stored, say)
    if stored:
        try:
            return _tensorrt(path, sha256, stored, say)
        except (DevrecError, ModuleNotFoundError) as error:
            say(f"TensorRT is not used: {error}; running on ONNX Runtime")
    return load_engine(path, threads)


def _tensorrt(path: Path, sha256: str, stored: list[Path], say: Say) -> Engine:
    """The plan of this model for this machine: from the cache, or built into it."""
    from export.cuda_runtime import CudaRuntime
    from export.exporting import export_tensorrt
    from export.source_model import Source
    from export.tensorrt_api import load_tensorrt
    from export.tensorrt_build import BuildOptions

    gpu = CudaRuntime().gpu
    tensorrt = load_tensorrt()
    old = _newest(stored)
    precision = cast(Precision, old.precision) if old else "fp32"
    plan = cached_plan(sha256, tensorrt, gpu, precision)
    if plan.is_file():
        try:
            return load_engine(plan, trusted=True)
        except DevrecError as error:
            say(f"{error}; building it again")
    elif old is not None:
        say(
            f"the stored plan is for {old.flavour} {old.tensorrt} on {old.gpu}; "
            f"building one for {tensorrt.name} on {gpu.name}"
        )
    else:
        say(f"building a plan for {tensorrt.name} on {gpu.name}")
    options = BuildOptions()
    if old is not None:
        options = BuildOptions(
            old.batch, old.workspace_mib, old.hardware_compatible, old.version_compatible
        )
    source = Source(path)
    report = export_tensorrt(
        source, None, precision, options, ranges=old.ranges or None if old else None
    )
    return load_engine(report.path, trusted=True)


def _newest(stored: list[Path]) -> Sidecar | None:
    """The newest plan's description that can be read."""
    for plan in stored:
        try:
            sidecar = Sidecar.read(plan)
        except ModelError:
            continue
        if sidecar.precision in PRECISIONS:
            return sidecar
    return None
