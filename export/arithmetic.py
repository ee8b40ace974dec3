"""How much arithmetic a model file holds."""

from __future__ import annotations

import math

from onnx import GraphProto, ModelProto, NodeProto, TensorShapeProto, shape_inference

from export.graph_builder import bodies

Shapes = dict[str, tuple[int, ...]]


def multiply_adds(model: ModelProto) -> int:
    """Multiply-adds of all products for one window; elementwise work is not counted.

    Args:
        model: a model of :mod:`export.graph`, of any precision.
    """
    single = ModelProto()
    single.CopyFrom(model)
    _fix_batch(single.graph)
    inferred = shape_inference.infer_shapes(single, strict_mode=False, data_prop=True)
    return _count(inferred.graph)


def _fix_batch(graph: GraphProto) -> None:
    """Give the batch dimension the size 1, in loop bodies too."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = 1
    for body in bodies(graph):
        _fix_batch(body)


def _count(graph: GraphProto) -> int:
    shapes: Shapes = {
        value.name: _shape(value.type.tensor_type.shape)
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return sum(_of_node(node, shapes) for node in graph.node)


def _shape(shape: TensorShapeProto) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) or 1 for dimension in shape.dim)


def _of_node(node: NodeProto, shapes: Shapes) -> int:
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "LSTM":
        steps, batch, inputs = shapes[node.input[0]]
        directions, _, units = shapes[node.input[2]]
        return steps * batch * directions * 4 * units * (inputs + units)
    if node.op_type == "Scan":
        body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
        scanned = node.input[-1]
        return shapes[scanned][0] * _count(body)
    return 0
