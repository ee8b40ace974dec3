"""Engine speed as a picture (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

from export.timing import Latency
from model.files import replacing

matplotlib.use("Agg")
from matplotlib import pyplot


def plot_latencies(found: Mapping[str, list[Latency]], title: str, path: Path) -> None:
    """Latency and throughput over batch size, one line an engine.

    Args:
        found: latencies by engine.
        title: above both panels; what was measured where.
        path: PNG to write, whole or not at all.
    """
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, latencies in found.items():
        batches = [latency.batch for latency in latencies]
        p50 = [latency.p50_ms for latency in latencies]
        p95 = [latency.p95_ms for latency in latencies]
        (line,) = left.plot(batches, p50, marker="o", label=name)
        left.fill_between(batches, p50, p95, color=line.get_color(), alpha=0.2, linewidth=0)
        right.plot(batches, [latency.windows_per_s for latency in latencies], marker="o")
    sizes = sorted({latency.batch for latencies in found.values() for latency in latencies})
    for axes, label in ((left, "one call, ms (line: median, band: to 95 %)"), (right, "windows/s")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlabel("windows a call")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
