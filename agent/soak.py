"""Endurance: many hours of audio through the real agent, faster than real time."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.config.settings import (
    AgentSection,
    Config,
    EvidenceSection,
    InputSection,
    JsonLinesSection,
)
from agent.configured_agent import ConfiguredAgent

WARM_UP = 0.1  #: share of the run after which memory should not grow any more
GROWTH_LIMIT_MB = 5.0
_MEMORY_POINTS = 1000  #: readings of the memory; more would themselves be growth
_MB = 1e6


@dataclass(frozen=True)
class SoakResult:
    """What a soak run found.

    Attributes:
        audio_h: hours of audio pushed through.
        wall_s: seconds that took.
        windows: windows decided on.
        expected_windows: windows that so many samples hold, computed from the front end's frames.
        lost_samples: samples that were sent and did not arrive.
        events: events that were emitted.
        event_lines: lines of JSON in the rotated files; the oldest may have been rotated away.
        rss_mb: resident memory after warm-up: median of the first tenth thereafter.
        growth_mb: median of the last tenth minus that.
        peak_mb: highest resident memory.
        threads: threads at the end minus threads after warm-up.
        open_files: file descriptors, likewise.
    """

    audio_h: float
    wall_s: float
    windows: int
    expected_windows: int
    lost_samples: int
    events: int
    event_lines: int
    rss_mb: float
    growth_mb: float
    peak_mb: float
    threads: int
    open_files: int

    @property
    def complaints(self) -> list[str]:
        """What is not as it should be, in words."""
        found = []
        if self.lost_samples:
            found.append(f"{self.lost_samples} samples were lost")
        if self.windows != self.expected_windows:
            found.append(f"{self.windows} windows instead of {self.expected_windows}")
        if self.event_lines != self.events:
            found.append(f"{self.event_lines} lines for {self.events} events")
        if self.growth_mb >= GROWTH_LIMIT_MB:
            found.append(f"memory grew by {self.growth_mb:.1f} MB")
        if self.threads > 0 or self.open_files > 0:
            found.append(f"{self.threads} threads and {self.open_files} files more than before")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self) | {"complaints": self.complaints}


def soak(
    hours: float,
    agent_section: AgentSection,
    folder: Path,
    progress: Callable[[float], None],
    say: Callable[[str], None],
    rate_hz: int = 32_000,
) -> SoakResult:
    """Push simulated audio through capture pipe, pipeline, decisions, a rotated file of events and
    evidence with a quota.

    Args:
        hours: of audio.
        agent_section: engine, threads and hop.
        folder: for events and evidence.
        progress: told the share that is done, now and then.
        say: tells the operator one line.
        rate_hz: of the simulated input.

    Raises:
        DevrecError: the model cannot be used, or the folder not be written.
    """
    seconds = 3600 * hours
    worker = ("-m", "agent.soak_worker", str(seconds), str(rate_hz))
    events = [0]
    lost = [0]

    def count(event: Any) -> None:
        events[0] += 1
        if event["event"] in ("gap", "audio_restored"):
            lost[0] += event["missing_samples"]

    agent = ConfiguredAgent(say, fast=True, watchers=[count], worker=worker)
    config = Config(
        agent=agent_section,
        input=(InputSection(name="soak"),),
        jsonl=JsonLinesSection(path=folder / "events.jsonl", max_mb=1, keep=1000),
        evidence=EvidenceSection(folder=folder / "evidence", quota_mb=64),
    )
    started = time.monotonic()
    memory: list[tuple[float, float]] = []
    resources: tuple[int, int] | None = None
    try:
        agent.apply(config, agent.prepare(config))
        (stream,) = agent.streams
        total = round(seconds * rate_hz)
        while not agent.ended:
            agent.step()
            done = stream.figures.samples / total
            if not memory or done >= memory[-1][0] + 1 / _MEMORY_POINTS:
                memory.append((done, resident_mb()))
                progress(done)
            if resources is None and done >= WARM_UP:
                resources = _resources()
        after = _resources()
        figures = stream.figures
        expected = _expected_windows(agent, total, rate_hz)
    finally:
        agent.close(time.monotonic() + 5.0)
    before = resources or after
    warm = [mb for done, mb in memory if done >= WARM_UP]
    tenth = max(1, len(warm) // 10)
    first = statistics.median(warm[:tenth])
    return SoakResult(
        audio_h=hours,
        wall_s=time.monotonic() - started,
        windows=figures.windows,
        expected_windows=expected,
        lost_samples=lost[0] + total - figures.samples,
        events=events[0],
        event_lines=_count_lines(folder),
        rss_mb=first,
        growth_mb=statistics.median(warm[-tenth:]) - first,
        peak_mb=max(mb for _, mb in memory),
        threads=after[0] - before[0],
        open_files=after[1] - before[1],
    )


def resident_mb(process: int | str = "self") -> float:
    """Resident memory of a process, megabytes."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / _MB


def _resources() -> tuple[int, int]:
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def _expected_windows(agent: ConfiguredAgent, n_samples: int, rate_hz: int) -> int:
    """From the numbers of samples and frames alone; for inputs at the model's own rate."""
    metadata = agent.engine.metadata
    front_end = metadata.front_end
    if rate_hz != front_end.sample_rate_hz:
        raise ValueError("the soak run's rate must be the model's")
    hop = front_end.hop_frames(agent.hop_s)
    return max(0, (front_end.frames_in(n_samples) - metadata.window_frames) // hop + 1)


def _count_lines(folder: Path) -> int:
    """Whole lines of JSON in all files of events."""
    lines = 0
    for path in folder.glob("events.jsonl*"):
        with path.open() as file:
            for line in file:
                json.loads(line)
                lines += 1
    return lines
