"""What listening costs: the front end, the whole path, and how many streams a machine carries."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.pipeline import ScoringPipeline
from export.engine import Engine
from export.timing import Latency
from model.features import FrontEnd, FrontEndConfig

AUDIO_S = 20.0  #: noise pushed through in one pass
BLOCK_S = 0.02  #: how much a sound card hands over at a time
_PASSES = 5


@dataclass(frozen=True)
class LiveCost:
    """Cost of one live stream, fed in blocks of 20 ms on one thread.

    Attributes:
        hop_s: seconds between windows.
        front_end_share: share of a core that features take.
        share: share of a core, or of the engine's GPU and a core, that the whole path takes with
            a call for every window.
        real_time_factor: seconds of audio a second, the inverse of ``share``.
        streams: streams that fit with a call for every window.
        streams_batched: streams that fit when windows of all streams share calls of the best batch
            size; computed from front-end cost and throughput, not run.
        best_batch: that batch size.
    """

    hop_s: float
    front_end_share: float
    share: float
    real_time_factor: float
    streams: int
    streams_batched: int
    best_batch: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def measure_live_cost(engine: Engine, hop_s: float, latencies: list[Latency]) -> LiveCost:
    """Push noise through front end and whole path.

    Args:
        engine: on one thread, or on a GPU.
        hop_s: seconds between windows.
        latencies: of the engine, by batch size.
    """
    config = engine.metadata.front_end
    noise = _noise(config)
    hop_frames = config.hop_frames(hop_s)
    front_end = statistics.median(_front_end_s(config, noise) for _ in range(_PASSES))
    whole = statistics.median(_path_s(engine, noise, hop_frames) for _ in range(_PASSES))
    best = max(latencies, key=lambda latency: latency.windows_per_s)
    exact_hop_s = hop_frames * config.hop_length / config.sample_rate_hz
    batched = front_end / AUDIO_S + 1 / (best.windows_per_s * exact_hop_s)
    return LiveCost(
        hop_s=exact_hop_s,
        front_end_share=front_end / AUDIO_S,
        share=whole / AUDIO_S,
        real_time_factor=AUDIO_S / whole,
        streams=math.floor(AUDIO_S / whole),
        streams_batched=math.floor(1 / batched),
        best_batch=best.batch,
    )


def _noise(config: FrontEndConfig) -> npt.NDArray[np.float32]:
    source = np.random.default_rng(0)
    n_samples = round(AUDIO_S * config.sample_rate_hz)
    return (0.05 * source.standard_normal(n_samples)).astype(np.float32)


def _blocks(
    noise: npt.NDArray[np.float32], config: FrontEndConfig
) -> Iterator[npt.NDArray[np.float32]]:
    size = round(BLOCK_S * config.sample_rate_hz)
    for start in range(0, len(noise), size):
        yield noise[start : start + size]


def _front_end_s(config: FrontEndConfig, noise: npt.NDArray[np.float32]) -> float:
    front_end = FrontEnd(config)
    started = time.perf_counter()
    for block in _blocks(noise, config):
        front_end.accept(block)
    return time.perf_counter() - started


def _path_s(engine: Engine, noise: npt.NDArray[np.float32], hop_frames: int) -> float:
    config = engine.metadata.front_end
    pipeline = ScoringPipeline(engine, config.sample_rate_hz, hop_frames)
    started = time.perf_counter()
    for block in _blocks(noise, config):
        for _ in pipeline.accept(block):
            pass
    return time.perf_counter() - started
