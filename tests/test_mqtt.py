"""Events reach a real broker: through outages, kills and restarts, in order, and only over TLS
that holds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config, MqttSection
from agent.events import Moment
from agent.outlets.opening import open_outlets
from agent.outlets.outlet import OutletQueue
from agent.outlets.spool import Spool
from model.errors import ConfigError
from tests.conftest import ROOT
from tests.mosquitto import (
    Broker,
    Receiver,
    free_port,
    make_certificates,
    missing_parts,
    wait_until,
)

pytestmark = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))

OUTAGE_S = float(os.environ.get("DEVREC_OUTAGE_S", "4"))  #: how long the broker stays away
SECRET = "correct-horse-battery"


def event(number: int, kind: str = "gap", run: str = "a", age_s: float = 0) -> dict[str, Any]:
    return {
        "event": kind,
        "id": f"{run}-{number}",
        "agent": "edge",
        "input": "mic",
        "device": "Phone" if kind == "device_identified" else None,
        "probability": 0.9,
        "end": Moment(0, time.time() - age_s).iso,
    }


def settings(port: int, spool: Path, **how: Any) -> MqttSection:
    values = {"tls": False, "reconnect_max_s": 0.5, "late_after_s": 2.0, **how}
    return MqttSection(host="127.0.0.1", port=port, spool=spool, **values)


@contextmanager
def outlet(section: MqttSection, said: list[str], close_s: float = 3.0) -> Iterator[OutletQueue]:
    """The outlet as the agent opens it."""
    config = Config.model_validate({"agent": {"name": "edge"}, "mqtt": section})
    [queue] = open_outlets(config, said.append, list)
    try:
        yield queue
    finally:
        queue.stop(time.monotonic() + close_s)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [entry["id"] for entry in events]


def numbered(first: int, end: int, run: str = "a") -> list[str]:
    return [f"{run}-{number}" for number in range(first, end)]


def test_events_device_and_status(tmp_path: Path) -> None:
    said: list[str] = []
    with Broker() as broker, Receiver(broker.port) as receiver:
        with outlet(settings(broker.port, tmp_path, topic="site/north"), said) as queue:
            queue.offer(event(0))
            queue.offer(event(1, "device_identified"))
            queue.offer(event(2, "clipping"))
            wait_until(lambda: queue.delivered == 3)
            base = "site/north/edge"
            wait_until(lambda: receiver.last(f"{base}/status") == "online")
            assert queue.waiting == 0
        wait_until(lambda: receiver.last(f"{base}/status") == "offline")
        assert receiver.events(f"{base}/mic/event") == [
            {**event(0), "end": receiver.events()[0]["end"], "late": False},
            {**event(1, "device_identified"), "end": receiver.events()[1]["end"], "late": False},
            {**event(2, "clipping"), "end": receiver.events()[2]["end"], "late": False},
        ]
        with Receiver(broker.port) as newcomer:  # finds what is current, not what is past
            wait_until(lambda: len(newcomer.messages) == 2)
            assert newcomer.last(f"{base}/status") == "offline"
            device = json.loads(newcomer.last(f"{base}/mic/device") or "")
            assert (device["event"], device["device"]) == ("device_identified", "Phone")
            assert all(retained for _, _, retained in newcomer.messages)
    assert not said


def test_broker_away_for_a_while(tmp_path: Path) -> None:
    said: list[str] = []
    with Broker() as broker, Receiver(broker.port) as receiver:
        with outlet(settings(broker.port, tmp_path, late_after_s=0.5), said) as queue:
            for number in range(20):
                queue.offer(event(number))
            wait_until(lambda: queue.delivered == 20)
            queue.offer(event(20))  # may be under way when the broker dies
            broker.kill()
            number, back = 21, time.monotonic() + OUTAGE_S
            while time.monotonic() < back - 1:
                queue.offer(event(number))
                number += 1
                time.sleep(0.02)
            time.sleep(back - time.monotonic())
            broker.start()
            wait_until(lambda: queue.delivered == number, 15)
            queue.offer(event(number))
            wait_until(lambda: len(receiver.events()) == number + 1)
        events = receiver.events()
        assert ids(events) == numbered(0, number + 1)
        assert not any(entry["late"] for entry in events[:20])
        assert all(entry["late"] for entry in events[21:number])
        assert not events[number]["late"]
        assert queue.lost == 0
    assert len(said) in (2, 3)  # lost, perhaps refused, back
    assert "connected again" in said[-1]


AGENT = """
import sys, time
from agent.config import Config
from agent.outlets.opening import open_outlets
from tests.test_mqtt import event, settings
from pathlib import Path
section = settings(int(sys.argv[1]), Path(sys.argv[2]))
config = Config.model_validate({"agent": {"name": "edge"}, "mqtt": section})
[queue] = open_outlets(config, sys.stderr.write, list)
for number in range(int(sys.argv[3])):
    queue.offer(event(number))
