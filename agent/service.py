"""The agent's life: start, readiness, the loop with its watchdog, reload, end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from agent.config.settings import Config
from agent.configured_agent import ConfiguredAgent
from agent.health import has_heard, status_line, windows_flow
from agent.input_stream import LiveReport
from agent.outlets.outlet import Say
from agent.service_notify import ServiceNotifier
from model.errors import CaptureError, DevrecError

END_S = 1.5  #: SIGTERM to the end, at most; the service manager may wait 2 s
STATUS_S = 5.0  #: how often ``systemctl status`` gets a new line
PATIENT_START_S = 30.0  #: a start that waits for an input says so at least this often


class Service:
    """Runs an agent until its files have ended or a signal comes.

    Args:
        agent: to run.
        load: reads the configuration; called again on SIGHUP.
        say: tells the operator one line.
        notifier: the service manager.
        patient: wait for ever for inputs that are not there; otherwise one that cannot be opened
            at the start is an error.
    """

    def __init__(
        self,
        agent: ConfiguredAgent,
        load: Callable[[], Config],
        say: Say,
        notifier: ServiceNotifier,
        *,
        patient: bool,
    ) -> None:
        self._agent = agent
        self._load = load
        self._say = say
        self._notifier = notifier
        self._patient = patient
        self._stop = False
        self._reload = False
        self._ready = False
        self._next_sign = 0.0
        self._next_status = 0.0

    def run(
        self,
        on_start: Callable[[], None],
        on_step: Callable[[list[LiveReport]], None],
    ) -> None:
        """Listen.

        Args:
            on_start: called once everything is set up.
            on_step: called after every step with its reports, several times a second.

        Raises:
            DevrecError: the configuration cannot be used at the start, an input given by hand
                cannot be opened, or a file is damaged.
        """
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        try:
            self._agent.apply(self._load())
            on_start()
            self._loop(on_step)
        finally:
            self._notifier.stopping()
            self._agent.close(time.monotonic() + END_S)

    def _loop(self, on_step: Callable[[list[LiveReport]], None]) -> None:
        listening = self._agent.listening
        if listening is None:
            return
        while not self._stop and not listening.ended:
            on_step(listening.step())
            self._agent.poll()
            if not self._patient:
                self._check_inputs()
            if self._reload:
                self._reload = False
                self._apply_again()
            self._keep_manager_informed()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop = True

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload = True

    def _check_inputs(self) -> None:
        for stream in self._agent.streams:
            if stream.failure is not None:
                raise CaptureError(stream.failure)

    def _apply_again(self) -> None:
        """Read the configuration again; a wrong one changes nothing."""
        self._notifier.reloading()
        try:
            self._agent.apply(self._load())
        except DevrecError as error:
            self._say(f"reload: {error}")
        else:
            self._say("configuration read again")
        if self._ready:
            self._notifier.ready(status_line(self._agent.streams))

    def _keep_manager_informed(self) -> None:
        notifier = self._notifier
        if not notifier.enabled:
            return
        now = time.monotonic()
        streams = self._agent.streams
        if not self._ready and has_heard(streams):
            self._ready = True
            notifier.ready(status_line(streams))
        interval = notifier.watchdog_interval_s
        hop_s = 0.5 if self._agent.config is None else self._agent.config.agent.hop_s
        if interval and now >= self._next_sign and windows_flow(streams, hop_s):
            self._next_sign = now + interval / 3
            notifier.watchdog()
        if now >= self._next_status:
            self._next_status = now + STATUS_S
            if self._ready:
                notifier.status(status_line(streams))
            else:
                notifier.starting(status_line(streams), PATIENT_START_S)
