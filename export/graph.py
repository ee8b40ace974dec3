"""The ONNX graph of a trained network, built node by node for inference engines.

Tracing the network would unroll 128 steps of two recurrent layers into thousands of nodes, slow
to load and slower to compile. Here each ConvLSTM is one ``Scan`` over a small matrix product, with
the input convolution of all steps hoisted out of it; the BiLSTM is the ``LSTM`` operator; batch
norms, the whitening of the statistics and the constants of the paper's scalar attention are
folded into the weights around them. Weights are folded in float64 and stored as float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
    numpy_helper,
)

from export.engine import EMBEDDING, INPUT, LOGITS
from model.features import WINDOW_FRAMES
from model.metadata import ModelMetadata
from model.window_statistics import SOFTNESS, STATISTICS_CLIP, VARIANCE_FLOOR

if TYPE_CHECKING:
    from model.network import DeviceNetwork

Array = npt.NDArray[np.float64]
OPSET = 17  # LayerNormalization; ONNX Runtime >= 1.12, TensorRT >= 8.6
IR_VERSION = 9  # readable by the ONNX Runtime of JetPack 6
TAPS = 3


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._count = 0

    def constant(self, value: npt.ArrayLike, dtype: type = np.float32, hint: str = "c") -> str:
        """Add an initializer."""
        name = self._name(hint)
        self.constants.append(
            numpy_helper.from_array(np.array(value, dtype=dtype, order="C"), name)
        )
        return name

    def integers(self, *values: int) -> str:
        """Add an int64 vector."""
        return self.constant(values, np.int64, "i")

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node with one output of interest; further outputs are named ``name_k``."""
        name = self._name(operator.lower())
        names = [name, *(f"{name}_{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, inputs, names, name=name, **attributes))
        return name

    def named(self, result: str, name: str) -> None:
        """Give a result a public name."""
        self.nodes.append(helper.make_node("Identity", [result], [name], name=name))

    def linear(self, x: str, weight: Array, bias: Array) -> str:
        """``x @ weight + bias`` with ``weight`` as ``(in, out)``."""
        product = self.add("MatMul", x, self.constant(weight, hint="w"))
        return self.add("Add", product, self.constant(bias, hint="b"))

    def slice(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """``x[start:stop:step]`` along one axis."""
        return self.add(
            "Slice",
            x,
            self.integers(start),
            self.integers(stop),
            self.integers(axis),
            self.integers(step),
        )

    def _name(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"


class _Weights:
    """The network's parameters and buffers as float64 arrays, by dotted name."""

    def __init__(self, state: Mapping[str, Array]) -> None:
        self._state = state

    def __call__(self, name: str) -> Array:
        return self._state[name]

    def batch_norm(self, name: str, eps: float) -> tuple[Array, Array]:
        """Inference-mode batch norm as ``scale * x + offset``."""
        scale = self(f"{name}.weight") / np.sqrt(self(f"{name}.running_var") + eps)
        return scale, self(f"{name}.bias") - scale * self(f"{name}.running_mean")


def build_model(network: DeviceNetwork, metadata: ModelMetadata) -> ModelProto:
    """Build the ONNX model of a trained network.

    Args:
        network: in any mode; running statistics are used.
        metadata: travels in ``metadata_props``.

    Returns:
        a checked model with input ``features (n, 128, 73)`` and outputs ``logits (n, devices)``
        and ``embedding (n, 128)``.
    """
    config = network.config
    state = {
        name: tensor.detach().cpu().double().numpy()
        for name, tensor in network.state_dict().items()
    }
    weights = _Weights(state)
    g = GraphBuilder()
    x = _input_norm(g, weights, config.n_static, config.n_mels, config.level_free)
    states = _trunk(g, weights, network, x)
    if config.profile == "paper":
        embedding = _paper_head(g, weights, network, states)
    else:
        embedding = _default_head(g, weights, network, states, x)
    g.named(embedding, EMBEDDING)
    g.named(g.linear(embedding, weights("classifier.weight").T, weights("classifier.bias")), LOGITS)
    window: list[str | int | None] = ["n", WINDOW_FRAMES, config.n_features]
    graph = helper.make_graph(
        g.nodes,
        "devrec",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, window)],
        [
            helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["n", config.n_devices]),
            helper.make_tensor_value_info(
                EMBEDDING, TensorProto.FLOAT, ["n", config.embedding_dim]
            ),
        ],
        g.constants,
    )
    model = helper.make_model(
        graph,
        producer_name="devrec-agent",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, metadata.to_properties())
    checker.check_model(model, full_check=True)
    return model


def _input_norm(g: GraphBuilder, weights: _Weights, n_static: int, n_mels: int, level: bool) -> str:
    """Level removal and standardisation: ``(n, 128, 73)`` in, the same shape out."""
    mean, scale = weights("input_norm.mean"), weights("input_norm.scale")
    x = INPUT
    if level:
        # One small product gives every feature the level to subtract: its own mean for the log
        # energy, the mean over all bands for the log pre-Fbank, nothing for the rest.
        n_features = len(mean)
        select = np.zeros((n_features, n_features))
        select[n_static - 1, n_static - 1] = 1.0
        select[3 * n_static :, 3 * n_static :] = 1.0 / n_mels
        window_mean = g.add("ReduceMean", x, axes=[1], keepdims=1)
        x = g.add("Sub", x, g.add("MatMul", window_mean, g.constant(select)))
    x = g.add("Sub", x, g.constant(mean))
    return g.add("Mul", x, g.constant(scale))


def _trunk(g: GraphBuilder, weights: _Weights, network: DeviceNetwork, x: str) -> str:
    """ConvLSTMs and BiLSTM: ``(n, 128, 73)`` to ``(128, 2, n, units)``."""
    first, second = network.convlstm1, network.convlstm2
    steps = g.add("Transpose", x, perm=[1, 0, 2])  # (T, n, 73)
    taps = np.arange(first.positions)[:, None] * first.stride + np.arange(TAPS)
    seen = g.add("Gather", steps, g.constant(taps, np.int64), axis=2)  # (T, n, P, 3)
    kernel = weights("convlstm1.input_kernel").reshape(TAPS, -1)  # one input channel
    gates = g.linear(seen, kernel, weights("convlstm1.bias"))
    hidden = _scan(g, weights, "convlstm1", gates, first.positions, first.filters)
    # Batch norm 1 folds into the second input convolution (it has no padding, so exactly).
    scale, offset = weights.batch_norm("norm1", network.norm1.eps)
    kernel = weights("convlstm2.input_kernel").reshape(TAPS * first.filters, -1)  # tap-major
    bias = weights("convlstm2.bias") + np.tile(offset, TAPS) @ kernel
    kernel = np.tile(scale, TAPS)[:, None] * kernel
    last = (second.positions - 1) * second.stride + 1
    parts = [g.slice(hidden, 2, k, k + last, second.stride) for k in range(TAPS)]
    gates = g.linear(g.add("Concat", *parts, axis=3), kernel, bias)
    hidden = _scan(g, weights, "convlstm2", gates, second.positions, second.filters)
    # Batch norm 2 folds into the BiLSTM's input weights.
    flat = g.add(
        "Reshape", hidden, g.integers(WINDOW_FRAMES, -1, second.positions * second.filters)
    )
    scale, offset = weights.batch_norm("norm2", network.norm2.eps)
    return _bilstm(
        g, weights, flat, np.tile(scale, second.positions), np.tile(offset, second.positions)
    )


def _scan(
    g: GraphBuilder, weights: _Weights, layer: str, gates: str, positions: int, filters: int
) -> str:
    """The state recurrence over hoisted gates ``(T, n, P, 4C)``; returns ``(T, n, P, C)``."""
    kernel = weights(f"{layer}.state_kernel").reshape(TAPS * filters, 4 * filters)
    peephole = weights(f"{layer}.peephole") if f"{layer}.peephole" in weights._state else None
    body = GraphBuilder()
    body._count = 1000 * (1 + len(g.nodes))  # names must differ from the outer graph's
    padded = body.add("Pad", f"{layer}_h", body.integers(0, 1, 0, 0, 1, 0))
    seen = body.add(
        "Concat", *(body.slice(padded, 1, k, k + positions) for k in range(TAPS)), axis=2
    )
    product = body.add("MatMul", seen, body.constant(kernel))
    total = body.add("Add", product, f"{layer}_gates")
    split = body.add("Split", total, body.integers(*[filters] * 4), outputs=4, axis=2)
    i, f, o, z = split, f"{split}_1", f"{split}_2", f"{split}_3"
    if peephole is not None:
        i = body.add("Add", i, body.add("Mul", f"{layer}_c", body.constant(peephole[0])))
        f = body.add("Add", f, body.add("Mul", f"{layer}_c", body.constant(peephole[1])))
    kept = body.add("Mul", body.add("Sigmoid", f), f"{layer}_c")
    cell = body.add("Add", kept, body.add("Mul", body.add("Sigmoid", i), body.add("Tanh", z)))
    if peephole is not None:
        o = body.add("Add", o, body.add("Mul", cell, body.constant(peephole[2])))
    state = body.add("Mul", body.add("Sigmoid", o), body.add("Tanh", cell))
    for result, name in ((state, "h_out"), (cell, "c_out"), (state, "y")):
        body.named(result, f"{layer}_{name}")

    def value(name: str, last: int = filters) -> ValueInfoProto:
        return helper.make_tensor_value_info(
            f"{layer}_{name}", TensorProto.FLOAT, ["n", positions, last]
        )

    graph: GraphProto = helper.make_graph(
        body.nodes,
        f"{layer}_step",
        [value("h"), value("c"), value("gates", 4 * filters)],
        [value("h_out"), value("c_out"), value("y")],
        body.constants,
    )
    # A zero state for as many windows as there are: the first step's gates give the shape.
    batch = g.slice(g.add("Shape", INPUT), 0, 0, 1)
    state_shape = g.add("Concat", batch, g.integers(positions, filters), axis=0)
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    start = g.add("ConstantOfShape", state_shape, value=zero)
    scan = g.add("Scan", start, start, gates, outputs=3, body=graph, num_scan_inputs=1)
    return f"{scan}_2"


def _bilstm(g: GraphBuilder, weights: _Weights, x: str, scale: Array, offset: Array) -> str:
    """The BiLSTM with an affine input folded in: ``(T, n, in)`` to ``(T, 2, n, units)``."""
    kernels, recurrent, biases = [], [], []
    for suffix in ("", "_reverse"):
        w = weights(f"bilstm.weight_ih_l0{suffix}")
        input_bias = weights(f"bilstm.bias_ih_l0{suffix}") + w @ offset
        kernels.append(_onnx_gates(w * scale))
        recurrent.append(_onnx_gates(weights(f"bilstm.weight_hh_l0{suffix}")))
        biases.append(
            np.concatenate(
                [_onnx_gates(input_bias), _onnx_gates(weights(f"bilstm.bias_hh_l0{suffix}"))]
            )
        )
    return g.add(
        "LSTM",
        x,
        g.constant(np.stack(kernels), hint="w"),
        g.constant(np.stack(recurrent), hint="w"),
        g.constant(np.stack(biases), hint="b"),
        direction="bidirectional",
        hidden_size=recurrent[0].shape[1],
    )


def _onnx_gates(rows: Array) -> Array:
    """torch orders LSTM gates i, f, g, o; ONNX i, o, f, g (its c)."""
    i, f, c, o = np.split(rows, 4)
    return np.concatenate([i, o, f, c])


def _paper_head(g: GraphBuilder, weights: _Weights, network: DeviceNetwork, states: str) -> str:
    """Scalar tokens, folded encoders and MLP: ``(128, 2, n, units)`` to the embedding."""
    units = network.config.lstm_units
    last = g.add("Gather", states, g.constant(WINDOW_FRAMES - 1, np.int64), axis=0)  # (2, n, u)
    forward = g.add("Gather", last, g.constant(0, np.int64), axis=0)
    first = g.add("Gather", states, g.constant(0, np.int64), axis=0)
    backward = g.add("Gather", first, g.constant(1, np.int64), axis=0)
    tokens = g.add("Concat", forward, backward, axis=1)  # (n, 2 units)
    for index, encoder in enumerate(network.encoders):
        slope, offset, gain, constant = (
            value.detach().cpu().double().numpy()
            for value in encoder.folded()  # type: ignore[operator]
        )
        name = f"encoders.{index}"
        # LayerNorm over one feature outputs its bias: the feed-forward half is this constant.
        hidden = np.maximum(
            weights(f"{name}.expand.weight") @ weights(f"{name}.norm.bias")
            + weights(f"{name}.expand.bias"),
            0.0,
        )
        added = (
            constant
            + weights(f"{name}.contract.weight") @ hidden
            + weights(f"{name}.contract.bias")
        )
        column = g.add("Reshape", tokens, g.integers(-1, 1, 2 * units, 1))
        row = g.add("Reshape", tokens, g.integers(-1, 1, 1, 2 * units))
        scores = g.add("Mul", column, g.constant(slope.reshape(1, -1, 1, 1)))
        scores = g.add("Add", scores, g.constant(offset.reshape(1, -1, 1, 1)))
        attention = g.add("Softmax", g.add("Mul", scores, row), axis=3)
        mixed = g.add("MatMul", attention, column)  # (n, heads, tokens, 1)
        mixed = g.add("Mul", mixed, g.constant(gain.reshape(1, -1, 1, 1)))
        mixed = g.add("ReduceSum", mixed, g.integers(1, 3), keepdims=0)
        tokens = g.add("Add", g.add("Add", tokens, mixed), g.constant(added))
    return g.add("Relu", g.linear(tokens, weights("mlp.weight").T, weights("mlp.bias")))


def _default_head(
    g: GraphBuilder, weights: _Weights, network: DeviceNetwork, states: str, x: str
) -> str:
    """Time tokens, encoders, pooling, statistics and MLP, to the embedding ``(n, 128)``."""
    config = network.config
    width = 2 * config.lstm_units
    sequence = g.add("Transpose", states, perm=[2, 0, 1, 3])  # (n, T, 2, units)
    sequence = g.add("Reshape", sequence, g.integers(-1, WINDOW_FRAMES, width))
    tokens = g.linear(sequence, weights("project.weight").T, weights("project.bias"))
    for index in range(len(network.encoders)):
        tokens = _token_encoder(
            g, weights, f"encoders.{index}", tokens, config.heads, config.head_dim
        )
    mean = g.add("ReduceMean", tokens, axes=[1], keepdims=1)
    variance = _variance(g, tokens, mean)
    deviation = g.add("Sqrt", g.add("Add", variance, g.constant(1e-5)))
    flat = g.integers(-1, config.token_dim)
    pooled = g.add(
        "Concat", g.add("Reshape", mean, flat), g.add("Reshape", deviation, flat), axis=1
    )
    pooled = _layer_norm(g, weights, "sequence_norm", pooled)

    mels = g.slice(x, 2, 3 * config.n_static, config.n_features)
    mean = g.add("ReduceMean", mels, axes=[1], keepdims=1)
    variance = g.add("Add", _variance(g, mels, mean), g.constant(VARIANCE_FLOOR))
    clipped = g.add("Clip", mels, g.constant(-STATISTICS_CLIP), g.constant(STATISTICS_CLIP))
    parts = [mean, g.add("Mul", g.add("Log", variance), g.constant(0.5))]
    for softness in (-SOFTNESS, SOFTNESS):
        raised = g.add("Exp", g.add("Mul", clipped, g.constant(softness)))
        average = g.add("ReduceMean", raised, axes=[1], keepdims=1)
        parts.append(g.add("Mul", g.add("Log", average), g.constant(1 / softness)))
    statistics = g.add("Concat", *parts, axis=2)
    statistics = g.add("Reshape", statistics, g.integers(-1, 4 * config.n_mels))
    # Whitening and batch norm are linear, as is the MLP's product: one matrix for all three.
    scale, offset = weights.batch_norm("mlp_norm", network.mlp_norm.eps)  # type: ignore[arg-type]
    kernel = weights("mlp.weight").T * scale  # (pooled + statistics, 128)
    split = 2 * config.token_dim
    whiten = weights("statistics.whitening") @ kernel[split:]
    bias = weights("mlp.bias") * scale + offset - weights("statistics.mean") @ whiten
    total = g.add("MatMul", statistics, g.constant(whiten, hint="w"))
    total = g.add("Add", total, g.linear(pooled, kernel[:split], bias))
    return g.add("Relu", total)


def _variance(g: GraphBuilder, x: str, mean: str) -> str:
    """Population variance over axis 1, kept as a dimension of 1."""
    centred = g.add("Sub", x, mean)
    return g.add("ReduceMean", g.add("Mul", centred, centred), axes=[1], keepdims=1)


def _layer_norm(g: GraphBuilder, weights: _Weights, name: str, x: str) -> str:
    scale, offset = g.constant(weights(f"{name}.weight")), g.constant(weights(f"{name}.bias"))
    return g.add("LayerNormalization", x, scale, offset, axis=-1, epsilon=1e-5)


def _token_encoder(
    g: GraphBuilder, weights: _Weights, name: str, x: str, heads: int, head_dim: int
) -> str:
    """Pre-norm encoder over ``(n, T, dim)``."""

    def linear(layer: str, value: str) -> str:
        return g.linear(value, weights(f"{name}.{layer}.weight").T, weights(f"{name}.{layer}.bias"))

    def heads_of(rows: slice, perm: Sequence[int], factor: float = 1.0) -> str:
        kernel = factor * weights(f"{name}.query_key_value.weight")[rows].T
        part = g.linear(normed, kernel, factor * weights(f"{name}.query_key_value.bias")[rows])
        part = g.add("Reshape", part, g.integers(-1, WINDOW_FRAMES, heads, head_dim))
        return g.add("Transpose", part, perm=list(perm))

    inner = heads * head_dim
    normed = _layer_norm(g, weights, f"{name}.attention_norm", x)
    query = heads_of(slice(0, inner), (0, 2, 1, 3), head_dim**-0.5)  # (n, heads, T, d)
    key = heads_of(slice(inner, 2 * inner), (0, 2, 3, 1))  # (n, heads, d, T)
    value = heads_of(slice(2 * inner, 3 * inner), (0, 2, 1, 3))
    attention = g.add("Softmax", g.add("MatMul", query, key), axis=-1)
    mixed = g.add("Transpose", g.add("MatMul", attention, value), perm=[0, 2, 1, 3])
    mixed = g.add("Reshape", mixed, g.integers(-1, WINDOW_FRAMES, inner))
    x = g.add("Add", x, linear("out", mixed))
    hidden = g.add("Relu", linear("expand", _layer_norm(g, weights, f"{name}.feed_norm", x)))
    return g.add("Add", x, linear("contract", hidden))
