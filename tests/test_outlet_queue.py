"""No outlet holds up the listening, loses without saying, or hangs at the end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from agent.outlets.outlet import EventObject, OutletQueue, ReceiverGoneError
from agent.outlets.troubles import Troubles
from tests.mosquitto import wait_until


class Recorder:
    """An outlet that keeps what it gets, waits at a gate, and fails when it is told to."""

    name = "recorder"
    backlog = None

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.closed = False

    def deliver(self, event: EventObject) -> None:
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.events.append(event["id"])

    def stop_by(self, deadline: float) -> None:
        pass

    def close(self, deadline: float) -> None:
        self.closed = True


def event(number: int, kind: str = "gap") -> dict[str, Any]:
    return {"event": kind, "id": number}


def test_order_and_closing() -> None:
    outlet, said = Recorder(), list[str]()
    queue = OutletQueue(outlet, said.append)
    for number in range(100):
        queue.offer(event(number))
    queue.stop(time.monotonic() + 5)
    assert outlet.events == list(range(100))
    assert outlet.closed
    assert (queue.delivered, queue.lost, queue.waiting) == (100, 0, 0)
    assert not said


def test_full_queue_loses_the_newest_says_so_once_and_never_blocks() -> None:
    outlet, said = Recorder(), list[str]()
    outlet.gate.clear()
    queue = OutletQueue(outlet, said.append, length=10)
    queue.offer(event(0))
    wait_until(lambda: queue.waiting == 0)  # the outlet has it, and hangs
    began = time.monotonic()
    for number in range(1, 21):
        queue.offer(event(number))
    assert time.monotonic() - began < 0.5
    assert queue.lost == 10
    assert said == ["recorder: it is too slow, its queue is full: events are lost"]
    outlet.gate.set()
    wait_until(lambda: queue.delivered == 11)
    assert outlet.events == list(range(11))
    assert said[1:] == ["recorder: works again; 10 events were lost so far"]
    queue.stop(time.monotonic() + 5)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyError("bug")])
def test_failing_outlet_is_said_once_and_used_again(failure: Exception) -> None:
    outlet, said = Recorder(), list[str]()
    outlet.failure = failure
    queue = OutletQueue(outlet, said.append)
    for number in range(5):
        queue.offer(event(number))
    wait_until(lambda: queue.lost == 5)
    assert len(said) == 1
    outlet.failure = None
    queue.offer(event(5))
    wait_until(lambda: queue.delivered == 1)
    assert said[1:] == ["recorder: works again; 5 events were lost so far"]
    queue.stop(time.monotonic() + 5)


def test_only_the_kinds_that_are_wanted() -> None:
    outlet = Recorder()
    queue = OutletQueue(outlet, print, kinds=("silence",))
    queue.offer(event(0))
    queue.offer(event(1, "silence"))
    queue.stop(time.monotonic() + 5)
    assert outlet.events == [1]
    assert queue.lost == 0


def test_hanging_outlet_does_not_hold_up_the_end() -> None:
    outlet, said = Recorder(), list[str]()
    outlet.gate.clear()
    queue = OutletQueue(outlet, said.append)
    for number in range(3):
        queue.offer(event(number))
    began = time.monotonic()
    queue.stop(began + 0.3)
    assert 0.25 < time.monotonic() - began < 1.5
    outlet.gate.set()  # it wakes up after all: what comes too late is counted and said
    wait_until(lambda: outlet.closed)
    assert outlet.events == [0]
    assert queue.lost == 2
    assert said == ["recorder: 2 events could not be handed over before the end"]


def test_gone_receiver_ends_the_outlet_quietly() -> None:
    outlet, said = Recorder(), list[str]()
    queue = OutletQueue(outlet, said.append)
    queue.check()
    outlet.failure = ReceiverGoneError("recorder")
    queue.offer(event(0))
    wait_until(lambda: outlet.closed)
    queue.offer(event(1))
    assert queue.lost == 2
    assert not said
    with pytest.raises(BrokenPipeError):
        queue.check()
    queue.stop(time.monotonic() + 5)


def test_trouble_that_comes_and_goes_is_not_said_every_time() -> None:
    said: list[str] = []
    troubles = Troubles("part", said.append)
    for _ in range(20):
        troubles.report("broken", f" ({len(said)})")
        troubles.over("well")
    assert said == ["part: broken (0)", "part: well"]
