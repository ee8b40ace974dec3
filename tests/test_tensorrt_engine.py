"""Running plans, on a simulated GPU: see tests/simulated_gpu.py for what that does not show."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: export)")

import export.tensorrt_engine  # noqa: E402
from export.cuda_runtime import CudaRuntime  # noqa: E402
from export.engine_cache import cache_folder, cached_plans_of, timing_cache_path  # noqa: E402
from export.engine_choice import choose_engine  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from export.exporting import export_tensorrt  # noqa: E402
from export.parity import BOUNDS, Bounds  # noqa: E402
from export.sidecar import Sidecar, sha256_of, sidecar_path  # noqa: E402
from export.source_model import Source  # noqa: E402
from export.tensorrt_api import TensorRT  # noqa: E402
from export.tensorrt_build import BuildOptions  # noqa: E402
from export.tensorrt_engine import TRUST_VARIABLE, TensorRTEngine  # noqa: E402
from model.builtin import BUILTIN_MODEL  # noqa: E402
from model.errors import DevrecError, EngineError, ModelError, ParityError, UsageError  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.simulated_gpu import SimulatedGpu, compile_runtime, plug_in  # noqa: E402

OPTIONS = BuildOptions(batch=(1, 4, 8))


@pytest.fixture(scope="session")
def cudart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_runtime(tmp_path_factory.mktemp("cudart"))


@pytest.fixture
def gpu(cudart: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedGpu:
    return plug_in(cudart, monkeypatch, tmp_path / "cache")


@pytest.fixture(scope="session")
def built(cudart: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str, bytes]:
    """A plan, its sidecar and the model behind it."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as monkeypatch:
        gpu = plug_in(cudart, monkeypatch, folder / "cache")
        path = folder / "m.plan"
        export_tensorrt(Source(BUILTIN_MODEL), path, "fp32", OPTIONS)
    plan = path.read_bytes()
    return plan, sidecar_path(path).read_text(), gpu.plans[plan]


@pytest.fixture
def plan(gpu: SimulatedGpu, built: tuple[bytes, str, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "m.plan"
    data, sidecar, gpu.plans[built[0]] = built
    path.write_bytes(data)
    sidecar_path(path).write_text(sidecar)
    return path


@pytest.fixture
def windows() -> np.ndarray:
    return Source(BUILTIN_MODEL).record.windows()


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 21])
def test_every_batch_size_gives_what_onnx_runtime_gives(
    count: int, plan: Path, windows: np.ndarray
) -> None:
    engine = TensorRTEngine(plan)
    want = load_engine(BUILTIN_MODEL).run(windows[:count])
    for _ in range(2):  # once recorded, once replayed
        got = engine.run(windows[:count])
        np.testing.assert_allclose(got.logits, want.logits, atol=1e-5)
        np.testing.assert_allclose(got.embedding, want.embedding, atol=1e-5)
    with pytest.raises(ValueError, match="windows must be"):
        engine.run(windows[:, :50])


def test_calls_replay_a_recorded_graph(gpu: SimulatedGpu, plan: Path, windows: np.ndarray) -> None:
    engine = TensorRTEngine(plan)
    before, contexts = gpu.launches, gpu.contexts
    for count in (1, 1, 3, 4, 8, 21):  # padded to 1, 1, 4, 4, 8 and 8 + 8 + 8
        engine.run(windows[:count])
    assert gpu.launches - before == 8
    assert gpu.contexts - contexts == 3
    assert "CUDA graphs" in engine.description
    plain = TensorRTEngine(plan, use_graphs=False)
    before = gpu.launches
    plain.run(windows[:3])
    assert gpu.launches == before


