"""The ONNX graph of a trained network, built node by node for inference engines.

Tracing the network would unroll 128 steps of two recurrent layers into thousands of nodes, slow
to load and slower to compile. Here each ConvLSTM is one ``Scan`` over a small matrix product, with
the input convolution of all steps hoisted out of it; the BiLSTM is the ``LSTM`` operator; batch
norms, the whitening of the statistics and the constants of the paper's scalar attention are
folded into the weights around them. Weights are folded in float64 and stored as float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from export.engine import EMBEDDING, INPUT, LOGITS
from export.graph_builder import Array, GraphBuilder
from model.features import WINDOW_FRAMES
from model.metadata import ModelMetadata
from model.window_statistics import SOFTNESS, STATISTICS_CLIP, VARIANCE_FLOOR

if TYPE_CHECKING:
    from model.network import DeviceNetwork

OPSET = 17  # LayerNormalization; ONNX Runtime >= 1.12, TensorRT >= 8.6
IR_VERSION = 9  # readable by the ONNX Runtime of JetPack 6
TAPS = 3


class Weights:
    """The network's parameters and buffers as float64 arrays, by dotted name."""

    def __init__(self, state: Mapping[str, Array]) -> None:
        self._state = state

    def __call__(self, name: str) -> Array:
        return self._state[name]

    def get(self, name: str) -> Array | None:
        return self._state.get(name)

    def batch_norm(self, name: str, eps: float) -> tuple[Array, Array]:
        """Inference-mode batch norm as ``scale * x + offset``."""
        scale = self(f"{name}.weight") / np.sqrt(self(f"{name}.running_var") + eps)
        return scale, self(f"{name}.bias") - scale * self(f"{name}.running_mean")


ConvLSTMs = Callable[[GraphBuilder, Weights, "DeviceNetwork", str], str]


def build_model(
    network: DeviceNetwork, metadata: ModelMetadata, convlstms: ConvLSTMs | None = None
) -> ModelProto:
    """Build the ONNX model of a trained network.

    Args:
        network: in any mode; running statistics are used.
        metadata: travels in ``metadata_props``.
        convlstms: another way to write the ConvLSTMs, for comparisons.

    Returns:
        a checked model with input ``features (n, 128, 73)`` and outputs ``logits (n, devices)``
        and ``embedding (n, 128)``.
    """
    config = network.config
    convlstms = convlstms or scanned_convlstms
    state = {
        name: tensor.detach().cpu().double().numpy()
        for name, tensor in network.state_dict().items()
    }
    weights = Weights(state)
    g = GraphBuilder()
    x = _input_norm(g, weights, config.n_static, config.n_mels, config.level_free)
    # Batch norm 2 folds into the BiLSTM's input weights.
    scale, offset = weights.batch_norm("norm2", network.norm2.eps)
    positions = network.convlstm2.positions
    states = _bilstm(
        g,
        weights,
        convlstms(g, weights, network, x),
        np.tile(scale, positions),
        np.tile(offset, positions),
    )
    if config.profile == "paper":
        embedding = _paper_head(g, weights, network, states)
    else:
        embedding = _default_head(g, weights, network, states, x)
    g.named(embedding, EMBEDDING)
    classifier = weights("classifier.weight").T, weights("classifier.bias")
    g.named(g.linear(embedding, *classifier, "classifier"), LOGITS)
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


def _input_norm(g: GraphBuilder, weights: Weights, n_static: int, n_mels: int, level: bool) -> str:
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
    x = g.add("Sub", x, g.constant(mean, name="input_norm.mean"))
    return g.add("Mul", x, g.constant(scale, name="input_norm.scale"))


def scanned_convlstms(g: GraphBuilder, weights: Weights, network: DeviceNetwork, x: str) -> str:
    """Both ConvLSTMs as scans: ``(n, 128, 73)`` to hidden states ``(128, n, positions filters)``.

    Batch norm 2 is left to what reads the states.
    """
    first, second = network.convlstm1, network.convlstm2
    steps = g.add("Transpose", x, perm=[1, 0, 2])  # (T, n, 73)
    # A 74th feature that is always 1 carries the bias, which saves a pass over all gates.
    n_features = network.config.n_features
    ends = g.integers(0, 0, 0, 0, 0, 1)
    steps = g.add("Pad", steps, ends, g.constant(1.0))
    taps = np.arange(first.positions)[:, None] * first.stride + np.arange(TAPS)
    taps = np.concatenate([taps, np.full((first.positions, 1), n_features)], axis=1)
    seen = g.add("Gather", steps, g.constant(taps, np.int64), axis=2)  # (T, n, P, 4)
    kernel = weights("convlstm1.input_kernel").reshape(TAPS, -1)  # one input channel
    kernel = np.concatenate([kernel, weights("convlstm1.bias")[None]])
    gates = g.add("MatMul", seen, g.constant(kernel, name="convlstm1.input.weight"))
    hidden = _scan(g, weights, "convlstm1", gates, first.positions, first.filters)
    kernel, bias = second_input(weights, network)
    taps = np.arange(second.positions)[:, None] * second.stride + np.arange(TAPS)
    seen = g.add("Gather", hidden, g.constant(taps.ravel(), np.int64), axis=2)
    width = TAPS * first.filters
    seen = g.add("Reshape", seen, g.integers(WINDOW_FRAMES, -1, second.positions, width))
    gates = g.linear(seen, kernel, bias, "convlstm2.input")
    hidden = _scan(g, weights, "convlstm2", gates, second.positions, second.filters)
    return g.add(
        "Reshape", hidden, g.integers(WINDOW_FRAMES, -1, second.positions * second.filters)
    )


