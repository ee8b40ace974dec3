"""The thread that writes evidence, so that a slow disk never holds up the listening."""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from agent import __version__
from agent.events import Moment
from agent.evidence.flac import encode
from agent.evidence.recent_audio import Excerpt
from agent.evidence.store import FORMAT, FORMAT_VERSION, EvidenceStore
from agent.outlets.outlet import Say
from agent.outlets.troubles import Troubles
from model.errors import DevrecError

QUEUE_LENGTH = 32  #: excerpts that may wait for the disk
QUEUE_BYTES = 64 << 20  #: and their memory; a single one may be larger


@dataclass(frozen=True)
class Evidence:
    """Audio around an event, ready to be written.

    Attributes:
        event: the event's object.
        excerpt: the audio.
        sample_rate_hz: its rate.
    """

    event: Mapping[str, Any]
    excerpt: Excerpt
    sample_rate_hz: int


class EvidenceWriter:
    """Writes evidence into a store, one after the other.

    Args:
        store: where it goes; closed when all is written that waits at the end.
        facts: what else each JSON file says about how it was made (model, engine).
        say: told when evidence is lost, and when that is over.

    Attributes:
        written: pairs written.
        lost: pairs that were not.
    """

    def __init__(self, store: EvidenceStore, facts: Mapping[str, Any], say: Say) -> None:
        self.written = 0
        self.lost = 0
        self._store = store
        self._made_by = {"agent_version": __version__, "host": platform.node(), **facts}
        self._say = say
        self._changed = threading.Condition()  # guards all that follows, and the figures above
        self._waiting: deque[Evidence] = deque()
        self._bytes = 0  # of those that wait, and of the one that is being written
        self._unfinished = 0
        self._ended = False
        self._troubles = Troubles("evidence", say)
        self._thread = threading.Thread(target=self._work, name="evidence", daemon=True)
        self._thread.start()

    def offer(self, evidence: Evidence) -> None:
        """Queue evidence; never blocks. When too much waits already, this one is lost."""
        size = evidence.excerpt.samples.nbytes
        with self._changed:
            full = len(self._waiting) >= QUEUE_LENGTH or (
                self._bytes > 0 and self._bytes + size > QUEUE_BYTES
            )
            if not full:
                self._waiting.append(evidence)
                self._bytes += size
                self._unfinished += 1
                self._changed.notify()
        if full:
            self.lose("the disk is too slow: too much waits to be written")

    def lose(self, why: str) -> None:
        """Count evidence that is not written, and say so unless that was said lately."""
        with self._changed:
            self.lost += 1
        self._troubles.report(f"lost: {why}")

    def stop(self, deadline: float) -> None:
        """Write what waits, then end; waits for that until ``deadline`` (``time.monotonic()``) and
        says what is not written by then. If the process goes on, so does the writing."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            left = self._unfinished if self._thread.is_alive() else 0
        if left:
            self._say(f"evidence: {left} could not be written before the end")

    def _work(self) -> None:
        while (evidence := self._next()) is not None:
            try:
                self._write(evidence)
            except DevrecError as error:
                self.lose(str(error))
            except Exception as error:  # a mistake of ours must not end the thread for months
                self.lose(f"{type(error).__name__}: {error}")
            else:
                with self._changed:
                    self.written += 1
                self._troubles.over(f"written again; {self.lost} were lost so far")
            with self._changed:
                self._bytes -= evidence.excerpt.samples.nbytes
                self._unfinished -= 1
        self._store.close()

    def _next(self) -> Evidence | None:
        """The next to be written; ``None`` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.popleft() if self._waiting else None

    def _write(self, evidence: Evidence) -> None:
        event, excerpt, rate = evidence.event, evidence.excerpt, evidence.sample_rate_hz
        flac, pcm, exact = encode(excerpt.samples, rate)
        stem = self._store.next_stem(event)
        description = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "event": event,
            "audio": {
                "file": f"{stem}.flac",
                "sha256": hashlib.sha256(flac).hexdigest(),
                **asdict(pcm),
                "exact": exact,
                "first_sample": excerpt.first,
                "last_sample": excerpt.first + len(excerpt.samples) - 1,
                "first_sample_time": _time_of(excerpt.first, event, rate),
                "gaps": [asdict(gap) for gap in excerpt.gaps],
            },
            "made_by": self._made_by,
        }
        self._store.write(stem, flac, description)


def _time_of(position: int, event: Mapping[str, Any], sample_rate_hz: int) -> str:
    """Wall-clock time of a sample, reckoned from the event's end; ISO 8601, UTC."""
    end = datetime.fromisoformat(str(event["end"]).replace("Z", "+00:00"))
    before = timedelta(seconds=(int(event["end_sample"]) - position) / sample_rate_hz)
    return Moment(position, (end - before).timestamp()).iso
