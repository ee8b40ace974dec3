"""What the doctor finds about engines, the GPU and the model."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import export  # noqa: F401 - before ONNX Runtime: it keeps that from reporting its use
from agent.doctor.child import Answer, ProbeFailed
from agent.doctor.finding import Finding
from model.errors import DevrecError, MissingDependencyError

if TYPE_CHECKING:
    from export.engine import Engine

_TIMED_CALLS = 5
_NVIDIA_VERSION = Path("/proc/driver/nvidia/version")
_JETSON_DRIVER = Path("/sys/module/nvgpu")


def onnxruntime(request: Answer) -> Answer:
    """Version and providers of ONNX Runtime; for :mod:`agent.doctor.child`."""
    import onnxruntime as runtime

    return {"version": runtime.__version__, "providers": runtime.get_available_providers()}


def tensorrt(request: Answer) -> Answer:
    """Name and version of TensorRT, ``None`` where there is none; for
    :mod:`agent.doctor.child`.

    Raises:
        EngineError: too old.
        MissingDependencyError: installed, but it does not load.
    """
    from importlib.util import find_spec

    from export.tensorrt_api import load_tensorrt

    try:
        return {"name": load_tensorrt().name}
    except MissingDependencyError:
        if any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")):
            raise
        return {"name": None}


def gpu(request: Answer) -> Answer:
    """The NVIDIA driver and the GPU behind it; for :mod:`agent.doctor.child`."""
    from export.cuda_runtime import CudaRuntime

    answer: Answer = {"driver": _driver(), "gpu": None, "reason": ""}
    try:
        found = CudaRuntime().gpu
    except DevrecError as error:
        answer["reason"] = str(error)
    else:
        answer["gpu"] = f"{found.name}, compute capability {found.compute_capability}"
    return answer


def model(request: Answer) -> Answer:
    """Load the model as the agent would and score a window; for :mod:`agent.doctor.child`.

    Nothing is built: a plan takes minutes.

    Args:
        request: ``path``, ``engine`` and ``threads``.

    Raises:
        DevrecError: it cannot be used.
    """
    import numpy as np

    from export.engine import read_model
    from export.sidecar import sha256_of

    path = Path(request["path"])
    sha256 = sha256_of(read_model(path))
    engine, note = _engine_of(path, sha256, request["engine"], request["threads"])
    noise = np.random.default_rng(0).standard_normal((1, *engine.metadata.window_shape))
    window = noise.astype(np.float32)
    engine.run(window)  # the first is slower
    times = []
    for _ in range(_TIMED_CALLS):
        begun = time.perf_counter()
        engine.run(window)
        times.append(time.perf_counter() - begun)
    return {
        "file": str(path),
        "sha256": sha256,
        "classes": len(engine.metadata.labels),
        "sample_rate_hz": engine.metadata.front_end.sample_rate_hz,
        "engine": engine.description,
        "window_ms": sorted(times)[_TIMED_CALLS // 2] * 1e3,
        "note": note,
    }


def onnxruntime_finding(answer: Answer | ProbeFailed, needed: bool) -> Finding:
    """Whether ONNX Runtime works."""
    if isinstance(answer, ProbeFailed):
        hint = "install it for this machine: pip install onnxruntime"
        return Finding("ONNX Runtime", "problem" if needed else "warning", str(answer), hint)
    providers = [name.removesuffix("ExecutionProvider") for name in answer["providers"]]
    return Finding("ONNX Runtime", "ok", f"{answer['version']} ({', '.join(providers)})")


def tensorrt_finding(answer: Answer | ProbeFailed, needed: bool) -> Finding:
    """Whether TensorRT works; it need not be there unless asked for."""
    hint = "docs/hardware.md says how to install it"
    if isinstance(answer, ProbeFailed):
        return Finding("TensorRT", "problem" if needed else "warning", str(answer), hint)
    if answer["name"] is None:
        if needed:
            return Finding("TensorRT", "problem", "not installed", hint)
        return Finding("TensorRT", "ok", "not installed")
    return Finding("TensorRT", "ok", answer["name"])


def gpu_finding(answer: Answer | ProbeFailed, needed: bool) -> Finding:
    """Whether there is a GPU that can be used; it need not be there unless asked for."""
    if isinstance(answer, ProbeFailed):
        hint = "the driver or the CUDA runtime is broken: does nvidia-smi work?"
        return Finding("GPU", "problem" if needed else "warning", str(answer), hint)
    driver = answer["driver"]
    if answer["gpu"] is not None:
        return Finding("GPU", "ok", f"{answer['gpu']}; driver {driver or 'unknown'}")
    if driver is None:
        found = "none, or no NVIDIA driver"
        if needed:
            hint = "install NVIDIA's driver, or set agent.engine to auto"
            return Finding("GPU", "problem", found, hint)
        return Finding("GPU", "ok", found)
    hint = "in a container: start it with the GPU (--gpus all, or --runtime nvidia on a Jetson)"
    found = f"driver {driver}, but the GPU cannot be used: {answer['reason']}"
    return Finding("GPU", "problem" if needed else "warning", found, hint)


def model_finding(answer: Answer | ProbeFailed, hop_s: float) -> Finding:
    """Whether the model can be used, and is fast enough.

    Args:
        answer: of :func:`model`.
        hop_s: seconds between windows.
    """
    if isinstance(answer, ProbeFailed):
        return Finding("model", "problem", str(answer), "`devrec-agent info` says more about it")
    found = (
        f"{answer['file']}, sha256 {answer['sha256'][:16]}, {answer['classes']} classes; "
        f"{answer['engine']}; a window takes {answer['window_ms']:.1f} ms"
    )
    if answer["note"]:
        hint = "`devrec-agent export` builds a plan now; else the agent does so when it starts"
        return Finding("model", "warning", f"{found}; {answer['note']}", hint)
    if answer["window_ms"] > 1e3 * hop_s:
        hint = f"raise agent.hop_s above {hop_s:g}, or use a faster engine"
        return Finding("model", "warning", f"{found}: longer than a hop", hint)
    return Finding("model", "ok", found)


def _engine_of(path: Path, sha256: str, choice: str, threads: int) -> tuple[Engine, str]:
    """The engine that the agent would use, and what is to be said about it."""
    from export.engine_cache import cached_plans_of
    from export.engine_loading import load_engine
    from export.sidecar import PLAN_SUFFIX

    if path.suffix == PLAN_SUFFIX or choice == "onnx":
        return load_engine(path, threads), ""
    plans = cached_plans_of(sha256)
    reason = "there is no plan for it yet" if choice == "tensorrt" else ""
    for plan in plans:
        try:
            return load_engine(plan, trusted=True), ""
        except (DevrecError, ModuleNotFoundError) as error:
            reason = f"its plan cannot be used: {error}"
    return load_engine(path, threads), reason


def _driver() -> str | None:
    """Version of NVIDIA's driver, or what is known of it."""
    try:
        text = _NVIDIA_VERSION.read_text()
    except OSError:
        return "nvgpu" if _JETSON_DRIVER.is_dir() else None
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return match[1] if match else "unknown"
