"""Running a TensorRT plan, with buffers of our own."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np

from export.cuda_runtime import CudaRuntime
from export.engine import EMBEDDING, INPUT, LOGITS, Scores, check_windows
from export.parity import ParityRecord, check_parity, difference
from export.sidecar import Sidecar, sha256_of
from export.tensorrt_api import LogLines, TensorRT, load_tensorrt, logger_of
from model.errors import EngineError, ModelError, StalePlanError
from model.features import FloatArray

#: Environment variable that allows plans from elsewhere to run the code that they carry.
TRUST_VARIABLE = "DEVREC_AGENT_TRUST_PLANS"

_FLOAT_BYTES = 4


class TensorRTEngine:
    """A plan on the GPU: pinned buffers, asynchronous copies, one CUDA graph per batch size.

    Batches are padded to powers of two, so that a handful of graphs serves all sizes. The first
    call of a size runs it once plainly and records it; later calls replay the recording.

    Args:
        plan: the ``.plan`` file, with its sidecar beside it.
        use_graphs: record CUDA graphs; without, every call is queued anew.
        trusted: the plan was made by this program on this machine. Others are compared with
            PyTorch's answers if they never were; and those that load in several versions of
            TensorRT carry code, and run only with :data:`TRUST_VARIABLE` set.

    Raises:
        ModelError: plan or sidecar missing, cut short, changed or foreign.
        StalePlanError: built for another GPU or TensorRT; TensorRT refuses it.
        EngineError: no GPU or driver; no memory; it carries code and is not trusted.
        ParityError: it was built without a GPU and does not compute what the model computes.
        MissingDependencyError: TensorRT is not installed.

    Attributes:
        recording_failure: why no CUDA graph could be recorded, or empty.
    """

    def __init__(self, plan: Path, use_graphs: bool = True, trusted: bool = False) -> None:
        sidecar = Sidecar.read(plan)
        self.metadata = sidecar.metadata(str(plan))
        self.properties = sidecar.properties
        self.precision = sidecar.precision
        data = _read_plan(plan, sidecar)
        if sidecar.version_compatible and not (trusted or os.environ.get(TRUST_VARIABLE)):
            raise EngineError(
                f"{plan}: version-compatible plans carry code; set {TRUST_VARIABLE}=1 to run one "
                "that you trust"
            )
        # The driver first: a TensorRT runtime without one can crash instead of failing.
        self._cuda = CudaRuntime()
        self._tensorrt = load_tensorrt(
            "tensorrt-rtx" if sidecar.flavour == "tensorrt-rtx" else "tensorrt"
        )
        _check_fit(plan, sidecar, self._tensorrt, self._cuda)
        # TensorRT for RTX first runs makeshift kernels and compiles better ones meanwhile: a graph
        # recorded then would keep the makeshift ones.
        self._use_graphs = use_graphs and self._tensorrt.flavour == "tensorrt"
        self.recording_failure = ""
        self._slots: dict[int, _Slot] = {}
        self._buffers: dict[str, _Buffer] = {}
        self._stream = 0
        self.window_shape = self.metadata.window_shape
        self._runtime, self._engine, self._lines = _deserialise(
            plan, data, self._tensorrt, host_code=sidecar.version_compatible
        )
        try:
            self.smallest_batch, self.largest_batch = self._batch_limits(plan)
            self._widths = {name: self._width(plan, name) for name in (LOGITS, EMBEDDING)}
            self._stream = self._cuda.create_stream()
            features = self.window_shape[0] * self.window_shape[1]
            for name, width in {INPUT: features, **self._widths}.items():
                self._buffers[name] = _Buffer(self._cuda, self.largest_batch * width)
            if not (sidecar.parity or trusted):
                self._test_itself(plan, sidecar)
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Runtime, GPU and precision in words."""
        graphs = "CUDA graphs" if self._use_graphs else "no CUDA graphs"
        if self.recording_failure:
            graphs += f" ({self.recording_failure})"
        return f"{self._tensorrt.name}, {self._cuda.gpu.name}, {self.precision}, {graphs}"

    def _batch_limits(self, plan: Path) -> tuple[int, int]:
        engine = self._engine
        names = {engine.get_tensor_name(k) for k in range(engine.num_io_tensors)}
        if names != {INPUT, LOGITS, EMBEDDING}:
            raise ModelError(f"{plan}: has tensors {sorted(names)}; not a plan of devrec-agent")
        smallest, _, largest = (
            tuple(int(size) for size in shape)
            for shape in engine.get_tensor_profile_shape(INPUT, 0)
        )
        if largest[1:] != self.window_shape:
            raise ModelError(f"{plan}: takes windows of {largest[1:]}, not {self.window_shape}")
        return smallest[0], largest[0]

    def _width(self, plan: Path, name: str) -> int:
        width = int(tuple(self._engine.get_tensor_shape(name))[1])
        if name == LOGITS and width != len(self.metadata.labels):
            raise ModelError(f"{plan}: {width} logits for {len(self.metadata.labels)} labels")
        return width

    def _test_itself(self, plan: Path, sidecar: Sidecar) -> None:
        """A plan built without a GPU is compared with PyTorch when it first meets one."""
        record = ParityRecord.from_properties(sidecar.properties, str(plan), self.window_shape)
        found = difference(record.scores, self.run(record.windows()))
        check_parity(found, sidecar.precision, f"{plan}: on random windows")

    def run(self, windows: FloatArray) -> Scores:
        """Score windows; see :class:`export.engine.Engine`.

        Raises:
            EngineError: the GPU failed.
        """
        check_windows(windows, self.window_shape)
        logits = np.empty((len(windows), self._widths[LOGITS]), np.float32)
        embedding = np.empty((len(windows), self._widths[EMBEDDING]), np.float32)
        for start in range(0, len(windows), self.largest_batch):
            part = slice(start, start + self.largest_batch)
            count = len(windows[part])
            size = self._padded(count)
            slot = self._slots.get(size)
            if slot is None:
                slot = self._slots[size] = _Slot(self, size)
            inputs = self._buffers[INPUT].view(size, *self.window_shape)
            inputs[:count] = windows[part]
            inputs[count:] = 0.0
            slot.run()
            logits[part] = self._buffers[LOGITS].view(size, self._widths[LOGITS])[:count]
            embedding[part] = self._buffers[EMBEDDING].view(size, self._widths[EMBEDDING])[:count]
        return Scores(logits, embedding)

    def _padded(self, count: int) -> int:
        size = 1 << (count - 1).bit_length()
        return max(self.smallest_batch, min(size, self.largest_batch))

    def close(self) -> None:
        """Give GPU memory back; the engine must not be used afterwards."""
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()
        if self._stream:
            self._cuda.destroy_stream(self._stream)
            self._stream = 0
        self._engine = self._runtime = None


