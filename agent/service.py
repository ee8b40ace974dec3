"""The agent's life: start, readiness, the loop with its watchdog, reload, end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from agent.config.settings import Config
from agent.configured_agent import ConfiguredAgent
from agent.health import has_heard, status_line, windows_flow
from agent.live_report import LiveReport
from agent.loaded_model import LoadedModel
from agent.outlets.outlet import Say
from agent.service_notify import ServiceNotifier
from model.errors import CaptureError, DevrecError

END_S = 1.5  #: SIGTERM to the end, at most; the service manager may wait 2 s
STATUS_S = 5.0  #: how often ``systemctl status`` gets a new line
SIGN_OF_LIFE_S = 30.0  #: a start that waits for an input says so at least this often
_LOOK_S = 0.1


class _Preparation:
    """A configuration read and its model loaded, on a thread of its own: a TensorRT engine may have
    to be built, and meanwhile the agent listens, and can be stopped."""

    def __init__(self, agent: ConfiguredAgent, load: Callable[[], Config]) -> None:
        self._agent, self._load = agent, load
        self._result: tuple[Config, LoadedModel] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="preparation", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            config = self._load()
            self._result = config, self._agent.prepare(config)
        except BaseException as error:  # for the thread that waits
            self._error = error

    def done(self, timeout_s: float = 0.0) -> bool:
        """Whether it is over."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def result(self) -> tuple[Config, LoadedModel]:
        """What came of it.

        Raises:
            DevrecError: the configuration is wrong, or the model cannot be used.
        """
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise ValueError("not done yet")
        return self._result


class Service:
    """Runs an agent until its files have ended or a signal comes.

    Args:
        agent: to run.
        load: reads the configuration; called again on SIGHUP.
        say: tells the operator one line.
        notifier: the service manager.
        patient: wait for ever for inputs that are not there; otherwise one that cannot be opened
            at the start is an error.
        at_terminal: SIGHUP means that the terminal has gone, and ends the agent.

    Attributes:
        patient: as given.
    """

    def __init__(
        self,
        agent: ConfiguredAgent,
        load: Callable[[], Config],
        say: Say,
        notifier: ServiceNotifier,
        *,
        patient: bool,
        at_terminal: bool,
    ) -> None:
        self._agent = agent
        self._load = load
        self._say = say
        self._notifier = notifier
        self.patient = patient
        self._at_terminal = at_terminal
        self._deadline: float | None = None
        self._reload = False
        self._ready = False
        self._next_sign = 0.0
        self._next_status = 0.0
        self._preparation: _Preparation | None = None

    @property
    def stopping(self) -> bool:
        """Whether a signal to end has come."""
        return self._deadline is not None

    @property
    def deadline(self) -> float:
        """By when everything should have ended, ``time.monotonic()``; from now on, if no signal
        has come."""
        if self._deadline is None:
            self._deadline = time.monotonic() + END_S
        return self._deadline

    def run(self, on_step: Callable[[list[LiveReport]], None]) -> None:
        """Listen.

        Args:
            on_step: called after every step with its reports, several times a second.

        Raises:
            DevrecError: the configuration cannot be used at the start, an input given by hand
                cannot be opened, or a file is damaged.
        """
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_stop if self._at_terminal else self._on_reload)
        try:
            if self._start():
                self._loop(on_step)
        finally:
            self._notifier.stopping()
            self._agent.close(self.deadline)

    def _start(self) -> bool:
        """Set everything up; false if a signal to end has come meanwhile."""
        preparation = _Preparation(self._agent, self._load)
        while not preparation.done(_LOOK_S):
            self._keep_manager_informed("loading the model")
            if self.stopping:
                return False
        self._agent.apply(*preparation.result())
        return True

    def _loop(self, on_step: Callable[[list[LiveReport]], None]) -> None:
        while not self.stopping and not self._agent.ended:
            on_step(self._agent.step())
            if not self.patient:
                self._check_inputs()
            self._look_at_reload()
            self._keep_manager_informed(status_line(self._agent.streams))

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._deadline = time.monotonic() + END_S

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload = True

    def _check_inputs(self) -> None:
        for stream in self._agent.streams:
            if stream.failure is not None:
                raise CaptureError(stream.failure)

    def _look_at_reload(self) -> None:
        """Read the configuration again if asked to; a wrong one changes nothing."""
        if self._preparation is None:
            if self._reload:
                self._reload = False
                self._notifier.reloading()
                self._preparation = _Preparation(self._agent, self._load)
            return
        if not self._preparation.done():
            return
        preparation, self._preparation = self._preparation, None
        try:
            self._agent.apply(*preparation.result())
        except DevrecError as error:
            for line in error.lines:
                self._say(f"reload: {line}")
        else:
            self._say("configuration read again")
        if self._ready:
            self._notifier.ready(status_line(self._agent.streams))

    def _keep_manager_informed(self, status: str) -> None:
        notifier = self._notifier
        if not notifier.enabled:
            return
        now = time.monotonic()
        streams = self._agent.streams
        if not self._ready and has_heard(streams):
            self._ready = True
            notifier.ready(status)
        interval = notifier.watchdog_interval_s
        if interval and now >= self._next_sign and windows_flow(streams, self._agent.hop_s):
            self._next_sign = now + interval / 3
            notifier.watchdog()
        if now >= self._next_status:
            self._next_status = now + STATUS_S
            if self._ready:
                notifier.status(status)
            else:
                notifier.starting(status, SIGN_OF_LIFE_S)
