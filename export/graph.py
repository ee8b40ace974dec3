"""The ONNX graph of a trained network, built node by node for inference engines.

Tracing the network would unroll 128 steps of two recurrent layers into thousands of nodes, slow
to load and slower to compile. Here each ConvLSTM is one ``Scan`` over a small matrix product; the
BiLSTM is the ``LSTM`` operator; everything that folds into the weights around it has been folded
(:mod:`export.folding`); and :mod:`export.products` decides the precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from export.engine import EMBEDDING, INPUT, LOGITS
from export.folding import fold
from export.graph_builder import Array, GraphBuilder
from export.products import Products, tap_positions
from model.features import WINDOW_FRAMES
from model.metadata import ModelMetadata
from model.network_config import (
    SOFTNESS,
    STATISTICS_CLIP,
    TAPS,
    VARIANCE_FLOOR,
    NetworkConfig,
)

if TYPE_CHECKING:
    from model.network import DeviceNetwork

OPSET = 17  # LayerNormalization; ONNX Runtime >= 1.12, TensorRT >= 8.6
IR_VERSION = 9  # readable by the ONNX Runtime of JetPack 6

ConvLSTMs = Callable[[GraphBuilder, Products, NetworkConfig, str], str]


def build_model(network: DeviceNetwork, metadata: ModelMetadata) -> ModelProto:
    """Build the float32 ONNX model of a trained network.

    Args:
        network: in any mode; running statistics are used.
        metadata: travels in ``metadata_props``.

    Returns:
        see :func:`build_graph`.
    """
    return build_graph(Products(fold(network)), network.config, metadata.to_properties())


def build_graph(
    products: Products,
    config: NetworkConfig,
    properties: Mapping[str, str],
    convlstms: ConvLSTMs | None = None,
) -> ModelProto:
    """Write the graph of a network.

    Args:
        products: precision, and the folded weights.
        config: of the network.
        properties: for ``metadata_props``.
        convlstms: another way to write the ConvLSTMs, for comparisons.

    Returns:
        a checked model with input ``features (n, 128, 73)`` and outputs ``logits (n, devices)``
        and ``embedding (n, embedding_dim)``.
    """
    g = GraphBuilder()
    x = _input_norm(g, products.folded, config)
    if config.profile == "statistics":
        statistics = _statistics(g, config, x)
        hidden = g.add("Relu", products.linear(g, statistics, "statistics.hidden"))
        head = g.add("Relu", products.linear(g, hidden, "mlp"))
        embedding = products.linear(g, statistics, "statistics.discriminants")
    else:
        states = products.bilstm(g, (convlstms or scanned_convlstms)(g, products, config, x))
        if config.profile == "paper":
            head = embedding = _paper_head(g, products, config, states)
        else:
            head = embedding = _hybrid_head(g, products, config, states, x)
    g.named(embedding, EMBEDDING)
    logits = products.linear(g, head, "classifier")
    if config.profile == "statistics":
        linear = products.linear(g, statistics, "statistics.linear_scores")
        logits = g.add("Add", logits, linear)
    g.named(logits, LOGITS)
    window: list[str | int | None] = ["n", WINDOW_FRAMES, config.n_features]
    shapes: dict[str, list[str | int | None]] = {
        LOGITS: ["n", config.n_devices],
        EMBEDDING: ["n", config.embedding_dim],
    }
    graph = helper.make_graph(
        g.nodes,
        "devrec",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, window)],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()],
        g.constants,
    )
    opsets = (("", OPSET), *products.extra_opsets)
    model = helper.make_model(
        graph,
        producer_name="devrec-agent",
        opset_imports=[helper.make_opsetid(*opset) for opset in opsets],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(properties))
    # Shapes behind an operator that ONNX does not know cannot be inferred.
    checker.check_model(model, full_check=not products.extra_opsets)
    return model


def _input_norm(g: GraphBuilder, folded: Mapping[str, Array], config: NetworkConfig) -> str:
    """Level removal and standardisation: ``(n, 128, 73)`` in, the same shape out."""
    x = INPUT
    if config.level_free:
        # One small product gives every feature the level to subtract: its own mean for the log
        # energy, the mean over all bands for the log pre-Fbank, nothing for the rest.
        n_static = config.n_static
        select = np.zeros((config.n_features, config.n_features))
        select[n_static - 1, n_static - 1] = 1.0
        select[3 * n_static :, 3 * n_static :] = 1.0 / config.n_mels
        window_mean = g.add("ReduceMean", x, axes=[1], keepdims=1)
        x = g.add("Sub", x, g.add("MatMul", window_mean, g.constant(select)))
    for operator, name in (("Sub", "input_norm.mean"), ("Mul", "input_norm.scale")):
        x = g.add(operator, x, g.constant(folded[name], name=name))
    return x


def scanned_convlstms(g: GraphBuilder, products: Products, config: NetworkConfig, x: str) -> str:
    """Both ConvLSTMs as scans: ``(n, 128, 73)`` to hidden states ``(128, n, positions filters)``.

    The input convolution of layer 2 is hoisted: one product for all steps. That of layer 1 has
    three taps of one channel; its values ride along in the state's product, which costs less than
    to write and read back 3 MB of gates a window.
    """
    steps = g.add("Transpose", x, perm=[1, 0, 2])  # (T, n, 73)
    # A 74th feature that is always 1 carries the bias.
    steps = g.add("Pad", steps, g.integers(0, 0, 0, 0, 0, 1), g.constant(1.0))
    first, second = config.positions
    bias = np.full((first, 1), config.n_features)
    taps = np.concatenate([tap_positions(first, config.strides[0]), bias], axis=1)
    seen = g.add("Gather", steps, g.constant(taps, np.int64), axis=2)  # (T, n, P, 4)
    taps = tap_positions(second, config.strides[1]).ravel()
    seen = _scan(g, products, "convlstm1", seen, first, rides=True, emit=taps)
    width = TAPS * config.filters[0]
    seen = g.add("Reshape", seen, g.integers(WINDOW_FRAMES, -1, second, width))
    gates = products.linear(g, seen, "convlstm2.input")
    hidden = _scan(g, products, "convlstm2", gates, second, rides=False)
    return g.add("Reshape", hidden, g.integers(WINDOW_FRAMES, -1, second * config.filters[1]))


def _scan(
    g: GraphBuilder,
    products: Products,
    layer: str,
    scanned: str,
    positions: int,
    *,
    rides: bool,
    emit: npt.NDArray[np.int64] | None = None,
) -> str:
    """The recurrence of one layer; returns hidden states ``(T, n, P, C)``.

    Args:
        g: graph to add to.
        products: precision and weights.
        layer: name of the layer.
        scanned: hoisted gates ``(T, n, P, 4C)``, or inputs ``(T, n, P, K)``.
        positions: P.
        rides: it is the inputs; see :meth:`export.products.Products.gates`.
        emit: positions of the states to return, all without; copied while they are in the cache.
    """
    filters = products.folded[f"{layer}.state.weight"].shape[1] // 4
    peephole = products.folded.get(f"{layer}.peephole")
    batch = g.slice(g.add("Shape", INPUT), 0, 0, 1)

    def zeros(rows: int) -> str:
        """For as many windows as there are."""
        shape = g.add("Concat", batch, g.integers(rows, filters), axis=0)
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        return g.add("ConstantOfShape", shape, value=zero)

    start, edge = zeros(positions), zeros(1)
    body = GraphBuilder(first=1000 * (1 + len(g.nodes)))  # names must differ from the outer graph's
    total = products.gates(body, layer, edge, positions, rides)
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
    if emit is None:
        body.named(state, f"{layer}_y")
    else:
        body.add("Gather", state, body.constant(emit, np.int64), axis=1, result=f"{layer}_y")

    def value(name: str, last: int = filters, rows: int = positions) -> ValueInfoProto:
        return helper.make_tensor_value_info(
            f"{layer}_{name}", TensorProto.FLOAT, ["n", rows, last]
        )

    width = len(products.folded[f"{layer}.input.weight"]) if rides else 4 * filters
    graph: GraphProto = helper.make_graph(
        body.nodes,
        f"{layer}_step",
        [value("h"), value("c"), value("scanned", width)],
        [
            value("h_out"),
            value("c_out"),
            value("y", rows=positions if emit is None else len(emit)),
        ],
        body.constants,
    )
    scan = g.add("Scan", start, start, scanned, outputs=3, body=graph, num_scan_inputs=1)
    return f"{scan}_2"


def _paper_head(g: GraphBuilder, products: Products, config: NetworkConfig, states: str) -> str:
    """Scalar tokens, folded encoders and MLP: ``(128, 2, n, units)`` to the embedding."""
    units = config.lstm_units
    last = g.add("Gather", states, g.constant(WINDOW_FRAMES - 1, np.int64), axis=0)  # (2, n, u)
    forward = g.add("Gather", last, g.constant(0, np.int64), axis=0)
    first = g.add("Gather", states, g.constant(0, np.int64), axis=0)
    backward = g.add("Gather", first, g.constant(1, np.int64), axis=0)
    tokens = g.add("Concat", forward, backward, axis=1)  # (n, 2 units)
    for index in range(2):
        name = f"encoders.{index}"
        slope, offset, gain, constant = (
            g.constant(products.folded[f"{name}.{part}"], name=f"{name}.{part}")
            for part in ("slope", "offset", "gain", "constant")
        )
        column = g.add("Reshape", tokens, g.integers(-1, 1, 2 * units, 1))
        row = g.add("Reshape", tokens, g.integers(-1, 1, 1, 2 * units))
        scores = g.add("Add", g.add("Mul", column, slope), offset)
        attention = g.add("Softmax", g.add("Mul", scores, row), axis=3)
        mixed = products.product(g, attention, column)  # (n, heads, tokens, 1)
        mixed = g.add("ReduceSum", g.add("Mul", mixed, gain), g.integers(1, 3), keepdims=0)
        tokens = g.add("Add", g.add("Add", tokens, mixed), constant)
    return g.add("Relu", products.linear(g, tokens, "mlp"))


def _hybrid_head(
    g: GraphBuilder, products: Products, config: NetworkConfig, states: str, x: str
) -> str:
    """Time tokens, encoders, pooling, statistics and MLP, to the embedding ``(n, 128)``."""
    sequence = g.add("Transpose", states, perm=[2, 0, 1, 3])  # (n, T, 2, units)
    sequence = g.add("Reshape", sequence, g.integers(-1, WINDOW_FRAMES, 2 * config.lstm_units))
    tokens = products.linear(g, sequence, "project")
    for index in range(2):
        tokens = _token_encoder(g, products, config, f"encoders.{index}", tokens)
    mean = g.add("ReduceMean", tokens, axes=[1], keepdims=1)
    variance = _variance(g, tokens, mean)
    deviation = g.add("Sqrt", g.add("Add", variance, g.constant(1e-5)))
    flat = g.integers(-1, config.token_dim)
    pooled = g.add(
        "Concat", g.add("Reshape", mean, flat), g.add("Reshape", deviation, flat), axis=1
    )
    pooled = _layer_norm(g, products, "sequence_norm", pooled)
    name = "mlp.statistics.weight"
    total = products.times(g, _statistics(g, config, x), products.folded[name], name)
    return g.add("Relu", g.add("Add", total, products.linear(g, pooled, "mlp")))


def _statistics(g: GraphBuilder, config: NetworkConfig, x: str) -> str:
    """See :meth:`model.window_statistics.StatisticsPool.statistics`: ``(n, 4 bands)``."""
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
    return g.add("Reshape", statistics, g.integers(-1, 4 * config.n_mels))


def _variance(g: GraphBuilder, x: str, mean: str) -> str:
    """Population variance over axis 1, kept as a dimension of 1."""
    centred = g.add("Sub", x, mean)
    return g.add("ReduceMean", g.add("Mul", centred, centred), axes=[1], keepdims=1)


def _layer_norm(g: GraphBuilder, products: Products, name: str, x: str) -> str:
    scale, offset = (
        g.constant(products.folded[f"{name}.{part}"], name=f"{name}.{part}")
        for part in ("weight", "bias")
    )
    return g.add("LayerNormalization", x, scale, offset, axis=-1, epsilon=1e-5)


def _token_encoder(
    g: GraphBuilder, products: Products, config: NetworkConfig, name: str, x: str
) -> str:
    """Pre-norm encoder over ``(n, T, dim)`` with folded attention.

    The normalised tokens are keys and values of all heads, so the heads are rows of one product;
    see :func:`export.folding._fold_token_encoder`.
    """
    width, heads = config.token_dim, config.heads
    normed = _layer_norm(g, products, f"{name}.attention_norm", x)
    queries = products.linear(g, normed, f"{name}.query")
    queries = g.add("Reshape", queries, g.integers(-1, WINDOW_FRAMES * heads, width))
    scores = products.product(g, queries, g.add("Transpose", normed, perm=[0, 2, 1]))
    mixed = products.product(g, g.add("Softmax", scores, axis=-1), normed)  # (n, T heads, dim)
    mixed = g.add("Reshape", mixed, g.integers(-1, WINDOW_FRAMES, heads * width))
    x = g.add("Add", x, products.linear(g, mixed, f"{name}.out"))
    hidden = products.linear(g, _layer_norm(g, products, f"{name}.feed_norm", x), f"{name}.expand")
    return g.add("Add", x, products.linear(g, g.add("Relu", hidden), f"{name}.contract"))
