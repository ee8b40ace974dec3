"""A ring buffer between one producer (the audio callback) and one consumer (who sends it on)."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


class RingBuffer:
    """Preallocated ring of mono float32 samples, single producer, single consumer.

    Args:
        capacity: samples that fit.

    :meth:`write` takes no lock: each side only ever moves its own counter, and a Python integer is
    replaced in one step. When the ring is full the newest samples are dropped, until half of it is
    free: a consumer that cannot keep up gets long stretches with gaps between them, rather than
    blocks that are each too short for a window. Dropped samples keep their places in the count of
    positions, so the consumer knows to the sample what is missing and where.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._buffer: Samples = np.zeros(capacity, np.float32)
        self._capacity = capacity
        self._written = 0  # moved by the producer only
        self._dropped = 0  # moved by the producer only
        self._pending = 0  # dropped since the last stored sample; the producer's alone
        self._read = 0  # moved by the consumer only
        self._skipped = 0  # dropped samples that the consumer knows of
        # (stored samples before it, samples missing): appended by one side, popped by the other.
        self._gaps: deque[tuple[int, int]] = deque()

    @property
    def written(self) -> int:
        """Samples stored since the start."""
        return self._written

    @property
    def read_count(self) -> int:
        """Samples read since the start."""
        return self._read

    @property
    def dropped(self) -> int:
        """Samples lost because the ring was full."""
        return self._dropped

    def write(self, block: Samples) -> None:
        """Store a block, or as much of its beginning as fits.

        Args:
            block: float32, 1-D; may be a strided view.
        """
        free = self._capacity - (self._written - self._read)
        if self._pending and 2 * free < self._capacity:
            free = 0
        n_samples = min(len(block), free)
        if n_samples and self._pending:
            # Before the samples behind it become visible.
            self._gaps.append((self._written, self._pending))
            self._pending = 0
        start = self._written % self._capacity
        first = min(n_samples, self._capacity - start)
        self._buffer[start : start + first] = block[:first]
        if n_samples > first:
            self._buffer[: n_samples - first] = block[first:n_samples]
        # Only now may the consumer see them.
        self._written += n_samples
        lost = len(block) - n_samples
        self._dropped += lost
        self._pending += lost

    def read(self, max_samples: int) -> tuple[int, Samples]:
        """Take out the oldest samples, up to the next gap.

        Args:
            max_samples: at most this many.

        Returns:
            position of the first sample, dropped ones counted; and the samples, float32, 1-D, a
            copy, contiguous; empty when there are none.
        """
        written = self._written  # first: a gap before these samples is in the list by now
        if self._gaps and self._gaps[0][0] == self._read and written > self._read:
            self._skipped += self._gaps.popleft()[1]
        until = self._gaps[0][0] if self._gaps else written
        n_samples = min(max_samples, min(until, written) - self._read)
        position = self._read + self._skipped
        start = self._read % self._capacity
        first = min(n_samples, self._capacity - start)
        out = np.empty(n_samples, np.float32)
        out[:first] = self._buffer[start : start + first]
        out[first:] = self._buffer[: n_samples - first]
        self._read += n_samples
        return position, out
