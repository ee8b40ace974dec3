"""`devrec-agent export` as a user calls it: what it writes, what it refuses, what it leaves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: export)")

from export.engine_loading import load_engine  # noqa: E402
from export.exporting import export_onnx  # noqa: E402
from export.parity import BOUNDS, Bounds  # noqa: E402
from export.source_model import Source  # noqa: E402
from model.builtin import BUILTIN_MODEL  # noqa: E402
from model.errors import ParityError  # noqa: E402
from tests.conftest import run_cli, run_cli_without, save_changed  # noqa: E402


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a failing command said: one line, no traceback."""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("devrec-agent: ")
    return lines[0]


def test_int8_file_classifies_like_its_source(
    simulated_model: Path, simulated_corpus: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.onnx"
    done = run_cli(
        *("export", simulated_model, "--to", "onnx", "--precision", "int8", "-o", small),
        *("--clips", simulated_corpus, "--json"),
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["engine"] == str(small)
    assert [(p["kind"], p["reference"]) for p in report["parity"]] == [
        ("random", "PyTorch (recorded)"),
        ("real", "PyTorch"),
    ]
    assert small.stat().st_size < 0.5 * simulated_model.stat().st_size
    provenance = load_engine(small).metadata.provenance
    assert provenance["precision"] == "int8"
    assert len(provenance["source sha256"]) == 64
    answers = [
        [
            json.loads(line)["device"]
            for line in run_cli(
                "classify", simulated_corpus, "--json", "--model", model
            ).stdout.splitlines()
        ]
        for model in (simulated_model, small)
    ]
    assert answers[0] == answers[1]
    done = run_cli("verify", simulated_model, small, "--clips", simulated_corpus, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["bounds"] == "int8"
    done = run_cli("export", small, "--to", "onnx", "-o", tmp_path / "again.onnx")
    assert done.returncode == 4
    assert "is int8 already; export from the original" in one_line(done)


def test_exports_without_torch(
    simulated_model: Path, simulated_corpus: Path, tmp_path: Path
) -> None:
    """A board that exports for itself has no torch."""
    target = tmp_path / "half.onnx"
    done = run_cli_without(
        ("torch", "lightning", "sklearn"),
        *("export", simulated_model, "--to", "onnx", "--precision", "fp16", "-o", target),
        *("--clips", simulated_corpus),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"ONNX Runtime fp32" in done.stdout  # the reference on real windows
    assert target.is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "onnx"], 2, "--to onnx needs a file to write (-o)"),
        (["--to", "coreml"], 2, "unknown target coreml"),
        (["--to", "onnx", "-o", "{}/m.plan"], 2, "an engine for onnx ends in .onnx"),
        (["--to", "tensorrt", "-o", "{}/m.onnx"], 2, "an engine for tensorrt ends in .plan"),
        (["--to", "onnx", "-o", "{}/no/m.onnx"], 1, "the folder does not exist"),
        (["--to", "onnx", "-o", "{}/m.onnx", "--precision", "fp8"], 2, "unknown precision fp8"),
        (
            ["--to", "onnx", "-o", "{}/m.onnx", "--precision", "int8"],
            2,
            "int8 is for models with recurrent layers",
        ),
        (["--to", "onnx", "-o", "{}/m.onnx", "--batch", "8:4:1"], 2, "three rising sizes"),
        (["--to", "onnx", "-o", "{}/m.onnx", "--clips", "{}/none.wav"], 3, "no such file"),
        (["{}/none.onnx", "--to", "onnx", "-o", "{}/m.onnx"], 4, "no such model file"),
    ],
)
def test_refusals(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    done = run_cli("export", *(a.format(tmp_path) for a in arguments))
    assert done.returncode == code, done.stderr.decode()
    assert message in one_line(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"devrec.format": "-"}, "not a devrec-agent model"),
        ({"devrec.front_end": '{"n_mels": 40}'}, "features has shape"),
        ({"devrec.parity": "-"}, "carries no answers of PyTorch"),
        ({"devrec.network": '{"colour": 1}'}, "no fp16 graph of it"),
        ({"devrec.network": '{"n_devices": 40, "strides": [0, 2]}'}, "no fp16 graph of it"),
        ({"devrec.network": '{"n_devices": 40, "strides": [1]}'}, "no fp16 graph of it"),
        ({"devrec.network": '{"n_devices": 40, "heads": 7}'}, "no fp16 graph of it"),
        ({"devrec.parity": '{"seed": -1}'}, "damaged answers of PyTorch"),
        ({"devrec.provenance": '{"precision": "fp7"}'}, "unknown precision fp7"),
    ],
)
def test_models_that_are_not_ours(properties: dict[str, str], message: str, tmp_path: Path) -> None:
    path = save_changed(onnx.load(str(BUILTIN_MODEL)), tmp_path / "foreign.onnx", properties)
    done = run_cli("export", path, "--to", "onnx", "--precision", "fp16", "-o", tmp_path / "m.onnx")
    assert done.returncode == 4
    assert message in one_line(done)
    assert list(tmp_path.iterdir()) == [path]


def test_beyond_the_bounds_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"the old one")
    monkeypatch.setitem(BOUNDS, "fp16", Bounds(logits=1e-9, embedding=1e-9, top1=1.0))  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="bound 1e-09"):
        export_onnx(Source(BUILTIN_MODEL), target, "fp16")
    assert target.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [target]


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A real file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "target", [["--to", "onnx", "-o", "m.onnx"], ["--to", "tensorrt-rtx", "-o", "m.plan"]]
)
def test_no_space_left(target: list[str], small_disk: Path) -> None:
    if "tensorrt-rtx" in target:
        pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    done = run_cli("export", *target[:-1], small_disk / target[-1], "--precision", "fp16")
    assert done.returncode == 1, done.stderr.decode()
    assert "No space left on device" in one_line(done)
    assert list(small_disk.iterdir()) == []


def test_read_only_folder(tmp_path: Path) -> None:
    target = Path("/proc") / "m.onnx"
    done = run_cli("export", "--to", "onnx", "-o", target)
    assert done.returncode == 1
    assert "cannot be written" in one_line(done)


def test_tensorrt_that_is_not_installed(tmp_path: Path) -> None:
    absent = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    done = run_cli_without(absent, "export", "--to", "tensorrt", "-o", tmp_path / "m.plan")
    assert done.returncode == 7
    assert "TensorRT is not installed on this machine" in one_line(done)
