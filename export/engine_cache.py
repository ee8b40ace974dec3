"""Where engines built for this machine are kept between runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from export.cuda_runtime import Gpu
from export.precision import Precision
from export.sidecar import PLAN_SUFFIX
from export.tensorrt_api import TensorRT


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/devrec-agent/engines``, ``~/.cache`` without it; may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification ignores relative paths.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
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
    """All plans of a model, for whatever machine, newest first."""
    found = cache_folder().glob(f"{model_sha256[:16]}-*{PLAN_SUFFIX}")
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def timing_cache_path(tensorrt: TensorRT, gpu: Gpu) -> Path:
    """The timing cache of a TensorRT on a GPU, shared by all models."""
    name = f"{_slug(tensorrt.flavour)}-{_slug(tensorrt.version)}-{_slug(gpu.name)}.timing"
    return cache_folder() / name


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", text)
