"""Which precisions there are, and the graph of a model in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from export.folding import Folded
from export.int8 import CpuInt8Products, Int8Products
from export.products import HalfProducts, Products

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Runtime = Literal["tensorrt", "onnxruntime"]


def products_for(
    precision: Precision, runtime: Runtime, folded: Folded, ranges: Mapping[str, float]
) -> Products:
    """The products of a precision as a runtime is fast at them.

    Args:
        precision: which.
        runtime: what will run the graph. Beside 8 bits, a GPU multiplies in half, a CPU in float32.
        folded: the network's weights.
        ranges: of activations; for ``int8`` only.

    Raises:
        ModelError: a range is missing, or a weight does not fit into half precision.
    """
    if precision == "fp32":
        return Products(folded)
    if precision == "fp16":
        return HalfProducts(folded)
    if runtime == "tensorrt":
        return Int8Products(folded, ranges, rest=HalfProducts(folded))
    return CpuInt8Products(folded, ranges, rest=Products(folded))
