"""Counters of the running agent: what the metrics endpoint and the live view read."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

#: Upper bounds in seconds of the latency histogram: last sample of a window heard -> decided upon.
LATENCY_BOUNDS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class LatencyHistogram:
    """How long after its last sample a window was decided upon.

    Attributes:
        counts: windows for each bound of :data:`LATENCY_BOUNDS_S`, and above the last; not
            cumulative.
        total_s: sum over all windows.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, latency_s: float) -> None:
        """Count one window."""
        self.counts[bisect.bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self.total_s += latency_s


@dataclass
class InputFigures:
    """Counters of one input. Written by the listening thread only; others may read.

    Attributes:
        name: the input's name.
        state: of the capture: starting, running, stalled, reopening, failed, ended.
        device: the device named last, if any.
        windows: windows scored.
        samples: samples heard.
        lost_samples: samples that are missing from the stream.
        overflows: times that samples were lost while the input ran.
        reconnects: times that the input was reopened.
        level_dbfs: RMS level of the last block heard; -inf for digital silence.
        probability: posterior of the best device.
        events: events by kind.
        latency: see :class:`LatencyHistogram`.
    """

    name: str
    state: str = "starting"
    device: str | None = None
    windows: int = 0
    samples: int = 0
    lost_samples: int = 0
    overflows: int = 0
    reconnects: int = 0
    level_dbfs: float = -math.inf
    probability: float | None = None
    events: dict[str, int] = field(default_factory=dict)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
