"""The shipped graph beside other ways to run the same network, on one thread (torch)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from export.arithmetic import multiply_adds
from export.calibration import measure_ranges
from export.engine import EMBEDDING, INPUT, LOGITS
from export.folding import folded_weights
from export.graph import IR_VERSION, OPSET, build_graph, build_model
from export.graph_builder import bodies
from export.int8 import CpuInt8Products
from export.onnxruntime_engine import cpu_session
from export.parity import BOUNDS, RANDOM_WINDOWS, random_windows
from export.products import Products
from export.rebuild import rebuild_network
from export.timing import Latency, time_in_turns
from export.variants import as_written, banded_model, unrolled_model
from model.errors import ParityError, UsageError
from model.features import FloatArray
from model.metadata import ModelMetadata

SHIPPED = "shipped graph"
SHIPPED_INT8 = "the same in 8 bits"
EAGER = "torch eager"
EAGER_AS_WRITTEN = "torch eager, as the paper writes it"
UNROLLED = "naive unrolled export"
BANDED = "ConvLSTM as banded LSTM"
_LIMIT_SIZE = 512  # of the square product that shows what the machine can do
_STARTS = 5


@dataclass(frozen=True)
class Variant:
    """One way to run the network.

    Attributes:
        name: which.
        nodes: nodes of the graph, loop bodies included; 0 without a graph.
        start_s: median seconds to load it into ONNX Runtime; 0 without a graph.
        latency: of one window.
    """

    name: str
    nodes: int
    start_s: float
    latency: Latency


@dataclass(frozen=True)
class GraphComparison:
    """All variants, one thread, batch 1, measured in turns.

    Attributes:
        variants: the shipped graph first.
        multiply_adds: of one window in the shipped graph.
        limit_per_s: multiply-adds a second of a 512 x 512 x 512 float32 product in ONNX Runtime.
    """

    variants: list[Variant]
    multiply_adds: int
    limit_per_s: float

    @property
    def share_of_limit(self) -> float:
        """How much of the machine's product speed the shipped graph reaches as a whole."""
        shipped = self.variants[0].latency.p50_ms / 1e3
        return self.multiply_adds / shipped / self.limit_per_s

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**asdict(self), "share_of_limit": self.share_of_limit}


def compare_graphs(model: ModelProto, seconds: float, source: str) -> GraphComparison:
    """Measure the variants of a model file's network.

    Args:
        model: a float32 model file.
        seconds: for each variant.
        source: file name for messages.

    Raises:
        ModelError: no network can be rebuilt from the file.
        ParityError: a variant does not compute the same.
        UsageError: the network has no recurrent layers, whose graphs differ.
    """
    network = rebuild_network(model, source)
    if network.config.profile == "statistics":
        raise UsageError(f"{source}: has no recurrent layers to write in other ways (--compare)")
    metadata = ModelMetadata.from_properties(
        {entry.key: entry.value for entry in model.metadata_props}, source
    )
    mean, scale = network.input_norm.mean, network.input_norm.scale
    windows = random_windows(
        mean.numpy(), (1.0 / scale).numpy(), metadata.window_frames, count=RANDOM_WINDOWS, seed=1
    )
    shipped = build_model(network, metadata)
    folded, properties = folded_weights(shipped), metadata.to_properties()
    products = CpuInt8Products(folded, measure_ranges(shipped, windows), rest=Products(folded))
    graphs = {
        SHIPPED: shipped,
        SHIPPED_INT8: build_graph(products, network.config, properties),
        UNROLLED: unrolled_model(network, metadata),
    }
    if not network.config.peepholes:
        graphs[BANDED] = banded_model(network, metadata)
    windows = windows[:1]
    sessions = {name: cpu_session(graph.SerializeToString(), 1) for name, graph in graphs.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            tensor = torch.from_numpy(windows)
            naive = as_written(network)
            calls: dict[str, Callable[[], object]] = {
                name: _run(session, windows) for name, session in sessions.items()
            }
            calls[EAGER] = lambda: network(tensor)
            calls[EAGER_AS_WRITTEN] = lambda: naive(tensor)
            _check_same(network(tensor)[0].numpy(), sessions, windows)
            times = time_in_turns(calls, seconds)
    finally:
        torch.set_num_threads(threads)
    variants = [
        Variant(
            name,
            _nodes(graphs[name].graph) if name in graphs else 0,
            _start_s(graphs[name].SerializeToString()) if name in graphs else 0.0,
            Latency.of(times[name], 1),
        )
        for name in calls
    ]
    return GraphComparison(variants, multiply_adds(graphs[SHIPPED]), _product_speed(_LIMIT_SIZE))


def _check_same(
    logits: FloatArray, sessions: dict[str, onnxruntime.InferenceSession], windows: FloatArray
) -> None:
    """A variant that computes something else would make its time meaningless."""
    for name, session in sessions.items():
        found = session.run([LOGITS], {INPUT: windows})[0]
        bound = BOUNDS["int8" if name == SHIPPED_INT8 else "fp32"].logits
        if not np.abs(found - logits).max() <= bound * np.abs(logits).max():
            raise ParityError(f"{name} does not compute what the network computes")


def _run(session: onnxruntime.InferenceSession, windows: FloatArray) -> Callable[[], object]:
    return lambda: session.run([LOGITS, EMBEDDING], {INPUT: windows})


def _start_s(model: bytes) -> float:
    def once() -> float:
        started = time.perf_counter()
        cpu_session(model, 1)
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(_STARTS))


def _nodes(graph: GraphProto) -> int:
    return len(graph.node) + sum(_nodes(body) for body in bodies(graph))


def _product_speed(size: int) -> float:
    """Multiply-adds a second of one large product, ``size`` in all three directions."""
    x, weight = np.random.default_rng(0).standard_normal((2, size, size)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, size])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    session = cpu_session(model.SerializeToString(), 1)
    times = time_in_turns({"product": lambda: session.run(None, {"x": x})}, 0.5)["product"]
    return size**3 / statistics.median(times)
