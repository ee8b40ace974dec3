"""The GPU proof: run where a GPU is, and shown to work as a script where none is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from export.tensorrt_build import BuildOptions  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.gpu.prove import prove, show  # noqa: E402
from tests.simulated_gpu import compile_runtime, plug_in  # noqa: E402


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU that torch can use")
@pytest.mark.timeout(1800)
def test_proof_on_a_gpu() -> None:
    report = prove()
    show(report)
    assert report["training pass"]["ratio_to_ours"]["loop, gates fused"] > 1
    assert report["torch parity"]["within_bounds"]
    latency = report["torch latency, ms"]
    assert latency["CUDA graph"] < latency["eager"]
    # What a TensorRT refuses is in the report in its words; anything else, parity too, has failed.
    assert [name for name, part in report.items() if "failed" in part] == []


def test_script_without_a_gpu(
    simulated_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every part on the CPU and a simulated GPU: shows that the script runs, and no more."""
    plug_in(compile_runtime(tmp_path), monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("tests.gpu.prove.FLAVOURS", ("tensorrt",))
    monkeypatch.setattr("tests.gpu.prove.load_tensorrt", lambda flavour: flavour)
    report = prove(
        "cpu",
        seconds=0.01,
        options=BuildOptions(batch=(1, 4, 8)),
        training_size=(2, 8),
        precisions=("int8",),
        model=simulated_model,
    )
    assert report["torch parity"]["within_bounds"]
    assert [name for name, part in report.items() if "failed" in part] == []
    part = report["tensorrt int8"]
    assert "simulated GPU" in part["engine"]
    assert [row["batch"] for row in part["latency"]["graphs"]] == [1, 8]
    assert part["parity"]["random"]["top1"] == 1.0
    show(report)
    assert "tensorrt int8" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.prove"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 8
    assert "nothing was run" in done.stderr
