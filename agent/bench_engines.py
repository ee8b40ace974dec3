"""The engines that a machine has for some models, to be timed side by side."""

from __future__ import annotations

import functools
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.engine import Engine, read_model
from export.engine_cache import cached_plans_of
from export.engine_loading import load_engine
from export.parity import ParityRecord
from export.precision import PRECISIONS, Precision
from export.sidecar import PLAN_SUFFIX, sha256_of
from model.errors import DevrecError, UsageError
from model.features import FloatArray

if TYPE_CHECKING:
    from export.source_model import Source


@dataclass(frozen=True)
class BenchEngine:
    """One engine.

    Attributes:
        engine: ready to run.
        live: whether to ask how many live streams it carries: on one thread, or on a GPU.
    """

    engine: Engine
    live: bool = True


@contextmanager
def engines_of(
    paths: list[Path], complain: Callable[[str], None]
) -> Iterator[dict[str, BenchEngine]]:
    """All engines for some models, by a short name.

    Args:
        paths: model files and plans. Half and 8-bit versions of a float32 model, one on all cores,
            and its plans in the cache are added.
        complain: told which of the added ones cannot be had here.

    Raises:
        ModelError: one of the given files cannot be used.
        EngineError: a given plan cannot run here.
        UsageError: the models take windows of different shapes.
    """
    found: dict[str, BenchEngine] = {}
    with tempfile.TemporaryDirectory(prefix="devrec-bench-") as folder:
        for path in paths:
            prefix = f"{path.stem} " if len(paths) > 1 else ""
            engine = load_engine(path)
            _add(found, prefix + _short(engine), BenchEngine(engine))
            if path.suffix == PLAN_SUFFIX:
                continue
            cores = os.cpu_count() or 1
            if cores > 1:
                name = f"{prefix}{_short(engine)}, {cores} threads"
                _add(found, name, BenchEngine(load_engine(path, cores), live=False))
            added = [_cached(plan) for plan in cached_plans_of(sha256_of(read_model(path)))]
            if engine.precision == "fp32" and importlib.util.find_spec("onnx") is not None:
                source = functools.cache(functools.partial(_source, path))
                added = [_rewritten(source, Path(folder), p) for p in PRECISIONS[1:]] + added
            for load in added:
                try:
                    other = load()
                except DevrecError as error:
                    complain(f"left out: {error}")
                    continue
                _add(found, prefix + _short(other), BenchEngine(other))
        shapes = {entry.engine.metadata.window_shape for entry in found.values()}
        if len(shapes) > 1:
            raise UsageError("the models have other front ends: time them one by one")
        yield found


def bench_windows(engine: Engine, count: int) -> FloatArray:
    """At least ``count`` random windows for an engine, ``(n, 128, 73)``."""
    shape = engine.metadata.window_shape
    drawn = ParityRecord.from_properties(engine.properties, "the model", shape).windows()
    return np.resize(drawn, (max(count, len(drawn)), *drawn.shape[1:]))


def _add(found: dict[str, BenchEngine], name: str, entry: BenchEngine) -> None:
    """Under a name of its own."""
    unique, number = name, 2
    while unique in found:
        unique, number = f"{name} ({number})", number + 1
    found[unique] = entry


def _short(engine: Engine) -> str:
    runtime = engine.description.split(",")[0].rsplit(" ", 1)[0]  # without its version
    return f"{runtime} {engine.precision}"


def _cached(plan: Path) -> Callable[[], Engine]:
    return lambda: load_engine(plan, trusted=True)


def _source(path: Path) -> Source:
    """A model to rewrite; ranges from random windows, which is enough for timing."""
    from export.source_model import Source

    source = Source(path)
    source.windows = source.record.windows()
    return source


def _rewritten(
    source: Callable[[], Source], folder: Path, precision: Precision
) -> Callable[[], Engine]:
    def load() -> Engine:
        from export.exporting import export_onnx

        target = folder / f"{precision}.onnx"
        export_onnx(source(), target, precision)
        return load_engine(target)

    return load
