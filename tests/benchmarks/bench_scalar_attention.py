"""Training time of the paper's encoders: the gradient written out, against autograd's.

    python -m tests.benchmarks.bench_scalar_attention [--batch 64] [--threads 1]

One forward and backward pass through the two encoders over 256 scalars, and a whole training step
of the paper's network, alternating; medians, and the ratio pass by pass. The rival computes the
same softmax and leaves its gradient to autograd.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from model.encoders import ScalarEncoder, tilted_mean
from model.network import DeviceNetwork
from model.network_config import NetworkConfig, front_end_for

TOKENS = 256


def by_autograd(tilt: Tensor, x: Tensor) -> Tensor:
    """:func:`model.encoders.tilted_mean` as one would write it."""
    weights = torch.softmax(tilt.unsqueeze(2) * x.unsqueeze(1), dim=2)
    return torch.matmul(weights, x.unsqueeze(2)).squeeze(2)


def run(batch: int, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Time both in turn.

    Returns:
        for the encoders and for a whole step: medians in seconds, and the rival's ratio to ours.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoders = nn.Sequential(ScalarEncoder(8, 64, 128), ScalarEncoder(8, 64, 128))
    tokens = torch.randn(batch, TOKENS, requires_grad=True)
    network = DeviceNetwork(NetworkConfig.for_profile("paper", 45, front_end_for("paper")))
    windows, labels = torch.rand(batch, 128, 73), torch.arange(batch) % 45
    network.fit_statistics(windows, labels)

    def whole() -> None:
        loss = nn.functional.cross_entropy(network(windows)[0], labels)
        loss.backward()

    passes: dict[str, Callable[[], None]] = {
        "two encoders": lambda: encoders(tokens).square().mean().backward(),
        "whole network": whole,
    }
    return {name: _compared(once, repeats) for name, once in passes.items()}


def _compared(once: Callable[[], None], repeats: int) -> dict[str, float]:
    times: dict[Callable[[Tensor, Tensor], Tensor], list[float]] = {}
    for attention in (tilted_mean, by_autograd) * (repeats + 1):
        with mock.patch("model.encoders.tilted_mean", attention):
            started = time.perf_counter()
            once()
            times.setdefault(attention, []).append(time.perf_counter() - started)
    ours, rival = (times[attention][1:] for attention in (tilted_mean, by_autograd))
    return {
        "ours_s": statistics.median(ours),
        "autograd_s": statistics.median(rival),
        "ratio": statistics.median(b / a for a, b in zip(ours, rival, strict=True)),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = run(options.batch, options.threads, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    table = Table(
        title=f"Training pass, batch {options.batch}, {options.threads} threads, "
        f"torch {torch.__version__}",
        title_justify="left",
    )
    table.add_column("")
    for column in ("ours", "autograd", "times ours"):
        table.add_column(column, justify="right")
    for name, row in found.items():
        table.add_row(
            name, f"{row['ours_s']:.3f} s", f"{row['autograd_s']:.3f} s", f"{row['ratio']:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
