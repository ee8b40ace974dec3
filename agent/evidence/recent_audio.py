"""The last seconds of one input, with absolute positions and what is missing in between."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Gap:
    """Samples that are missing from a stream.

    Attributes:
        position: of the first one that is missing.
        missing: how many.
    """

    position: int
    missing: int

    @property
    def end(self) -> int:
        """Position of the first sample behind it."""
        return self.position + self.missing


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a stream.

    Attributes:
        first: position of the first sample.
        samples: float32, 1-D; zeros where samples are missing, so that the sample at position p
            is ``samples[p - first]``.
        gaps: what is missing inside.
    """

    first: int
    samples: Samples
    gaps: tuple[Gap, ...]


class RecentAudio:
    """Preallocated ring of the newest samples of a stream; one thread.

    Args:
        capacity: samples that are kept, missing ones counted.

    Attributes:
        end: position behind the newest sample.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._buffer: Samples = np.zeros(capacity, np.float32)
        self._capacity = capacity
        self._gaps: deque[Gap] = deque()
        self._begin = 0  # position of the oldest sample
        self.end = 0

    @property
    def begin(self) -> int:
        """Position of the oldest sample that is still there."""
        return self._begin

    def accept(self, position: int, samples: Samples) -> None:
        """Add samples, at most the capacity.

        Args:
            position: of the first one. Beyond the end: the samples between are missing. Before the
                end: the stream has begun anew, and what was heard before is forgotten.
            samples: float32, 1-D.
        """
        if not len(samples):
            return
        if len(samples) > self._capacity:
            raise ValueError(f"{len(samples)} samples for a ring of {self._capacity}")
        if position < self.end or self._begin == self.end:
            self._gaps.clear()
            self._begin = self.end = position
        if position > self.end:
            self._gaps.append(Gap(self.end, position - self.end))
            silent = min(position - self.end, self._capacity)
            self._store(position - silent, np.zeros(silent, np.float32))
        self._store(position, samples)
        self.end = position + len(samples)
        self._begin = max(self._begin, self.end - self._capacity)
        while self._gaps and self._gaps[0].end <= self._begin:
            self._gaps.popleft()

    def excerpt(self, first: int, end: int) -> Excerpt | None:
        """A copy of what was heard from ``first`` to before ``end``, as far as it is still there;
        missing samples at either side are left out. ``None`` when nothing was heard."""
        first, end = max(first, self._begin), min(end, self.end)
        for gap in self._gaps:
            if gap.position <= first < gap.end:
                first = gap.end
            if gap.position < end <= gap.end:
                end = gap.position
        if first >= end:
            return None
        samples = np.empty(end - first, np.float32)
        start = first % self._capacity
        head = min(len(samples), self._capacity - start)
        samples[:head] = self._buffer[start : start + head]
        samples[head:] = self._buffer[: len(samples) - head]
        inside = tuple(gap for gap in self._gaps if first < gap.position < end)
        return Excerpt(first, samples, inside)

    def _store(self, position: int, samples: Samples) -> None:
        start = position % self._capacity
        head = min(len(samples), self._capacity - start)
        self._buffer[start : start + head] = samples[:head]
        self._buffer[: len(samples) - head] = samples[head:]
