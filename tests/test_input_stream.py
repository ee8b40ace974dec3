"""Events of one input: positions, times, losses, other rates and models, from a scripted source."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from agent.config.settings import DecisionSection
from agent.events import Event
from agent.input_stream import InputStream
from agent.sources import Audio, Gap, SourceItem, SourceState, StateChange
from export.engine_loading import load_engine
from model.metadata import ModelMetadata
from tests.simulated import record, speech_like

RATE_HZ = 32_000
CONFIDENT = -5.0


@dataclass
class ScriptedSource:
    """Hands out what the test has put in; its clock is its position."""

    name: str = "scripted"
    state: SourceState = "starting"
    live: bool = True
    items: deque[SourceItem] = field(default_factory=deque)
    position: int = 0
    rate_hz: int = RATE_HZ
    start_s: float = 1000.0

    def poll(self) -> list[SourceItem]:
        found = list(self.items)
        self.items.clear()
        return found

    def fileno(self) -> int | None:
        return None

    def due_s(self) -> float:
        return 0.0

    def heard_at(self, position: int) -> float:
        return self.start_s + position / self.rate_hz

    def close(self) -> None:
        pass

    def put_state(self, state: SourceState, reason: str | None = None) -> None:
        at_s = self.heard_at(self.position)
        self.items.append(StateChange(state, reason, at_s, self.rate_hz))

    def put_gap(self, missing: int, *, exact: bool = False, reason: str = "gone") -> None:
        self.items.append(Gap(self.position, missing, exact, reason, self.rate_hz))
        self.position += missing

    def put_audio(self, seconds: float) -> None:
        samples = record(speech_like(seconds, seed=3, rate_hz=self.rate_hz), 1)
        for block in np.array_split(samples, max(1, round(seconds * 10))):
            self.items.append(Audio(self.position, block, self.rate_hz))
            self.position += len(block)


class Rig:
    """An input stream whose windows all speak for the device of the test's choice."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self.source = ScriptedSource()
        self.events: list[Event] = []
        self.metadata = metadata
        self.stream = InputStream(
            "line", self.source, metadata, 0.5, DecisionSection(), self.events.append
        )

    def run(self, device: int = 0) -> int:
        """Deal with all that was put in; returns how many windows there were."""
        posterior = np.full(len(self.metadata.labels), CONFIDENT)
        posterior[device] = -0.05
        windows = 0
        for _ in range(100):  # what follows a window waits for the next call
            heard = self.stream.pull()
            for window in heard:
                self.stream.take(window, posterior)
            windows += len(heard)
        return windows

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def last(self, kind: str) -> Event:
        return [event for event in self.events if event.kind == kind][-1]


@pytest.fixture
def rig(simulated_model: Path) -> Rig:
    return Rig(load_engine(simulated_model).metadata)


def test_no_window_straddles_a_gap(rig: Rig) -> None:
    rig.source.put_state("running")
    rig.source.put_audio(1.0)  # not enough for a window
    rig.source.put_gap(100, exact=True)
    rig.source.put_audio(1.0)
    rig.run()
    assert rig.stream.figures.windows == 0
    rig.source.put_audio(0.2)
    rig.run()
    assert rig.stream.figures.windows == 1
    gap = rig.last("gap")
    assert (gap.start.sample, gap.end.sample) == (RATE_HZ, RATE_HZ + 100)
    assert gap.details["exact"] is True


def test_a_stall_that_ends_by_itself_is_restored(rig: Rig) -> None:
    rig.source.put_state("running")
    rig.source.put_audio(3.0)
    rig.source.put_state("stalled", "no sample for 0.6 s")
    rig.run()
    assert rig.stream.figures.device is None  # nobody shall read the last answer as the present
    rig.source.put_state("failed", "no sample for 0.6 s")
    rig.source.put_state("running")
    rig.source.put_audio(1.0)
    rig.run()
    assert rig.kinds().count("audio_lost") == rig.kinds().count("audio_restored") == 1
    restored = rig.last("audio_restored")
    assert restored.start.sample == 3 * RATE_HZ
    assert restored.details["missing_samples"] == 0
    assert rig.stream.figures.reconnects == 0


def test_a_device_of_another_rate_goes_on_on_the_same_timeline(rig: Rig) -> None:
    rig.source.put_state("running")
    rig.source.put_audio(3.0)
    rig.source.put_state("reopening", "unplugged")
    rig.run()
    # Positions are converted: 3 s at 32 kHz are 3 s at 48 kHz.
    rig.source.rate_hz, rig.source.position = 48_000, 3 * 48_000
    rig.source.name = "another microphone"
    rig.source.put_state("running")
    rig.source.put_gap(2 * 48_000)
    rig.source.put_audio(3.0)
    rig.run()
    restored = rig.last("audio_restored")
    assert restored.sample_rate_hz == 48_000
    assert (restored.start.sample, restored.end.sample) == (3 * 48_000, 5 * 48_000)
    assert restored.end.wall_s - restored.start.wall_s == pytest.approx(2.0, abs=0.01)
    assert restored.details["source"] == "another microphone"
    assert rig.stream.figures.reconnects == 1
    named = rig.last("device_identified")
    assert named.start.sample >= 5 * 48_000
    assert named.sample_rate_hz == 48_000


def test_times_are_those_of_the_samples(rig: Rig) -> None:
    rig.source.put_state("running")
    rig.source.put_audio(4.0)
    rig.run()
    named = rig.last("device_identified")
    span_s = (named.end.sample - named.start.sample) / RATE_HZ
    assert named.end.wall_s - named.start.wall_s == pytest.approx(span_s, abs=0.01)
    rig.stream.end()
    ended = rig.last("ended")
    assert ended.end.wall_s - ended.start.wall_s == pytest.approx(4.0, abs=0.02)
    assert ended.details["samples"] == ended.end.sample == 4 * RATE_HZ


def test_another_device_after_a_loss_is_a_change(rig: Rig) -> None:
    rig.source.put_state("running")
    rig.source.put_audio(4.0)
    rig.run(device=0)
    rig.source.put_state("reopening", "unplugged")
    rig.source.put_state("running")
    rig.source.put_gap(RATE_HZ * 5)
    rig.source.put_audio(4.0)
    rig.run(device=1)
    change = rig.last("device_changed")
    assert (change.device, change.previous) == rig.metadata.labels[1::-1]


def test_another_model_is_announced(rig: Rig) -> None:
    rig.source.put_state("running")
    rig.source.put_audio(3.0)
    rig.run()
    rig.stream.use(rig.metadata, 0.25, {"model_sha256": "other"})
    rig.source.put_audio(3.0)
    before = rig.stream.figures.windows
    rig.run()
    assert rig.kinds().count("started") == 2
    assert rig.last("started").details["model_sha256"] == "other"
    assert rig.kinds().count("ended") == 1
    assert rig.stream.figures.windows - before > 6  # at the new hop
    assert rig.kinds().count("gap") == 0
