"""Events to an MQTT broker, at least once, in order, over outages and restarts."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.outlets.mqtt_connection import (
    CONNECT_TIMEOUT_S,
    BrokerConnection,
    OldBrokerError,
    broker_port,
)
from agent.outlets.mqtt_security import check_security
from agent.outlets.outlet import EventObject, Say
from agent.outlets.spool import Entry, Spool
from agent.outlets.troubles import Troubles
from model.errors import DevrecError

if TYPE_CHECKING:
    from agent.config.settings import MqttSection

#: Events after which another device, or none, is the one heard: that which the event names.
#: ``started`` is among them for what an earlier run has left at the broker.
DEVICE_KINDS = (
    "started",
    "device_identified",
    "device_changed",
    "unknown",
    "silence",
    "audio_lost",
    "audio_restored",
    "ended",
)

BACKOFF_S = 0.5  #: first pause before another attempt to connect; doubles
STABLE_S = 10.0  #: a connection that lasted so long begins a new series of pauses
REPEAT_S = 3600.0  #: a broker that stays away is said to be so once an hour
SETTLE_S = 1.0  #: how often the spool may try its disk again while the broker is away
SENDING = 0.6  #: part of the time to close that events may take; the rest is for `offline`
MARGIN_S = 0.1  #: seconds of it that are kept for the spool


def topic_level(name: str) -> str:
    """A name as one level of a topic: what has a meaning to brokers becomes ``_``."""
    return re.sub(r"[\s/+#$\0]", "_", name) or "_"


class MqttOutlet:
    """Publishes events on ``<topic>/<agent>/<input>/event``, QoS 1.

    Each event goes through the spool and leaves it when the broker has acknowledged it, so it
    reaches the broker at least once and in order; receivers drop duplicates by ``id``. ``late``
    tells them that it comes long after it happened. Beside the events, retained:
    ``<topic>/<agent>/<input>/device``, what is heard now, and ``<topic>/<agent>/status``,
    ``online`` or ``offline``.

    Args:
        settings: the broker.
        agent: the agent's name; no two agents at a broker may share one.
        spool: where events wait; closed with the outlet.
        say: told when the broker is lost, and when it is back.

    Raises:
        ConfigError: credentials or certificates cannot be used.
    """

    def __init__(self, settings: MqttSection, agent: str, spool: Spool, say: Say) -> None:
        import paho.mqtt.client  # noqa: F401 - missing: said at the start, not by the thread

        check_security(settings, say)
        self.name = f"mqtt {settings.host}:{broker_port(settings)}"
        self.backlog = spool
        self._settings = settings
        self._client_id = f"devrec-agent-{agent}"
        self._base = f"{settings.topic}/{topic_level(agent)}"
        self._spool = spool
        self._troubles = Troubles(self.name, say, REPEAT_S)
        self._mqtt5 = True
        self._deadline = self._send_until = float("inf")
        self._ending = threading.Event()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        self._thread = threading.Thread(target=self._work, name=f"{self.name} sender", daemon=True)
        self._thread.start()

    def deliver(self, event: EventObject) -> None:
        """Store the event; it is sent when the broker is there."""
        self._spool.append(event)
        self._wake_sender()

    def stop_by(self, deadline: float) -> None:
        """Storing takes no time: nothing to be stopped."""

    def close(self, deadline: float) -> None:
        """Send what can be sent, say ``offline``, and keep the rest in the spool."""
        now = time.monotonic()
        self._deadline = deadline - MARGIN_S
        self._send_until = now + SENDING * (self._deadline - now)
        self._ending.set()
        self._wake_sender()
        # A daemon thread: a resolver that hangs holds nobody up.
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        self._spool.close()
        if not self._thread.is_alive():
            os.close(self._wake)
            os.close(self._waker)

    def _wake_sender(self) -> None:
        try:
            os.write(self._waker, b"\0")
        except BlockingIOError:
            return  # it is awake

    def _work(self) -> None:
        attempts = 0
        while not self._over():
            last = self._ending.is_set()
            begun = time.monotonic()
            try:
                self._session()
            except OldBrokerError:
                self._mqtt5 = False
                continue
            except DevrecError as error:
                if not self._over():  # else it is nobody's trouble any more
                    self._troubles.report(str(error), f"; {self._spool.waiting} events wait")
            except Exception as error:  # a mistake of ours must not end the deliveries for months
                self._troubles.report(f"{type(error).__name__}: {error}")
            else:
                return
            if last:
                return
            attempts = 0 if time.monotonic() - begun > STABLE_S else attempts + 1
            pause_s = min(self._settings.reconnect_max_s, BACKOFF_S * 2 ** min(attempts, 16))
            # Not all at once: the broker has lost the whole fleet.
            self._pause(pause_s * random.uniform(0.5, 1.0))

    def _over(self) -> bool:
        """Whether the time to close is over: another outlet may be connected in this one's place,
        and a second connection of the same name would throw it out."""
        return time.monotonic() >= self._deadline

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            if self._ending.wait(min(left_s, SETTLE_S)):
                return
            self._spool.settle()

    def _session(self) -> None:
        """Connect and send until the agent ends.

        Raises:
            DevrecError: the broker cannot be reached or is lost.
        """
        status = f"{self._base}/status"
        connection = BrokerConnection(
            self._settings, self._client_id, status, self._mqtt5, self._wake, self._over
        )
        try:
            left_s = self._deadline - time.monotonic()
            connection.open(max(0.1, min(CONNECT_TIMEOUT_S, left_s)))
            connection.publish(status, "online", retain=True)
            self._troubles.over(f"connected again; {self._spool.waiting} events wait")
            self._send(connection)
            farewell = connection.publish(status, "offline", retain=True)
            while farewell not in connection.acknowledged:
                if time.monotonic() >= self._deadline:
                    return  # without a good-bye: the broker says `offline` for us
                connection.turn(self._deadline - time.monotonic())
            connection.say_goodbye()
        finally:
            connection.close()

    def _send(self, connection: BrokerConnection) -> None:
        """Send events until the agent ends and all are sent, or time is up."""
        unacknowledged: OrderedDict[int, set[int]] = OrderedDict()  # entry -> message ids
        last_sent = 0
        while True:
            for entry in self._spool.read(last_sent, connection.may_send - len(unacknowledged)):
                unacknowledged[entry.number] = self._publish(connection, entry)
                last_sent = entry.number
            now = time.monotonic()
            if self._ending.is_set():
                done = not unacknowledged and not self._spool.waiting
                if done or now >= self._send_until:
                    return
            connection.turn(self._send_until - now)
            self._drain_wake()
            self._take(connection.acknowledged, unacknowledged)
            self._spool.settle()

    def _publish(self, connection: BrokerConnection, entry: Entry) -> set[int]:
        event = {**entry.event, "late": self._is_late(entry)}
        base = f"{self._base}/{topic_level(str(event.get('input')))}"
        messages = {connection.publish(f"{base}/event", _json(event))}
        if event.get("event") in DEVICE_KINDS:
            told = ("event", "device", "probability", "end", "id", "late")
            device = {key: event.get(key) for key in told}
            messages.add(connection.publish(f"{base}/device", _json(device), retain=True))
        return messages

    def _is_late(self, entry: Entry) -> bool:
        if entry.inherited:
            return True
        # The event's own time too: the other clock stands still while the machine sleeps.
        ago_s = max(entry.age_s, _seconds_since(entry.event.get("end")))
        return ago_s > self._settings.late_after_s

    def _take(self, acknowledged: list[int], unacknowledged: OrderedDict[int, set[int]]) -> None:
        """Take events out of the spool whose messages are all acknowledged, in order."""
        for messages in unacknowledged.values():
            messages.difference_update(acknowledged)
        acknowledged.clear()
        done = 0
        while unacknowledged and not next(iter(unacknowledged.values())):
            done, _ = unacknowledged.popitem(last=False)
        if done:
            self._spool.acknowledge(done)

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            return


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _seconds_since(iso: object) -> float:
    """Seconds since a time of :attr:`agent.events.Moment.iso`; 0 if it is none."""
    try:
        at = datetime.fromisoformat(str(iso).replace("Z", "+00:00"))
        return time.time() - at.timestamp()
    except ValueError:
        return 0.0
