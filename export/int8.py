"""8-bit products, for TensorRT and for ONNX Runtime on a CPU.

Weights get 8 bits per output channel, activations 8 bits per tensor: ranges measured on real
windows, and for the ConvLSTMs the fixed range of a bounded state, [-1, 1]. Statistics (a wide
range, and what decides between devices) and the last layers stay in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from export.folding import Folded
from export.graph_builder import Array, GraphBuilder
from export.products import Products, padded
from model.errors import ModelError

#: Largest value of an 8-bit operand; symmetric, as TensorRT asks.
INT8_MAX = 127
_KEPT = ("mlp", "classifier", "statistics")


def product_inputs(model: ModelProto) -> dict[str, str]:
    """What has to be measured: weight name to the name of the tensor that it multiplies.

    Args:
        model: float32 model. Only products of its main graph count; the state of a ConvLSTM has a
            fixed range.
    """
    return {
        node.input[1]: node.input[0]
        for node in model.graph.node
        if node.op_type == "MatMul" and "." in node.input[1] and not node.input[1].startswith(_KEPT)
    }


class Int8Products(Products):
    """``int8`` for TensorRT: signed QuantizeLinear / DequantizeLinear pairs right before a product.

    The state products of the ConvLSTMs, half of all arithmetic, and the encoders' linear layers.
    The second input convolution and the projection stay out, because TensorRT's compiler fails on
    8-bit operands that come straight out of a loop (seen in TensorRT-RTX 1.7.1:
    "append_to->parent() == this").

    Args:
        folded: the network's weights.
        ranges: weight name to the largest magnitude of the tensor that it multiplies, for every
            entry of :func:`product_inputs`.
        rest: does the products that stay out.

    Raises:
        ModelError: a range is missing.
    """

    kept: ClassVar[tuple[str, ...]] = (*_KEPT, "convlstm2.input", "project")
    zero: ClassVar[int] = 0
    dtype: ClassVar[type] = np.int8

    def __init__(self, folded: Folded, ranges: Mapping[str, float], rest: Products) -> None:
        super().__init__(folded)
        self._ranges, self._rest = ranges, rest

    def times(self, g: GraphBuilder, x: str, weight: Array, name: str) -> str:
        """``x @ weight`` in 8 bits, or as the rest does it."""
        if name.startswith(self.kept):
            return self._rest.times(g, x, weight, name)
        if name not in self._ranges:
            raise ModelError(f"no range was measured for {name}")
        grid = self._grid(g, self._ranges[name])
        return self._multiply(g, g.add("QuantizeLinear", x, *grid), grid, weight, name)

    def product(self, g: GraphBuilder, x: str, y: str) -> str:
        """``x @ y`` as the rest does it."""
        return self._rest.product(g, x, y)

    def gates(self, body: GraphBuilder, layer: str, edge: str, positions: int, rides: bool) -> str:
        """See :meth:`Products.gates`; inputs that ride along get a product of their own."""
        taps = self.taps(body, layer, padded(body, layer, edge), positions)
        grid = self._grid(body, 1.0)  # a state is o * tanh(c)
        product = self._state_product(body, layer, body.add("QuantizeLinear", taps, *grid), grid)
        return self._with_scanned(body, layer, product, rides)

    def _state_product(
        self, body: GraphBuilder, layer: str, taps: str, grid: tuple[str, str]
    ) -> str:
        name = f"{layer}.state.weight"
        return self._multiply(body, taps, grid, self.folded[name], name)

    def _with_scanned(self, body: GraphBuilder, layer: str, product: str, rides: bool) -> str:
        scanned = f"{layer}_scanned"
        if rides:
            name = f"{layer}.input.weight"
            scanned = self._rest.times(body, scanned, self.folded[name], name)
        return body.add("Add", product, scanned)

    def _grid(self, g: GraphBuilder, span: float) -> tuple[str, str]:
        """Scale and zero point for values up to ``span``."""
        scale = (span if span > 0 else 1.0) / INT8_MAX
        return g.constant(scale), g.constant(self.zero, self.dtype)

    def _multiply(
        self, g: GraphBuilder, codes: str, grid: tuple[str, str], weight: Array, name: str
    ) -> str:
        """Quantised ``x`` times a weight that gets quantised per output channel."""
        weight_codes, scales = quantised(weight, axis=0)
        zeros = np.zeros(len(scales), np.int8)
        kernel = g.add(
            "DequantizeLinear",
            g.constant(weight_codes, np.int8, name=name),
            g.constant(scales, name=f"{name}.scales"),
            g.constant(zeros, np.int8),
            axis=1,
        )
        return g.add("MatMul", g.add("DequantizeLinear", codes, *grid), kernel)


class CpuInt8Products(Int8Products):
    """``int8`` for ONNX Runtime: unsigned with zero point 128, which CPUs multiply natively.

    All products except the kept ones; the ConvLSTM states are quantised before their taps are
    copied, and the BiLSTM is DynamicQuantizeLSTM, an operator that only ONNX Runtime has.
    """

    extra_opsets = (("com.microsoft", 1),)
    kept = _KEPT
    zero = 128
    dtype = np.uint8

    def gates(self, body: GraphBuilder, layer: str, edge: str, positions: int, rides: bool) -> str:
        """See :meth:`Products.gates`."""
        grid = self._grid(body, 1.0)
        codes = body.add("QuantizeLinear", padded(body, layer, edge), *grid)
        taps = self.taps(body, layer, codes, positions)
        return self._with_scanned(body, layer, self._state_product(body, layer, taps, grid), rides)

    def bilstm(self, g: GraphBuilder, x: str) -> str:
        """See :meth:`Products.bilstm`; inputs and states get their ranges step by step."""
        constants = []
        for part in ("input", "state"):
            kernels = np.swapaxes(self.folded[f"bilstm.{part}"], 1, 2)  # (2, in, 4 units)
            codes, scales = quantised(kernels, axis=1)
            constants += [
                g.constant(codes, np.int8, name=f"bilstm.{part}"),
                g.constant(scales, name=f"bilstm.{part}.scales"),
                g.constant(np.zeros(scales.shape), np.int8),
            ]
        w, w_scale, w_zero, r, r_scale, r_zero = constants
        bias = g.constant(self.folded["bilstm.bias"], name="bilstm.bias")
        scales_and_zeros = (w_scale, w_zero, r_scale, r_zero)
        return g.add(
            "DynamicQuantizeLSTM",
            *(x, w, r, bias, "", "", "", "", *scales_and_zeros),
            direction="bidirectional",
            hidden_size=self.folded["bilstm.state"].shape[2],
            domain=self.extra_opsets[0][0],
        )


def quantised(weight: Array, axis: int) -> tuple[npt.NDArray[np.int8], Array]:
    """Symmetric 8-bit codes and their scales.

    Args:
        weight: any shape.
        axis: the axis that shares a scale.

    Returns:
        codes of the weight's shape, and scales of that shape without the axis.
    """
    largest = np.abs(weight).max(axis=axis)
    scales = np.where(largest > 0, largest, 1.0) / INT8_MAX
    codes = np.rint(weight / np.expand_dims(scales, axis))
    return np.clip(codes, -INT8_MAX, INT8_MAX).astype(np.int8), scales
