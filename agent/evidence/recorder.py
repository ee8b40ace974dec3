"""Audio around events: the last seconds of every input, written when something happens.

The listening thread calls :class:`EvidenceRecorder`; it copies samples and never waits. A thread of
:mod:`agent.evidence.writer` makes files of them, in the folder of :mod:`agent.evidence.store`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agent.evidence.recent_audio import RecentAudio
from agent.evidence.store import EvidenceStore
from agent.evidence.writer import Evidence, EvidenceWriter
from agent.outlets.outlet import Say

if TYPE_CHECKING:
    from agent.config.settings import EvidenceSection

Samples = npt.NDArray[np.float32]

#: How much later than its last sample an event may come, and how much longer than the time that
#: they take its following samples are waited for.
SLACK_S = 5.0
#: Events that may come where nothing is heard: that there is no audio of them is no loss.
UNHEARD_KINDS = ("started", "input_state", "audio_lost", "audio_restored", "gap", "ended")
_STEP_S = 1.0  #: samples of this long are taken at once; less than the slack


@dataclass(frozen=True)
class _Wanted:
    """Audio from position ``first`` to before ``end``; ``due`` is when to wait no longer."""

    event: Mapping[str, Any]
    first: int
    end: int
    due: float


@dataclass
class _Input:
    sample_rate_hz: int
    audio: RecentAudio
    wanted: list[_Wanted] = field(default_factory=list)


class EvidenceRecorder:
    """Keeps the last seconds of every input and writes them around events.

    All methods are called from one thread, and none waits for the disk but :meth:`close`.

    Args:
        section: folder, seconds before and after, quota, and which events.
        facts: what else every JSON file says: model, its checksum, engine; JSON-ready values.
        say: told one line when evidence is lost, and when that is over.
        clock: monotonic seconds.

    Raises:
        DevrecError: the folder cannot be made or written.
    """

    def __init__(
        self,
        section: EvidenceSection,
        facts: Mapping[str, Any],
        say: Say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section = section
        self._clock = clock
        self._inputs: dict[str, _Input] = {}
        self._writer = EvidenceWriter(EvidenceStore(section.folder, section.quota_mb), facts, say)

    @property
    def written(self) -> int:
        """Events whose audio is on the disk."""
        return self._writer.written

    @property
    def lost(self) -> int:
        """Events whose audio could not be kept."""
        return self._writer.lost

    def add_input(self, name: str, sample_rate_hz: int) -> None:
        """Begin to keep an input's audio; one of the same name ends first."""
        self.remove_input(name)
        seconds = self._section.before_s + self._section.after_s + SLACK_S
        self._inputs[name] = _Input(sample_rate_hz, RecentAudio(round(seconds * sample_rate_hz)))

    def remove_input(self, name: str) -> None:
        """The input's stream has ended or is lost: what is wanted of it is written as it is."""
        entry = self._inputs.pop(name, None)
        if entry is not None:
            for wanted in entry.wanted:
                self._finish(entry, wanted)

    def accept(self, input: str, position: int, samples: Samples) -> None:
        """Samples of an input.

        Args:
            input: its name.
            position: of the first sample. More than the number heard so far: the samples between
                are missing. Less: the stream has begun anew.
            samples: float32, 1-D, full scale = 1.
        """
        entry = self._inputs.get(input)
        if entry is None:
            return
        step = max(1, round(_STEP_S * entry.sample_rate_hz))
        for start in range(0, len(samples), step):
            part = samples[start : start + step]
            at = position + start
            if entry.wanted:
                # Before the ring moves on: behind a long gap, or in a new stream, the audio in
                # front of it is no longer there.
                self._finish_ready(entry, at, restarted=at < entry.audio.end)
            entry.audio.accept(at, part)
        if entry.wanted:
            self._finish_ready(entry, entry.audio.end)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Something happened; keep the audio around it, if events of its kind are asked for.

        Args:
            event: the event's object, with its identity; see :mod:`agent.events`.
        """
        if event["event"] not in self._section.events:
            return
        entry = self._inputs.get(str(event["input"]))
        if entry is None:
            self._lose(event, f"no audio of input {event['input']!r} was heard")
            return
        section, rate, end = self._section, entry.sample_rate_hz, int(event["end_sample"])
        entry.wanted.append(
            _Wanted(
                event=dict(event),
                first=end - round(section.before_s * rate),
                end=end + round(section.after_s * rate),
                due=self._clock() + section.after_s + SLACK_S,
            )
        )
        self._finish_ready(entry, entry.audio.end)

    def poll(self) -> None:
        """Call now and then: writes what has been waited for too long while nothing was heard."""
        for entry in self._inputs.values():
            if entry.wanted:
                self._finish_ready(entry, entry.audio.end)

    def close(self, deadline: float) -> None:
        """Write all that is wanted, as it is.

        Args:
            deadline: ``time.monotonic()`` at which to give up.
        """
        for name in list(self._inputs):
            self.remove_input(name)
        self._writer.stop(deadline)

    def _finish_ready(self, entry: _Input, position: int, *, restarted: bool = False) -> None:
        """Write what is complete when the stream has come to ``position``, or overdue."""
        now = self._clock()
        waiting = []
        for wanted in entry.wanted:
            if restarted or wanted.end <= position or now >= wanted.due:
                self._finish(entry, wanted)
            else:
                waiting.append(wanted)
        entry.wanted = waiting

    def _finish(self, entry: _Input, wanted: _Wanted) -> None:
        excerpt = entry.audio.excerpt(wanted.first, wanted.end)
        if excerpt is None:
            event = wanted.event
            self._lose(event, f"nothing was heard around {event['event']} of {event['input']}")
            return
        self._writer.offer(Evidence(wanted.event, excerpt, entry.sample_rate_hz))

    def _lose(self, event: Mapping[str, Any], why: str) -> None:
        if event["event"] not in UNHEARD_KINDS:
            self._writer.lose(why)
