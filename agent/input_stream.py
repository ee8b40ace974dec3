"""One input of the agent: from its source to windows, and from scores to reports and events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from agent.classification import rank
from agent.config.settings import DecisionSection
from agent.decisions import Decider
from agent.events import Event, EventKind, Moment
from agent.known_devices import KnownDevices
from agent.live_figures import InputFigures
from agent.live_report import LiveReport
from agent.signal_checks import SignalChecks, block_level_dbfs, level_to_json
from agent.sources import Audio, Gap, Samples, Source, SourceItem, StateChange
from agent.windows import Window, WindowSlicer
from model.mel import DoubleArray
from model.metadata import ModelMetadata

#: A gap longer than this clears the evidence: somebody may have plugged in another microphone.
FRESH_START_S = 1.0


@dataclass(frozen=True)
class HeardWindow:
    """A window and what its samples are like."""

    window: Window
    checks: SignalChecks


EventSink = Callable[[Event], None]
AudioTap = Callable[[str, int, int, Samples], None]  #: input, rate, position, samples


class InputStream:
    """An input: polled for windows, told what the engine made of them.

    Args:
        name: the input's name.
        source: where its samples come from; closed by :meth:`close`.
        metadata: of the model.
        hop_s: seconds between windows, rounded to whole frames.
        rules: of the decisions.
        emit: takes the events.
        tap: also gets all samples, if given.
        facts: JSON-ready values for the event ``started``.
        known: the devices to decide between; the model's own, and no strangers, without it.

    Attributes:
        figures: counters.
        failure: why the source has never delivered a sample, as long as that is so.
        last_window_s: when the last window was decided on, or could first be waited for;
            ``time.monotonic()``.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        metadata: ModelMetadata,
        hop_s: float,
        rules: DecisionSection,
        emit: EventSink,
        tap: AudioTap | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
        known: KnownDevices | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.figures = InputFigures(name)
        self.failure: str | None = None
        self._emit = emit
        self._tap = tap
        self._facts = facts
        self._begun: Moment | None = None
        self._announced = self._flushed = False
        self._rate = 0
        self._items: deque[SourceItem] = deque()
        self._use(metadata, hop_s, known)
        self._decider = Decider(self._names, rules, 1, known)  # its rate comes with the first item
        self._recent: deque[Audio] = deque()  # samples that windows to come may reach back to
        self._end = 0  # position after the last sample
        self._lost_at: tuple[Moment, str | None] | None = None
        self.last_window_s = time.monotonic()

    @property
    def seconds_heard(self) -> float:
        """Length of the audio so far, without what was lost."""
        return self.figures.samples / self._rate if self._rate else 0.0

    def use(
        self,
        metadata: ModelMetadata,
        hop_s: float,
        facts: Mapping[str, Any],
        known: KnownDevices | None = None,
    ) -> None:
        """Go on with another model or hop: windows and evidence begin anew, no sample is lost.

        Args:
            metadata: of the model.
            hop_s: seconds between windows.
            facts: for the event ``started``, which announces another model.
            known: as for the constructor.
        """
        announced = self._begun is not None and facts != self._facts
        if announced:
            self.end()
        before = self._names, self._known
        self._facts = facts
        self._use(metadata, hop_s, known)
        if before == (self._names, self._known):
            self._decider.restart()
        else:
            old = self._decider
            self._decider = Decider(self._names, old.rules, old.sample_rate_hz, known)
            if before[0] == self._names:
                self._decider.remember(old)
        if announced:
            self._begin(self._now(time.monotonic()))

    def _use(self, metadata: ModelMetadata, hop_s: float, known: KnownDevices | None) -> None:
        self._metadata, self._known = metadata, known
        self._names = metadata.labels if known is None else known.names
        self._hop_frames = metadata.front_end.hop_frames(hop_s)
        self._slicer: WindowSlicer | None = None

    @property
    def rules(self) -> DecisionSection:
        """The rules of the decisions; may be replaced at any time."""
        return self._decider.rules

    @rules.setter
    def rules(self, rules: DecisionSection) -> None:
        self._decider.rules = rules

    def due_s(self) -> float:
        """Seconds until :meth:`pull` is due, whether or not the source becomes readable."""
        return 0.0 if self._items else self.source.due_s()

    def pull(self) -> list[HeardWindow]:
        """Poll the source and return the windows that have become complete.

        Raises:
            AudioError: a file is damaged.
        """
        if not self._announced:
            self._announced = True
            self._emit_state("starting", None, None, self._now(time.monotonic()))
        self._items += self.source.poll()
        heard: list[HeardWindow] = []
        while self._items:
            item = self._items[0]
            if heard and not isinstance(item, Audio):
                break  # what happened after these windows waits until they are decided on
            self._items.popleft()
            self._use_rate(item.rate_hz)
            if isinstance(item, Audio):
                heard += self._on_audio(item)
            elif isinstance(item, Gap):
                self._on_gap(item)
            else:
                heard += self._on_state(item)
        return heard

    def take(
        self, heard: HeardWindow, log_posterior: DoubleArray, embedding: DoubleArray | None = None
    ) -> LiveReport:
        """Decide on a window that :meth:`pull` returned, in the same order.

        Args:
            heard: the window.
            log_posterior: float64 ``(devices,)``.
            embedding: float64 ``(dims,)``; without it strangers are not told from the devices.
        """
        window, checks, decider = heard.window, heard.checks, self._decider
        for decision in decider.accept(window, log_posterior, checks, embedding):
            self._emit_event(
                decision.kind,
                self._moment(decision.start),
                self._moment(decision.end),
                device=decision.device,
                previous=decision.previous,
                probability=decision.probability,
                windows=decision.windows,
                details=self._circumstances(checks) | self._score(decider) | decision.details,
            )
        now = time.monotonic()
        self.last_window_s = now
        figures = self.figures
        figures.windows += 1
        figures.device = decider.device
        candidates = rank(decider.posterior, self._names)
        figures.probability = candidates[0].probability
        figures.latency.add(max(0.0, now - self.source.heard_at(window.end)))
        return LiveReport(
            input=self.name,
            time_s=window.end / self._rate,
            windows=figures.windows,
            window_best=rank(np.exp(log_posterior), self._names)[0],
            candidates=candidates,
            device=decider.device,
            log10_lr=decider.log10_lr,
            unknown=decider.unknown,
            silent=decider.silent,
            level_dbfs=checks.level_dbfs,
            lost_samples=figures.lost_samples,
            warnings=tuple(self._warnings(checks)),
        )

    def end(self) -> None:
        """Say that the input is not listened to any more, and what was heard."""
        start, self._begun = self._begun, None
        if start is None:
            return
        totals = {
            "time_s": round(self._end / self._rate, 3) if self._rate else 0.0,
            "samples": self.figures.samples,
            "lost_samples": self.figures.lost_samples,
        }
        end = self._moment(self._end)
        self._emit_event("ended", start, end, windows=self.figures.windows, details=totals)

    def close(self) -> None:
        """Release the source."""
        self.source.close()

    # Samples

    def _on_audio(self, audio: Audio) -> list[HeardWindow]:
        slicer = self._prepared()
        self.failure = None
        if self._lost_at is not None:
            # The same stream goes on; what it lost meanwhile the clock tells later.
            self._restored({"missing_samples": 0, "exact": False})
        self._recent.append(audio)
        self._end = audio.position + len(audio.samples)
        self.figures.samples += len(audio.samples)
        self.figures.level_dbfs = block_level_dbfs(audio.samples)
        if self._tap is not None:
            self._tap(self.name, self._rate, audio.position, audio.samples)
        heard = [self._heard(window) for window in slicer.accept(audio.samples)]
        while self._recent and _end(self._recent[0]) <= slicer.next_start:
            self._recent.popleft()
        return heard

    def _use_rate(self, rate_hz: int) -> None:
        """Take over the rate of what comes next, and convert positions to it."""
        if rate_hz in (0, self._rate):
            return
        if self._rate:
            ratio = rate_hz / self._rate
            self._end = round(self._end * ratio)
            if self._lost_at is not None:
                start, reason = self._lost_at
                self._lost_at = replace(start, sample=round(start.sample * ratio)), reason
        self._rate = rate_hz
        self._decider.restart()
        self._decider.sample_rate_hz = rate_hz
        self._slicer = None
        self._recent.clear()

    def _prepared(self) -> WindowSlicer:
        """The slicer for the present rate."""
        if self._slicer is None:
            self._slicer = WindowSlicer(self._metadata, self._rate, self._hop_frames)
            self._slicer.restart(self._end)
        return self._slicer

    def _on_gap(self, gap: Gap) -> None:
        self.figures.lost_samples += gap.missing
        start = self._moment(gap.position)
        self._end = gap.position + gap.missing
        self._recent.clear()
        slicer = self._prepared()
        slicer.restart(self._end)
        if gap.missing > FRESH_START_S * self._rate:
            self._decider.restart()
        details = {"missing_samples": gap.missing, "exact": gap.exact, "reason": gap.reason}
        if self._lost_at is not None:
            self.figures.reconnects += 1
            self._restored(details)
        else:
            self.figures.overflows += 1
            self._emit_event("gap", start, self._moment(self._end), details=details)

    def _heard(self, window: Window) -> HeardWindow:
        checks = SignalChecks()
        for audio in self._recent:
            start = max(0, window.start - audio.position)
            checks.accept(audio.samples[start : max(start, window.end - audio.position)])
        return HeardWindow(window, checks)

    def _warnings(self, checks: SignalChecks) -> list[str]:
        warnings = checks.warnings()
        if self._slicer is not None and self._slicer.narrowband:
            warnings.append("narrowband")
        return warnings

    def _circumstances(self, checks: SignalChecks) -> dict[str, Any]:
        return {
            "level_dbfs": level_to_json(checks.level_dbfs),
            "warnings": self._warnings(checks),
        }

    def _score(self, decider: Decider) -> dict[str, Any]:
        """The likelihood ratio behind a decision, where the model can tell strangers."""
        if self._known is None or self._known.open_set is None:
            return {}
        ratio = decider.log10_lr
        return {"score": None if ratio is None else round(ratio, 3)}

    # States and events

    def _on_state(self, change: StateChange) -> list[HeardWindow]:
        if change.state == "ended" and self._slicer is not None and not self._flushed:
            self._flushed = True
            self._items.appendleft(change)  # the last windows come first
            return [self._heard(window) for window in self._slicer.flush()]
        figures = self.figures
        before, figures.state = figures.state, change.state
        if change.state == "running":
            self.last_window_s = time.monotonic()  # the first takes its time
        elif change.state != "ended":
            if not figures.samples:
                self.failure = change.reason
            self._lose(change)
        now = self._now(change.at_s)
        if change.state == "running" and self._begun is None:
            self._begin(now)
        self._emit_state(change.state, before, change.reason, now)
        return []

    def _emit_state(self, state: str, before: str | None, reason: str | None, now: Moment) -> None:
        source = self.source.name
        details = {"state": state, "before": before, "reason": reason, "source": source}
        self._emit_event("input_state", now, now, details=details)

    def _begin(self, now: Moment) -> None:
        self._begun = now
        details = {"source": self.source.name, **self._facts}
        self._emit_event("started", now, now, details=details)

    def _lose(self, change: StateChange) -> None:
        """Say that the audio is lost, once."""
        if self._lost_at is not None:
            return
        start = self._moment(self._end) if self.figures.samples else self._now(change.at_s)
        self._lost_at = (start, change.reason)
        self.figures.device = self.figures.probability = None
        details = {"reason": change.reason}
        self._emit_event("audio_lost", start, self._now(change.at_s), details=details)

    def _restored(self, details: dict[str, Any]) -> None:
        if self._lost_at is None:
            return
        start, reason = self._lost_at
        self._lost_at = None
        details = details | {"reason": reason, "source": self.source.name}
        # A short loss leaves the decision standing, and it will not be said again.
        device = self._decider.device
        end = self._moment(self._end)
        self._emit_event("audio_restored", start, end, device=device, details=details)

    def _moment(self, position: int) -> Moment:
        wall_s = self.source.heard_at(position) + time.time() - time.monotonic()
        return Moment(position, wall_s)

    def _now(self, at_s: float) -> Moment:
        """The place on the timeline of a time at which nothing is heard."""
        wall_s = at_s + time.time() - time.monotonic()
        away_s = max(0.0, at_s - self.source.heard_at(self._end)) if self._rate else 0.0
        return Moment(self._end + round(away_s * self._rate), wall_s)

    def _emit_event(
        self, kind: EventKind, start: Moment, end: Moment, *, details: dict[str, Any], **values: Any
    ) -> None:
        self.figures.events[kind] = self.figures.events.get(kind, 0) + 1
        self._emit(Event(kind, self.name, start, end, self._rate, details=details, **values))


def _end(audio: Audio) -> int:
    return audio.position + len(audio.samples)
