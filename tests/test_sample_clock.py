"""Losses that nobody reports are found by the clock; jitter, bursts and drift are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture.sample_clock import SampleClock

RATE_HZ = 48_000
BLOCK = 960  # 20 ms


class Stream:
    """Blocks of 20 ms that arrive up to 25 ms late, from a card whose clock drifts."""

    def __init__(self, seed: int, drift: float = 0.0, start_s: float = 1000.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._block_s = BLOCK / RATE_HZ * (1 + drift)
        self.now_s = start_s
        self.position = 0
        self.clock = SampleClock(RATE_HZ)

    def run(self, seconds: float) -> int:
        """Deliver; returns the samples found missing."""
        missing = 0
        for _ in range(round(seconds / self._block_s)):
            self.now_s += self._block_s
            self.position += BLOCK
            late = self._rng.uniform(0, 0.025)
            missing += self.clock.arrived(self.position, self.now_s + late)
        return missing


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), ppm=st.floats(-200, 200))
def test_drift_and_jitter_are_no_loss(seed: int, ppm: float) -> None:
    stream = Stream(seed, drift=ppm * 1e-6)
    assert stream.run(600) == 0
    heard = stream.clock.heard_at(stream.position)
    assert heard == pytest.approx(stream.now_s, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), lost_s=st.floats(0.15, 5.0))
def test_a_silent_loss_is_found_once(seed: int, lost_s: float) -> None:
    stream = Stream(seed)
    assert stream.run(5) == 0
    stream.now_s += lost_s  # time passes, samples don't
    missing = stream.run(10)
    assert missing / RATE_HZ == pytest.approx(lost_s, abs=0.03)
    assert stream.run(60) == 0
    assert stream.clock.heard_at(stream.position) == pytest.approx(stream.now_s, abs=0.03)


@settings(max_examples=10, deadline=None)
@given(late_s=st.floats(0.1, 1.5))
def test_a_burst_after_a_pause_is_no_loss(late_s: float) -> None:
    stream = Stream(0)
    assert stream.run(5) == 0
    blocks = round(late_s / 0.02)
    arrival = stream.now_s + late_s
    for _ in range(blocks):  # all at once
        stream.position += BLOCK
        stream.now_s += 0.02
        assert stream.clock.arrived(stream.position, arrival) == 0
    assert stream.run(10) == 0


def test_some_seconds_of_lateness_are_no_loss() -> None:
    stream = Stream(1)
    stream.run(5)
    stream.now_s += 0.25
    assert stream.run(2.8) == 0
    stream.now_s -= 0.25
    assert stream.run(20) == 0


def test_a_long_pause_that_ends_in_a_burst_is_no_loss() -> None:
    stream = Stream(2)
    stream.run(5)
    late = stream.now_s + 5.0
    for number in range(250):  # all that was held back, within half a second
        stream.position += BLOCK
        stream.now_s += 0.02
        assert stream.clock.arrived(stream.position, late + 0.002 * number) == 0
    stream.now_s += 0.5
    stream.position += 25 * BLOCK
    assert stream.run(20) == 0


def test_many_small_losses_add_up() -> None:
    stream = Stream(3)
    stream.run(5)
    missing = 0
    for _ in range(40):
        stream.now_s += 0.02
        missing += stream.run(1.0)
    missing += stream.run(10)
    assert missing / RATE_HZ == pytest.approx(0.8, abs=0.15)
