"""Events reach a real broker: through outages, kills and restarts, in order."""

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

from agent.outlets.spool import Spool
from tests.conftest import ROOT
from tests.mosquitto import Broker, Receiver, free_port, missing_parts, wait_until
from tests.mqtt_rig import event, ids, numbered, outlet, settings

pytestmark = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))

OUTAGE_S = float(os.environ.get("DEVREC_OUTAGE_S", "4"))  #: how long the broker stays away


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
from agent.config.settings import Config
from tests.mqtt_rig import event, settings
from tests.outlet_rig import open_one
from pathlib import Path
section = settings(int(sys.argv[1]), Path(sys.argv[2]))
config = Config.model_validate({"agent": {"name": "edge"}, "mqtt": section})
queue = open_one(config, sys.stderr.write)
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


def test_sender_that_hung_past_its_end_disturbs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, release, said = socket.getaddrinfo, threading.Event(), list[str]()

    def resolver(host: str, *how: Any) -> Any:
        if host == "broker.lab":
            release.wait(20)
            host = "127.0.0.1"
        return look_up(host, *how)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with Broker() as broker, Receiver(broker.port) as receiver:
        section = settings(broker.port, tmp_path / "old")
        with outlet(section.model_copy(update={"host": "broker.lab"}), said, close_s=0.3):
            wait_until(lambda: sender("broker.lab") is not None)
            hung = sender("broker.lab")
        assert hung is not None
        with outlet(settings(broker.port, tmp_path / "new"), said) as queue:
            queue.offer(event(0))
            wait_until(lambda: queue.delivered == 1)
            release.set()
            hung.join(10)
            queue.offer(event(1))
            wait_until(lambda: queue.delivered == 2)
            statuses = [text for name, text, _ in receiver.messages if name.endswith("/status")]
            assert statuses == ["online"]
    assert not said


def sender(host: str) -> threading.Thread | None:
    """The thread that sends to a broker."""
    names = {thread.name: thread for thread in threading.enumerate()}
    return next((names[name] for name in names if host in name and "sender" in name), None)


def test_device_that_is_not_heard_any_more(tmp_path: Path) -> None:
    kinds = ("started", "ended", "audio_restored")
    with Broker() as broker, Receiver(broker.port) as receiver:
        with outlet(settings(broker.port, tmp_path), []) as queue:
            for number, kind in enumerate(kinds):
                queue.offer(event(2 * number, "device_identified"))
                queue.offer(event(2 * number + 1, kind))
        wait_until(lambda: len(receiver.events("/device")) == 6)
        told = [(entry["event"], entry["device"]) for entry in receiver.events("/device")]
        assert told[::2] == [("device_identified", "Phone")] * 3
        assert told[1::2] == [(kind, None) for kind in kinds]


def test_old_event_of_this_run_is_late(tmp_path: Path) -> None:
    with (
        Broker() as broker,
        Receiver(broker.port) as receiver,
        outlet(settings(broker.port, tmp_path), []) as queue,
    ):
        queue.offer(event(0, age_s=60))
        wait_until(lambda: receiver.events())
        assert receiver.events()[0]["late"]


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
        connection = BrokerConnection(section, "edge", "status", True, wake, lambda: False)
        with pytest.raises(BrokerError):
            connection.open(1)
        connection.close()
    with Broker() as broker:
        section = settings(broker.port, tmp_path)
        for _ in range(10):
            connection = BrokerConnection(section, "edge", "status", True, wake, lambda: False)
            connection.open()
            connection.close()
    assert len([*Path("/proc/self/fd").iterdir()]) <= before
    os.close(wake)
    os.close(waker)
