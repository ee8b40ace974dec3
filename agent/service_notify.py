"""Talking to systemd: readiness, status and watchdog over ``$NOTIFY_SOCKET`` (``sd_notify(3)``)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceNotifier:
    """Tells the service manager how the service is; does nothing where there is none.

    Args:
        environ: where systemd's variables are; the process's own environment by default. They are
            removed, so that children do not take themselves for the service.

    Attributes:
        enabled: whether somebody wants to be told.

    No method raises or waits: a manager that is gone or slow must not disturb the listening.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        values = {name: environ.pop(name, "") for name in VARIABLES}
        self._address = _address(values["NOTIFY_SOCKET"])
        self._watchdog_s = _watchdog_s(values["WATCHDOG_USEC"], values["WATCHDOG_PID"])
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def enabled(self) -> bool:
        """Whether somebody wants to be told."""
        return self._socket is not None

    @property
    def watchdog_interval_s(self) -> float | None:
        """Seconds within which the manager wants to hear :meth:`watchdog`; ``None`` without one.

        Call twice as often, so that a late call does no harm.
        """
        return self._watchdog_s if self.enabled else None

    def starting(self, status: str, within_s: float) -> None:
        """Not ready yet, but alive: the start may take longer than ``TimeoutStartSec``.

        Args:
            status: what is waited for.
            within_s: seconds until the next call, or until :meth:`ready`, at most; a service that
                stays silent longer counts as hung, once ``TimeoutStartSec`` is over.
        """
        self._send(f"STATUS={_one_line(status)}", f"EXTEND_TIMEOUT_USEC={round(within_s * 1e6)}")

    def ready(self, status: str) -> None:
        """The service does its work, for the first time or again after :meth:`reloading`."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows; one line, line breaks become spaces."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is being read again; :meth:`ready` must follow."""
        # The time tells systemd 253 and later that this answers its signal, not an earlier one.
        micros = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={micros}")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        # Gone, or its queue is full: the next message may get through.
        with suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)


def _address(name: str) -> str | bytes | None:
    """Address of the socket: a path, or an abstract name, which starts with ``@``."""
    if name.startswith("@") and len(name) > 1:
        return b"\0" + os.fsencode(name[1:])
    return name if name.startswith("/") else None  # vsock is for whole virtual machines


def _watchdog_s(micros: str, pid: str) -> float | None:
    if not micros.isdecimal() or int(micros) == 0 or (pid and pid != str(os.getpid())):
        return None  # no watchdog, or one that watches another process
    return int(micros) / 1e6


def _one_line(text: str) -> str:
    return " ".join(text.split())
