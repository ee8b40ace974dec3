"""Saying what goes wrong once, not every second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

REPEAT_S = 60.0  #: the same trouble is not said again within this time
REMEMBERED = 100  #: troubles with texts of their own; more would be a leak


class Troubles:
    """The troubles of one part of the agent, each said in one line and not again for a while.

    Args:
        name: the part; lines begin with it.
        say: told the lines.
        repeat_s: seconds after which a trouble that goes on is said again; one that comes back
            is said again after :data:`REPEAT_S`.
    """

    def __init__(self, name: str, say: Callable[[str], None], repeat_s: float = REPEAT_S) -> None:
        self._name, self._say, self._repeat_s = name, say, repeat_s
        self._said: dict[str, float] = {}
        self._troubled = False
        self._lock = threading.Lock()

    def report(self, trouble: str, figures: str = "") -> None:
        """Say what is wrong, unless that was said a short time ago.

        Args:
            trouble: what; the same text is the same trouble.
            figures: said along with it; may differ each time.
        """
        now = time.monotonic()
        with self._lock:
            said = self._said.get(trouble)
            quiet_s = self._repeat_s if self._troubled else REPEAT_S
            if said is not None and now - said < quiet_s:
                return
            if len(self._said) >= REMEMBERED:
                self._said.clear()
            self._said[trouble] = now
            self._troubled = True
        self._say(f"{self._name}: {trouble}{figures}")

    def over(self, relief: str) -> None:
        """Say that all is well again, if anything was said to be wrong."""
        with self._lock:
            troubled, self._troubled = self._troubled, False
        if troubled:
            self._say(f"{self._name}: {relief}")