print("offered", flush=True)
while queue.outlet.backlog.waiting + queue.delivered < int(sys.argv[3]):
    time.sleep(0.01)
print("stored", flush=True)
time.sleep(60)
"""


@contextmanager
def agent_process(
    port: int, spool: Path, count: int, until: str = "stored"
) -> Iterator[subprocess.Popen[bytes]]:
    """An agent that hands over some events and waits to be killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(port), spool, str(count)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        while process.stdout.readline().decode() != f"{until}\n":
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.communicate()


def test_agent_killed_while_the_broker_is_away(tmp_path: Path) -> None:
    with agent_process(free_port(), tmp_path, 50) as process:
        process.kill()
    said: list[str] = []
    with (
        Broker() as broker,
        Receiver(broker.port) as receiver,
        outlet(settings(broker.port, tmp_path), said) as queue,
    ):
        queue.offer(event(0, run="b"))
        wait_until(lambda: len(receiver.events()) == 51)
        assert ids(receiver.events()) == [*numbered(0, 50), "b-0"]
        assert [entry["late"] for entry in receiver.events()] == [True] * 50 + [False]
    assert not said


def test_last_will_of_a_killed_agent(tmp_path: Path) -> None:
    with (
        Broker() as broker,
        Receiver(broker.port) as receiver,
        agent_process(broker.port, tmp_path, 1) as process,
    ):
        wait_until(lambda: receiver.last("devrec-agent/edge/status") == "online")
        process.kill()
        wait_until(lambda: receiver.last("devrec-agent/edge/status") == "offline")


def test_killed_in_the_middle_of_sending(tmp_path: Path) -> None:
    with Broker() as broker, Receiver(broker.port) as receiver:
        with agent_process(broker.port, tmp_path, 900, "offered") as process:
            wait_until(lambda: len(receiver.messages) > 20)
            process.kill()
        spool = Spool(tmp_path, print, 64)
        left = spool.read(0, 900)
        spool.close()
        assert 0 < len(left) < 900
        with outlet(settings(broker.port, tmp_path), []) as queue:
            wait_until(lambda: queue.waiting == 0)
        last = left[-1].number
        wait_until(lambda: len(receiver.events()) >= last)
        assert ids(receiver.events()) == numbered(0, last)


def test_end_without_a_broker_keeps_the_events(tmp_path: Path) -> None:
    said: list[str] = []
    section = settings(free_port(), tmp_path)
    with outlet(section, said) as queue:
        for number in range(5):
            queue.offer(event(number))
        wait_until(lambda: said)
        began = time.monotonic()
        queue.stop(began + 2)
        assert time.monotonic() - began < 2.2
    assert len(said) == 1
    assert "cannot be reached: Connection refused; " in said[0]
    spool = Spool(tmp_path, print, 1)
    assert spool.waiting == 5
    spool.close()


def test_end_while_the_broker_hangs(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # accepts, and never answers
        outlet(settings(silent.getsockname()[1], tmp_path), []) as queue,
    ):
        queue.offer(event(0))
        time.sleep(0.2)
        began = time.monotonic()
        queue.stop(began + 1)
        assert time.monotonic() - began < 1.3
    spool = Spool(tmp_path, print, 1)
    assert spool.waiting == 1
    spool.close()


def test_what_can_be_sent_is_sent_at_the_end(tmp_path: Path) -> None:
    with Broker() as broker, Receiver(broker.port) as receiver:
        with outlet(settings(broker.port, tmp_path), []) as queue:
            for number in range(200):
                queue.offer(event(number))
        wait_until(lambda: receiver.last("devrec-agent/edge/status") == "offline")
        assert ids(receiver.events()) == numbered(0, 200)


