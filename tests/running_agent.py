"""``devrec-agent listen`` as a process of its own, followed line by line."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import CLI_ENV, ROOT

Line = dict[str, Any]


def wait_until_it_catches(process: int, number: int, timeout: float = 15) -> None:
    """Wait until a process has a handler of its own for a signal.

    Raises:
        TimeoutError: it has none.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = Path(f"/proc/{process}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        if caught >> (number - 1) & 1:
            return
        time.sleep(0.02)
    raise TimeoutError(f"signal {number} is not caught")


class RunningAgent:
    """Starts ``listen`` and collects its JSON lines; use as a context manager.

    Args:
        arguments: of ``listen``.
        env: added to the environment.
    """

    def __init__(self, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "listen", *map(str, arguments)],
            cwd=ROOT,
            env={**CLI_ENV, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[Line] = []
        self.errors: list[str] = []
        self._arrived: queue.Queue[Line] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._follow_lines, daemon=True),
            threading.Thread(target=self._follow_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> RunningAgent:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def _follow_lines(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            line["arrived"] = time.monotonic()
            self.lines.append(line)
            self._arrived.put(line)

    def _follow_errors(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.errors.append(text.rstrip())

    def wait_for(
        self, wanted: str | Callable[[Line], bool], timeout: float = 15, after: float = 0.0
    ) -> Line:
        """The next line that is wanted, an event's name or a predicate; earlier ones are skipped.

        Raises:
            TimeoutError: it did not come.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._arrived.get(timeout=left)
            except queue.Empty:
                break
            fits = line["event"] == wanted if isinstance(wanted, str) else wanted(line)
            if fits and line["arrived"] >= after:
                return line
        kinds = [line["event"] for line in self.lines]
        raise TimeoutError(f"no {wanted} in {timeout} s; {kinds[-20:]}; {self.errors[-5:]}")

    def wait_for_error(self, part: str, timeout: float = 15) -> str:
        """The first line on stderr that holds ``part``.

        Raises:
            TimeoutError: it did not come.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for line in self.errors:
                if part in line:
                    return line
            time.sleep(0.02)
        raise TimeoutError(f"no {part!r} in {timeout} s; {self.errors}")

    def events(self, *kinds: str) -> list[Line]:
        """All lines so far of these kinds."""
        return [line for line in self.lines if line["event"] in kinds]

    def stop(self, number: int = signal.SIGTERM, timeout: float = 10) -> float:
        """End it; returns the seconds that took. All lines are there then."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout)
        spent = time.monotonic() - started
        for thread in self._threads:
            thread.join(timeout)
        return spent
