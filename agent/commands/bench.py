"""``devrec-agent bench``: how fast is this machine?"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.common import complain, console, progress_console, reports_errors

if TYPE_CHECKING:
    from rich.table import Table

    from agent.live_cost import LiveCost
    from export.graph_comparison import GraphComparison
    from export.timing import Latency


@reports_errors
def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[ENGINE]...",
            help="Model files (.onnx) and engines (.plan); the built-in model without. Plans in "
            "the cache, and half and 8-bit versions of a model, are added.",
            show_default=False,
        ),
    ] = None,
    batches: Annotated[
        str, typer.Option("--batches", help="Windows a call, separated by commas.")
    ] = "1,4,16,64",
    hop_s: Annotated[
        float, typer.Option("--hop", min=0.008, max=60.0, help="Seconds between live windows.")
    ] = 0.5,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0.05, max=60.0, help="For each engine and batch size."),
    ] = 1.0,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Compare the graph with torch and with other ways to write it (needs torch).",
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures as JSON.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a PNG of the figures.", show_default=False)
    ] = None,
) -> None:
    """Measure latency, throughput, and how many live streams fit.

    All times of a table come from one run in which the engines take turns.
    """
    from agent.bench_engines import bench_windows, engines_of
    from agent.live_cost import measure_live_cost
    from export.timing import time_engines
    from model.builtin import BUILTIN_MODEL
    from model.errors import DevrecError

    sizes = _batch_sizes(batches)
    for path in (json_file, plot):
        if path is not None and not path.parent.is_dir():
            raise DevrecError(f"{path}: the folder does not exist")
    if plot is not None:
        import matplotlib  # noqa: F401  # missing: say so before minutes of measuring
    paths = models or [BUILTIN_MODEL]
    report: dict[str, Any] = {"machine": _machine(), "models": [str(path) for path in paths]}
    terminal, out = progress_console(), console()
    if compare:
        _check_comparable(paths[0])
    with engines_of(paths, complain) as engines:
        every = {name: entry.engine for name, entry in engines.items()}
        windows = bench_windows(next(iter(every.values())), max(sizes))
        with terminal.status("measuring engines"):
            found = time_engines(every, windows, sizes, seconds)
        with terminal.status("measuring live streams"):
            costs = {
                name: measure_live_cost(entry.engine, hop_s, found[name])
                for name, entry in engines.items()
                if entry.live
            }
        report["engines"] = {
            name: {
                "description": engine.description,
                "latency": [latency.to_dict() for latency in found[name]],
            }
            for name, engine in every.items()
        }
    out.print(_latency_table(found))
    out.print(_live_table(costs))
    report["live"] = {name: cost.to_dict() for name, cost in costs.items()}
    if compare:
        with terminal.status("comparing graphs"):
            comparison = _compare(paths[0], seconds)
        out.print(_comparison_table(comparison))
        out.print(_limit_line(comparison), markup=False)
        report["comparison"] = comparison.to_dict()
    if json_file is not None:
        from model.files import replacing

        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    if plot is not None:
        from agent.bench_plot import plot_latencies

        plot_latencies(found, f"devrec-agent, {report['machine']['processor']}", plot)


def _batch_sizes(text: str) -> list[int]:
    from model.errors import UsageError

    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1 or sizes[-1] > 4096:
        raise UsageError(f"batches {text}: numbers from 1 to 4096, separated by commas")
    return sizes


def _machine() -> dict[str, Any]:
    """What a figure is worth nothing without."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    except (OSError, IndexError):
        pass
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _check_comparable(path: Path) -> None:
    """Before minutes of measuring: can `--compare` be done?"""
    import importlib.util

    from export.engine_loading import load_engine
    from model.errors import MissingDependencyError, UsageError

    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("--compare needs torch: pip install 'devrec-agent[train]'")
    if path.suffix != ".onnx" or load_engine(path).precision != "fp32":
        raise UsageError(f"{path}: --compare needs a float32 .onnx model")


def _compare(path: Path, seconds: float) -> GraphComparison:
    """The shipped graph beside its rivals."""
    import onnx

    from export.graph_comparison import compare_graphs

    return compare_graphs(onnx.load(str(path)), seconds, str(path))


def _latency_table(found: dict[str, list[Latency]]) -> Table:
    from rich.table import Table

    table = Table(title="engines", title_justify="left")
    table.add_column("engine")
    for column in ("batch", "p50 ms", "p95 ms", "p99 ms", "windows/s", "calls"):
        table.add_column(column, justify="right")
    for name, latencies in found.items():
        for position, latency in enumerate(latencies):
            table.add_row(
                name if position == 0 else "",
                str(latency.batch),
                *(f"{ms:.2f}" for ms in (latency.p50_ms, latency.p95_ms, latency.p99_ms)),
                f"{latency.windows_per_s:.0f}",
                str(latency.calls),
            )
        table.add_section()
    return table


def _live_table(costs: dict[str, LiveCost]) -> Table:
    from rich.table import Table

    hop_s = next(iter(costs.values())).hop_s
    table = Table(title=f"live, a window every {hop_s:.3f} s, one core", title_justify="left")
    table.add_column("engine")
    for column in ("front end", "all", "x real time", "streams", "batched*"):
        table.add_column(column, justify="right")
    table.caption = "* computed: windows of all streams sharing calls of the best batch size"
    table.caption_justify = "left"
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{100 * cost.front_end_share:.2f} %",
            f"{100 * cost.share:.2f} %",
            f"{cost.real_time_factor:.0f}",
            str(cost.streams),
            f"{cost.streams_batched} ({cost.best_batch} a call)",
        )
    return table


def _comparison_table(comparison: GraphComparison) -> Table:
    from rich.table import Table

    shipped = comparison.variants[0]
    table = Table(title="one window, one thread", title_justify="left")
    table.add_column("")
    for column in ("nodes", "p50 ms", "times shipped", "start ms", "times shipped"):
        table.add_column(column, justify="right")
    for variant in comparison.variants:
        ratio = variant.latency.p50_ms / shipped.latency.p50_ms
        table.add_row(
            variant.name,
            str(variant.nodes) if variant.nodes else "",
            f"{variant.latency.p50_ms:.2f}",
            f"{ratio:.2f}",
            f"{1e3 * variant.start_s:.1f}" if variant.start_s else "",
            f"{variant.start_s / shipped.start_s:.1f}" if variant.start_s else "",
        )
    return table


def _limit_line(comparison: GraphComparison) -> str:
    return (
        f"{comparison.multiply_adds / 1e9:.3f} G multiply-adds a window; a large float32 product "
        f"reaches {comparison.limit_per_s / 1e9:.0f} G/s on this core, the shipped graph, as a "
        f"whole, {100 * comparison.share_of_limit:.0f} % of that"
    )
