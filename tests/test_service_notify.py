"""Notifications to systemd over a real datagram socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.service_notify import ServiceNotifier
from tests.conftest import ROOT


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end, listening on a path or on an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        abstract = f"\0devrec-notify-{os.getpid()}"
        listening.bind(abstract if request.param == "abstract" else str(tmp_path / "notify"))
        yield listening


def address(manager: socket.socket) -> str:
    """The socket's name as systemd writes it into ``$NOTIFY_SOCKET``."""
    name = manager.getsockname()
    return "@" + name[1:].decode() if isinstance(name, bytes) else str(name)


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_messages(manager: socket.socket) -> None:
    notifier = ServiceNotifier({"NOTIFY_SOCKET": address(manager)})
    assert notifier.enabled
    notifier.starting("waits for a microphone", within_s=2.5)
    assert received(manager) == ["STATUS=waits for a microphone", "EXTEND_TIMEOUT_USEC=2500000"]
    notifier.ready("hears 2 inputs")
    assert received(manager) == ["READY=1", "STATUS=hears 2 inputs"]
    notifier.watchdog()
    assert received(manager) == ["WATCHDOG=1"]
    notifier.stopping()
    assert received(manager) == ["STOPPING=1"]


def test_reloading_says_when(manager: socket.socket) -> None:
    notifier = ServiceNotifier({"NOTIFY_SOCKET": address(manager)})
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    first, second = received(manager)
    assert first == "RELOADING=1"
    name, micros = second.split("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(micros) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_status_stays_one_line(manager: socket.socket) -> None:
    notifier = ServiceNotifier({"NOTIFY_SOCKET": address(manager)})
    notifier.status("a device\nREADY=1\r\n named so  é\udcff")
    assert received(manager) == ["STATUS=a device READY=1 named so é?"]


def test_nothing_without_a_manager() -> None:
    for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "x"}):
        notifier = ServiceNotifier({**environ, "WATCHDOG_USEC": "1000000"})
        assert not notifier.enabled
        assert notifier.watchdog_interval_s is None
        notifier.ready("nobody listens")


def test_vanished_and_overflowing_manager_disturb_nobody(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        notifier = ServiceNotifier({"NOTIFY_SOCKET": str(path)})
        started = time.monotonic()
        for _ in range(5000):  # far more than the queue of a socket that nobody reads
            notifier.watchdog()
        assert time.monotonic() - started < 5
    notifier.status("closed")
    path.unlink()
    notifier.status("gone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(str(path))
        notifier.status("back")
        assert received(listening) == ["STATUS=back"]


@pytest.mark.parametrize(
    ("micros", "pid", "interval_s"),
    [
        ("15000000", str(os.getpid()), 15.0),
        ("500000", "", 0.5),
        ("15000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_watchdog_interval(micros: str, pid: str, interval_s: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": micros, "WATCHDOG_PID": pid}
    assert ServiceNotifier(environ).watchdog_interval_s == interval_s


def test_children_do_not_inherit_the_variables(tmp_path: Path) -> None:
    script = (
        "import subprocess\n"
        "from agent.service_notify import ServiceNotifier\n"
        "ServiceNotifier()\n"
        "subprocess.run(['env'], check=True)\n"
    )
    environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    seen = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "PATH=" in seen
    for variable in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        assert f"{variable}=" not in seen
