"""The ring buffer is a FIFO that drops the newest and knows to the sample what it dropped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.capture.ring import RingBuffer


@given(
    capacity=st.integers(1, 50),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 70)), max_size=40),
)
def test_equals_a_bounded_fifo(capacity: int, steps: list[tuple[bool, int]]) -> None:
    """The samples count up from 0, so that each is its own position."""
    ring = RingBuffer(capacity)
    reference: list[int] = []
    overflowing = False
    counter = dropped = stored = 0
    for is_write, n_samples in steps:
        if is_write:
            block = np.arange(counter, counter + n_samples, dtype=np.float32)
            room = capacity - len(reference)
            if overflowing and room < capacity / 2:
                room = 0
            overflowing = n_samples > room or (overflowing and n_samples == 0)
            reference += range(counter, counter + min(room, n_samples))
            counter += n_samples
            stored += min(room, n_samples)
            dropped += max(0, n_samples - room)
            ring.write(block)
        else:
            position, samples = ring.read(n_samples)
            # At most what was asked for, and only up to the next gap.
            expected = reference[:n_samples]
            run = sum(1 for i, value in enumerate(expected) if value == expected[0] + i)
            assert samples.tolist() == expected[:run]
            if run:
                assert position == expected[0]
            reference = reference[run:]
        assert (ring.dropped, ring.written) == (dropped, stored)
        assert ring.written - ring.read_count == len(reference)


def test_a_slow_reader_gets_long_stretches() -> None:
    ring = RingBuffer(1000)
    stretches = []
    for _ in range(500):
        ring.write(np.zeros(20, np.float32))
        _, samples = ring.read(15)  # three quarters of what comes
        stretches.append(len(samples))
    gaps = sum(1 for n_samples in stretches if n_samples < 15)
    assert ring.dropped > 1000
    assert gaps < 15


def test_takes_a_strided_channel() -> None:
    ring = RingBuffer(10)
    stereo = np.arange(12, dtype=np.float32).reshape(6, 2)
    ring.write(stereo[:, 0])
    assert ring.read(10)[1].tolist() == [0, 2, 4, 6, 8, 10]


def test_capacity() -> None:
    with pytest.raises(ValueError, match="capacity"):
        RingBuffer(0)
