"""What all outlets share: a bounded queue and a thread, so that none can hold up the listening."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from agent.outlets.troubles import Troubles
from model.errors import DevrecError

EventObject = Mapping[str, Any]  #: an event's JSON object, see ``agent.events``
#: Tells the operator something in one line (stderr, the journal). Called from many threads, the
#: listening one among them, so it must not wait for anybody.
Say = Callable[[str], None]

QUEUE_LENGTH = 1000  #: events that may wait for one outlet


class ReceiverGoneError(Exception):
    """Whom the outlet delivers to has gone for good: nothing more can be handed over."""


class Backlog(Protocol):
    """What an outlet that stores events and sends them on knows about those it has accepted.

    Attributes:
        delivered: events that their receiver has confirmed, in this run.
        lost: events that were accepted, and dropped later.
        waiting: events that are still to be confirmed, those of earlier runs among them.
    """

    delivered: int
    lost: int

    @property
    def waiting(self) -> int: ...


class Outlet(Protocol):
    """Somewhere that events go. ``deliver`` and ``close`` are called from one worker thread.

    Attributes:
        name: what it is, for people, e.g. ``mqtt broker.lab:8883``.
        backlog: for an outlet that stores and sends on; ``None`` for one that hands over at once.
    """

    name: str

    @property
    def backlog(self) -> Backlog | None: ...

    def deliver(self, event: EventObject) -> None:
        """Hand over one event; may be slow.

        Raises:
            OSError, DevrecError: it could not be handed over; it is counted as lost and said.
            ReceiverGoneError: nothing can be handed over any more.
        """
        ...

    def stop_by(self, deadline: float) -> None:
        """The agent ends: a ``deliver`` under way returns before ``deadline``
        (``time.monotonic()``). Called from another thread."""
        ...

    def close(self, deadline: float) -> None:
        """Release everything before ``deadline`` (``time.monotonic()``)."""
        ...


class OutletQueue:
    """An outlet behind a bounded queue and a thread of its own.

    Args:
        outlet: where the events go.
        say: told once when events are lost, and when that is over.
        length: events that may wait.
        kinds: kinds of events that are wanted, see ``agent.events``; all of them without it.
    """

    def __init__(
        self,
        outlet: Outlet,
        say: Say,
        length: int = QUEUE_LENGTH,
        kinds: Collection[str] | None = None,
    ) -> None:
        self.outlet = outlet
        self._say = say
        self._length = length
        self._kinds = None if kinds is None else frozenset(kinds)
        self._troubles = Troubles(outlet.name, say)
        self._events: deque[EventObject] = deque()
        self._changed = threading.Condition()  # guards all that follows
        self._deadline: float | None = None  # set when the agent ends
        self._gone = False
        self._lost = 0
        self._delivered = 0
        self._thread = threading.Thread(
            target=self._work, name=f"outlet {outlet.name}", daemon=True
        )
        self._thread.start()

    @property
    def name(self) -> str:
        """The outlet's name."""
        return self.outlet.name

    @property
    def wants_events(self) -> bool:
        """Whether there are kinds of events that it takes; the metrics endpoint takes none."""
        return self._kinds != frozenset()

    @property
    def waiting(self) -> int:
        """Events that have not reached their receiver yet."""
        backlog = self.outlet.backlog
        return len(self._events) + (0 if backlog is None else backlog.waiting)

    @property
    def lost(self) -> int:
        """Events that will never be handed over: the queue was full, or the outlet failed."""
        backlog = self.outlet.backlog
        return self._lost + (0 if backlog is None else backlog.lost)

    @property
    def delivered(self) -> int:
        """Events handed over; where the receiver confirms, those confirmed."""
        backlog = self.outlet.backlog
        return self._delivered if backlog is None else backlog.delivered

    def offer(self, event: EventObject) -> None:
        """Queue an event; never blocks. When the queue is full the event is lost and said."""
        if self._kinds is not None and event["event"] not in self._kinds:
            return
        with self._changed:
            ended = self._gone or self._deadline is not None
            full = len(self._events) >= self._length
            if ended or full:
                self._lost += 1
            else:
                self._events.append(event)
                self._changed.notify()
        if full and not ended:
            self._troubles.report("it is too slow, its queue is full: events are lost")

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until the next event fits: for whoever can wait, as a file that is read can.

        Returns:
            whether it fits.

        Raises:
            BrokenPipeError: the receiver has gone for good.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._events) < self._length or self._gone, timeout_s
            )
            fits = len(self._events) < self._length
        self.check()
        return fits

    def check(self) -> None:
        """See whether anybody is still there to be told.

        Raises:
            BrokenPipeError: the receiver has gone for good; ends the program quietly.
        """
        if self._gone:
            raise BrokenPipeError(f"{self.name}: nobody reads it any more")

    def begin_stop(self, deadline: float) -> None:
        """Take no more events, and be done with those that wait by ``deadline``
        (``time.monotonic()``); returns at once."""
        with self._changed:
            if self._deadline is None:
                self._deadline = deadline
                self._changed.notify()
        self.outlet.stop_by(deadline)

    def stop(self, deadline: float) -> None:
        """Deliver what waits, then close; gives up at ``deadline`` (``time.monotonic()``)."""
        self.begin_stop(deadline)
        # A daemon thread: where it hangs in the kernel it goes with the process.
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                self.outlet.deliver(event)
            except ReceiverGoneError:
                self._gone = True
                self._lose(1)
                break
            except (OSError, DevrecError) as error:
                self._lose(1)
                self._troubles.report(f"event lost: {error}")
            except Exception as error:  # a mistake of ours must not silence the outlet for months
                self._lose(1)
                self._troubles.report(f"event lost: {type(error).__name__}: {error}")
            else:
                self._delivered += 1
                self._troubles.over(f"works again; {self.lost} events were lost so far")
        with self._changed:
            left = len(self._events)
            self._events.clear()
            deadline = self._deadline
        self._lose(left)
        if left and not self._gone:
            self._say(f"{self.name}: {left} events could not be handed over before the end")
        self.outlet.close(time.monotonic() if deadline is None else deadline)

    def _next(self) -> EventObject | None:
        """The next event; ``None`` when it is time to close."""
        with self._changed:
            while not self._events and self._deadline is None:
                self._changed.wait()
            if not self._events:
                return None
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def _lose(self, count: int) -> None:
        with self._changed:
            self._lost += count
