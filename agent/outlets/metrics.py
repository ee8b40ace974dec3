"""The agent's figures as Prometheus wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from agent import __version__
from agent.live_figures import LATENCY_BOUNDS_S, InputFigures, LatencyHistogram
from agent.outlets.outlet import OutletQueue

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from agent.outlets.context import OutletContext

#: States of ``InputFigures.state``.
STATES = ("starting", "running", "stalled", "reopening", "failed", "ended")


class FiguresCollector:
    """Reads the agent's figures when it is asked, so that counting costs the agent nothing.

    Args:
        context: asked at every scrape: another configuration may have been read meanwhile.
    """

    def __init__(self, context: OutletContext) -> None:
        self._context = context

    def collect(self) -> Iterable[Metric]:
        """All metrics, as prometheus_client wants them."""
        from prometheus_client.metrics_core import InfoMetricFamily

        context = self._context
        build = {"version": __version__, "engine": context.engine(), "model": context.model()}
        yield InfoMetricFamily("devrec_build", "This agent.", value=build)
        figures = context.figures()
        yield from _input_counters(figures)
        yield from _input_gauges(figures)
        yield _latency(figures)
        yield from _outlet_metrics([queue for queue in context.queues() if queue.wants_events])
        yield from _evidence_counters(*context.evidence())


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


def _evidence_counters(written: int, lost: int) -> Iterable[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    yield CounterMetricFamily(
        "devrec_evidence_written", "Events whose audio was written.", value=written
    )
    yield CounterMetricFamily("devrec_evidence_lost", "Events whose audio was lost.", value=lost)
