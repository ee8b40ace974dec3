"""Timing engines: latency percentiles and throughput."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from export.engine import Engine
from model.features import FloatArray

Name = TypeVar("Name")
ROUNDS = 5  #: rivals take turns this often, so that a slow spell of the machine meets them all


@dataclass(frozen=True)
class Latency:
    """Time of one call.

    Attributes:
        batch: windows a call.
        p50_ms: median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        windows_per_s: at the median.
        calls: how many were timed.
    """

    batch: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    windows_per_s: float
    calls: int

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Latency:
        """Percentiles of measured calls."""
        p50, p95, p99 = (float(p) for p in np.percentile(seconds, (50, 95, 99)))
        return cls(batch, 1e3 * p50, 1e3 * p95, 1e3 * p99, batch / p50, len(seconds))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def time_in_turns(
    calls: Mapping[Name, Callable[[], object]], seconds: float
) -> dict[Name, list[float]]:
    """Time calls in alternation.

    Args:
        calls: what to time; each is called twice before, to warm up.
        seconds: for each in all; every call is made at least :data:`ROUNDS` times.

    Returns:
        seconds of every call, by name.
    """
    for call in calls.values():
        call()
        call()
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            end = time.perf_counter() + seconds / ROUNDS
            while True:
                started = time.perf_counter()
                call()
                stopped = time.perf_counter()
                times[name].append(stopped - started)
                if stopped >= end:
                    break
    return times


def time_engines(
    engines: Mapping[str, Engine], windows: FloatArray, batches: Sequence[int], seconds: float
) -> dict[str, list[Latency]]:
    """Latency of engines over batch sizes, in alternation.

    Args:
        engines: by name.
        windows: float32 ``(n, 128, 73)`` to draw batches from; repeated where too few.
        batches: windows a call.
        seconds: for each engine and batch size.
    """
    found: dict[str, list[Latency]] = {name: [] for name in engines}
    for batch in batches:
        part = np.resize(windows, (batch, *windows.shape[1:]))
        calls = {name: _call(engine, part) for name, engine in engines.items()}
        for name, times in time_in_turns(calls, seconds).items():
            found[name].append(Latency.of(times, batch))
    return found


def _call(engine: Engine, windows: FloatArray) -> Callable[[], object]:
    return lambda: engine.run(windows)
