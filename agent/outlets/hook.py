"""A program of the user's, run for each event."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

from agent.outlets.outlet import EventObject, Say
from model.errors import DevrecError

LOOK_S = 0.2  #: how often it is seen whether the agent ends meanwhile

#: What the program must not inherit: the agent's settings, which may hold secrets, and its line to
#: the service manager.
_WITHHELD_PREFIX = "DEVREC_"
_WITHHELD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")


class Hook:
    """Runs a program without a shell: the event's JSON on its standard input, the most important
    of it in ``DEVREC_EVENT``, ``DEVREC_INPUT``, ``DEVREC_DEVICE``, ``DEVREC_PROBABILITY`` and
    ``DEVREC_ID`` (empty where there is nothing).

    It runs in ``/`` and in a process group of its own, one at a time. When it has ended, whatever
    it leaves behind in its group is killed at once: an event every few seconds, for months, must
    not gather processes. Work that shall go on needs a group of its own (``setsid``). What it
    prints goes nowhere;
    what it writes to standard error goes where the agent's own does.

    Args:
        command: program, by full path or to be found on PATH, and its arguments.
        timeout_s: seconds after which it is killed with all that it has started.
        say: told at once if there is no such program yet.
    """

    backlog = None

    def __init__(self, command: Sequence[str], timeout_s: float, say: Say) -> None:
        self.name = f"hook {command[0]}"
        self._command = list(command)
        self._timeout_s = timeout_s
        self._deadline = float("inf")
        if shutil.which(command[0]) is None:
            say(f"{self.name}: there is no such program, or it may not be run")

    def deliver(self, event: EventObject) -> None:
        """Run the program and wait for its end.

        Raises:
            DevrecError: there is no such program, it failed, or it was killed.
        """
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=_environment(event),
                start_new_session=True,
            )
        except OSError as error:
            raise DevrecError(f"cannot be run: {error.strerror}") from error
        started = time.monotonic()
        try:
            status = self._wait(process, json.dumps(event, ensure_ascii=False).encode(), started)
        finally:
            _kill_group(process)
        if status is None:
            ends = time.monotonic() >= self._deadline
            raise DevrecError(f"killed: {'the agent ends' if ends else 'it takes too long'}")
        if status < 0:
            raise DevrecError(f"ended by signal {-status}")
        if status > 0:
            raise DevrecError(f"ended with exit code {status}")

    def stop_by(self, deadline: float) -> None:
        """A program that runs at ``deadline`` is killed."""
        self._deadline = deadline

    def close(self, deadline: float) -> None:
        """Nothing to release: no program outlives ``deliver``."""

    def _wait(
        self, process: subprocess.Popen[bytes], standard_input: bytes, started: float
    ) -> int | None:
        """Exit code of the program, ``None`` if it takes too long."""
        left: bytes | None = standard_input
        while True:
            # The deadline moves when the agent ends.
            end = min(started + self._timeout_s, self._deadline)
            now = time.monotonic()
            if now >= end:
                return None
            try:
                process.communicate(left, timeout=min(LOOK_S, end - now))
            except subprocess.TimeoutExpired:
                left = None  # it is remembered by the first call
                continue
            return process.returncode


def _environment(event: EventObject) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_WITHHELD_PREFIX) and name not in _WITHHELD
    }
    keys = ("event", "input", "device", "probability", "id")
    told = {key: event.get(key) for key in keys}
    return inherited | {
        f"DEVREC_{key.upper()}": "" if value is None else str(value).replace("\0", "")
        for key, value in told.items()
    }


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, or what it has left behind, and wait for the program.

    The number of a program that has ended still names its group; if nothing is left of that, the
    number is free, but it is the last one that the kernel gives to another.
    """
    with contextlib.suppress(ProcessLookupError):  # nothing is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
