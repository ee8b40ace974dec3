"""Ranges of activations on real windows, for 8-bit versions of a model."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper

from export.engine import INPUT
from export.int8 import product_inputs
from export.onnxruntime_engine import cpu_session
from model.errors import ModelError
from model.features import FloatArray

#: Share of the values of a tensor that its range covers. The rest is clipped: a handful of outliers
#: would otherwise cost all others their resolution.
COVERED = 0.9999
_BATCH = 16


def measure_ranges(model: ModelProto, windows: FloatArray) -> dict[str, float]:
    """The magnitude that covers :data:`COVERED` of each tensor that meets an 8-bit weight.

    Args:
        model: float32 model.
        windows: float32 ``(n, 128, 73)``, raw features of real recordings.

    Returns:
        weight name to range.

    Raises:
        ModelError: no windows.
    """
    if not len(windows):
        raise ModelError("int8 needs windows of real recordings to measure ranges on")
    inputs = product_inputs(model)
    probed = ModelProto()
    probed.CopyFrom(model)
    names = sorted(set(inputs.values()))
    del probed.graph.output[:]
    probed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = cpu_session(probed.SerializeToString(), threads=0)
    spans: dict[str, list[float]] = {name: [] for name in names}
    for start in range(0, len(windows), _BATCH):
        batch = np.ascontiguousarray(windows[start : start + _BATCH], np.float32)
        for name, value in zip(names, session.run(names, {INPUT: batch}), strict=True):
            spans[name].append(float(np.quantile(np.abs(value), COVERED)))
    return {weight: max(spans[tensor]) for weight, tensor in inputs.items()}
