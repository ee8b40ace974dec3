"""From scored windows to decisions: evidence with forgetting, hysteresis, patience, silence.

A single window errs now and then, and an answer that flickers is of no use to whoever is woken by
it. So the log posteriors of windows are summed with weights that fall exponentially with age. A
device is named when its posterior over that evidence stays above ``enter`` for ``patience_s``, and
holds until it falls below ``leave``. Windows below the silence gate are no evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.config.settings import DecisionSection
from agent.events import EventKind
from agent.familiarity import Familiarity
from agent.known_devices import KnownDevices
from agent.signal_checks import SignalChecks, level_to_json
from agent.windows import Window
from model.mel import DoubleArray

#: No single window counts for more against a device than a posterior of 1 in 10,000.
LEAST_LOG_POSTERIOR = math.log(1e-4)
HIGHEST_POSTERIOR = 0.99  #: of the best device, however long it has been heard
CLIPPING_REARM_S = 10.0  #: clean for this long, clipping may be said again


@dataclass(frozen=True)
class Decision:
    """A decision about an input.

    Attributes:
        kind: ``device_identified``, ``device_changed``, ``unknown``, ``silence`` or ``clipping``.
        start: position of the first sample of the evidence.
        end: position after the last sample of it.
        windows: windows behind it.
        device: the device named, or the best one for ``unknown``'s probability.
        previous: the device named before.
        probability: posterior of the best device.
        details: JSON-ready values for the event.
    """

    kind: EventKind
    start: int
    end: int
    windows: int
    device: str | None = None
    previous: str | None = None
    probability: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Evidence:
    """Accumulated log posteriors, with forgetting.

    Args:
        n_devices: length of the log posteriors.
        memory_s: evidence fades to 1/e in this time.

    Overlapping windows hear the same audio, and must not count as independent: each counts for the
    share of it that is new. So the result does not depend on the hop between windows. However long
    a device has been heard, its posterior ends at 99 %: a microphone may be swapped at any time,
    and a second of strong evidence for another must be able to show it.
    """

    def __init__(self, n_devices: int, memory_s: float) -> None:
        self._n_devices = n_devices
        others = max(1, n_devices - 1)
        self._floor = math.log((1 - HIGHEST_POSTERIOR) / HIGHEST_POSTERIOR / others)
        self.memory_s = memory_s
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._sum: DoubleArray = np.zeros(self._n_devices)

    def add(self, log_posterior: DoubleArray, elapsed_s: float, new_share: float) -> None:
        """Take in a window.

        Args:
            log_posterior: float64 ``(devices,)``.
            elapsed_s: since the window before.
            new_share: share of the window that no window before it has heard, above 0 to 1.
        """
        bounded = np.maximum(log_posterior, LEAST_LOG_POSTERIOR)
        total = math.exp(-elapsed_s / self.memory_s) * self._sum + new_share * bounded
        self._sum = np.maximum(total - total.max(), self._floor)

    @property
    def posterior(self) -> DoubleArray:
        """float64 ``(devices,)``, sums to 1; uniform without evidence."""
        unnormalised = np.exp(self._sum)
        posterior: DoubleArray = unnormalised / unnormalised.sum()
        return posterior


@dataclass
class _Run:
    """Windows in a row that speak for one thing."""

    start: int
    windows: int = 0
    lasted: int = 0  # samples with sound from the end of its first window to that of its last


class Decider:
    """Decides about one input, window by window.

    Args:
        labels: devices of the model.
        rules: see :class:`agent.config.settings.DecisionSection`; may be replaced at any time.
        sample_rate_hz: rate that positions count in.
        known: what tells strangers from the devices, if anything does.

    Attributes:
        sample_rate_hz: as given; may be replaced after a :meth:`restart`.
        device: the device named now; ``None`` before the first, in silence and when unknown.
        silent: whether silence has been decided on.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        rules: DecisionSection,
        sample_rate_hz: int,
        known: KnownDevices | None = None,
    ) -> None:
        self._labels = labels
        self._familiarity = Familiarity(known) if known is not None else None
        self.sample_rate_hz = sample_rate_hz
        self._rules = rules
        self._evidence = Evidence(len(labels), rules.memory_s)
        self.device: str | None = None
        self.silent = False
        self._previous: str | None = None
        self._unknown = False
        self._last_end: int | None = None
        self._candidate: str | None = None
        self._naming: _Run | None = None
        self._unsure: _Run | None = None
        self._quiet: _Run | None = None
        self._clipped: _Run | None = None
        self._clipping_said_until: int | None = None

    @property
    def rules(self) -> DecisionSection:
        """The rules in force."""
        return self._rules

    @rules.setter
    def rules(self, rules: DecisionSection) -> None:
        self._rules = rules
        self._evidence.memory_s = rules.memory_s

    @property
    def posterior(self) -> DoubleArray:
        """Posterior over the windows remembered, float64 ``(devices,)``."""
        return self._evidence.posterior

    @property
    def unknown(self) -> bool:
        """Whether ``unknown`` has been decided on."""
        return self._unknown

    def remember(self, other: Decider) -> None:
        """Take over what another decider named last, so that another device is a change."""
        self._previous = other._previous

    def restart(self) -> None:
        """Forget the evidence: what comes may be another device. What was named last is kept, so
        that another device is a change."""
        self._evidence.clear()
        if self._familiarity is not None:
            self._familiarity.clear()
        self.device = None
        self._unknown = False
        self.silent = False
        self._last_end = None
        self._candidate = None
        self._naming = self._unsure = self._quiet = self._clipped = None

    @property
    def log10_lr(self) -> float | None:
        """Of the best device against another one, on what is remembered; ``None`` where the model
        cannot tell."""
        if self._familiarity is None:
            return None
        return self._familiarity.log10_lr(int(self.posterior.argmax()))

    def accept(
        self,
        window: Window,
        log_posterior: DoubleArray,
        checks: SignalChecks,
        embedding: DoubleArray | None = None,
    ) -> list[Decision]:
        """Take in a window.

        Args:
            window: where it lies.
            log_posterior: float64 ``(devices,)``.
            checks: of the window's samples.
            embedding: float64 ``(dims,)``; without it strangers are not told from the devices.

        Returns:
            what is decided on it, mostly nothing.
        """
        decisions = self._clipping(window, checks)
        if checks.level_dbfs < self._rules.silence_dbfs:
            return decisions + self._silence(window, checks)
        self._quiet = None
        if not np.isfinite(log_posterior).all():
            return decisions  # the engine has made nothing of it; no later window shall suffer
        if self.silent:
            self.restart()
        length = window.end - window.start
        elapsed = length if self._last_end is None else window.end - self._last_end
        self._last_end = window.end
        heard = min(elapsed, length)  # a pause between two windows is not heard
        elapsed_s, new_share = elapsed / self.sample_rate_hz, heard / length
        self._evidence.add(log_posterior, elapsed_s, new_share)
        if self._familiarity is not None and embedding is not None:
            self._familiarity.add(embedding, elapsed_s, new_share, self._rules.memory_s)
        posterior = self._evidence.posterior
        best = int(posterior.argmax())
        probability, believed = float(posterior[best]), posterior
        if self._familiarity is not None and self._familiarity.is_stranger(best):
            # However much more probable than the other devices: it is none of them.
            believed = np.zeros_like(posterior)
        decisions += self._name(window, heard, self._labels[best], float(believed[best]))
        decisions += self._doubt(window, heard, believed, probability)
        return decisions

    def _lasted_s(self, run: _Run, heard: int) -> float:
        """Add a window, with so many samples new, to a run; how long the run has lasted."""
        if run.windows:
            run.lasted += heard
        run.windows += 1
        return run.lasted / self.sample_rate_hz

    def _silence(self, window: Window, checks: SignalChecks) -> list[Decision]:
        run = self._quiet = self._quiet or _Run(window.start)
        run.windows += 1
        heard_s = (window.end - run.start) / self.sample_rate_hz
        if self.silent or heard_s < self._rules.silence_after_s:
            return []
        self.restart()
        self.silent = True
        details = {
            "level_dbfs": level_to_json(checks.level_dbfs),
            "digital": checks.digital_silence,
        }
        return [
            Decision(
                "silence",
                run.start,
                window.end,
                run.windows,
                previous=self._previous,
                details=details,
            )
        ]

    def _clipping(self, window: Window, checks: SignalChecks) -> list[Decision]:
        if "clipping" not in checks.warnings():
            self._clipped = None
            return []
        said_until = self._clipping_said_until
        if said_until is not None and window.end <= said_until:
            self._clipping_said_until = window.end + round(CLIPPING_REARM_S * self.sample_rate_hz)
            return []
        run = self._clipped = self._clipped or _Run(window.start)
        run.windows += 1
        if run.windows < 2:
            return []
        self._clipping_said_until = window.end + round(CLIPPING_REARM_S * self.sample_rate_hz)
        return [Decision("clipping", run.start, window.end, run.windows)]

    def _name(self, window: Window, heard: int, best: str, probability: float) -> list[Decision]:
        if probability < self._rules.enter:
            self._candidate = self._naming = None
            return []
        if best != self._candidate or self._naming is None:
            self._candidate = best
            self._naming = _Run(window.start)
        run = self._naming
        if self._lasted_s(run, heard) < self._rules.patience_s or best == self.device:
            return []
        previous = self._previous
        kind: EventKind = "device_changed" if previous not in (None, best) else "device_identified"
        self.device = self._previous = best
        self._unknown = False
        self._unsure = None
        return [Decision(kind, run.start, window.end, run.windows, best, previous, probability)]

    def _doubt(
        self, window: Window, heard: int, believed: DoubleArray, probability: float
    ) -> list[Decision]:
        if self.device is None:
            sure = float(believed.max()) >= self._rules.enter
        else:
            sure = float(believed[self._labels.index(self.device)]) >= self._rules.leave
        if sure or self._unknown:
            self._unsure = None
            return []
        run = self._unsure = self._unsure or _Run(window.start)
        if self._lasted_s(run, heard) < self._rules.unknown_after_s:
            return []
        self.device = None
        self._unknown = True
        return [
            Decision(
                "unknown",
                run.start,
                window.end,
                run.windows,
                previous=self._previous,
                probability=probability,
            )
        ]
