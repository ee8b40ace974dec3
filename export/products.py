"""How a graph multiplies: the one thing that differs between precisions.

TensorRT's strongly typed networks, the only kind that works the same from 10.3 to 11, take every
tensor in the type that the ONNX file gives it. So precision is a property of the graph, written
here, and the same graph shows on any machine what it costs in accuracy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from export.folding import Folded
from export.graph_builder import Array, GraphBuilder
from model.errors import ModelError
from model.network_config import TAPS

_HALF_LIMIT = float(np.finfo(np.float16).max)


class Products:
    """Products in float32.

    Args:
        folded: the network's weights.
    """

    #: Operator sets beside ONNX's own that the graph needs, with their versions.
    extra_opsets: tuple[tuple[str, int], ...] = ()

    def __init__(self, folded: Folded) -> None:
        self.folded = folded

    def times(self, g: GraphBuilder, x: str, weight: Array, name: str) -> str:
        """``x @ weight`` with a constant ``(in, out)`` that gets a name."""
        return g.add("MatMul", x, g.constant(weight, name=name))

    def product(self, g: GraphBuilder, x: str, y: str) -> str:
        """``x @ y`` of two tensors."""
        return g.add("MatMul", x, y)

    def linear(self, g: GraphBuilder, x: str, name: str) -> str:
        """A linear layer by name."""
        product = self.times(g, x, self.folded[f"{name}.weight"], f"{name}.weight")
        return g.add("Add", product, g.constant(self.folded[f"{name}.bias"], name=f"{name}.bias"))

    def gates(self, body: GraphBuilder, layer: str, edge: str, positions: int, rides: bool) -> str:
        """The gates ``(n, P, 4C)`` of one step of a ConvLSTM, before their activations.

        Args:
            body: of the loop, which has ``{layer}_h``, the last state ``(n, P, C)``, and
                ``{layer}_scanned``.
            layer: name of the layer.
            edge: zeros ``(n, 1, C)``.
            positions: P.
            rides: ``scanned`` is the inputs, ``(n, P, K)``, and rides along in the state's product;
                otherwise it is the hoisted gates.
        """
        seen, scanned = (
            self.taps(body, layer, padded(body, layer, edge), positions),
            f"{layer}_scanned",
        )
        kernel = self.folded[f"{layer}.state.weight"]
        if rides:
            both = np.concatenate([kernel, self.folded[f"{layer}.input.weight"]])
            seen = body.add("Concat", seen, scanned, axis=2)
            return self.times(body, seen, both, f"{layer}.joined.weight")
        product = self.times(body, seen, kernel, f"{layer}.state.weight")
        return body.add("Add", product, scanned)

    def taps(self, body: GraphBuilder, layer: str, state: str, positions: int) -> str:
        """The three taps of every position side by side, ``(n, P + 2, C)`` to ``(n, P, 3C)``."""
        taps = tap_positions(positions, stride=1)
        seen = body.add("Gather", state, body.constant(taps.ravel(), np.int64), axis=1)
        width = len(self.folded[f"{layer}.state.weight"])
        return body.add("Reshape", seen, body.integers(-1, positions, width))

    def bilstm(self, g: GraphBuilder, x: str) -> str:
        """The BiLSTM, ``(T, n, in)`` to ``(T, 2, n, units)``."""
        parts = ("input", "state", "bias")
        weights = [g.constant(self.folded[f"bilstm.{p}"], name=f"bilstm.{p}") for p in parts]
        units = self.folded["bilstm.state"].shape[2]
        return g.add("LSTM", x, *weights, direction="bidirectional", hidden_size=units)


def tap_positions(positions: int, stride: int) -> npt.NDArray[np.int64]:
    """Input positions that each output position sees, ``(P, 3)``."""
    return (np.arange(positions)[:, None] * stride + np.arange(TAPS)).astype(np.int64)


def padded(body: GraphBuilder, layer: str, edge: str) -> str:
    """The last state with a row of zeros on either side, ``(n, P + 2, C)``."""
    return body.add("Concat", edge, f"{layer}_h", edge, axis=1)


class HalfProducts(Products):
    """``fp16``: the operands of products are half, the result goes back to float32.

    Softmax, layer norms, the gates' arithmetic and the ConvLSTMs' recurrent state stay in float32,
    as do the window's statistics with their wide range. The BiLSTM is one operator, with one type
    for operands and state, so it stays in float32 as a whole.
    """

    def times(self, g: GraphBuilder, x: str, weight: Array, name: str) -> str:
        """``x @ weight`` in half.

        Raises:
            ModelError: the weight does not fit.
        """
        if name.startswith(("mlp.statistics", "statistics.")):
            return super().times(g, x, weight, name)
        if np.abs(weight).max(initial=0.0) > _HALF_LIMIT:
            raise ModelError(f"{name} does not fit into half precision")
        half = g.constant(weight, np.float16, name=name)
        return self._back(g, g.add("MatMul", self._half(g, x), half))

    def product(self, g: GraphBuilder, x: str, y: str) -> str:
        """``x @ y`` in half."""
        return self._back(g, g.add("MatMul", self._half(g, x), self._half(g, y)))

    def _half(self, g: GraphBuilder, x: str) -> str:
        return g.add("Cast", x, to=TensorProto.FLOAT16)

    def _back(self, g: GraphBuilder, x: str) -> str:
        return g.add("Cast", x, to=TensorProto.FLOAT)
