"""NVIDIA's real parser and builder (TensorRT-RTX) on this machine's CPU.

That shows that the graphs are accepted and compiled in every precision, how failures and progress
arrive, and what a plan's sidecar says. It does not show that a plan runs, how fast, or that
TensorRT for data centres and Jetsons accepts the same: that takes a GPU (tests/gpu).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: export)")
pytest.importorskip(
    "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (extra: tensorrt-rtx)"
)

from export.cuda_runtime import CudaRuntime  # noqa: E402
from export.exporting import export_tensorrt  # noqa: E402
from export.sidecar import Sidecar  # noqa: E402
from export.source_model import Source  # noqa: E402
from export.tensorrt_api import TensorRT, load_tensorrt  # noqa: E402
from export.tensorrt_build import BuildOptions, build_plan, parse_batch  # noqa: E402
from model.builtin import BUILTIN_MODEL  # noqa: E402
from model.errors import EngineError, UsageError  # noqa: E402
from tests.conftest import CLI_ENV, ROOT, run_cli  # noqa: E402


@pytest.fixture(autouse=True)
def _no_gpu() -> None:
    try:
        CudaRuntime()
    except EngineError:
        return
    pytest.skip("this machine has a GPU: tests/gpu covers it")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_builds_models(precision: str, simulated_model: Path, tmp_path: Path) -> None:
    """The built-in one, and one with recurrent layers, which int8 is for."""
    source = Source(simulated_model if precision == "int8" else BUILTIN_MODEL)
    source.windows = source.record.windows()  # stands for recordings; ranges are ranges
    path = tmp_path / "m.plan"
    steps: list[tuple[str, int, int]] = []
    report = export_tensorrt(
        source,
        path,
        precision,  # type: ignore[arg-type]
        BuildOptions(batch=(1, 2, 16)),
        progress=lambda *step: steps.append(step),
    )
    assert path.stat().st_size > 1e5
    assert steps
    assert all(1 <= done <= total for _, done, total in steps)
    assert any("never run" in note for note in report.notes)
    assert {c.kind for c in report.comparisons} == {"random", "real"}
    sidecar = Sidecar.read(path)
    assert sidecar.flavour == "tensorrt-rtx"
    assert sidecar.tensorrt == load_tensorrt("tensorrt-rtx").version
    assert (sidecar.gpu, sidecar.compute_capability, sidecar.parity) == ("", "", {})
    assert sidecar.batch == (1, 2, 16)
    assert sidecar.precision == precision
    assert bool(sidecar.ranges) == (precision == "int8")
    metadata = sidecar.metadata("m")
    assert metadata == source.engine.metadata
    readable = json.loads((tmp_path / "m.plan.json").read_text())["properties"]
    assert readable["devrec.labels"] == list(metadata.labels)
    assert readable["devrec.front_end"]["sample_rate_hz"] == 32_000


def test_plan_without_a_gpu_is_one_line(tmp_path: Path) -> None:
    """Never a segmentation fault: the driver is asked before TensorRT."""
    path = tmp_path / "m.plan"
    done = run_cli("export", "--to", "tensorrt-rtx", "-o", path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"the plan was built but never run" in done.stdout
    clip = tmp_path / "clip.wav"
    import soundfile

    soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(64_000), 32_000)
    for arguments in (["classify", clip, "--model", path], ["verify", BUILTIN_MODEL, path]):
        done = run_cli(*arguments)
        assert done.returncode == 8, done.stderr.decode()
        assert len(done.stderr.decode().splitlines()) == 1
        assert b"no usable NVIDIA GPU" in done.stderr or b"no CUDA runtime" in done.stderr
    done = run_cli("classify", clip, "--model", path, "--engine", "onnx")
    assert done.returncode == 2
    assert b"a plan runs in TensorRT alone" in done.stderr
    done = run_cli("info", "--model", path)  # what a plan is can be read anywhere
    assert done.returncode == 0
    assert b"plan of tensorrt-rtx" in done.stdout
    assert b"built without a GPU, fp32" in done.stdout
    done = run_cli("export", "--to", "tensorrt-rtx")
    assert done.returncode == 2
    assert b"say where the plan goes (-o)" in done.stderr


def broken(model: onnx.ModelProto, kind: str) -> bytes:
    """A graph that TensorRT must refuse."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if kind == "operator":
        node = next(n for n in result.graph.node if n.op_type == "LSTM")
        node.op_type = "TwiceLSTM"
        node.domain = "nobody"
    else:
        node = next(n for n in result.graph.node if n.op_type == "Pad")
        node.input[1] = "missing"
    return result.SerializeToString()


@pytest.mark.parametrize("kind", ["operator", "tensor"])
def test_refusals_carry_the_builders_words(kind: str, simulated_model: Path) -> None:
    source = Source(simulated_model)
    tensorrt = load_tensorrt("tensorrt-rtx")
    with pytest.raises(EngineError) as caught:
        build_plan(tensorrt, broken(source.model, kind), (128, 73), BuildOptions())
    text = str(caught.value)
    assert "TensorRT-RTX" in text
    assert "no reason given" not in text
    assert "\n" not in text
    assert len(text) > 60  # the reason itself, not only that there was one
    with pytest.raises(EngineError, match="does not accept the model"):
        build_plan(tensorrt, b"no model", (128, 73), BuildOptions())


def test_timing_cache_is_kept_and_survives_damage(tmp_path: Path) -> None:
    """The path of ``tensorrt`` on the builder of ``tensorrt-rtx``, which keeps nothing there."""
    real = load_tensorrt("tensorrt-rtx")
    timed = TensorRT(real.module, "tensorrt", real.version)
    cache = tmp_path / "gpu.timing"
    model = BUILTIN_MODEL.read_bytes()
    build_plan(timed, model, (128, 73), BuildOptions(), cache)
    assert cache.stat().st_size > 0
    cache.write_bytes(b"damaged")
    build_plan(timed, model, (128, 73), BuildOptions(), cache)
    assert cache.read_bytes() != b"damaged"
    nowhere = cache / "gpu.timing"  # no place to keep it does not spoil the build
    plan = build_plan(timed, model, (128, 73), BuildOptions(), nowhere)
    assert any("timing cache not kept" in warning for warning in plan.warnings)


@pytest.mark.parametrize("times", [1, 3])
def test_interrupted_build_leaves_nothing(
    times: int, simulated_model: Path, tmp_path: Path
) -> None:
    """Ctrl-C while the builder works, also by an impatient hand; on a model with much to build."""
    path = tmp_path / "m.plan"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "agent.cli",
            "export",
            str(simulated_model),
            "--to",
            "tensorrt-rtx",
            "-o",
            str(path),
        ],
        cwd=ROOT,
        env=CLI_ENV,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # A shell starts what it puts in the background with SIGINT ignored; children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".m.plan.*")):  # the folder in which the build happens
        assert time.monotonic() < end
        assert process.poll() is None, "the build was over before it could be interrupted"
        time.sleep(0.002)
    time.sleep(0.05)  # well inside the build, which takes about a second
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert said.decode().strip().splitlines()[-1] == "devrec-agent: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "0", "a", "1:2", "8:4:2", "1:2:3:4", "1:8:99999", "-1:2:3"])
def test_bad_batch(text: str) -> None:
    with pytest.raises(UsageError, match="three rising sizes"):
        parse_batch(text)


def test_batch() -> None:
    assert parse_batch("1:8:64") == (1, 8, 64)
    assert parse_batch("8") == (8, 8, 8)
