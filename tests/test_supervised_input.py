"""The supervised input against the real faults of a real PulseAudio."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.capture.supervised_input import Patience, SupervisedInput
from agent.sources import Audio, Gap, SourceItem, StateChange
from tests.pulse import INPUT_NAME, RATE_HZ, PulseServer, missing_parts

needs_pulse = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[PulseServer]:
    with PulseServer() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)  # for the workers
        yield server


class Follower:
    """Polls a source as the live loop does, and keeps what happened."""

    def __init__(self, source: SupervisedInput) -> None:
        self.source = source
        self.items: list[SourceItem] = []
        self.position = 0

    def follow(self, seconds: float, until: type[SourceItem] | str | None = None) -> float:
        """Poll for a time, or until an item or state comes; returns seconds spent."""
        started = time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            fd = self.source.fileno()
            wait = min(max(0.0, self.source.due_s()), 0.1)
            select.select([] if fd is None else [fd], [], [], wait)
            found = self.source.poll()
            self.items += found
            for item in found:
                if isinstance(item, Audio | Gap):
                    # Positions have no hole: what is missing is said.
                    assert item.position == self.position
                    n_samples = item.missing if isinstance(item, Gap) else len(item.samples)
                    self.position += n_samples
            if until is not None and any(self._is(item, until) for item in found):
                return time.monotonic() - started
        if until is not None:
            pytest.fail(f"no {until} within {seconds} s; {self.states()}")
        return spent

    @staticmethod
    def _is(item: SourceItem, wanted: type[SourceItem] | str) -> bool:
        if isinstance(wanted, str):
            return isinstance(item, StateChange) and item.state == wanted
        return isinstance(item, wanted)

    def states(self) -> list[str]:
        return [item.state for item in self.items if isinstance(item, StateChange)]

    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]


@pytest.fixture
def follower(pulse: PulseServer) -> Iterator[Follower]:
    source = SupervisedInput(INPUT_NAME, RATE_HZ)
    yield Follower(source)
    source.close()


def n_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> list[str]:
    found = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    return [line for line in found.stdout.splitlines() if "agent.capture.worker" in line]


@needs_pulse
def test_capture_is_sample_exact(pulse: PulseServer, follower: Follower, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    played = (rng.uniform(-0.5, 0.5, RATE_HZ) * 32768).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", played, RATE_HZ, subtype="PCM_16")
    follower.follow(5, Audio)
    player = pulse.play(tmp_path / "noise.wav")
    follower.follow(2.5)
    assert player.wait(timeout=5) == 0
    samples = np.concatenate([i.samples for i in follower.items if isinstance(i, Audio)])
    heard = np.rint(samples * 32768).astype(np.int64)
    start = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(played)[0])
    np.testing.assert_array_equal(heard[start : start + len(played)], played)
    assert follower.states() == ["running"]
    assert follower.gaps() == []
    assert {i.rate_hz for i in follower.items if isinstance(i, Audio)} == {RATE_HZ}


@needs_pulse
def test_positions_keep_pace_with_the_clock(pulse: PulseServer, follower: Follower) -> None:
    follower.follow(5, Audio)
    origin = follower.source.heard_at(0)
    pulse.kill()
    follower.follow(2, "reopening")
    follower.follow(1.0)
    pulse.start()
    follower.follow(3, "running")
    follower.follow(1.0)
    (gap,) = follower.gaps()
    assert not gap.exact
    assert "went away" in gap.reason
    heard_s = follower.source.heard_at(follower.position) - origin
    assert follower.position / RATE_HZ == pytest.approx(heard_s, abs=0.05)
    assert abs(follower.source.heard_at(follower.position) - time.monotonic()) < 0.3


@needs_pulse
def test_daemon_killed_twenty_times(pulse: PulseServer, follower: Follower) -> None:
    """Audio is back in time for a window (1.04 s) within 3 s; nothing is left behind."""
    follower.follow(5, Audio)
    files, threads = n_open_files(), threading.active_count()
    slowest = 0.0
    for _ in range(20):
        pulse.kill()
        follower.follow(2, "reopening")
        pulse.start()
        slowest = max(slowest, follower.follow(4, Audio))
    assert slowest < 3 - 1.04
    assert follower.source.reconnects == 20
    assert len(follower.gaps()) == 20
    assert threading.active_count() == threads
    assert n_open_files() == files
    assert len(children()) == 1


@needs_pulse
def test_source_unloaded_and_back(pulse: PulseServer, follower: Follower) -> None:
    follower.follow(5, Audio)
    pulse.unload_source()
    assert follower.follow(2, "reopening") < 1
    follower.follow(1.0)
    pulse.load_source()
    assert follower.follow(3, "running") < 1.96
    assert follower.states() == ["running", "reopening", "running"]


@needs_pulse
def test_frozen_daemon(pulse: PulseServer, follower: Follower) -> None:
    """SIGSTOP for 5 s: noticed within a second, over once it thaws; no call blocks."""
    follower.follow(5, Audio)
    pulse.signal(signal.SIGSTOP)
    assert follower.follow(2, "stalled") < 1
    follower.follow(4.3)
    longest = max_poll_s(follower)
    pulse.signal(signal.SIGCONT)
    assert follower.follow(3, "running") < 1.96
    assert longest < 0.5
    (gap,) = follower.gaps()
    assert gap.missing / RATE_HZ == pytest.approx(5.0, abs=1.0)
    follower.follow(1)
    assert follower.source.state == "running"


def max_poll_s(follower: Follower) -> float:
    longest = 0.0
    for _ in range(5):
        started = time.monotonic()
        follower.items += follower.source.poll()
        longest = max(longest, time.monotonic() - started)
        time.sleep(0.02)
    return longest


@needs_pulse
def test_worker_killed_is_replaced(pulse: PulseServer, follower: Follower) -> None:
    follower.follow(5, Audio)
    subprocess.run(
        ["pkill", "-KILL", "-P", str(os.getpid()), "-f", "agent.capture.worker"], check=True
    )
    follower.follow(2, "reopening")
    follower.follow(3, "running")
    assert "process ended" in follower.gaps()[0].reason


def test_unknown_input_says_so_and_goes_on() -> None:
    source = SupervisedInput("no such microphone", patience=Patience(backoff_s=0.1))
    follower = Follower(source)
    try:
        follower.follow(5, "reopening")
        assert source.reason is not None
        assert "no " in source.reason
        follower.follow(0.5)
        assert follower.states() == ["reopening"]
    finally:
        source.close()
    assert children() == []


def test_an_input_that_stays_away_has_failed_and_is_tried_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.capture.supervised_input.FAILED_AFTER_S", 1.0)
    source = SupervisedInput("none", patience=Patience(backoff_s=0.1))
    follower = Follower(source)
    try:
        follower.follow(5, "failed")
        follower.follow(1.5)
        assert follower.states() == ["reopening", "failed"]
        assert source.fileno() is not None
    finally:
        source.close()


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SupervisedInput("none", patience=Patience(backoff_s=0.1))
    with monkeypatch.context() as changed:
        changed.setattr(sys, "executable", "/nowhere/python")
        items = source.poll()
    assert [item.reason for item in items if isinstance(item, StateChange)] == [
        "the capture process cannot be started: No such file or directory"
    ]
    follower = Follower(source)
    follower.follow(0.5)
    assert source.fileno() is not None
    source.close()


def test_the_users_folder_holds_no_modules_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "struct.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    source = SupervisedInput("none")
    Follower(source).follow(5, "reopening")
    source.close()
    assert source.reason is not None
    assert "process ended" not in source.reason
    assert not (tmp_path / "run").exists()


def test_worker_ends_with_the_agent() -> None:
    """Killed with SIGKILL, the agent leaves no process behind."""
    script = (
        "import time\nfrom agent.capture.supervised_input import SupervisedInput\n"
        "s = SupervisedInput('none')\ns.poll()\n"
        "print(s._worker._process.pid, flush=True)\ntime.sleep(60)"
    )
    agent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    worker = int(agent.stdout.readline())
    time.sleep(0.5)
    agent.kill()
    agent.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


SLOW_AGENT = ("-m", "tests.steady_capture")


def test_a_busy_agent_loses_counted_samples_only() -> None:
    """A worker whose ring is too small for the pause: what is missing is exact to the sample.

    The worker is a simulated one, which counts up instead of recording.
    """
    source = SupervisedInput(None, patience=Patience(buffer_s=1.0), command=SLOW_AGENT)
    follower = Follower(source)
    try:
        follower.follow(5, Audio)
        time.sleep(4.0)  # busy: the pipe (about 5 s at this rate) and the ring fill
        follower.follow(2.0)
        exact = [gap for gap in follower.gaps() if gap.exact]
        assert exact
        for item in follower.items:
            if isinstance(item, Audio):
                expected = (item.position + np.arange(len(item.samples))) % 65536
                np.testing.assert_array_equal(item.samples, expected)
    finally:
        source.close()
