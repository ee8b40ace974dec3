"""One stream through the engine: samples in, scored windows out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.known_devices import KnownDevices, built_in_devices
from agent.windows import Window, WindowSlicer
from export.engine import Engine
from model.mel import DoubleArray

Samples = npt.NDArray[np.float32]

WINDOWS_PER_CALL = 64  #: windows collected before the engine is called


@dataclass(frozen=True)
class ScoredWindow:
    """One window and what the engine made of it.

    Attributes:
        window: where it lies.
        log_posterior: float64 ``(devices,)``.
        embedding: float64 ``(dims,)``.
    """

    window: Window
    log_posterior: DoubleArray
    embedding: DoubleArray


def score(engine: Engine, known: KnownDevices, windows: list[Window]) -> list[ScoredWindow]:
    """Score windows, of one stream or of many, in one engine call."""
    scores = engine.run(np.stack([window.features for window in windows]))
    posteriors = known.window_log_posteriors(scores)
    embeddings = scores.embedding.astype(np.float64)
    scored = zip(windows, posteriors, embeddings, strict=True)
    return [ScoredWindow(*values) for values in scored]


class ScoringPipeline:
    """Resampler, front end, sliding windows and engine in a row; memory stays bounded.

    Args:
        engine: what scores the windows.
        sample_rate_hz: rate of the samples to come.
        hop_frames: frames between window starts.
        known: the devices to score for; the model's own without it.

    Raises:
        AudioError: a rate out of range.
    """

    def __init__(
        self,
        engine: Engine,
        sample_rate_hz: int,
        hop_frames: int,
        known: KnownDevices | None = None,
    ) -> None:
        self._engine = engine
        self._known = known if known is not None else built_in_devices(engine)
        self._slicer = WindowSlicer(engine.metadata, sample_rate_hz, hop_frames)

    @property
    def narrowband(self) -> bool:
        """Whether the input's rate is below the model's."""
        return self._slicer.narrowband

    def accept(self, samples: Samples) -> Iterator[ScoredWindow]:
        """Feed samples (float32, 1-D); yields the windows that they complete, oldest first."""
        yield from self._score(self._slicer.accept(samples))

    def flush(self) -> Iterator[ScoredWindow]:
        """End of the stream: yields the windows that the last frames complete."""
        yield from self._score(self._slicer.flush())

    def _score(self, windows: Iterable[Window]) -> Iterator[ScoredWindow]:
        remaining = iter(windows)
        while batch := list(itertools.islice(remaining, WINDOWS_PER_CALL)):
            yield from score(self._engine, self._known, batch)
