"""A live input as a source that survives everything: its worker process is watched and replaced."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from agent.capture.sample_clock import SampleClock
from agent.capture.wire import AudioMessage, PhaseMessage
from agent.capture.worker import STEADY_S, WorkerOptions
from agent.capture.worker_process import CAPTURE_WORKER, WorkerProcess
from agent.sources import Audio, Gap, SourceItem, SourceState, StateChange, plausible
from model.errors import CaptureError

START_S = 30.0  #: a worker may take this long to begin; a small board has just booted
OPEN_S = 10.0  #: opening an input may take this long; a frozen sound server blocks for ever
FIRST_SAMPLE_S = 5.0  #: an open input may take this long to its first sample
FAILED_AFTER_S = 30.0  #: without a sample for this long, reopening counts as failed; it goes on


@dataclass(frozen=True)
class Patience:
    """How long to wait for an input.

    Attributes:
        stall_s: without a sample for this long, a running input is called stalled.
        restart_s: without a sample for this long, its worker is killed.
        backoff_s: pause before the first attempt to reopen; doubles with each.
        backoff_max_s: longest pause.
        buffer_s: audio that may wait while the agent is busy.
    """

    stall_s: float = 0.6
    restart_s: float = 1.5
    backoff_s: float = 0.25
    backoff_max_s: float = 1.0
    buffer_s: float = 30.0


class SupervisedInput:
    """A PortAudio input, captured by a process of its own and reopened for ever.

    Args:
        device: as ``agent.capture.inputs.find_input`` takes it; ``None`` for the default input.
        rate_hz: rate to open it at; its native one without it.
        patience: see :class:`Patience`.
        command: the worker's command line without its options; for tests and the soak run.

    Must be made and polled by a thread that lives as long as it: the kernel ends the worker with
    the thread that started it.
    """

    live = True

    def __init__(
        self,
        device: str | None,
        rate_hz: int | None = None,
        patience: Patience | None = None,
        command: tuple[str, ...] = CAPTURE_WORKER,
    ) -> None:
        self.name = device or "default input"
        self.state: SourceState = "starting"
        self.reason: str | None = None
        self._lost_reason: str | None = None  # why the audio went, not why it is not back yet
        self.reconnects = 0
        self._patience = patience or Patience()
        options = WorkerOptions(
            device,
            rate_hz,
            self._patience.buffer_s,
            self._patience.backoff_s,
            self._patience.backoff_max_s,
            os.getpid(),
        )
        self._worker = WorkerProcess(options, command)
        self._rate = 0
        self._next = 0  # position after the last sample handed out
        self._stream_start: int | None = None  # position of the open stream's first sample
        self._stream_next = 0  # the open stream's own count
        self._clock: SampleClock | None = None
        self._last_heard: float | None = None  # when the sample before `_next` was heard
        self._deadline = 0.0  # the worker is killed at this time
        self._stall_at = float("inf")
        self._lost_since: float | None = time.monotonic()
        self._respawn_at = 0.0
        self._respawn_pause_s = self._patience.backoff_s
        self._opened_at = 0.0

    def fileno(self) -> int | None:
        """The worker's pipe."""
        return self._worker.fileno()

    def due_s(self) -> float:
        """Time to the next thing that is watched for."""
        due = min(self._deadline, self._stall_at) if self._worker.running else self._respawn_at
        if self._lost_since is not None and self.state != "failed":
            due = min(due, self._lost_since + FAILED_AFTER_S)
        return due - time.monotonic()

    def heard_at(self, position: int) -> float:
        """See :class:`agent.sources.Source`."""
        if self._clock is not None and self._stream_start is not None:
            return self._clock.heard_at(position - self._stream_start)
        if self._last_heard is not None and self._rate:
            return self._last_heard + (position - self._next) / self._rate
        return time.monotonic()

    def poll(self) -> list[SourceItem]:
        """See :class:`agent.sources.Source`; raises nothing."""
        items: list[SourceItem] = []
        self._worker.reap()
        try:
            if not self._worker.running and time.monotonic() >= self._respawn_at:
                self._worker.start()
                self._deadline = time.monotonic() + START_S
                self._stall_at = float("inf")
            for message in self._worker.read():
                if isinstance(message, AudioMessage):
                    self._on_audio(message, items)
                else:
                    self._on_phase(message, items)
        except CaptureError as error:
            self._replace(str(error), items)
        self._watch(items)
        return items

    def close(self) -> None:
        """Kill the worker."""
        self._worker.kill()

    def _replace(self, reason: str, items: list[SourceItem]) -> None:
        """Kill the worker; another one is started after a pause."""
        self._worker.kill()
        self._stall_at = float("inf")
        self._stream_ended()
        self._respawn_at = time.monotonic() + self._respawn_pause_s
        self._respawn_pause_s = min(2 * self._respawn_pause_s, self._patience.backoff_max_s)
        self._change("reopening", reason, items)

    # What it says

    def _on_phase(self, message: PhaseMessage, items: list[SourceItem]) -> None:
        now = time.monotonic()
        if message.phase == "opening":
            self._deadline = now + OPEN_S
        elif message.phase == "open":
            self._deadline = now + FIRST_SAMPLE_S
            self._opened_at = now
            self._set_rate(int(message.details["rate_hz"]))
            self.name = str(message.details["name"])
            self._clock = SampleClock(self._rate)
            self._stream_start = None
            self._stream_next = 0
        elif message.phase == "ended":
            self._worker.kill()
            self._stall_at = self._respawn_at = float("inf")
            self._lost_since = None
            self._change("ended", None, items)
        else:
            self._deadline = now + float(message.details["retry_s"]) + OPEN_S
            self._stall_at = float("inf")
            self._stream_ended()
            self._change("reopening", str(message.details["reason"]), items)

    def _set_rate(self, rate_hz: int) -> None:
        """Take over the rate; positions are converted when another device has another one."""
        if self._rate and rate_hz != self._rate:
            self._next = round(self._next * rate_hz / self._rate)
        self._rate = rate_hz

    def _on_audio(self, message: AudioMessage, items: list[SourceItem]) -> None:
        clock = self._clock
        if clock is None:
            return
        silent_loss = clock.arrived(message.arrived, message.arrived_s)
        now = time.monotonic()
        self._deadline = now + self._patience.restart_s
        self._stall_at = now + self._patience.stall_s
        if self._stream_start is None:
            self._stream_start = self._begin_stream(clock, items)
        self._lost_since = None
        self._change("running", None, items)
        if message.position > self._stream_next:
            missing = message.position - self._stream_next
            self._gap(missing, True, "the agent was too busy: the buffer was full", items)
        self._stream_next = message.position + len(message.samples)
        if silent_loss:
            # The clock counts it from here on; so do our positions.
            self._stream_start += silent_loss
            self._clock_lost(silent_loss, items)
        if plausible(message.samples):
            items.append(Audio(self._next, message.samples, self._rate))
            self._next += len(message.samples)
        else:
            self._gap(
                len(message.samples), True, "samples that are not numbers, or absurdly large", items
            )

    def _begin_stream(self, clock: SampleClock, items: list[SourceItem]) -> int:
        """Place a newly opened stream on the timeline; returns the position of its first sample."""
        if self._last_heard is not None:
            away_s = clock.heard_at(0) - self._last_heard
            missing = max(0, round(away_s * self._rate))
            self.reconnects += 1
            self._change("running", None, items)
            reason = self._lost_reason or "the input was reopened"
            # Said even if nothing is missing: the stream is another one.
            items.append(Gap(self._next, missing, False, reason, self._rate))
            self._next += missing
        return self._next

    def _clock_lost(self, missing: int, items: list[SourceItem]) -> None:
        self._gap(missing, False, "fewer samples came than the clock allows", items)

    def _gap(self, missing: int, exact: bool, reason: str, items: list[SourceItem]) -> None:
        if missing:
            items.append(Gap(self._next, missing, exact, reason, self._rate))
            self._next += missing

    def _stream_ended(self) -> None:
        if self._stream_start is not None:
            self._last_heard = self.heard_at(self._next)
            if time.monotonic() - self._opened_at > STEADY_S:
                self._respawn_pause_s = self._patience.backoff_s
        self._clock = None
        self._stream_start = None

    def _watch(self, items: list[SourceItem]) -> None:
        """Notice what did not happen."""
        now = time.monotonic()
        if self._worker.running and now >= self._deadline:
            opened = self._stream_start is not None
            self._replace("delivers nothing" if opened else "opening it takes too long", items)
        elif now >= self._stall_at:
            self._stall_at = float("inf")
            self._change("stalled", f"no sample for {self._patience.stall_s:g} s", items)
        if self._lost_since is not None and now - self._lost_since >= FAILED_AFTER_S:
            self._change("failed", self.reason, items)

    def _change(self, state: SourceState, reason: str | None, items: list[SourceItem]) -> None:
        now = time.monotonic()
        if state not in ("running", "ended"):
            self.reason = reason
            if self._lost_since is None:
                self._lost_since = now
                self._lost_reason = reason
        # While it has failed, another attempt is no news.
        if state == self.state or (self.state == "failed" and state == "reopening"):
            return
        self.state = state
        items.append(StateChange(state, reason, now, self._rate))
