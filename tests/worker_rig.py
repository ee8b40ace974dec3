"""Tasks for real worker processes. They import this module: it must import nothing heavy."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import CorpusError


@dataclass(frozen=True)
class Meeting:
    """Ends only when all of a number of tasks are at work at once."""

    folder: Path
    name: str
    size: int

    @property
    def settings(self) -> dict[str, Any]:
        return {"size": self.size}

    def run(self, checkpoints: Path) -> dict[str, Any]:
        (self.folder / f"{self.name}.here").touch()
        end = time.monotonic() + 60
        while len(list(self.folder.glob("*.here"))) < self.size:
            if time.monotonic() > end:
                raise TimeoutError("the others did not come")
            time.sleep(0.005)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return {
            "pid": os.getpid(),
            "threads": os.environ["OMP_NUM_THREADS"],
            "knows_ctrl_c": signal.SIGINT not in blocked,
        }


@dataclass(frozen=True)
class Ending:
    """Ends its process by a signal, or by an error without one."""

    name: str
    by: int | None
    settings = {"plain": True}  # noqa: RUF012

    def run(self, checkpoints: Path) -> dict[str, Any]:
        if self.by is None:
            raise CorpusError("nothing to learn from")
        os.kill(os.getpid(), self.by)
        return {}


def pid_and_number(number: int) -> tuple[int, int]:
    """Who was given which job."""
    return os.getpid(), number


def work_without_end(seconds: float) -> None:
    """Compute, and say so before; a test that fails leaves nothing behind for ever."""
    os.write(1, b"at work\n")  # whole: another process writes, too
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def kill(by: int) -> None:
    """End this process."""
    os.kill(os.getpid(), by)