class _Buffer:
    """Pinned host memory and device memory for the largest batch of one tensor, float32."""

    def __init__(self, cuda: CudaRuntime, values: int) -> None:
        self._cuda = cuda
        self.device = cuda.allocate(values * _FLOAT_BYTES)
        try:
            self.host = cuda.allocate_host(values * _FLOAT_BYTES)
        except EngineError:
            cuda.free(self.device)
            raise
        memory = (ctypes.c_float * values).from_address(self.host)
        self._array: FloatArray = np.ctypeslib.as_array(memory)
        self._array[:] = 0.0

    def view(self, *shape: int) -> FloatArray:
        """The first values, shaped, in host memory."""
        return self._array[: int(np.prod(shape))].reshape(shape)

    def close(self) -> None:
        self._cuda.free(self.device)
        self._cuda.free_host(self.host)


class _Slot:
    """One batch size: a context of its own, because a recorded graph keeps its context's memory."""

    def __init__(self, owner: TensorRTEngine, size: int) -> None:
        self._owner, self._cuda, self._stream = owner, owner._cuda, owner._stream
        self._graph = 0
        owner._lines.forget()
        context: Any = owner._engine.create_execution_context()
        if context is None:
            raise EngineError(f"no memory for {size} windows: {owner._lines.reason()}")
        self._context = context
        fits = context.set_input_shape(INPUT, (size, *owner.window_shape))
        if not fits or context.infer_shapes():
            raise EngineError(f"the plan does not take {size} windows: {owner._lines.reason()}")
        for name, buffer in owner._buffers.items():
            context.set_tensor_address(name, buffer.device)
        values = {INPUT: owner.window_shape[0] * owner.window_shape[1], **owner._widths}
        self._bytes = {name: size * count * _FLOAT_BYTES for name, count in values.items()}
        # Once plainly: TensorRT prepares itself in the first run, which must not be recorded.
        self._queue()
        self._cuda.synchronize(self._stream)
        if owner._use_graphs:
            self._record()

    def _queue(self) -> None:
        buffers = self._owner._buffers
        x = buffers[INPUT]
        self._cuda.copy_to_device(x.device, x.host, self._bytes[INPUT], self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise EngineError(f"the GPU refused the call: {self._owner._lines.reason()}")
        for name in (LOGITS, EMBEDDING):
            y = buffers[name]
            self._cuda.copy_to_host(y.host, y.device, self._bytes[name], self._stream)

    def _record(self) -> None:
        """Record a graph; where this TensorRT cannot be recorded, calls are queued anew."""
        self._cuda.begin_capture(self._stream)
        failure = ""
        try:
            self._queue()
        except EngineError as error:
            failure = str(error)
        try:  # also after a failure: an open capture would poison the stream
            graph = self._cuda.end_capture(self._stream)
        except EngineError as error:
            graph, failure = 0, failure or str(error)
        if not failure:
            self._graph = graph
        else:
            if graph:
                self._cuda.destroy_graph(graph)
            self._cuda.forget_error()
            self._owner._use_graphs = False
            self._owner.recording_failure = failure

    def run(self) -> None:
        if self._graph:
            self._cuda.launch(self._graph, self._stream)
        else:
            self._queue()
        self._cuda.synchronize(self._stream)

    def close(self) -> None:
        if self._graph:
            self._cuda.destroy_graph(self._graph)
            self._graph = 0
        self._context = None


def _read_plan(plan: Path, sidecar: Sidecar) -> bytes:
    try:
        data = plan.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{plan}: no such plan") from error
    except OSError as error:
        raise ModelError(f"{plan}: cannot be read: {error.strerror}") from error
    if sha256_of(data) != sidecar.plan_sha256:
        raise ModelError(f"{plan}: cut short or changed since it was written (checksum)")
    return data


def _deserialise(
    plan: Path, data: bytes, tensorrt: TensorRT, *, host_code: bool
) -> tuple[Any, Any, LogLines]:
    """Runtime, engine, and what TensorRT says.

    Raises:
        StalePlanError: TensorRT refuses the plan.
        EngineError: it cannot work here at all.
    """
    trt = tensorrt.module
    logger, lines = logger_of(tensorrt)
    lines.forget()
    try:
        runtime = trt.Runtime(logger)
    except TypeError as error:  # what the bindings make of a null pointer
        raise EngineError(f"{tensorrt.name} cannot run here: {lines.reason()}") from error
    if host_code:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise StalePlanError(f"{plan}: {tensorrt.name} refuses it: {lines.reason()}")
    return runtime, engine, lines


def _check_fit(plan: Path, sidecar: Sidecar, tensorrt: TensorRT, cuda: CudaRuntime) -> None:
    """What the plan is bound to, before TensorRT has to find out."""
    if tensorrt.version != sidecar.tensorrt and not sidecar.version_compatible:
        raise StalePlanError(
            f"{plan}: built by {sidecar.flavour} {sidecar.tensorrt}, here is {tensorrt.version}; "
            "export it again on this machine"
        )
    # Plans of TensorRT for RTX are compiled for the GPU at hand when they are loaded.
    bound = sidecar.flavour == "tensorrt" and not sidecar.hardware_compatible
    capability = cuda.gpu.compute_capability
    if bound and sidecar.compute_capability != capability:
        raise StalePlanError(
            f"{plan}: built for compute capability {sidecar.compute_capability} ({sidecar.gpu}), "
            f"this GPU, {cuda.gpu.name}, has {capability}; export it again on this machine"
        )
