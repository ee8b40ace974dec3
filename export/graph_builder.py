"""Writing an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float64]


def bodies(graph: GraphProto) -> Iterator[GraphProto]:
    """The bodies of a graph's loops."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g


class GraphBuilder:
    """Collects nodes and constants; every method returns the name of its result.

    Args:
        first: where the numbers in generated names begin.
    """

    def __init__(self, first: int = 0) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._count = first

    def constant(
        self, value: npt.ArrayLike, dtype: type = np.float32, hint: str = "c", name: str = ""
    ) -> str:
        """Add an initializer; weights get a name, by which :mod:`export.folding` finds them."""
        name = name or self._name(hint)
        self.constants.append(
            numpy_helper.from_array(np.array(value, dtype=dtype, order="C"), name)
        )
        return name

    def integers(self, *values: int) -> str:
        """Add an int64 vector."""
        return self.constant(values, np.int64, "i")

    def add(
        self, operator: str, *inputs: str, outputs: int = 1, result: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output of interest; further outputs are named ``name_k``."""
        name = result or self._name(operator.lower())
        names = [name, *(f"{name}_{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, inputs, names, name=name, **attributes))
        return name

    def named(self, result: str, name: str) -> None:
        """Give a result a public name."""
        self.nodes.append(helper.make_node("Identity", [result], [name], name=name))

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        """``x[start:stop]`` along one axis."""
        return self.add("Slice", x, self.integers(start), self.integers(stop), self.integers(axis))

    def _name(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"
