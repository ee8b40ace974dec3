"""From samples of any rate to scored windows: the path that files and live inputs share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.engine import Engine
from model.features import FloatArray, FrontEnd
from model.mel import DoubleArray
from model.posterior import log_posterior
from model.resample import Resampler

Samples = npt.NDArray[np.float32]

#: Frames collected before the engine is called, so that a file does not become one giant batch.
_FRAMES_PER_CALL = 64 * 64


@dataclass(frozen=True)
class ScoredWindow:
    """One window and what the engine made of it.

    Attributes:
        first_frame: absolute index of its first frame since the start of the stream.
        start_s: when it starts, in seconds since the start of the stream.
        end_s: when its last frame ends.
        log_posterior: float64 ``(devices,)``.
    """

    first_frame: int
    start_s: float
    end_s: float
    log_posterior: DoubleArray


class ScoringPipeline:
    """Resampler, front end, sliding windows and engine in a row; memory stays bounded.

    Args:
        engine: what scores the windows.
        sample_rate_hz: rate of the samples to come.
        hop_frames: frames between window starts.

    Raises:
        AudioError: a rate out of range.
    """

    def __init__(self, engine: Engine, sample_rate_hz: int, hop_frames: int) -> None:
        if hop_frames < 1:
            raise ValueError("hop_frames must be at least 1")
        self._engine = engine
        self._config = engine.metadata.front_end
        self._length = engine.metadata.window_frames
        self._hop = hop_frames
        self._resampler = Resampler(sample_rate_hz, self._config.sample_rate_hz)
        self._front_end = FrontEnd(self._config)
        self._frames: FloatArray = np.zeros((0, self._config.n_features), np.float32)
        self._first = 0  # absolute index of self._frames[0]
        self._next = 0  # absolute index of the next window's first frame

    @property
    def narrowband(self) -> bool:
        """Whether the input's rate is below the model's."""
        return self._resampler.narrowband

    def accept(self, samples: Samples) -> Iterator[ScoredWindow]:
        """Feed samples (float32, 1-D); yields the windows that they complete, oldest first."""
        yield from self._advance(self._front_end.accept(self._resampler.accept(samples)))

    def flush(self) -> Iterator[ScoredWindow]:
        """End of the stream: yields the windows that the last frames complete."""
        tail = self._front_end.accept(self._resampler.flush())
        yield from self._advance(np.concatenate((tail, self._front_end.flush())))

    def _advance(self, frames: FloatArray) -> Iterator[ScoredWindow]:
        for start in range(0, len(frames), _FRAMES_PER_CALL):
            self._frames = np.concatenate((self._frames, frames[start : start + _FRAMES_PER_CALL]))
            yield from self._score()

    def _score(self) -> Iterator[ScoredWindow]:
        available = self._first + len(self._frames) - self._length
        firsts = list(range(self._next, available + 1, self._hop))
        if firsts:
            offsets = np.asarray(firsts)[:, None] - self._first + np.arange(self._length)
            posteriors = log_posterior(self._engine.run(self._frames[offsets]).logits)
            self._next = firsts[-1] + self._hop
            yield from (self._scored(f, p) for f, p in zip(firsts, posteriors, strict=True))
        keep_from = min(max(0, self._next - self._first), len(self._frames))
        self._frames = self._frames[keep_from:].copy()
        self._first += keep_from

    def _scored(self, first_frame: int, posterior: DoubleArray) -> ScoredWindow:
        rate, hop = self._config.sample_rate_hz, self._config.hop_length
        start = first_frame * hop / rate
        end = start + self._config.samples_for(self._length) / rate
        return ScoredWindow(first_frame, start, end, posterior)
