"""Lines for the operator on standard error, without ever waiting for whoever reads it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WAITING_LINES = 200  #: more are thrown away, oldest first


class Speaker:
    """Says lines from a thread of its own; callable from any thread.

    Args:
        write: writes one line; may block.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: deque[str] = deque(maxlen=WAITING_LINES)
        self._woken = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="speaker", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        """Say a line."""
        self._lines.append(line)
        self._woken.set()

    def close(self, deadline: float) -> None:
        """Say what waits; gives up at ``deadline`` (``time.monotonic()``)."""
        self._ending = True
        self._woken.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while True:
            self._woken.wait()
            self._woken.clear()
            ending = self._ending
            while self._lines:
                self._write(self._lines.popleft())
            if ending:
                return
