"""Half and 8-bit versions of a model file: the precision is written into the graph itself.

TensorRT's strongly typed networks, the only kind that works the same from 10.3 to 11, take every
tensor in the type that the ONNX file gives it. So precision is a rewriting of the graph, done here,
and the same file shows on any machine what it costs in accuracy.

``fp16``
    The operands of every matrix product are half, and its result goes back to float32: softmax,
    layer norms, statistics, the gates' arithmetic and the ConvLSTMs' recurrent state stay in
    float32. The BiLSTM is one operator, with one type for operands and state, so it stays in
    float32 as a whole.

``int8``
    The state products of the ConvLSTMs, half of all arithmetic, and the encoders' linear layers get
    8-bit operands (QuantizeLinear / DequantizeLinear pairs): weights per output channel,
    activations per tensor with ranges measured on real windows, the ConvLSTM states with the fixed
    range of a bounded state, [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from model.errors import ModelError

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: Largest value of an 8-bit operand; symmetric, as TensorRT asks.
INT8_MAX = 127

#: Weights of products that int8 leaves alone: the first input convolution (three values a product),
#: the statistics (a wide range, and what decides between devices) and the last layers; the second
#: input convolution and the projection, because TensorRT's compiler fails on 8-bit operands that
#: come straight out of a loop (seen in TensorRT-RTX 1.7.1: "append_to->parent() == this").
KEPT_IN_FLOAT = ("input_norm", "convlstm1.input", "convlstm2.input", "project", "mlp", "classifier")

_HALF_LIMIT = float(np.finfo(np.float16).max)


def to_half(model: ModelProto) -> ModelProto:
    """The ``fp16`` version of a float32 model; products already in 8 bits stay as they are.

    Raises:
        ModelError: a weight does not fit into half precision.
    """
    result = ModelProto()
    result.CopyFrom(model)
    for graph in _graphs(result.graph):
        _rewrite_products(graph, _half_product)
    return result


def product_inputs(model: ModelProto) -> dict[str, str]:
    """What int8 needs to measure: weight name to the name of the tensor that it multiplies.

    Only products of the main graph; the state of a ConvLSTM has a fixed range.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    return {
        node.input[1]: node.input[0]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and _quantised(node.input[1])
    }


def to_int8(model: ModelProto, ranges: Mapping[str, float]) -> ModelProto:
    """The ``int8`` version of a float32 model.

    Args:
        model: float32 model.
        ranges: weight name to the largest magnitude of the tensor that it multiplies, for every
            entry of :func:`product_inputs`.

    Raises:
        ModelError: a range is missing.
    """
    missing = product_inputs(model).keys() - ranges.keys()
    if missing:
        raise ModelError(f"no range was measured for {', '.join(sorted(missing))}")
    result = ModelProto()
    result.CopyFrom(model)
    for graph in _graphs(result.graph):
        _rewrite_products(graph, lambda g, node, weight: _int8_product(g, node, weight, ranges))
    return result


def _graphs(graph: GraphProto) -> list[GraphProto]:
    """A graph and the bodies of its loops."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += _graphs(attribute.g)
    return found


def _quantised(weight: str) -> bool:
    return not weight.startswith(KEPT_IN_FLOAT) and weight.endswith(".weight")


Rewriting = Callable[[GraphProto, NodeProto, TensorProto | None], list[NodeProto]]


def _rewrite_products(graph: GraphProto, rewrite: Rewriting) -> None:
    """Replace every MatMul by the nodes that ``rewrite`` gives for it."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "MatMul":
            nodes += rewrite(graph, node, weights.get(node.input[1]))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _half_product(
    graph: GraphProto, node: NodeProto, weight: TensorProto | None
) -> list[NodeProto]:
    if any(name.endswith("_dequantised") for name in node.input):
        return [node]
    x, y = node.input
    result = node.output[0]
    nodes = [_cast(x, f"{result}_x16", TensorProto.FLOAT16)]
    if weight is None:
        nodes.append(_cast(y, f"{result}_y16", TensorProto.FLOAT16))
        second = f"{result}_y16"
    else:
        values = numpy_helper.to_array(weight)
        if np.abs(values).max(initial=0.0) > _HALF_LIMIT:
            raise ModelError(f"{weight.name} does not fit into half precision")
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))
        second = weight.name
    product = helper.make_node(
        "MatMul", [f"{result}_x16", second], [f"{result}_16"], name=node.name
    )
    return [*nodes, product, _cast(f"{result}_16", result, TensorProto.FLOAT)]


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to)


def _int8_product(
    graph: GraphProto,
    node: NodeProto,
    weight: TensorProto | None,
    ranges: Mapping[str, float],
) -> list[NodeProto]:
    if weight is None or not _quantised(weight.name):
        return [node]
    name = weight.name
    values = numpy_helper.to_array(weight)
    largest = np.abs(values).max(axis=0)
    scales = (np.where(largest > 0, largest, 1.0) / INT8_MAX).astype(np.float32)
    codes = np.clip(np.rint(values / scales), -INT8_MAX, INT8_MAX).astype(np.int8)
    span = ranges.get(name, 1.0)  # without one: a state, o * tanh(c), which is bounded by 1
    scale = np.float32((span if span > 0 else 1.0) / INT8_MAX)
    weight.CopyFrom(numpy_helper.from_array(codes, name))
    constants: dict[str, npt.NDArray[np.generic]] = {
        f"{name}_scales": scales,
        f"{name}_zeros": np.zeros(len(scales), np.int8),
        f"{name}_x_scale": np.asarray(scale),
        f"{name}_x_zero": np.asarray(0, np.int8),
    }
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    per_tensor = [f"{name}_x_scale", f"{name}_x_zero"]
    x, out = f"{name}_x", f"{name}_x_dequantised"
    return [
        helper.make_node("QuantizeLinear", [node.input[0], *per_tensor], [x], name=f"{x}_q"),
        helper.make_node("DequantizeLinear", [x, *per_tensor], [out], name=f"{x}_dq"),
        helper.make_node(
            "DequantizeLinear",
            [name, f"{name}_scales", f"{name}_zeros"],
            [f"{name}_dequantised"],
            name=f"{name}_dq",
            axis=1,
        ),
        helper.make_node("MatMul", [out, f"{name}_dequantised"], list(node.output), name=node.name),
    ]
