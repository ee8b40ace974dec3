"""From samples of any rate to windows of features: what files and live inputs share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.features import FloatArray, FrontEnd
from model.metadata import ModelMetadata
from model.resample import Resampler

Samples = npt.NDArray[np.float32]

#: Frames collected before windows are cut, so that a file does not become one giant array.
_FRAMES_PER_STEP = 64 * 64


@dataclass(frozen=True)
class Window:
    """A window of a stream.

    Attributes:
        first_frame: absolute index of its first frame since the stream's start or last restart.
        start: position of its first sample at the input's rate.
        end: position after its last sample.
        features: float32 ``(128, 73)``.
    """

    first_frame: int
    start: int
    end: int
    features: FloatArray


class WindowSlicer:
    """Resampler, front end and sliding windows in a row; memory stays bounded.

    Args:
        metadata: of the model: its front end and window length.
        sample_rate_hz: rate of the samples to come.
        hop_frames: frames between window starts.

    Raises:
        AudioError: a rate out of range.
    """

    def __init__(self, metadata: ModelMetadata, sample_rate_hz: int, hop_frames: int) -> None:
        if hop_frames < 1:
            raise ValueError("hop_frames must be at least 1")
        self._config = metadata.front_end
        self._length = metadata.window_frames
        self._hop = hop_frames
        self._rate = sample_rate_hz
        self.restart(0)

    def restart(self, position: int) -> None:
        """Begin anew, with nothing of what was heard before: no window straddles a gap.

        Args:
            position: of the next sample.
        """
        self._origin = position
        self._resampler = Resampler(self._rate, self._config.sample_rate_hz)
        self._front_end = FrontEnd(self._config)
        self._frames: FloatArray = np.zeros((0, self._config.n_features), np.float32)
        self._first = 0  # absolute index of self._frames[0]
        self._next = 0  # absolute index of the next window's first frame

    @property
    def narrowband(self) -> bool:
        """Whether the input's rate is below the model's."""
        return self._resampler.narrowband

    @property
    def next_start(self) -> int:
        """Position of the first sample of the next window."""
        ratio = self._rate / self._config.sample_rate_hz
        return self._origin + round(self._next * self._config.hop_length * ratio)

    def accept(self, samples: Samples) -> Iterator[Window]:
        """Feed samples (float32, 1-D); yields the windows that they complete, oldest first."""
        yield from self._advance(self._front_end.accept(self._resampler.accept(samples)))

    def flush(self) -> Iterator[Window]:
        """End of the stream: yields the windows that the last frames complete."""
        tail = self._front_end.accept(self._resampler.flush())
        yield from self._advance(np.concatenate((tail, self._front_end.flush())))

    def _advance(self, frames: FloatArray) -> Iterator[Window]:
        for start in range(0, len(frames), _FRAMES_PER_STEP):
            self._frames = np.concatenate((self._frames, frames[start : start + _FRAMES_PER_STEP]))
            yield from self._cut()

    def _cut(self) -> Iterator[Window]:
        while self._next + self._length <= self._first + len(self._frames):
            offset = self._next - self._first
            yield self._window(self._next, self._frames[offset : offset + self._length])
            self._next += self._hop
        keep_from = min(max(0, self._next - self._first), len(self._frames))
        self._frames = self._frames[keep_from:].copy()
        self._first += keep_from

    def _window(self, first_frame: int, features: FloatArray) -> Window:
        ratio = self._rate / self._config.sample_rate_hz
        start = first_frame * self._config.hop_length
        end = start + self._config.samples_for(self._length)
        return Window(
            first_frame,
            self._origin + round(start * ratio),
            self._origin + round(end * ratio),
            features,
        )
