"""A stream's samples against the clock: when each was heard, and whether some went missing.

No sound system can be relied on to say that it lost something. What it cannot hide is that fewer
samples arrive than the clock allows.
"""

from __future__ import annotations

from collections import deque

SETTLE_S = 2.0  #: arrivals are judged by the least late of this long
CONFIRM_S = 3.0  #: a lag must stay for this long, samples arriving meanwhile, to be a loss
LOSS_S = 0.1  #: a lag that stays, and is larger than this, is a loss
DRIFT = 1e-3  #: a sound card's clock may differ from ours by this much; crystals do by 1e-4


class SampleClock:
    """Relates positions of one uninterrupted stream to the monotonic clock.

    Args:
        sample_rate_hz: nominal rate of the stream.

    A block arrives late by scheduling, never early; so the least lag of the last two seconds is the
    stream's own. It moves slowly when the card's clock differs from ours. When it jumps and stays,
    samples were lost; when it jumps and returns within some seconds, they were only late.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._recent: deque[tuple[float, float]] = deque()  # (arrival, lag), lag rising
        self._first: float | None = None
        self._last_seen = 0.0
        self._base: float | None = None
        self._behind_since: float | None = None
        self._lost = 0

    def arrived(self, position: int, at_s: float) -> int:
        """Samples up to ``position`` had arrived at ``at_s`` (``time.monotonic()``).

        Returns:
            samples that turn out to be missing before ``position``; mostly 0.
        """
        lag = at_s - (position + self._lost) / self._rate
        while self._recent and self._recent[-1][1] >= lag:
            self._recent.pop()
        self._recent.append((at_s, lag))
        while self._recent[0][0] < at_s - SETTLE_S:
            self._recent.popleft()
        if self._first is None:
            self._first = at_s
        if at_s - self._first < SETTLE_S:
            self._last_seen = at_s
            return 0
        least = self._recent[0][1]
        if self._base is None:
            self._base = least
        elapsed, self._last_seen = at_s - self._last_seen, at_s
        behind = least - self._base
        if behind <= LOSS_S:
            self._base += min(behind, DRIFT * elapsed)
            self._behind_since = None
            return 0
        if self._behind_since is None:
            self._behind_since = at_s
        if at_s - self._behind_since < CONFIRM_S:
            return 0
        self._behind_since = None
        missing = round(behind * self._rate)
        self._lost += missing
        self._recent = deque((at, lag - behind) for at, lag in self._recent)
        return missing

    def heard_at(self, position: int) -> float:
        """When the sample at ``position`` was heard, ``time.monotonic()``; before any arrival, 0.

        Args:
            position: as given to :meth:`arrived`; losses that were returned are not counted.
        """
        base = self._base
        if base is None:
            base = self._recent[0][1] if self._recent else 0.0
        return base + (position + self._lost) / self._rate
