"""Where engines built for this machine are kept between runs."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export.cuda_runtime import Gpu
from export.precision import Precision
from export.sidecar import PLAN_SUFFIX
from export.tensorrt_api import TensorRT
from model.errors import DevrecError


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/devrec-agent/engines``, ``~/.cache`` without it; may not exist yet.

    Raises:
        DevrecError: this user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The specification ignores relative paths.
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise DevrecError("no home directory to keep engines in; set XDG_CACHE_HOME") from error
    return root / "devrec-agent" / "engines"


def cached_plan(model_sha256: str, tensorrt: TensorRT, gpu: Gpu, precision: Precision) -> Path:
    """Where the plan of a model for this TensorRT, GPU and precision belongs."""
    parts = [
        model_sha256[:16],
        tensorrt.flavour,
        tensorrt.version,
        gpu.name,
        f"sm{gpu.compute_capability}",
        precision,
    ]
    return cache_folder() / ("-".join(_slug(part) for part in parts) + PLAN_SUFFIX)


def cached_plans_of(model_sha256: str) -> list[Path]:
    """All plans of a model, for whatever machine, newest first; none where there is no cache."""
    try:
        paths = list(cache_folder().iterdir())
    except (OSError, DevrecError):
        return []
    found = []
    for path in paths:
        if path.name.startswith(f"{model_sha256[:16]}-") and path.suffix == PLAN_SUFFIX:
            with suppress(OSError):  # removed meanwhile
                found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


@contextmanager
def building(plan: Path) -> Iterator[None]:
    """Held while a cached plan is built and put in place: other processes wait instead of building.

    Raises:
        DevrecError: the cache cannot be written.
    """
    try:
        plan.parent.mkdir(parents=True, exist_ok=True)
        lock = plan.with_name(f".{plan.name}.lock").open("w")
    except OSError as error:
        raise DevrecError(f"{error.filename}: cannot be made: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def timing_cache_path(tensorrt: TensorRT, gpu: Gpu) -> Path:
    """The timing cache of a TensorRT on a GPU, shared by all models."""
    name = f"{_slug(tensorrt.flavour)}-{_slug(tensorrt.version)}-{_slug(gpu.name)}.timing"
    return cache_folder() / name


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", text)
