"""The process that captures one input: whatever PortAudio does, the agent goes on.

PortAudio may block for as long as a sound server is frozen, and an ALSA without configuration
aborts the process. So each input is opened by a process of its own, which the agent may kill. It
writes messages (``agent.capture.wire``) to standard output and reopens the input for ever.

Run as ``python -m agent.capture.worker JSON``, with the fields of :class:`WorkerOptions`.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass

from agent.capture.wire import audio_message, phase_message, write_all
from model.errors import CaptureError

STEADY_S = 5.0  #: an input that was open for this long did work; one that flaps did not
READ_TIMEOUT_S = 0.25  #: how often an idle worker looks whether its stream has ended
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is to capture.

    Attributes:
        device: as ``agent.capture.inputs.find_input`` takes it; ``None`` for the default input.
        rate_hz: rate to open the input at; ``None`` for its native one.
        buffer_s: seconds of audio that may wait for the agent.
        backoff_s: pause before the first attempt to reopen; doubles with each.
        backoff_max_s: longest pause.
        parent: process that the worker ends with.
    """

    device: str | None
    rate_hz: int | None
    buffer_s: float
    backoff_s: float
    backoff_max_s: float
    parent: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


class Worker:
    """Captures an input for ever.

    Args:
        options: which and how.
        out: file descriptor of the pipe; a full pipe makes the worker wait, never PortAudio.
    """

    def __init__(self, options: WorkerOptions, out: int) -> None:
        self._options = options
        self._out = out

    def run(self) -> None:
        """Open, send, and reopen after a pause that doubles; ends when the pipe breaks."""
        pause_s = self._options.backoff_s
        for attempts in itertools.count():
            self._write(phase_message("opening"))
            started = time.monotonic()
            try:
                if attempts:
                    renew_device_list()
                self._capture_once()
                reason = "the device or its sound server went away"
            except CaptureError as error:
                reason = str(error)
            if time.monotonic() - started > STEADY_S:
                # It did work: begin again with short pauses.
                pause_s = self._options.backoff_s
            self._write(phase_message("waiting", reason=reason, retry_s=pause_s))
            time.sleep(max(0.0, started + pause_s - time.monotonic()))
            pause_s = min(2 * pause_s, self._options.backoff_max_s)

    def _capture_once(self) -> None:
        """Capture until the stream ends.

        Raises:
            CaptureError: no such input, or it cannot be opened.
        """
        from agent.capture.inputs import find_input
        from agent.capture.stream import Capture

        device = find_input(self._options.device)
        with Capture(device, self._options.rate_hz, self._options.buffer_s) as capture:
            self._write(phase_message("open", name=device.name, rate_hz=capture.sample_rate_hz))
            while True:
                message = capture.read(READ_TIMEOUT_S)
                if len(message.samples):
                    self._write(audio_message(message))
                elif capture.ended:
                    return

    def say(self, reason: str) -> None:
        """Say why the worker is about to end."""
        self._write(phase_message("waiting", reason=reason, retry_s=0.0))

    def _write(self, data: bytes) -> None:
        write_all(self._out, data)


def renew_device_list() -> None:
    """End PortAudio and begin anew: until then its list of devices is frozen.

    Raises:
        CaptureError: PortAudio cannot begin.
    """
    from agent.capture.inputs import portaudio

    sounddevice = portaudio()
    # It has not begun if that failed the last time.
    with contextlib.suppress(sounddevice.PortAudioError):
        sounddevice._terminate()
    try:
        sounddevice._initialize()
    except sounddevice.PortAudioError as error:
        raise CaptureError(f"PortAudio cannot be initialised: {error}") from error


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, also while PortAudio blocks."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(0)


def main(argument: str) -> None:
    """Entry point of the process."""
    options = WorkerOptions(**json.loads(argument))
    end_with_parent(options.parent)
    # The agent decides when to stop, and kills: a terminal and a service manager tell all of us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    out = os.dup(1)
    # Whatever the libraries print must not land between two messages.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    worker = Worker(options, out)
    try:
        worker.run()
    except BrokenPipeError:
        return  # the agent has gone
    except Exception as error:  # whatever it is, the agent shall know it, and begin anew
        worker.say(f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main(sys.argv[1])
