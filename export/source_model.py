"""A model file as the source of engines: its graph in any precision, and what PyTorch answers."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto

from export.calibration import measure_ranges
from export.engine import Engine, Scores, read_model
from export.folding import Folded, folded_weights
from export.graph import build_graph
from export.int8 import CpuInt8Products, Int8Products
from export.onnxruntime_engine import OnnxRuntimeEngine
from export.parity import Difference, ParityRecord, check_parity, difference
from export.precision import Precision
from export.products import HalfProducts, Products
from export.sidecar import sha256_of
from model.errors import ModelError, UsageError
from model.features import FloatArray
from model.network_config import NetworkConfig

Runtime = Literal["tensorrt", "onnxruntime"]

#: What a graph runs into when a file's settings do not belong to its weights.
_ODD_MODEL = (
    *(ModelError, KeyError, IndexError, TypeError, ValueError, ArithmeticError),
    *(onnx.checker.ValidationError, onnx.shape_inference.InferenceError),
)


@dataclass(frozen=True)
class Comparison:
    """An engine against its reference on one set of windows.

    Attributes:
        kind: of the windows, ``random`` or ``real``.
        reference: whose answers it was compared with.
        difference: what was found.
    """

    kind: str
    reference: str
    difference: Difference


class Source:
    """A float32 model file to make engines from.

    Args:
        path: the ``.onnx`` file.

    Raises:
        ModelError: not a devrec-agent model, or one that is not float32.

    Attributes:
        windows: float32 ``(n, 128, 73)``, windows of real recordings to compare on and to measure
            ranges with; empty until some are set.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = OnnxRuntimeEngine(path)
        if self.engine.precision != "fp32":
            raise ModelError(
                f"{path}: is {self.engine.precision} already; export from the original"
            )
        self.windows: FloatArray = np.zeros((0, *self.engine.metadata.window_shape), np.float32)
        data = read_model(path)
        self.sha256 = sha256_of(data)
        self.model: ModelProto = onnx.load_from_string(data)
        self.record = ParityRecord.from_properties(
            self.engine.properties, str(path), self.engine.metadata.window_shape
        )
        self._real: tuple[str, Scores] | None = None

    def in_precision(
        self, precision: Precision, runtime: Runtime, ranges: dict[str, float] | None = None
    ) -> tuple[ModelProto, dict[str, float]]:
        """The model in another precision, and the ranges behind int8.

        Args:
            precision: which.
            runtime: what will run it.
            ranges: known ranges; measured on the real windows without them.

        Raises:
            UsageError: int8 without real windows, or of a model that 8 bits gain nothing for.
            ModelError: the file was not written by this project, or its weights do not fit.
        """
        if precision == "fp32":
            return self.model, {}
        if precision == "int8" and self.engine.metadata.network.get("profile") == "statistics":
            raise UsageError("int8 is for models with recurrent layers: this one has none")
        if precision == "int8" and ranges is None:
            if not len(self.windows):
                raise UsageError("int8 needs real recordings to measure ranges on (--clips)")
            ranges = measure_ranges(self.model, self.windows)
        try:
            products = _products(precision, runtime, folded_weights(self.model), ranges or {})
            config = NetworkConfig.from_dict(self.engine.metadata.network)
            return build_graph(products, config, self.engine.properties), ranges or {}
        except _ODD_MODEL as error:
            raise ModelError(f"{self.path}: no {precision} graph of it: {error}") from error

    def compare(self, engine: Engine) -> list[Comparison]:
        """Compare an engine with PyTorch on random windows, and on real ones where there are any.

        Raises:
            ParityError: the engine lies outside the bounds of its precision.
        """
        drawn = self.record.windows()
        found = [
            Comparison(
                "random", "PyTorch (recorded)", difference(self.record.scores, engine.run(drawn))
            )
        ]
        if len(self.windows):
            reference, scores = self._real_reference()
            found.append(
                Comparison("real", reference, difference(scores, engine.run(self.windows)))
            )
        for comparison in found:
            check_parity(comparison.difference, engine.precision, f"on {comparison.kind} windows")
        return found

    def _real_reference(self) -> tuple[str, Scores]:
        """PyTorch's answers on the real windows; ONNX Runtime's where torch is not installed.

        The latter were within the float32 bounds of PyTorch's when the model was written.
        """
        if self._real is None:
            if importlib.util.find_spec("torch") is not None:
                from export.onnx_file import torch_scores
                from export.rebuild import rebuild_network

                network = rebuild_network(self.model, str(self.path))
                self._real = "PyTorch", torch_scores(network, self.windows)
            else:
                self._real = "ONNX Runtime fp32", self.engine.run(self.windows)
        return self._real


def _products(
    precision: Precision, runtime: Runtime, folded: Folded, ranges: dict[str, float]
) -> Products:
    """The products of a precision as a runtime is fast at them."""
    if precision == "fp16":
        return HalfProducts(folded)
    # What stays out of 8 bits, a GPU multiplies in half, a CPU in float32.
    if runtime == "tensorrt":
        return Int8Products(folded, ranges, rest=HalfProducts(folded))
    return CpuInt8Products(folded, ranges, rest=Products(folded))
