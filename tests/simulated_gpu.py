"""A simulated GPU: what :mod:`export.tensorrt_engine` runs on where no GPU is.

The CUDA runtime is ``simulated_cudart.c``, compiled here and called through ctypes like the real
one. TensorRT is NVIDIA's real builder (TensorRT-RTX) with a simulated ``Runtime``, which answers
with ONNX Runtime what the built graph computes. It shows that buffers, copies, batches, graphs and
checks are right; it shows nothing about a real GPU.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import export.exporting
import export.tensorrt_api
import export.tensorrt_engine
from export.cuda_runtime import LIBRARY_VARIABLE
from export.engine import EMBEDDING, INPUT, LOGITS
from export.tensorrt_api import Flavour, TensorRT, load_tensorrt

_SOURCE = Path(__file__).with_name("simulated_cudart.c")


class SimulatedGpu:
    """The compiled runtime, and the graphs behind the plans that were built in this process.

    Attributes:
        plans: model by plan; a plan that is not in here is refused, as a foreign one would be.
        contexts: how many execution contexts were made.
        builds: how many plans were built.
        version: of the TensorRT that the simulated GPU comes with; the real one's when empty.
        flavour: which TensorRT it passes for.
        real: version of the real builder.
    """

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.library.simulated_call.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long)
        self.library.simulated_live_allocations.restype = ctypes.c_long
        self.library.simulated_launches.restype = ctypes.c_long
        self.plans: dict[bytes, bytes] = {}
        self.contexts = 0
        self.builds = 0
        self.version = ""
        # TensorRT, not TensorRT for RTX: CUDA graphs and timings are for the former.
        self.flavour: Flavour = "tensorrt"
        self.real = load_tensorrt("tensorrt-rtx").version

    @property
    def live_allocations(self) -> int:
        return int(self.library.simulated_live_allocations())

    @property
    def launches(self) -> int:
        return int(self.library.simulated_launches())

    def tensorrt(self) -> TensorRT:
        """The real module with a simulated runtime in it."""
        real = load_tensorrt("tensorrt-rtx")
        module = SimpleNamespace(**vars(real.module))
        module.Runtime = lambda _logger: _Runtime(self)
        return TensorRT(module, self.flavour, self.version or self.real)


class _Runtime:
    engine_host_code_allowed = False

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu = gpu

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        model = self._gpu.plans.get(plan)
        return None if model is None else _Engine(self._gpu, model)


class _Engine:
    num_io_tensors = 3

    def __init__(self, gpu: SimulatedGpu, model: bytes) -> None:
        self.gpu = gpu
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        outputs = {value.name: value.shape for value in self.session.get_outputs()}
        self._shapes = {INPUT: self.session.get_inputs()[0].shape, **outputs}

    def get_tensor_name(self, index: int) -> str:
        return (INPUT, LOGITS, EMBEDDING)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self._shapes[name])

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0
        return [(size, *self._shapes[name][1:]) for size in (1, 4, 8)]

    def create_execution_context(self) -> _Context:
        self.gpu.contexts += 1
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._size = 0
        self._call: Any = ctypes.CFUNCTYPE(None, ctypes.c_long)(self._compute)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._size = shape[0]
        return name == INPUT and 1 <= shape[0] <= 8

    def infer_shapes(self) -> list[str]:
        return []

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        library = self._engine.gpu.library
        code = library.simulated_call(stream, ctypes.cast(self._call, ctypes.c_void_p), 0)
        return bool(code == 0)

    def _compute(self, _argument: int) -> None:
        x = self._view(INPUT)
        names = [LOGITS, EMBEDDING]
        for name, values in zip(names, self._engine.session.run(names, {INPUT: x}), strict=True):
            self._view(name)[:] = values

    def _view(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        shape = (self._size, *self._engine.get_tensor_shape(name)[1:])
        memory = (ctypes.c_float * int(np.prod(shape))).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).reshape(shape)


def compile_runtime(folder: Path) -> Path:
    """Build the library, or skip."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the simulated CUDA runtime")
    library = folder / "libsimulated_cudart.so"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(_SOURCE)]
    subprocess.run(command, check=True)
    return library


def plug_in(library: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> SimulatedGpu:
    """Put a simulated GPU into this process, with an empty engine cache."""
    pytest.importorskip(
        "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (extra: tensorrt-rtx)"
    )
    gpu = SimulatedGpu(library)

    def load(_flavour: object = None) -> TensorRT:
        return gpu.tensorrt()

    build: Callable[..., Any] = export.exporting.build_plan

    def building(tensorrt: TensorRT, model: bytes, *rest: Any) -> Any:
        plan = build(tensorrt, model, *rest)
        gpu.plans[plan.data] = model
        gpu.builds += 1
        return plan

    for module in (export.tensorrt_api, export.exporting, export.tensorrt_engine):
        monkeypatch.setattr(module, "load_tensorrt", load)
    monkeypatch.setattr(export.exporting, "build_plan", building)
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return gpu
