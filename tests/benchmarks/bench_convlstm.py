"""Training time of the two ConvLSTM layers: ours against the per-step autograd loop.

    python -m tests.benchmarks.bench_convlstm [--batch 64] [--threads 2] [--device cpu]

One forward and backward pass through both layers of the paper (73 -> 24 -> 11 positions, 64 and 32
filters, 128 steps), alternating between the rivals; medians, and the ratio pass by pass. Two
rivals: the loop with one convolution for all four gates, and the equations (6)-(11) as they are
written, with a convolution for every gate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from model.convlstm import ConvLSTM1d
from model.naive_convlstm import naive_forward, naive_forward_by_gate

REQUIRED = 6.0


def run(batch: int, threads: int, device: str, repeats: int, steps: int = 128) -> dict[str, object]:
    """Time the rivals in turn.

    Returns:
        medians in seconds and ratios to ours, with what was measured.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    first = ConvLSTM1d(1, 64, 73, 3).to(device)
    second = ConvLSTM1d(64, 32, first.positions, 2).to(device)
    x = torch.randn(steps, 73, batch, 1, device=device)
    rivals: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: second(first(x)),
        "loop, gates fused": lambda: naive_forward(second, naive_forward(first, x)),
        "loop, gate by gate": lambda: naive_forward_by_gate(
            second, naive_forward_by_gate(first, x)
        ),
    }

    def once(forward: Callable[[], Tensor]) -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        started = time.perf_counter()
        forward().square().mean().backward()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    for forward in rivals.values():
        once(forward)
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, forward in rivals.items():
            times[name].append(once(forward))
    ratios = {
        name: statistics.median(t / ours for t, ours in zip(rival, times["ours"], strict=True))
        for name, rival in times.items()
    }
    return {
        "batch": batch,
        "threads": threads,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "repeats": repeats,
        "median_s": {name: statistics.median(values) for name, values in times.items()},
        "ratio_to_ours": ratios,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options.batch, options.threads, options.device, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    table = Table(
        title=f"ConvLSTM training pass, batch {options.batch}, {options.threads} threads, "
        f"{result['device']}, torch {result['torch']}",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("median", justify="right")
    table.add_column("times ours", justify="right")
    medians, ratios = result["median_s"], result["ratio_to_ours"]
    assert isinstance(medians, dict)
    assert isinstance(ratios, dict)
    for name, seconds in medians.items():
        table.add_row(name, f"{seconds:.3f} s", f"{ratios[name]:.2f}")
    Console().print(table)
    Console().print(f"required: {REQUIRED} times")


if __name__ == "__main__":
    main()