def test_broker_that_takes_one_message_at_a_time(tmp_path: Path) -> None:
    said: list[str] = []
    with Broker(more=("max_inflight_messages 1",)) as broker, Receiver(broker.port) as receiver:
        with outlet(settings(broker.port, tmp_path), said) as queue:
            for number in range(30):
                queue.offer(event(number, "silence"))
            wait_until(lambda: queue.delivered == 30)
        wait_until(lambda: receiver.last("devrec-agent/edge/status") == "offline")
        assert ids(receiver.events()) == numbered(0, 30)
        assert ids(receiver.events("/device")) == numbered(0, 30)
    assert not said


def test_name_that_is_not_known(tmp_path: Path) -> None:
    said: list[str] = []
    for host in ("broker.invalid", f"{'x' * 70}.lab"):
        section = settings(1883, tmp_path).model_copy(update={"host": host})
        with outlet(section, said, close_s=1):
            wait_until(lambda: said, 20)
    assert "its name is not known" in said[0] or "cannot be reached" in said[0]
    assert len(said) == 2


def test_old_event_of_this_run_is_late(tmp_path: Path) -> None:
    with (
        Broker() as broker,
        Receiver(broker.port) as receiver,
        outlet(settings(broker.port, tmp_path), []) as queue,
    ):
        queue.offer(event(0, age_s=60))
        wait_until(lambda: receiver.events())
        assert receiver.events()[0]["late"]


def credentials(folder: Path, password: str, mode: int = 0o600) -> Path:
    path = folder / "credentials"
    path.write_text(f"edge\n{password}\n")
    path.chmod(mode)
    return path


def test_wrong_password_is_said_once_and_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    path = credentials(tmp_path, "wrong-secret")
    how = {"credentials": ("edge", SECRET)}
    with Broker(("edge", SECRET)) as broker, Receiver(broker.port, **how) as receiver:
        section = settings(broker.port, tmp_path / "spool", credentials_file=path)
        with outlet(section, said) as queue:
            queue.offer(event(0))
            wait_until(lambda: said)
            time.sleep(1.5)  # some more attempts
            assert len(said) == 1
            assert "refuses the user name, password or certificate" in said[0]
            credentials(tmp_path, SECRET)  # somebody puts it right
            wait_until(lambda: receiver.events())
            wait_until(lambda: len(said) == 2)
    assert "connected again" in said[1]
    text = " ".join(said) + repr(section)
    assert "secret" not in text
    assert SECRET not in text


