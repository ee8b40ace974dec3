"""Everything that only a GPU can show, in one go.

    python -m tests.gpu.prove [-o report.json] [--clips FOLDER]

Runs, on the first CUDA GPU: one training pass of the ConvLSTMs against the per-step loop; the
built-in model's window in torch, eager and as a CUDA graph; parity of torch on the GPU with torch
on the CPU; and, with every TensorRT that is installed, export in all precisions, parity of the plan
itself, its latency with and without CUDA graphs, and the live streams that it carries. What a
machine cannot do (TensorRT for RTX, for one, refuses some GPUs) is reported in TensorRT's words and
does not stop the rest. The report names the machine and the day.

Exit code: 0 when nothing failed (a GPU that a TensorRT refuses is no failure), 1 otherwise, 8
without a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from agent.clip_windows import windows_of_clips
from agent.live_cost import measure_live_cost
from export.exporting import export_tensorrt
from export.onnx_file import torch_scores
from export.parity import BOUNDS, difference
from export.precision import PRECISIONS, Precision
from export.rebuild import rebuild_network
from export.source_model import Source
from export.tensorrt_api import Flavour, load_tensorrt
from export.tensorrt_build import BuildOptions
from export.tensorrt_engine import TensorRTEngine
from export.timing import time_engines, time_in_turns
from model.builtin import BUILTIN_MODEL
from model.errors import DevrecError, EngineError, MissingDependencyError
from tests.benchmarks import bench_convlstm

FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx")
HOP_S = 0.5
Part = dict[str, Any]


def machine() -> Part:
    """What the figures belong to."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
    }


def training(device: str, batch: int = 64, steps: int = 128) -> Part:
    """One forward and backward pass against the loop."""
    return bench_convlstm.run(batch, threads=2, device=device, repeats=5, steps=steps)


def torch_parity(source: Source, device: str) -> Part:
    """The same network in torch on the CPU and on the GPU, in full float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    windows = source.record.windows()
    network = rebuild_network(source.model, "the built-in model")
    on_cpu = torch_scores(network, windows)
    network.to(device)
    with torch.no_grad():
        logits, embedding = network(torch.from_numpy(windows).to(device))
    moved = type(on_cpu)(logits.cpu().numpy(), embedding.cpu().numpy())
    found = difference(on_cpu, moved)
    return {**found.to_dict(), "within_bounds": found.within(BOUNDS["fp32"])}


def torch_latency(source: Source, device: str, seconds: float) -> Part:
    """Milliseconds of one window in torch, copies included: eager and, on a GPU, as a graph."""
    network = rebuild_network(source.model, "the built-in model").to(device)
    host = torch.from_numpy(source.record.windows()[:1].copy())
    wait = torch.cuda.synchronize if device != "cpu" else (lambda: None)
    calls: dict[str, Callable[[], object]] = {}

    def eager() -> object:
        logits = network(host.to(device))[0].cpu()
        wait()
        return logits

    with torch.no_grad():
        calls["eager"] = eager
        if device != "cpu":
            calls["CUDA graph"] = _recorded(network, host, device)
        times = time_in_turns(calls, seconds)
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def _recorded(network: torch.nn.Module, host: torch.Tensor, device: str) -> Callable[[], object]:
    """The window as a CUDA graph with fixed buffers."""
    inputs = host.to(device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = network(inputs)

    def replay() -> object:
        inputs.copy_(host)
        graph.replay()
        return outputs[0].cpu()

    return replay


def tensorrt(
    source: Source, flavour: Flavour, precision: Precision, seconds: float, options: BuildOptions
) -> Part:
    """Export, parity, latency and streams of one engine."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "m.plan"
        report = export_tensorrt(source, plan, precision, options, flavour=flavour)
        if "ONNX Runtime" in report.engine:
            raise EngineError("the plan was built but not run: " + " ".join(report.notes))
        started = time.perf_counter()
        engine = TensorRTEngine(plan, trusted=True)
        load_s = time.perf_counter() - started
        plain = TensorRTEngine(plan, use_graphs=False, trusted=True)
        windows = source.record.windows()
        batches = sorted({1, 8, options.batch[2]} & set(range(1, options.batch[2] + 1)))
        found = time_engines({"graphs": engine, "no graphs": plain}, windows, batches, seconds)
        live = measure_live_cost(engine, HOP_S, found["graphs"])
        result = {
            "engine": engine.description,
            "build_s": report.build_s,
            "load_s": load_s,
            "plan_mb": plan.stat().st_size / 1e6,
            "notes": report.notes,
            "parity": {c.kind: c.difference.to_dict() for c in report.comparisons},
            "latency": {name: [entry.to_dict() for entry in rows] for name, rows in found.items()},
            "live": live.to_dict(),
        }
        engine.close()
        plain.close()
        return result