def second_input(weights: Weights, network: DeviceNetwork) -> tuple[Array, Array]:
    """Kernel ``(3 filters, 4 filters)``, tap-major, and bias of the second input convolution.

    Batch norm 1 is folded in, exactly, because the convolution has no padding.
    """
    scale, offset = weights.batch_norm("norm1", network.norm1.eps)
    kernel = weights("convlstm2.input_kernel").reshape(TAPS * len(scale), -1)
    bias = weights("convlstm2.bias") + np.tile(offset, TAPS) @ kernel
    return np.tile(scale, TAPS)[:, None] * kernel, bias


def _scan(
    g: GraphBuilder, weights: Weights, layer: str, gates: str, positions: int, filters: int
) -> str:
    """The state recurrence over hoisted gates ``(T, n, P, 4C)``; returns ``(T, n, P, C)``."""
    kernel = weights(f"{layer}.state_kernel").reshape(TAPS * filters, 4 * filters)
    peephole = weights.get(f"{layer}.peephole")
    body = GraphBuilder(first=1000 * (1 + len(g.nodes)))  # names must differ from the outer graph's
    # The three taps of every position side by side: one product per step.
    padded = body.add("Pad", f"{layer}_h", body.integers(0, 1, 0, 0, 1, 0))
    taps = np.arange(positions)[:, None] + np.arange(TAPS)
    seen = body.add("Gather", padded, body.constant(taps.ravel(), np.int64), axis=1)
    seen = body.add("Reshape", seen, body.integers(-1, positions, TAPS * filters))
    product = body.add("MatMul", seen, body.constant(kernel, name=f"{layer}.state.weight"))
    total = body.add("Add", product, f"{layer}_gates")
    split = body.add("Split", total, body.integers(*[filters] * 4), outputs=4, axis=2)
    i, f, o, z = split, f"{split}_1", f"{split}_2", f"{split}_3"

    def peep(weight: Array, gate: int, cell: str) -> str:
        name = f"{layer}.peephole.{gate}"
        return body.add("Mul", cell, body.constant(weight[gate], name=name))

    if peephole is not None:
        i = body.add("Add", i, peep(peephole, 0, f"{layer}_c"))
        f = body.add("Add", f, peep(peephole, 1, f"{layer}_c"))
    kept = body.add("Mul", body.add("Sigmoid", f), f"{layer}_c")
    added = body.add("Mul", body.add("Sigmoid", i), body.add("Tanh", z))
    cell = body.add("Add", kept, added, result=f"{layer}_c_out")
    if peephole is not None:
        o = body.add("Add", o, peep(peephole, 2, cell))
    state = body.add("Mul", body.add("Sigmoid", o), body.add("Tanh", cell), result=f"{layer}_h_out")
    body.named(state, f"{layer}_y")

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


def _bilstm(g: GraphBuilder, weights: Weights, x: str, scale: Array, offset: Array) -> str:
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
        g.constant(np.stack(kernels), name="bilstm.input"),
        g.constant(np.stack(recurrent), name="bilstm.state"),
        g.constant(np.stack(biases), name="bilstm.bias"),
        direction="bidirectional",
        hidden_size=recurrent[0].shape[1],
    )


def _onnx_gates(rows: Array) -> Array:
    """torch orders LSTM gates i, f, g, o; ONNX i, o, f, g (its c)."""
    i, f, c, o = np.split(rows, 4)
    return np.concatenate([i, o, f, c])


