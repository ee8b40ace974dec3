"""A real MQTT broker of our own on a free port of the loopback interface, and a receiver."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def missing_parts() -> str | None:
    """Why no real broker can run here, or ``None`` when it can."""
    if MOSQUITTO is None:
        return "mosquitto is not installed"
    try:
        import paho.mqtt.client  # noqa: F401
    except ModuleNotFoundError:
        return "paho-mqtt is not installed"
    return None


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Poll until something is true; fail if it does not become so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


class Broker:
    """Mosquitto with persistence on; keeps its port and its messages over ``kill`` and ``start``.

    Args:
        credentials: user and password that clients must have; anybody may connect without them.
        tls: folder made by :func:`make_certificates`; plain TCP without it.
        client_certificates: clients need one of that authority.
        rights: lines of an access control list.
        more: further lines of the configuration.
    """

    def __init__(
        self,
        credentials: tuple[str, str] | None = None,
        tls: Path | None = None,
        client_certificates: bool = False,
        rights: tuple[str, ...] = (),
        more: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="devrec-mosquitto-")
        root = Path(self._folder.name)
        lines = [
            f"listener {self.port} 127.0.0.1",
            "user root",
            "persistence true",
            f"persistence_location {root}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            f"allow_anonymous {str(credentials is None).lower()}",
            *more,
        ]
        if credentials is not None:
            passwords = root / "passwords"
            subprocess.run(
                ["mosquitto_passwd", "-b", "-c", passwords, *credentials],
                check=True,
                capture_output=True,
            )
            lines.append(f"password_file {passwords}")
        if tls is not None:
            lines += [f"cafile {tls}/ca.pem", f"certfile {tls}/server.pem"]
            lines += [f"keyfile {tls}/server.key"]
            lines += [f"require_certificate {str(client_certificates).lower()}"]
        if rights:
            (root / "rights").write_text("\n".join(rights) + "\n")
            lines.append(f"acl_file {root}/rights")
        self._config = root / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def accepts() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(accepts)

    def kill(self) -> None:
        """End the broker with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Receiver:
    """Subscribes to everything; the broker keeps for it what comes while it is away.

    Attributes:
        messages: topic, payload and retain flag, in the order of arrival.
    """

    def __init__(self, port: int, **how: Any) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, str, bool]] = []
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, f"receiver-{time.monotonic_ns()}", clean_session=False
        )
        if "credentials" in how:
            self._client.username_pw_set(*how["credentials"])
        if "ca_file" in how:
            self._client.tls_set(str(how["ca_file"]), how.get("cert_file"), how.get("key_file"))
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: object, userdata: object, message: Any) -> None:
        self.messages.append((message.topic, message.payload.decode(), message.retain))

    def events(self, topic_end: str = "/event") -> list[dict[str, Any]]:
        """Events in the order of their first arrival: what a receiver keeps that drops duplicates.

        Args:
            topic_end: how the topics end.
        """
        first: dict[str, dict[str, Any]] = {}
        for topic, text, _ in self.messages[:]:
            if topic.endswith(topic_end):
                event = json.loads(text)
                first.setdefault(event["id"], event)
        return list(first.values())

    def last(self, topic: str) -> str | None:
        """The newest payload on a topic."""
        payloads = [text for name, text, _ in self.messages[:] if name == topic]
        return payloads[-1] if payloads else None


def make_certificates(folder: Path) -> Path:
    """An authority (``ca.pem``), a broker's certificate for 127.0.0.1 (``server.pem``,
    ``server.key``) and a client's (``client.pem``, ``client.key``)."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *kind, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA")
    for name in ("server", "client"):
        openssl(
            "req", "-x509", *kind, "-keyout", f"{name}.key", "-out", f"{name}.pem",
            "-subj", f"/CN={name}", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE",
        )  # fmt: skip
    return folder
