"""`devrec-agent bench`: it measures what it says, and its files are whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from agent.bench_engines import bench_windows, engines_of
from agent.live_cost import measure_live_cost
from export.engine_loading import load_engine
from export.exporting import export_onnx
from export.source_model import Source
from export.timing import ROUNDS, Latency, time_in_turns
from model.builtin import BUILTIN_MODEL
from tests.conftest import run_cli


def test_bench_with_comparison(simulated_model: Path, tmp_path: Path) -> None:
    report_file, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    done = run_cli(
        *(
            "bench",
            simulated_model,
            "--batches",
            "1,2",
            "--seconds",
            "0.1",
            "--hop",
            "1",
            "--compare",
        ),
        *("--json", report_file, "--plot", plot),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = json.loads(report_file.read_text())
    assert report["machine"]["processor"]
    assert {"ONNX Runtime fp32", "ONNX Runtime fp16", "ONNX Runtime int8"} <= set(report["engines"])
    for entry in report["engines"].values():
        assert "ONNX Runtime" in entry["description"]
        latencies = entry["latency"]
        assert [latency["batch"] for latency in latencies] == [1, 2]
        for latency in latencies:
            assert latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"]
            assert latency["windows_per_s"] == pytest.approx(
                1e3 * latency["batch"] / latency["p50_ms"]
            )
    live = report["live"]["ONNX Runtime fp32"]
    assert 0 < live["front_end_share"] < live["share"] < 1
    assert live["streams"] == int(1 / live["share"])
    comparison = report["comparison"]
    variants = {variant["name"]: variant for variant in comparison["variants"]}
    shipped, unrolled = variants["shipped graph"], variants["naive unrolled export"]
    # Far from what is measured (docs/performance.md), so that a busy machine does not fail it.
    assert unrolled["latency"]["p50_ms"] > 1.2 * shipped["latency"]["p50_ms"]
    assert variants["torch eager"]["latency"]["p50_ms"] > 2 * shipped["latency"]["p50_ms"]
    assert unrolled["start_s"] > 5 * shipped["start_s"]
    assert shipped["nodes"] < 300 < 9000 < unrolled["nodes"]
    assert 0 < comparison["share_of_limit"] < 1.2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--batches", "0"], 2, "numbers from 1 to 4096"),
        (["--batches", "a,b"], 2, "numbers from 1 to 4096"),
        (["--json", "{}/no/x.json"], 1, "the folder does not exist"),
        (["{}/missing.onnx"], 4, "no such model file"),
        (["{}/missing.plan"], 4, "is missing"),
        (["{}/small.onnx", "--compare"], 2, "--compare needs a float32 .onnx model"),
    ],
)
def test_bench_refusals(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    if "small" in arguments[0]:
        export_onnx(Source(BUILTIN_MODEL), tmp_path / "small.onnx", "fp16")
    done = run_cli("bench", *(a.format(tmp_path) for a in arguments))
    assert done.returncode == code
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_engines_have_names_of_their_own(simulated_model: Path, tmp_path: Path) -> None:
    """Files of the same name in two folders, and names that look like something else."""
    paths = [tmp_path / folder / "2 threads.onnx" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(simulated_model.read_bytes())
    with engines_of(paths, print) as engines:
        names = list(engines)
        assert len([name for name in names if "fp32" in name and engines[name].live]) == 2
        assert "2 threads ONNX Runtime int8 (2)" in names
        assert bench_windows(engines[names[0]].engine, 50).shape == (50, 128, 73)


def test_rivals_take_turns() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = time_in_turns(calls, 0.0)
    assert order == ["a", "a", "b", "b", *["a", "b"] * ROUNDS]
    assert [len(times[name]) for name in "ab"] == [ROUNDS, ROUNDS]


def test_percentiles() -> None:
    latency = Latency.of([k / 1000 for k in range(1, 102)], batch=4)
    assert latency.p50_ms == pytest.approx(51)
    assert latency.p95_ms == pytest.approx(96)
    assert latency.p99_ms == pytest.approx(100)
    assert latency.windows_per_s == pytest.approx(4 / 0.051)
    assert latency.calls == 101


def test_live_cost_counts_every_window(simulated_model: Path) -> None:
    """20 s of noise at a hop of about 0.5 s are 39 windows; none may be left out of the cost."""
    engine = load_engine(simulated_model)
    counted: list[int] = []
    run = engine.run

    def counting(windows: np.ndarray) -> object:
        counted.append(len(windows))
        return run(windows)

    engine.run = counting  # type: ignore[assignment,method-assign]
    cost = measure_live_cost(engine, 0.5, [Latency.of([0.008], 1), Latency.of([0.03], 8)])
    per_pass = sum(counted) / 5
    assert per_pass == int(per_pass)
    assert 38 <= per_pass <= 40
    assert cost.best_batch == 8
    assert cost.streams_batched >= cost.streams
