"""The metrics endpoint: serves the agent's figures to Prometheus."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import socketserver
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from agent.outlets.outlet import EventObject, Say
from agent.outlets.troubles import Troubles
from model.errors import DevrecError

if TYPE_CHECKING:
    from agent.outlets.metrics import FiguresCollector

CONNECTIONS = 8  #: scrapes at a time; more are turned away
CLIENT_TIMEOUT_S = 5.0  #: a client that sends or takes nothing for so long is cut off
POLL_S = 0.1  #: how often the server looks whether it is to end


class _Server(socketserver.ThreadingTCPServer):
    """A thread per scrape, few at a time, all of them ended with the server."""

    allow_reuse_address = True
    daemon_threads = False  # server_close waits for them ...
    block_on_close = True
    request_queue_size = CONNECTIONS

    def __init__(
        self, family: int, address: tuple[Any, ...], handler: Any, troubles: Troubles
    ) -> None:
        self.address_family = family
        self._troubles = troubles
        self._free = threading.Semaphore(CONNECTIONS)
        self._open: set[socket.socket] = set()
        super().__init__(cast(tuple[str, int], address), handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is a free thread; else the connection is closed."""
        if not self._free.acquire(blocking=False):
            return False
        self._open.add(request)
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and free its thread for others."""
        super().shutdown_request(request)
        if request in self._open:
            self._open.discard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong; a client that went away or timed out is nothing to be said."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._troubles.report(f"a scrape failed: {type(error).__name__}: {error}")

    def server_close(self) -> None:
        """Close all sockets and wait for all threads."""
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)  # ... which wakes those that wait for clients
        super().server_close()


class PrometheusEndpoint:
    """Serves the metrics over HTTP; an outlet that wants no events and ends with the others.

    Args:
        address: address or name to listen on.
        port: TCP port; 0 for any free one.
        collector: where the figures come from.
        say: told if others than this machine can read the metrics.

    Attributes:
        port: TCP port that is listened on.

    Raises:
        DevrecError: the address is unknown, or none of this machine's, which may change when its
            network is up; or the port is in use.
    """

    backlog = None

    def __init__(self, address: str, port: int, collector: FiguresCollector, say: Say) -> None:
        from prometheus_client import CollectorRegistry, MetricsHandler

        registry = CollectorRegistry(auto_describe=False)
        registry.register(cast(Any, collector))
        handler = type(
            "_Handler", (MetricsHandler,), {"registry": registry, "timeout": CLIENT_TIMEOUT_S}
        )
        shown = f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"
        self.name = f"prometheus {shown}"
        try:
            found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
            family, _, _, _, where = found[0]
            self._server = _Server(family, where, handler, Troubles(self.name, say))
        except (socket.gaierror, UnicodeError) as error:
            raise DevrecError(f"prometheus: {address}: not an address of this machine") from error
        except OSError as error:
            raise DevrecError(f"prometheus: cannot listen on {shown}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]
        if not ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback:
            say(f"warning: {self.name}: other machines can read the metrics, nothing protects them")
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name=self.name, daemon=True
        )
        self._thread.start()

    def deliver(self, event: EventObject) -> None:
        """Events are counted elsewhere: nothing to be done."""

    def stop_by(self, deadline: float) -> None:
        """Nothing is under way."""

    def close(self, deadline: float) -> None:
        """End the server with all its threads and sockets."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(max(0.0, deadline - time.monotonic()))