def test_without_graphs_where_they_cannot_be_recorded(
    plan: Path, windows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_GPU_NO_GRAPH", "1")
    engine = TensorRTEngine(plan)
    want = load_engine(BUILTIN_MODEL).run(windows[:3])
    np.testing.assert_allclose(engine.run(windows[:3]).logits, want.logits, atol=1e-5)
    assert "no CUDA graphs (CUDA: operation failed" in engine.description


def test_memory_is_given_back(gpu: SimulatedGpu, plan: Path, windows: np.ndarray) -> None:
    before = gpu.live_allocations
    for _ in range(3):
        engine = TensorRTEngine(plan)
        engine.run(windows[:5])
        engine.close()
        engine.close()
    assert gpu.live_allocations == before


def test_export_compares_the_plan_itself_and_says_so(gpu: SimulatedGpu, tmp_path: Path) -> None:
    report = export_tensorrt(Source(BUILTIN_MODEL), tmp_path / "m.plan", "fp16", OPTIONS)
    assert "simulated GPU" in report.engine
    sidecar = Sidecar.read(tmp_path / "m.plan")
    assert sidecar.gpu == "simulated GPU"
    assert sidecar.compute_capability == "8.6"
    assert sidecar.parity["random"]["windows"] == 32
    assert sidecar.model_sha256 == sha256_of(BUILTIN_MODEL.read_bytes())
    assert sorted(p.name for p in tmp_path.glob("m*")) == ["m.plan", "m.plan.json"]


def test_export_beyond_the_bounds_leaves_the_old_plan(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = plan.read_bytes(), sidecar_path(plan).read_bytes()
    monkeypatch.setitem(BOUNDS, "fp16", Bounds(logits=0.0, embedding=0.0, top1=1.0))  # type: ignore[arg-type]
    with pytest.raises(ParityError, match=r"differs by .* of the largest logit \(bound 0\)"):
        export_tensorrt(Source(BUILTIN_MODEL), plan, "fp16", OPTIONS)
    assert (plan.read_bytes(), sidecar_path(plan).read_bytes()) == old
    assert sorted(p.name for p in plan.parent.glob("*m.plan*")) == ["m.plan", "m.plan.json"]


def test_plan_built_without_gpu_tests_itself_at_first_sight(gpu: SimulatedGpu, plan: Path) -> None:
    """As one built on a machine without a GPU would; then with answers that are not the model's."""
    values = json.loads(sidecar_path(plan).read_text())
    values |= {"flavour": "tensorrt-rtx", "gpu": "", "compute_capability": "", "parity": {}}
    sidecar_path(plan).write_text(json.dumps(values))
    launches = gpu.launches
    TensorRTEngine(plan)
    assert gpu.launches > launches
    model = onnx.load_from_string(gpu.plans[plan.read_bytes()])
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "classifier.bias")
    values = onnx.numpy_helper.to_array(bias) + np.arange(40, dtype=np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    gpu.plans[plan.read_bytes()] = model.SerializeToString()
    with pytest.raises(ParityError, match="on random windows the engine differs"):
        TensorRTEngine(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensorrt": "10.3.0"}, "built by tensorrt 10.3.0, here is"),
        ({"compute_capability": "8.7", "gpu": "Orin"}, "compute capability 8.7 .Orin., this GPU"),
        ({"version_compatible": True}, TRUST_VARIABLE),
        ({"batch": [0, 1, 2]}, "damaged: batch is out of range"),
        ({"batch": [1, 8, float("inf")]}, "damaged: batch is out of range"),
        ({"batch": "1:8:64"}, "damaged: batch is out of range"),
        ({"precision": "fp99", "parity": {}}, "damaged: precision is out of range"),
        ({"precision": ["x"]}, "damaged: precision is out of range"),
        ({"workspace_mib": "x"}, "damaged: workspace_mib is out of range"),
        ({"workspace_mib": -5}, "damaged: workspace_mib is out of range"),
        ({"parity": "x"}, "damaged: parity is out of range"),
        ({"ranges": {"w": "wide"}}, "damaged: ranges is out of range"),
        ({"version_compatible": 1}, "damaged: version_compatible is out of range"),
        ({"properties": []}, "damaged: properties is out of range"),
        ({"plan_sha256": None}, "damaged: plan_sha256 is out of range"),
        ({"format": "else"}, "does not describe a plan"),
        ({"format_version": 9}, "format 9"),
        ({"colour": 1}, "keys are missing or unknown"),
    ],
)
def test_sidecar_that_does_not_fit(change: dict, message: str, plan: Path) -> None:
    values = json.loads(sidecar_path(plan).read_text()) | change
    sidecar_path(plan).write_text(json.dumps(values))
    with pytest.raises((EngineError, ModelError), match=message) as caught:
        TensorRTEngine(plan)
    assert "\n" not in str(caught.value)


def test_trusted_plan_may_carry_code(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.loads(sidecar_path(plan).read_text()) | {"version_compatible": True}
    sidecar_path(plan).write_text(json.dumps(values))
    TensorRTEngine(plan, trusted=True)
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    TensorRTEngine(plan)


def test_damaged_and_foreign_plans(gpu: SimulatedGpu, plan: Path, tmp_path: Path) -> None:
    whole = plan.read_bytes()
    plan.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut short or changed"):
        TensorRTEngine(plan)
    foreign = b"no plan"
    plan.write_bytes(foreign)
    values = json.loads(sidecar_path(plan).read_text()) | {"plan_sha256": sha256_of(foreign)}
    sidecar_path(plan).write_text(json.dumps(values))
    with pytest.raises(EngineError, match="refuses it"):
        TensorRTEngine(plan)
    plan.unlink()
    with pytest.raises(ModelError, match="no such plan"):
        TensorRTEngine(plan)
    with pytest.raises(ModelError, match=r"its description other\.plan\.json is missing"):
        TensorRTEngine(tmp_path / "other.plan")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SIMULATED_GPU_ERROR", "35", "driver version is insufficient"),
        ("SIMULATED_GPU_ERROR", "100", "no CUDA-capable device"),
        ("SIMULATED_GPU_COUNT", "0", "no CUDA GPU"),
        ("DEVREC_AGENT_CUDART", "/nowhere/libcudart.so", "no CUDA runtime"),
    ],
)
def test_no_gpu_is_one_line(
    variable: str, value: str, message: str, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(EngineError, match=message):
        TensorRTEngine(plan)
    said: list[str] = []
    with pytest.raises(EngineError, match=message):
        choose_engine(BUILTIN_MODEL, "tensorrt", 1, said.append)
    assert "ONNX Runtime" in choose_engine(BUILTIN_MODEL, "auto", 1, said.append).description
    assert not said  # no plan was ever made for auto: nothing to excuse


class TestAuto:
    """``--engine auto`` and the cache."""

    def test_uses_a_plan_once_there_is_one(self, gpu: SimulatedGpu) -> None:
        said: list[str] = []
        assert "ONNX Runtime" in choose_engine(BUILTIN_MODEL, "auto", 1, said.append).description
        export_tensorrt(Source(BUILTIN_MODEL), None, "fp16", OPTIONS)
        engine = choose_engine(BUILTIN_MODEL, "auto", 1, said.append)
        assert "simulated GPU, fp16" in engine.description
        assert "ONNX Runtime" in choose_engine(BUILTIN_MODEL, "onnx", 1, said.append).description
        assert said == []

    @pytest.mark.parametrize("stale", ["version", "gpu", "damaged"])
    def test_builds_a_stale_plan_again(
        self, stale: str, gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        report = export_tensorrt(Source(BUILTIN_MODEL), None, "fp16", OPTIONS)
        if stale == "version":
            gpu.version = "99.1"
        elif stale == "gpu":
            monkeypatch.setenv("SIMULATED_GPU_NAME", "another GPU")
        else:
            report.path.write_bytes(b"cut")
        said: list[str] = []
        engine = choose_engine(BUILTIN_MODEL, "auto", 1, said.append)
        assert "fp16, CUDA graphs" in engine.description
        assert len(said) == 1
        assert "building" in said[0]
        plans = cached_plans_of(sha256_of(BUILTIN_MODEL.read_bytes()))
        assert len(plans) == (1 if stale == "damaged" else 2)
        assert {Sidecar.read(plan).batch for plan in plans} == {OPTIONS.batch}

    def test_falls_back_aloud(self, gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        export_tensorrt(Source(BUILTIN_MODEL), None, "fp32", OPTIONS)
        monkeypatch.setenv("SIMULATED_GPU_ERROR", "35")
        said: list[str] = []
        engine = choose_engine(BUILTIN_MODEL, "auto", 1, said.append)
        assert "ONNX Runtime" in engine.description
        assert len(said) == 1
        assert said[0].startswith("TensorRT is not used: no usable NVIDIA GPU")

    def test_int8_is_rebuilt_from_its_ranges(
        self, gpu: SimulatedGpu, windows: np.ndarray, simulated_model: Path
    ) -> None:
        """No recordings are needed a second time."""
        source = Source(simulated_model)
        source.windows = windows
        export_tensorrt(source, None, "int8", OPTIONS)
        gpu.version = "99.1"
        engine = choose_engine(simulated_model, "auto", 1, lambda _line: None)
        assert "int8" in engine.description

    def test_choices_that_do_not_fit(self, plan: Path) -> None:
        with pytest.raises(UsageError, match="unknown engine fast"):
            choose_engine(BUILTIN_MODEL, "fast", 1, print)
        with pytest.raises(UsageError, match="a plan runs in TensorRT alone"):
            choose_engine(plan, "onnx", 1, print)


def test_timings_are_kept_apart_by_gpu(gpu: SimulatedGpu, tmp_path: Path) -> None:
    path = timing_cache_path(gpu.tensorrt(), CudaRuntime().gpu)
    assert path.parent == tmp_path / "cache" / "devrec-agent" / "engines"
    assert "simulated_GPU" in path.name


def test_real_cuda_runtime_without_a_driver_is_one_line(tmp_path: Path) -> None:
    """NVIDIA's own libcudart, in a process of its own, on a machine without a GPU."""
    script = (
        "from export.cuda_runtime import CudaRuntime\n"
        "from model.errors import EngineError\n"
        "try:\n    print('GPU', CudaRuntime().gpu)\nexcept EngineError as e:\n    print('NO', e)\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "DEVREC_AGENT_CUDART"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        check=True,
    )
    if "no CUDA runtime" in done.stdout:
        pytest.skip("no libcudart on this machine (pip install nvidia-cuda-runtime)")
    if done.stdout.startswith("GPU"):
        pytest.skip("this machine has a GPU")
    assert "no usable NVIDIA GPU and driver on this machine" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_tensorrt_rtx_runs_without_graphs(gpu: SimulatedGpu, plan: Path) -> None:
    """It would record the makeshift kernels that it starts with."""
    values = json.loads(sidecar_path(plan).read_text()) | {"flavour": "tensorrt-rtx"}
    sidecar_path(plan).write_text(json.dumps(values))
    gpu.flavour = "tensorrt-rtx"
    engine = TensorRTEngine(plan)
    before = gpu.launches
    engine.run(np.zeros((1, 128, 73), np.float32))
    assert gpu.launches == before
    assert engine.description.endswith("no CUDA graphs")


def test_runtime_that_cannot_be_made_is_one_line(
    gpu: SimulatedGpu, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the driver is too old for this TensorRT: its bindings raise TypeError."""

    def nothing(_logger: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = gpu.tensorrt().module
    monkeypatch.setattr(module, "Runtime", nothing)
    monkeypatch.setattr(
        export.tensorrt_engine, "load_tensorrt", lambda _f: TensorRT(module, "tensorrt", gpu.real)
    )
    with pytest.raises(EngineError, match="cannot run here"):
        TensorRTEngine(plan)


def test_failed_loading_leaves_no_memory(
    gpu: SimulatedGpu, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = gpu.live_allocations
    monkeypatch.setattr(
        TensorRTEngine, "_width", lambda *_: (_ for _ in ()).throw(ModelError("odd plan"))
    )
    with pytest.raises(ModelError, match="odd plan"):
        TensorRTEngine(plan)
    monkeypatch.undo()
    assert gpu.live_allocations == before


def test_export_gives_its_memory_back(gpu: SimulatedGpu, tmp_path: Path) -> None:
    before = gpu.live_allocations
    export_tensorrt(Source(BUILTIN_MODEL), tmp_path / "m.plan", "fp16", OPTIONS)
    assert gpu.live_allocations == before


def test_foreign_metadata_does_not_stop_an_export(gpu: SimulatedGpu, tmp_path: Path) -> None:
    model = onnx.load(str(BUILTIN_MODEL))
    entry = model.metadata_props.add()
    entry.key, entry.value = "author", "Jane Doe"
    path = tmp_path / "signed.onnx"
    onnx.save(model, str(path))
    export_tensorrt(Source(path), tmp_path / "m.plan", "fp32", OPTIONS)
    assert TensorRTEngine(tmp_path / "m.plan").metadata == load_engine(path).metadata


def test_version_compatible_is_not_for_rtx(gpu: SimulatedGpu, tmp_path: Path) -> None:
    gpu.flavour = "tensorrt-rtx"
    options = dataclasses.replace(OPTIONS, version_compatible=True)
    with pytest.raises(UsageError, match="no version-compatible plans"):
        export_tensorrt(Source(BUILTIN_MODEL), tmp_path / "m.plan", "fp32", options)


class TestCacheThatCannotBeUsed:
    """No cache is no reason not to listen."""

    def test_no_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(
            Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory"))
        )
        engine = choose_engine(BUILTIN_MODEL, "auto", 1, print)
        assert "ONNX Runtime" in engine.description
        with pytest.raises(DevrecError, match="set XDG_CACHE_HOME"):
            cache_folder()

    def test_cache_is_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cache").write_text("in the way")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        engine = choose_engine(BUILTIN_MODEL, "auto", 1, print)
        assert "ONNX Runtime" in engine.description

    def test_export_says_so(
        self, gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
        with pytest.raises(DevrecError, match="cannot be made"):
            export_tensorrt(Source(BUILTIN_MODEL), None, "fp32", OPTIONS)
        report = export_tensorrt(Source(BUILTIN_MODEL), tmp_path / "m.plan", "fp32", OPTIONS)
        assert any("timing cache not kept" in note for note in report.notes)


def test_waiting_process_takes_what_the_other_built(
    gpu: SimulatedGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs start after an update: one builds, the other waits and loads."""
    export_tensorrt(Source(BUILTIN_MODEL), None, "fp16", OPTIONS)
    gpu.version = "99.1"
    builds = gpu.builds
    answers: list[str] = []

    def choose() -> None:
        engine = choose_engine(BUILTIN_MODEL, "auto", 1, lambda _line: None)
        answers.append(engine.description)

    threads = [threading.Thread(target=choose) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 2
    assert all("fp16" in answer for answer in answers)
    assert gpu.builds == builds + 1


def test_unreadable_model_is_one_line() -> None:
    """A file that is there and fails to be read, also for root."""
    for choice in ("auto", "onnx"):
        with pytest.raises(ModelError, match=r"/proc/self/mem: cannot be read: "):
            choose_engine(Path("/proc/self/mem"), choice, 1, print)
