"""What all outlets share: a bounded queue and a thread, so that none can hold up the listening."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

EventObject = Mapping[str, Any]  #: an event's JSON object, see ``agent.events``
Say = Callable[[str], None]  #: tells the operator something in one line (stderr, the journal)

QUEUE_LENGTH = 1000  #: events that may wait for one outlet
REPEAT_S = 60.0  #: the same trouble is not said again within this time


class Outlet(Protocol):
    """Somewhere that events go. Both methods are called from one worker thread.

    Attributes:
        name: what it is, for people, e.g. ``mqtt broker.lab:8883``.
    """

    name: str

    def deliver(self, event: EventObject) -> None:
        """Hand over one event; may be slow.

        Raises:
            OSError, DevrecError: it could not be handed over; it is counted as lost and said.
        """
        ...

    def close(self, deadline: float) -> None:
        """Release everything before ``deadline`` (``time.monotonic()``)."""
        ...


class OutletQueue:
    """An outlet behind a bounded queue.

    Args:
        outlet: where the events go.
        say: told once when events are lost, and when that is over.
        length: events that may wait.

    Attributes:
        lost: events that were not handed over: the queue was full, or the outlet failed.
        delivered: events handed over.
    """

    def __init__(self, outlet: Outlet, say: Say, length: int = QUEUE_LENGTH) -> None:
        self.outlet = outlet
        self.lost = 0
        self.delivered = 0
        self._say = say
        self._queue: queue.Queue[EventObject | None] = queue.Queue(length)
        self._said: dict[str, float] = {}
        self._losing = False
        self._deadline = float("inf")
        self._thread = threading.Thread(
            target=self._work, name=f"outlet {outlet.name}", daemon=True
        )
        self._thread.start()

    @property
    def name(self) -> str:
        """The outlet's name."""
        return self.outlet.name

    @property
    def waiting(self) -> int:
        """Events in the queue."""
        return self._queue.qsize()

    def offer(self, event: EventObject) -> None:
        """Queue an event; never blocks. When the queue is full the event is lost and said."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._lose("it is too slow: its queue is full")

    def stop(self, deadline: float) -> None:
        """Deliver what waits, then close; gives up at ``deadline`` (``time.monotonic()``)."""
        self._deadline = deadline
        try:
            self._queue.put(None, timeout=max(0.0, deadline - time.monotonic()))
        except queue.Full:
            return  # a daemon thread: it goes with the process
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        from model.errors import DevrecError

        while (event := self._queue.get()) is not None:
            try:
                self.outlet.deliver(event)
            except (OSError, DevrecError) as error:
                self._lose(str(error))
                continue
            self.delivered += 1
            if self._losing:
                self._losing = False
                self._said.clear()
                self._say(f"{self.name}: works again; {self.lost} events were lost so far")
        self.outlet.close(self._deadline)

    def _lose(self, why: str) -> None:
        self.lost += 1
        self._losing = True
        now = time.monotonic()
        if now - self._said.get(why, -REPEAT_S) >= REPEAT_S:
            self._said[why] = now
            self._say(f"{self.name}: event lost: {why}")
