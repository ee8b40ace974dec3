"""Which engine runs a model on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast, get_args

from export.engine import Engine, read_model
from export.engine_cache import building, cached_plan, cached_plans_of
from export.engine_loading import load_engine
from export.precision import Precision
from export.sidecar import PLAN_SUFFIX, Sidecar, sha256_of
from export.tensorrt_api import TensorRT
from model.checked_values import one_of
from model.errors import (
    DevrecError,
    MissingDependencyError,
    ModelError,
    StalePlanError,
    UsageError,
)

EngineChoice = Literal["auto", "onnx", "tensorrt"]
ENGINE_CHOICES: tuple[EngineChoice, ...] = get_args(EngineChoice)

Say = Callable[[str], None]  #: tells the user one line


def check_choice(choice: str) -> None:
    """See that an engine of that name can be asked for.

    Raises:
        UsageError: there is none.
    """
    one_of("engine", choice, ENGINE_CHOICES)


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
    check_choice(choice)
    if path.suffix == PLAN_SUFFIX:
        if choice == "onnx":
            raise UsageError(f"{path}: a plan runs in TensorRT alone")
        return load_engine(path)
    if choice == "onnx":
        return load_engine(path, threads)
    sha256 = sha256_of(read_model(path))
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
    from export.tensorrt_build import BuildOptions

    gpu = CudaRuntime().gpu
    old = _newest(stored)
    tensorrt = _installed(old)
    precision = cast(Precision, old.precision) if old else "fp32"
    plan = cached_plan(sha256, tensorrt, gpu, precision)
    found = _load(plan)
    if not isinstance(found, str):
        return found
    if found:
        say(f"{found}; building it again")
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
    with building(plan):
        found = _load(plan)  # another process may have built it while this one waited
        if isinstance(found, str):
            ranges = old.ranges or None if old else None
            flavour = tensorrt.flavour
            export_tensorrt(Source(path), plan, precision, options, flavour=flavour, ranges=ranges)
            return load_engine(plan, trusted=True)
        return found


def _load(plan: Path) -> Engine | str:
    """The engine of a cached plan; or why it has to be built, empty where there is none."""
    if not plan.is_file():
        return ""
    try:
        return load_engine(plan, trusted=True)
    except (ModelError, StalePlanError) as error:
        return str(error)


def _installed(old: Sidecar | None) -> TensorRT:
    """The TensorRT to use: of the stored plan's flavour, where that is still installed."""
    from export.tensorrt_api import load_tensorrt

    if old is not None and old.flavour == "tensorrt-rtx":
        try:
            return load_tensorrt("tensorrt-rtx")
        except MissingDependencyError:
            pass
    return load_tensorrt()


def _newest(stored: list[Path]) -> Sidecar | None:
    """The newest plan's description that can be read."""
    for plan in stored:
        try:
            return Sidecar.read(plan)
        except ModelError:
            continue
    return None
