"""A capture worker as the agent holds it: started, read from, killed, and never waited for long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from agent.capture.wire import AudioMessage, MessageReader, PhaseMessage
from agent.capture.worker import WorkerOptions
from model.errors import CaptureError

PIPE_BYTES = 1 << 20  #: about 5 s of audio; what exceeds it waits in the worker's ring
CAPTURE_WORKER = ("-m", "agent.capture.worker")  #: arguments of Python
_READ_BYTES = 1 << 18
_KILL_S = 0.2  #: a process that the kernel holds, in a driver that hangs, ends later than that

#: Where the packages are. Python looks for modules in its working folder first: in this one, and
#: not in the user's, it finds the agent's own.
_ROOT = Path(__file__).resolve().parent.parent.parent


class WorkerProcess:
    """One worker at a time.

    Args:
        options: for the worker.
        command: arguments of Python that run it.
    """

    def __init__(self, options: WorkerOptions, command: tuple[str, ...]) -> None:
        self._options = options
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._dying: list[subprocess.Popen[bytes]] = []
        self._reader = MessageReader()

    @property
    def running(self) -> bool:
        """Whether there is a worker, as far as is known."""
        return self._process is not None

    def fileno(self) -> int | None:
        """Descriptor of its pipe."""
        if self._process is None or self._process.stdout is None:
            return None
        return self._process.stdout.fileno()

    def start(self) -> None:
        """Start a worker.

        Raises:
            CaptureError: no process can be started.
        """
        environment = os.environ.copy()
        environment.pop("NOTIFY_SOCKET", None)
        try:
            process = subprocess.Popen(
                [sys.executable, *self._command, self._options.to_json()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # ALSA's chatter about cards that are not there
                cwd=_ROOT,
                env=environment,
                bufsize=0,
            )
        except OSError as error:
            raise CaptureError(
                f"the capture process cannot be started: {error.strerror}"
            ) from error
        self._process = process
        self._reader = MessageReader()
        fd = self.fileno()
        if fd is not None:
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):  # a limit for unprivileged users
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def read(self) -> list[AudioMessage | PhaseMessage]:
        """Messages that have come.

        Raises:
            CaptureError: the worker has ended, and nothing more will come.
        """
        fd = self.fileno()
        if fd is None:
            return []
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise CaptureError("the capture process ended")
        return self._reader.accept(data)

    def kill(self) -> None:
        """End the worker with SIGKILL, without waiting for one that the kernel holds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        self._dying.append(process)
        self.reap(_KILL_S)

    def reap(self, timeout_s: float = 0.0) -> None:
        """Collect workers that have ended since."""
        for process in self._dying.copy():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)
                self._dying.remove(process)
