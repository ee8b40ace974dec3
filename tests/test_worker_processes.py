"""Worker processes: every job is done once and in order, none outlives the program or is missed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess

import pytest

from model.errors import DevrecError
from model.worker_processes import results_of
from tests.conftest import CLI_ENV, ROOT
from tests.worker_rig import kill, pid_and_number

PROGRAM = """
from model.worker_processes import results_of
from tests.worker_rig import work_without_end

with results_of(work_without_end, [120.0, 120.0], 2) as found:
    list(found)
"""


def test_several_jobs_at_once_come_in_order_and_whole() -> None:
    with results_of(pid_and_number, range(7), processes=2, at_once=3) as found:
        pids, numbers = zip(*found, strict=True)
    assert numbers == tuple(range(7))
    assert os.getpid() not in pids
    for part in (pids[:3], pids[3:6]):
        assert len(set(part)) == 1


def test_workers_of_a_killed_program_end() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=CLI_ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert program.stdout is not None
        assert [program.stdout.readline() for _ in range(2)] == [b"at work\n"] * 2
        os.kill(program.pid, signal.SIGKILL)  # it alone
        # The pipe is the workers', too: it ends with the last of them.
        assert program.communicate(timeout=30) == (b"", None)
        assert program.returncode == -signal.SIGKILL
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def test_a_process_lost_before_the_first_look_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were gone and not yet replaced when the processes are first counted."""
    looks: list[list[BaseProcess]] = [[], []]
    look = multiprocessing.active_children
    monkeypatch.setattr(
        multiprocessing, "active_children", lambda: looks.pop() if looks else look()
    )
    with (
        pytest.raises(DevrecError, match="a process was lost; if memory ran out, fewer at a time"),
        results_of(kill, [signal.SIGKILL], processes=1) as found,
    ):
        list(found)
    assert not looks