def test_topic_that_may_not_be_written_keeps_the_events(tmp_path: Path) -> None:
    said: list[str] = []
    rights = ("topic read #", "topic write devrec-agent/edge/status")
    with (
        Broker(rights=rights) as broker,
        outlet(settings(broker.port, tmp_path), said, close_s=1) as queue,
    ):
        queue.offer(event(0))
        wait_until(lambda: said)
        time.sleep(1)
        assert queue.waiting == 1
        with Receiver(broker.port) as receiver:  # not connected for long: not online either
            wait_until(lambda: receiver.last("devrec-agent/edge/status") == "offline")
    assert [line for line in said if "refuses events (Not authorized)" in line] == said[:1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"edge\n", "needs the user name on line 1"),
        (b"edge\n\xff\xfesecret\n", "not UTF-8"),
    ],
)
def test_unusable_credentials(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "credentials"
    if content is not None:
        path.write_bytes(content)
    with (
        pytest.raises(ConfigError, match=message) as caught,
        outlet(settings(1883, tmp_path / "spool", credentials_file=path), []),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_credentials_that_everybody_can_read(tmp_path: Path) -> None:
    said: list[str] = []
    path = credentials(tmp_path, SECRET, 0o644)
    with outlet(settings(free_port(), tmp_path / "s", credentials_file=path), said, close_s=0.5):
        assert "can be read by everybody" in said[0]
    assert SECRET not in " ".join(said)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_tls_with_certificates_on_both_sides(tmp_path: Path, certificates: Path) -> None:
    own = {
        "ca_file": certificates / "ca.pem",
        "cert_file": certificates / "client.pem",
        "key_file": certificates / "client.key",
    }
    said: list[str] = []
    with Broker(tls=certificates, client_certificates=True) as broker:
        with Receiver(broker.port, **own) as receiver:
            with outlet(settings(broker.port, tmp_path, tls=True, **own), said) as queue:
                for number in range(100):
                    queue.offer(event(number))
                wait_until(lambda: len(receiver.events()) == 100)
            assert ids(receiver.events()) == numbered(0, 100)
        assert not said
        section = settings(broker.port, tmp_path, tls=True, ca_file=own["ca_file"])
        with outlet(section, said, close_s=1):
            wait_until(lambda: said)
            time.sleep(1)
    assert len(said) == 1
    assert "client certificate?" in said[0]


def test_tls_that_does_not_hold(tmp_path: Path, certificates: Path) -> None:
    said: list[str] = []
    with Broker(tls=certificates) as broker:
        ca_file = certificates / "ca.pem"
        unknown = settings(broker.port, tmp_path, tls=True)
        wrong_name = settings(broker.port, tmp_path, tls=True, ca_file=ca_file)
        wrong_name = wrong_name.model_copy(update={"host": "localhost"})
        plain = settings(broker.port, tmp_path, tls=False)
        for section, why in (
            (unknown, "TLS: its certificate is not accepted: self-signed certificate"),
            (wrong_name, "TLS: its certificate is not accepted: Hostname mismatch"),
            (plain, "closes the connection before it answers: does it expect TLS"),
        ):
            with outlet(section, said, close_s=1) as queue:
                queue.offer(event(0))
                wait_until(lambda: said)
                time.sleep(0.4)
                assert queue.delivered == 0
            assert len(said) == 1
            assert why in said.pop()
    with Broker() as broker, outlet(settings(broker.port, tmp_path, tls=True), said, close_s=1):
        wait_until(lambda: said)
    assert "TLS fails" in said[0] or "cannot be reached" in said[0]


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_unusable_certificates(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_text("not a certificate")
    for path in (tmp_path / "file", tmp_path / "missing"):
        section = settings(8883, tmp_path / "spool", tls=True, **{key: path})
        with pytest.raises(ConfigError, match=f"{path}: no"), outlet(section, []):
            pass


def test_encrypted_key_is_refused_rather_than_asked_for(tmp_path: Path, certificates: Path) -> None:
    key = tmp_path / "key"
    source = certificates / "client.key"
    subprocess.run(
        ["openssl", "ec", "-in", source, "-aes256", "-passout", "pass:x", "-out", key],
        check=True,
        capture_output=True,
    )
    files = {"cert_file": certificates / "client.pem", "key_file": key}
    section = settings(8883, tmp_path / "spool", tls=True, **files)
    with pytest.raises(ConfigError, match="unencrypted key"), outlet(section, []):
        pass


class OldBroker:
    """Answers as brokers that only know MQTT 3.1.1, and acknowledges what is published."""

    def __init__(self) -> None:
        self.levels: list[int] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, connection.makefile("rb") as stream:
                while header := stream.read(1):
                    length, shift = 0, 0
                    while True:
                        byte = stream.read(1)[0]
                        length |= (byte & 127) << shift
                        shift += 7
                        if byte < 128:
                            break
                    body = stream.read(length)
                    if header[0] == 0x10:
                        self.levels.append(body[6])
                        connection.sendall(bytes([0x20, 2, 0, 0 if body[6] == 4 else 1]))
                        if body[6] != 4:
                            break
                    elif header[0] >> 4 == 3:
                        at = 2 + int.from_bytes(body[:2], "big")
                        connection.sendall(b"\x40\x02" + body[at : at + 2])


def test_broker_without_mqtt_5(tmp_path: Path) -> None:
    broker, said = OldBroker(), list[str]()
    with outlet(settings(broker.port, tmp_path), said) as queue:
        for number in range(30):
            queue.offer(event(number))
        wait_until(lambda: queue.delivered == 30)
    assert broker.levels == [5, 4]
    assert not said


def test_attempts_to_connect_leave_nothing_behind(tmp_path: Path) -> None:
    from agent.outlets.mqtt_connection import BrokerConnection, BrokerError

    wake, waker = os.pipe()
    section = settings(free_port(), tmp_path)
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(50):
        connection = BrokerConnection(section, "edge", "status", True, wake)
        with pytest.raises(BrokerError):
            connection.open(1)
        connection.close()
    with Broker() as broker:
        section = settings(broker.port, tmp_path)
        for _ in range(10):
            connection = BrokerConnection(section, "edge", "status", True, wake)
            connection.open()
            connection.close()
    assert len([*Path("/proc/self/fd").iterdir()]) <= before
    os.close(wake)
    os.close(waker)
