"""What the agent tells others: events, each about an interval of one input's stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Literal, get_args

#: Decisions about the device, the presence of sound, the capture itself, and the agent.
EventKind = Literal[
    "device_identified",
    "device_changed",
    "unknown",
    "silence",
    "clipping",
    "audio_lost",
    "audio_restored",
    "gap",
    "input_state",
    "started",
    "ended",
]
EVENT_KINDS: tuple[str, ...] = get_args(EventKind)

#: The events that somebody who watches a line acts upon.
ALARMS: tuple[EventKind, ...] = (
    "device_identified",
    "device_changed",
    "unknown",
    "silence",
    "audio_lost",
    "audio_restored",
)


@dataclass(frozen=True)
class Moment:
    """A point of a stream.

    Attributes:
        sample: position in samples at the input's rate since its start; samples that were lost
            count, so that positions keep pace with the clock.
        wall_s: wall-clock time, seconds since the epoch.
    """

    sample: int
    wall_s: float

    @property
    def iso(self) -> str:
        """ISO 8601, UTC, milliseconds."""
        at = datetime.fromtimestamp(self.wall_s, tz=timezone.utc)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Event:
    """Something that happened on an input.

    Attributes:
        kind: one of :data:`EVENT_KINDS`.
        input: name of the input.
        start: beginning of the evidence, or of the state of affairs.
        end: end of the evidence: when the event was decided.
        sample_rate_hz: rate that positions count in; 0 for an input that was never opened.
        device: device named, if any.
        previous: device named before, if any.
        probability: posterior of ``device`` over the evidence, equal priors; for ``unknown`` that
            of the best device.
        windows: windows behind the event.
        details: what else is to be said; JSON-ready values.
    """

    kind: EventKind
    input: str
    start: Moment
    end: Moment
    sample_rate_hz: int
    device: str | None = None
    previous: str | None = None
    probability: float | None = None
    windows: int = 0
    details: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def to_dict(self) -> dict[str, Any]:
        """JSON object, without the identity that :class:`EventStamp` adds."""
        probability = None if self.probability is None else round(self.probability, 6)
        return {
            "event": self.kind,
            "input": self.input,
            "device": self.device,
            "previous": self.previous,
            "probability": probability,
            "windows": self.windows,
            "start": self.start.iso,
            "end": self.end.iso,
            "start_sample": self.start.sample,
            "end_sample": self.end.sample,
            "sample_rate_hz": self.sample_rate_hz or None,
            **self.details,
        }


class EventStamp:
    """Gives events the identity by which receivers sort them and drop duplicates.

    Args:
        agent: name of this agent.
        run: unique name of this run.
    """

    def __init__(self, agent: str, run: str) -> None:
        self._agent, self._run = agent, run
        self._count = 0

    def stamp(self, event: Event) -> dict[str, Any]:
        """The event's JSON object with ``id`` (``run-number``, numbers without a hole) and
        ``agent``."""
        self._count += 1
        values = event.to_dict()
        kind = values.pop("event")
        identity = {"event": kind, "id": f"{self._run}-{self._count}", "agent": self._agent}
        return {**identity, **values}
