"""The metrics endpoint: the agent's figures for Prometheus."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from agent import __version__
from agent.live_figures import LATENCY_BOUNDS_S, InputFigures, LatencyHistogram
from agent.outlets.outlet import EventObject, OutletQueue, Say
from model.errors import DevrecError, UsageError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

ReadFigures = Callable[[], list[InputFigures]]
ReadQueues = Callable[[], list[OutletQueue]]

#: States of ``InputFigures.state``.
STATES = ("starting", "running", "stalled", "reopening", "failed", "ended")
CONNECTIONS = 8  #: scrapes at a time; more are turned away
CLIENT_TIMEOUT_S = 5.0  #: a client that sends or takes nothing for so long is cut off
POLL_S = 0.1  #: how often the server looks whether it is to end


class FiguresCollector:
    """Reads the agent's figures when it is asked, so that counting costs the agent nothing.

    Args:
        figures: the inputs' figures.
        queues: the outlets.
        engine: description of the engine.
        model: the model's name.
    """

    def __init__(self, figures: ReadFigures, queues: ReadQueues, engine: str, model: str) -> None:
        self._figures, self._queues = figures, queues
        self._build = {"version": __version__, "engine": engine, "model": model}

    def collect(self) -> Iterable[Metric]:
        """All metrics, as prometheus_client wants them."""
        from prometheus_client.metrics_core import InfoMetricFamily

        yield InfoMetricFamily("devrec_build", "This agent.", value=self._build)
        figures = self._figures()
        yield from _input_counters(figures)
        yield from _input_gauges(figures)
        yield _latency(figures)
        yield from _outlet_metrics(
            [queue for queue in self._queues() if not isinstance(queue.outlet, PrometheusEndpoint)]
        )


def _input_counters(figures: list[InputFigures]) -> Iterable[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    counters: tuple[tuple[str, str, Callable[[InputFigures], int]], ...] = (
        ("windows", "Windows scored.", lambda entry: entry.windows),
        ("samples", "Samples heard.", lambda entry: entry.samples),
        ("lost_samples", "Samples missing from the stream.", lambda entry: entry.lost_samples),
        ("overflows", "Times that samples were lost.", lambda entry: entry.overflows),
        ("reconnects", "Times that the input was reopened.", lambda entry: entry.reconnects),
    )
    for name, text, value in counters:
        counter = CounterMetricFamily(f"devrec_{name}", text, labels=["input"])
        for entry in figures:
            counter.add_metric([entry.name], value(entry))
        yield counter
    events = CounterMetricFamily("devrec_events", "Events by kind.", labels=["input", "event"])
    for entry in figures:
        for kind, count in entry.events.copy().items():  # the listening thread may add a kind
            events.add_metric([entry.name, kind], count)
    yield events


def _input_gauges(figures: list[InputFigures]) -> Iterable[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    level = GaugeMetricFamily(
        "devrec_level_dbfs", "RMS level of the last block heard.", labels=["input"]
    )
    state = GaugeMetricFamily(
        "devrec_input_state", "1 for the state that the input is in.", labels=["input", "state"]
    )
    device = GaugeMetricFamily(
        "devrec_device", "1 for the device named last, if any.", labels=["input", "device"]
    )
    probability = GaugeMetricFamily(
        "devrec_probability", "Posterior of the best device.", labels=["input"]
    )
    for entry in figures:
        level.add_metric([entry.name], entry.level_dbfs)
        current = entry.state
        for known in (*STATES, *(() if current in STATES else (current,))):
            state.add_metric([entry.name, known], float(known == current))
        if entry.device is not None:
            device.add_metric([entry.name, entry.device], 1)
        if entry.probability is not None:
            probability.add_metric([entry.name], entry.probability)
    yield from (level, state, device, probability)


def _latency(figures: list[InputFigures]) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "devrec_latency_seconds",
        "Last sample of a window heard until it was decided upon.",
        labels=["input"],
    )
    for entry in figures:
        family.add_metric([entry.name], _buckets(entry.latency), entry.latency.total_s)
    return family


def _buckets(latency: LatencyHistogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus wants them."""
    bounds = [*(str(bound) for bound in LATENCY_BOUNDS_S), "+Inf"]
    counts = list(latency.counts)
    return [(bound, float(sum(counts[: index + 1]))) for index, bound in enumerate(bounds)]


def _outlet_metrics(queues: list[OutletQueue]) -> Iterable[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    delivered = CounterMetricFamily(
        "devrec_outlet_delivered", "Events handed over.", labels=["outlet"]
    )
    lost = CounterMetricFamily("devrec_outlet_lost", "Events lost.", labels=["outlet"])
    waiting = GaugeMetricFamily(
        "devrec_outlet_waiting", "Events not handed over yet.", labels=["outlet"]
    )
    spooled = GaugeMetricFamily(
        "devrec_spool_events", "Events in the outlet's spool.", labels=["outlet"]
    )
    for queue in queues:
        delivered.add_metric([queue.name], queue.delivered)
        lost.add_metric([queue.name], queue.lost)
        waiting.add_metric([queue.name], queue.waiting)
        if queue.outlet.backlog is not None:
            spooled.add_metric([queue.name], queue.outlet.backlog.waiting)
    yield from (delivered, lost, waiting, spooled)


class _Server(socketserver.ThreadingTCPServer):
    """A thread per scrape, few at a time, all of them ended with the server."""

    allow_reuse_address = True
    daemon_threads = False  # server_close waits for them ...
    block_on_close = True
    request_queue_size = CONNECTIONS

    def __init__(self, family: int, address: tuple[Any, ...], handler: Any) -> None:
        self.address_family = family
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
        """A client that went away or timed out is none of the operator's business."""

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
        UsageError: the address is not one of this machine's.
        DevrecError: the port is in use.
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
        try:
            found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
            family, _, _, _, where = found[0]
            self._server = _Server(family, where, handler)
        except (socket.gaierror, UnicodeError) as error:
            raise UsageError(f"prometheus: {address}: not an address of this machine") from error
        except OSError as error:
            raise DevrecError(f"prometheus: cannot listen on {shown}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]
        self.name = f"prometheus {shown}"
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
