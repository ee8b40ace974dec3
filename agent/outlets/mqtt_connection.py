"""One connection to an MQTT broker, from its opening to its loss."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.outlets.mqtt_security import read_credentials, tls_context
from model.errors import DevrecError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.enums import MQTTErrorCode
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from agent.config.settings import MqttSection

CONNECT_TIMEOUT_S = 5.0  #: for each of: TCP, TLS, the broker's answer
MOST_UNACKNOWLEDGED = 20  #: messages; a broker may ask for fewer
UNACKNOWLEDGED_S = 30.0  #: a broker that acknowledges nothing for so long is given up
LOOK_S = 0.2  #: how often it is seen, while the broker answers, whether the agent ends meanwhile
IDLE_S = 1.0  #: longest wait in one turn: keep-alives are due in between
SESSION_TAKEN_OVER = 142  #: reason code of MQTT 5
UNSUPPORTED_VERSION = 132
UNAUTHORISED = (134, 135)

_CLOSED_EARLY = (
    "closes the connection before it answers: does it expect TLS, or a client certificate?"
)
_TOO_LATE = "was not reached before the end"


class BrokerError(DevrecError):
    """The broker cannot be reached, refuses, or is lost."""


class OldBrokerError(BrokerError):
    """The broker does not know MQTT 5."""


def broker_port(settings: MqttSection) -> int:
    """The configured port, or the usual one."""
    return settings.port or (8883 if settings.tls else 1883)


class BrokerConnection:
    """Sends messages with QoS 1 and collects the broker's acknowledgements.

    paho-mqtt's own thread is not used: it retries by itself, hides why, and ends on errors that it
    does not know. All methods are called from one thread; each can fail with
    :class:`BrokerError`, after which only ``close`` is of use.

    Args:
        settings: the broker.
        client_id: unique at the broker.
        will_topic: where the broker says ``offline`` (retained) when the connection is lost.
        mqtt5: MQTT 5, which says why something is refused; else MQTT 3.1.1.
        wake: file descriptor that ends ``turn`` when it becomes readable; read by the caller.
        over: whether it is too late to introduce oneself to the broker; asked while it is opened.

    Attributes:
        acknowledged: message ids that were acknowledged; emptied by the caller.
        may_send: messages that the broker takes unacknowledged.
    """

    def __init__(
        self,
        settings: MqttSection,
        client_id: str,
        will_topic: str,
        mqtt5: bool,
        wake: int,
        over: Callable[[], bool],
    ) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self.acknowledged: list[int] = []
        self.may_send = MOST_UNACKNOWLEDGED
        self._settings = settings
        self._wake = wake
        self._over = over
        self._connected = False
        self._in_flight = 0
        self._progress = 0.0  # when something was sent on an idle line, or acknowledged
        self._failure: str | None = None
        self._old_broker = False
        version = MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            reconnect_on_failure=False,
        )
        self._client.will_set(will_topic, "offline", qos=1, retain=True)
        self._client.on_socket_open = self._on_socket_open
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    def open(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect and wait for the broker's answer.

        Credentials and certificates are read anew: they may have been renewed meanwhile.

        Raises:
            OldBrokerError: it only knows earlier versions of MQTT.
            ConfigError: credentials or certificates cannot be read.
        """
        settings = self._settings
        if settings.tls:
            self._client.tls_set_context(tls_context(settings))
        if settings.credentials_file is not None:
            credentials = read_credentials(settings.credentials_file)
            self._client.username_pw_set(credentials.user, credentials.password)
        self._client.connect_timeout = timeout_s
        deadline = time.monotonic() + timeout_s
        try:
            self._client.connect(settings.host, broker_port(settings), settings.keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            raise BrokerError(_explained(error, timeout_s)) from error
        while not self._connected:
            if self._over():
                raise BrokerError(_TOO_LATE)
            if time.monotonic() >= deadline:
                raise BrokerError(f"does not answer within {timeout_s:.0f} s")
            self.turn(min(LOOK_S, deadline - time.monotonic()), wakeable=False)

    def publish(self, topic: str, payload: str, retain: bool = False) -> int:
        """Send a message with QoS 1; waits while the broker takes no more unacknowledged ones.

        Returns:
            Its id, which appears in ``acknowledged`` later.
        """
        while self._in_flight >= self.may_send:
            self.turn(IDLE_S, wakeable=False)
        if self._in_flight == 0:
            self._progress = time.monotonic()
        self._in_flight += 1
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        self._check(info.rc)
        return info.mid

    def turn(self, timeout_s: float, *, wakeable: bool = True) -> None:
        """Wait until something happens, at most ``timeout_s``, and see to it.

        Args:
            timeout_s: seconds to wait.
            wakeable: whether ``wake`` ends it; without that where it is not read in between, since
                it stays readable.
        """
        sock: Any = self._client.socket()
        if sock is None:
            raise BrokerError(self._failure or "the connection is lost")
        # What TLS has decrypted already does not make the socket readable.
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        poll = select.poll()
        if wakeable:
            poll.register(self._wake, select.POLLIN)
        writing = select.POLLOUT if self._client.want_write() else 0
        poll.register(sock, select.POLLIN | writing)
        wait_s = 0.0 if pending else max(0.0, min(timeout_s, IDLE_S))
        ready = dict(poll.poll(wait_s * 1000))
        happened = ready.get(sock.fileno(), 0)
        if pending or happened & ~select.POLLOUT:
            self._check(self._client.loop_read())
        if happened & select.POLLOUT:
            self._check(self._client.loop_write())
        self._check(self._client.loop_misc())
        if self._in_flight and time.monotonic() - self._progress > UNACKNOWLEDGED_S:
            raise BrokerError(f"acknowledges nothing for {UNACKNOWLEDGED_S:.0f} s")

    def say_goodbye(self) -> None:
        """Tell the broker that the connection ends on purpose: it keeps the will to itself."""
        self._client.on_disconnect = None
        self._client.disconnect()

    def close(self) -> None:
        """Release the socket; without a good-bye the broker publishes the will."""
        self._client.on_disconnect = None
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _check(self, code: MQTTErrorCode) -> None:
        if self._old_broker:
            raise OldBrokerError("does not know MQTT 5")
        if self._failure is not None:
            raise BrokerError(self._failure)
        if code != 0:
            lost = "the connection is lost" if self._connected else _CLOSED_EARLY
            raise BrokerError(lost)

    def _on_socket_open(self, client: Client, userdata: object, sock: object) -> None:
        # A resolver may have hung for minutes, and the broker has not been told our name yet.
        if self._over():
            raise BrokerError(_TOO_LATE)

    def _on_connect(
        self,
        client: Client,
        userdata: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.value in UNAUTHORISED:
            self._failure = f"refuses the user name, password or certificate ({reason})"
        elif reason.is_failure:
            self._old_broker = reason.value == UNSUPPORTED_VERSION
            self._failure = f"refuses the connection ({reason})"
        else:
            self._connected = True
            allowed = getattr(properties, "ReceiveMaximum", MOST_UNACKNOWLEDGED)
            self.may_send = min(MOST_UNACKNOWLEDGED, allowed)

    def _on_disconnect(
        self,
        client: Client,
        userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._failure is not None:
            return
        if flags.is_disconnect_packet_from_server:
            self._failure = f"ends the connection ({reason})"
            if reason.value == SESSION_TAKEN_OVER:
                self._failure += ": another agent of the same name? Each needs its own"
        else:
            self._failure = "the connection is lost" if self._connected else _CLOSED_EARLY

    def _on_publish(
        self,
        client: Client,
        userdata: object,
        message_id: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._in_flight -= 1
        self._progress = time.monotonic()
        if reason.is_failure:
            self._failure = f"refuses events ({reason}): may this user write to the topic?"
        else:
            self.acknowledged.append(message_id)


def _explained(error: OSError | ValueError, timeout_s: float) -> str:
    """Why a connection could not be opened, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "the connection was closed").lower().replace("_", " ")
        return f"TLS fails: {reason}"
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, TimeoutError):
        return f"cannot be reached within {timeout_s:.0f} s"
    if isinstance(error, OSError):
        return f"cannot be reached: {error.strerror or error}"
    return f"not a host name: {error}"
