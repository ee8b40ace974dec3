"""A ring buffer between one producer (the audio callback) and one consumer (the listener)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


class RingBuffer:
    """Preallocated ring of mono float32 samples, single producer, single consumer.

    Args:
        capacity: samples that fit.

    :meth:`write` allocates nothing and takes no lock: each side only ever moves its own counter,
    and a Python integer is replaced in one step. When the ring is full the newest samples are
    dropped and counted, so what the consumer reads is contiguous up to the gap.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._buffer: Samples = np.zeros(capacity, np.float32)
        self._capacity = capacity
        self._written = 0  # moved by the producer only
        self._read = 0  # moved by the consumer only
        self._dropped = 0  # moved by the producer only

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
        n_samples = min(len(block), free)
        start = self._written % self._capacity
        first = min(n_samples, self._capacity - start)
        self._buffer[start : start + first] = block[:first]
        if n_samples > first:
            self._buffer[: n_samples - first] = block[first:n_samples]
        # Only now may the consumer see them.
        self._written += n_samples
        self._dropped += len(block) - n_samples

    def read(self, max_samples: int) -> Samples:
        """Take out the oldest samples.

        Args:
            max_samples: at most this many.

        Returns:
            float32, 1-D, a copy; empty when there are none.
        """
        n_samples = min(max_samples, self._written - self._read)
        start = self._read % self._capacity
        first = min(n_samples, self._capacity - start)
        out = np.empty(n_samples, np.float32)
        out[:first] = self._buffer[start : start + first]
        out[first:] = self._buffer[: n_samples - first]
        self._read += n_samples
        return out