def attempt(report: Part, name: str, part: Callable[[], Part]) -> None:
    """Run a part and keep its figures, or what stopped it."""
    Console(stderr=True).print(f"{name} ...")
    try:
        report[name] = part()
    except MissingDependencyError as error:
        report[name] = {"left out": str(error)}
    except EngineError as error:
        report[name] = {"refused": str(error)}
    except Exception as error:  # whatever it is, the other parts still run
        report[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def prove(
    device: str = "cuda",
    clips: list[Path] | None = None,
    seconds: float = 2.0,
    options: BuildOptions | None = None,
    training_size: tuple[int, int] = (64, 128),
    precisions: tuple[Precision, ...] = PRECISIONS,
    model: Path = BUILTIN_MODEL,
) -> Part:
    """All parts; ``device`` other than ``cuda`` is for testing this script without a GPU."""
    source = Source(model)
    metadata = source.engine.metadata
    given = windows_of_clips(clips or [], metadata.front_end, metadata.window_frames)
    # Without recordings, int8 gets its ranges from random windows: enough for times and parity.
    source.windows = given if len(given) else source.record.windows()
    report: Part = {
        "machine": machine() if device == "cuda" else {"gpu": None, "device": device},
        "model": source.sha256,
        "windows": "recordings" if len(given) else "random",
    }
    attempt(report, "training pass", lambda: training(device, *training_size))
    attempt(report, "torch parity", lambda: torch_parity(source, device))
    attempt(report, "torch latency, ms", lambda: torch_latency(source, device, seconds))
    for flavour in FLAVOURS:
        try:
            load_tensorrt(flavour)
        except DevrecError as error:
            report[flavour] = {"left out": str(error)}
            continue
        for precision in precisions:
            attempt(
                report,
                f"{flavour} {precision}",
                lambda f=flavour, p=precision: tensorrt(  # type: ignore[misc]
                    source, f, p, seconds, options or BuildOptions()
                ),
            )
    return report


def show(report: Part) -> None:
    """The report as a table, one line a part."""
    table = Table(title=" ".join(str(v) for v in report["machine"].values()), title_justify="left")
    table.add_column("part")
    table.add_column("result", overflow="fold")
    for name, part in report.items():
        if not isinstance(part, dict) or name == "machine":
            continue
        table.add_row(name, _words(part))
    Console().print(table)


def _words(part: Part) -> str:
    for key in ("failed", "refused", "left out"):
        if key in part:
            return f"{key}: {part[key]}"
    if "latency" in part:
        words = [part["engine"], f"built in {part['build_s']:.1f} s"]
        for name, rows in part["latency"].items():
            times = ", ".join(f"{row['p50_ms']:.2f} ms for {row['batch']}" for row in rows)
            words.append(f"{name}: {times}")
        for kind, found in part["parity"].items():
            words.append(f"{kind} windows: logits {found['logits']:.2g}, top-1 {found['top1']:.3f}")
        words.append(
            f"{part['live']['streams']} streams, {part['live']['streams_batched']} batched"
        )
        return "\n".join(words)
    if "ratio_to_ours" in part:
        return ", ".join(
            f"{name}: {part['median_s'][name]:.3f} s ({ratio:.2f} times ours)"
            for name, ratio in part["ratio_to_ours"].items()
        )
    return ", ".join(
        f"{k}: {v:.4g}" if isinstance(v, float) else f"{k}: {v}" for k, v in part.items()
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="write the report as JSON")
    parser.add_argument("--clips", type=Path, action="append", help="recordings to compare on")
    options = parser.parse_args()
    if options.output is not None and not options.output.parent.is_dir():
        parser.error(f"{options.output}: the folder does not exist")
    if not torch.cuda.is_available():
        print("no CUDA GPU that torch can use on this machine: nothing was run", file=sys.stderr)
        sys.exit(8)
    report = prove(clips=options.clips)
    show(report)
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    failed = [name for name, part in report.items() if isinstance(part, dict) and "failed" in part]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
