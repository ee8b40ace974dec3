"""Where samples come from: what live inputs and files have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

#: ``starting`` until the first sample; ``running``; ``stalled`` when no sample comes from an open
#: input; ``reopening`` between attempts; ``failed`` when attempts have failed for long (they go
#: on); ``ended`` after the last sample of a file.
SourceState = Literal["starting", "running", "stalled", "reopening", "failed", "ended"]


@dataclass(frozen=True)
class Audio:
    """Contiguous samples.

    Attributes:
        position: of the first one, in samples since the start of the source; missing samples
            count, so that positions keep pace with the clock.
        samples: float32, 1-D.
        rate_hz: rate of the samples and of the position. When a device of another rate is opened
            in place of the old one, positions go on, converted to the new rate.
    """

    position: int
    samples: Samples
    rate_hz: int


@dataclass(frozen=True)
class Gap:
    """Samples that are missing.

    Attributes:
        position: of the first missing one.
        missing: how many.
        exact: counted rather than told from the clock.
        reason: in words.
        rate_hz: as of :class:`Audio`.
    """

    position: int
    missing: int
    exact: bool
    reason: str
    rate_hz: int


@dataclass(frozen=True)
class StateChange:
    """The source is in another state.

    Attributes:
        state: the new one.
        reason: in words, if there is one to give.
        at_s: when, ``time.monotonic()``.
        rate_hz: as of :class:`Audio`; 0 before a live input has been opened.
    """

    state: SourceState
    reason: str | None
    at_s: float
    rate_hz: int


SourceItem = Audio | Gap | StateChange

HIGHEST_SAMPLE = 1e6  #: full scale is 1; beyond this it is damage, and would overflow further on


def plausible(samples: Samples) -> bool:
    """Whether these can be samples: numbers, and not absurdly large ones."""
    return bool((np.abs(samples) <= HIGHEST_SAMPLE).all())  # false for NaN, too


class Source(Protocol):
    """A stream of samples that one thread polls.

    Attributes:
        name: what it is, for people.
        state: as of the last poll.
        live: whether it runs on whether or not anybody reads.
    """

    name: str
    state: SourceState
    live: bool

    def poll(self) -> list[SourceItem]:
        """What has happened since the last poll, oldest first; never waits.

        Raises:
            AudioError: the file is damaged.
        """
        ...

    def fileno(self) -> int | None:
        """Descriptor that becomes readable when a poll will find something, if there is one."""
        ...

    def due_s(self) -> float:
        """Seconds until a poll is due, whether or not the descriptor becomes readable."""
        ...

    def heard_at(self, position: int) -> float:
        """When the sample at ``position`` was heard, ``time.monotonic()``."""
        ...

    def close(self) -> None:
        """Stop and release; never blocks for long."""
        ...