def _paper_head(g: GraphBuilder, weights: Weights, network: DeviceNetwork, states: str) -> str:
    """Scalar tokens, folded encoders and MLP: ``(128, 2, n, units)`` to the embedding."""
    units = network.config.lstm_units
    last = g.add("Gather", states, g.constant(WINDOW_FRAMES - 1, np.int64), axis=0)  # (2, n, u)
    forward = g.add("Gather", last, g.constant(0, np.int64), axis=0)
    first = g.add("Gather", states, g.constant(0, np.int64), axis=0)
    backward = g.add("Gather", first, g.constant(1, np.int64), axis=0)
    tokens = g.add("Concat", forward, backward, axis=1)  # (n, 2 units)

    def part(quantity: str, values: Array) -> str:
        return g.constant(values.reshape(1, -1, 1, 1), name=f"{name}.{quantity}")

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
        scores = g.add("Mul", column, part("slope", slope))
        scores = g.add("Add", scores, part("offset", offset))
        attention = g.add("Softmax", g.add("Mul", scores, row), axis=3)
        mixed = g.add("MatMul", attention, column)  # (n, heads, tokens, 1)
        mixed = g.add("Mul", mixed, part("gain", gain))
        mixed = g.add("ReduceSum", mixed, g.integers(1, 3), keepdims=0)
        tokens = g.add(
            "Add", g.add("Add", tokens, mixed), g.constant(added, name=f"{name}.constant")
        )
    return g.add("Relu", g.linear(tokens, weights("mlp.weight").T, weights("mlp.bias"), "mlp"))


def _default_head(
    g: GraphBuilder, weights: Weights, network: DeviceNetwork, states: str, x: str
) -> str:
    """Time tokens, encoders, pooling, statistics and MLP, to the embedding ``(n, 128)``."""
    config = network.config
    width = 2 * config.lstm_units
    sequence = g.add("Transpose", states, perm=[2, 0, 1, 3])  # (n, T, 2, units)
    sequence = g.add("Reshape", sequence, g.integers(-1, WINDOW_FRAMES, width))
    tokens = g.linear(sequence, weights("project.weight").T, weights("project.bias"), "project")
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
    total = g.add("MatMul", statistics, g.constant(whiten, name="mlp.statistics.weight"))
    total = g.add("Add", total, g.linear(pooled, kernel[:split], bias, "mlp"))
    return g.add("Relu", total)


def _variance(g: GraphBuilder, x: str, mean: str) -> str:
    """Population variance over axis 1, kept as a dimension of 1."""
    centred = g.add("Sub", x, mean)
    return g.add("ReduceMean", g.add("Mul", centred, centred), axes=[1], keepdims=1)


def _layer_norm(g: GraphBuilder, weights: Weights, name: str, x: str) -> str:
    scale, offset = (
        g.constant(weights(f"{name}.{part}"), name=f"{name}.{part}") for part in ("weight", "bias")
    )
    return g.add("LayerNormalization", x, scale, offset, axis=-1, epsilon=1e-5)


def _token_encoder(
    g: GraphBuilder, weights: Weights, name: str, x: str, heads: int, head_dim: int
) -> str:
    """Pre-norm encoder over ``(n, T, dim)``."""

    def linear(layer: str, value: str) -> str:
        kernel = weights(f"{name}.{layer}.weight").T
        return g.linear(value, kernel, weights(f"{name}.{layer}.bias"), f"{name}.{layer}")

    def heads_of(part: str, rows: slice, perm: Sequence[int], factor: float = 1.0) -> str:
        kernel = factor * weights(f"{name}.query_key_value.weight")[rows].T
        bias = factor * weights(f"{name}.query_key_value.bias")[rows]
        result = g.linear(normed, kernel, bias, f"{name}.{part}")
        result = g.add("Reshape", result, g.integers(-1, WINDOW_FRAMES, heads, head_dim))
        return g.add("Transpose", result, perm=list(perm))

    inner = heads * head_dim
    normed = _layer_norm(g, weights, f"{name}.attention_norm", x)
    query = heads_of("query", slice(0, inner), (0, 2, 1, 3), head_dim**-0.5)  # (n, heads, T, d)
    key = heads_of("key", slice(inner, 2 * inner), (0, 2, 3, 1))  # (n, heads, d, T)
    value = heads_of("value", slice(2 * inner, 3 * inner), (0, 2, 1, 3))
    attention = g.add("Softmax", g.add("MatMul", query, key), axis=-1)
    mixed = g.add("Transpose", g.add("MatMul", attention, value), perm=[0, 2, 1, 3])
    mixed = g.add("Reshape", mixed, g.integers(-1, WINDOW_FRAMES, inner))
    x = g.add("Add", x, linear("out", mixed))
    hidden = g.add("Relu", linear("expand", _layer_norm(g, weights, f"{name}.feed_norm", x)))
    return g.add("Add", x, linear("contract", hidden))
