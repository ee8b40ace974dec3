"""Other ways to write the same network as a graph, kept to compare the shipped one with (torch).

``unrolled``
    What a trace of the network as the paper writes it gives: one convolution pair per step.
``banded``
    Each ConvLSTM as a dense LSTM over all positions at once, its weight matrices banded.

Neither is used for anything but ``devrec-agent bench --compare`` and tests.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, helper, load
from torch import Tensor, nn

from export.engine import EMBEDDING, INPUT, LOGITS
from export.folding import fold
from export.graph import build_graph
from export.graph_builder import Array, GraphBuilder
from export.products import Products
from model.convlstm import ConvLSTM1d
from model.encoders import ScalarEncoder
from model.features import WINDOW_FRAMES
from model.metadata import ModelMetadata
from model.naive_convlstm import naive_forward
from model.network import DeviceNetwork
from model.network_config import TAPS, NetworkConfig


class _StepByStep(nn.Module):
    """A ConvLSTM layer as the textbook has it."""

    def __init__(self, layer: ConvLSTM1d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return naive_forward(self.layer, x)


class _Unfolded(nn.Module):
    """The paper's encoder with full queries, keys and values, and its feed-forward half."""

    def __init__(self, encoder: ScalarEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        encoder = self.encoder
        column = x[:, None, :, None]  # (n, 1, tokens, 1)
        query = column * encoder.query[None, :, None] + encoder.query_bias[None, :, None]
        key = column * encoder.key[None, :, None] + encoder.key_bias[None, :, None]
        value = column * encoder.value[None, :, None] + encoder.value_bias[None, :, None]
        scale = float(encoder.query.shape[1]) ** -0.5
        mixed = torch.softmax(query @ key.transpose(2, 3) * scale, dim=-1) @ value
        attended = (mixed * encoder.out[None, :, None]).sum(dim=(1, 3)) + encoder.out_bias
        x = x + attended
        return x + encoder.feed_forward(x.unsqueeze(-1)).squeeze(-1)


def as_written(network: DeviceNetwork) -> DeviceNetwork:
    """A copy of a network that computes as the paper writes it, in evaluation mode.

    ConvLSTMs run one convolution pair a step, and attention over scalars is not folded.
    """
    naive = copy.deepcopy(network)
    for name in ("convlstm1", "convlstm2"):
        naive.register_module(name, _StepByStep(getattr(naive, name)))
    for index, encoder in enumerate(naive.encoders):
        if isinstance(encoder, ScalarEncoder):
            naive.encoders[index] = _Unfolded(encoder)
    return naive.eval()


def unrolled_model(network: DeviceNetwork, metadata: ModelMetadata) -> ModelProto:
    """The naive export: torch's tracer on the step-by-step network."""
    windows = torch.zeros(2, WINDOW_FRAMES, network.config.n_features)
    naive = as_written(network)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "unrolled.onnx"
        warnings.simplefilter("ignore")  # of the tracer, about shapes that are constant here
        torch.onnx.export(
            naive,
            (windows,),
            str(file),
            input_names=[INPUT],
            output_names=[LOGITS, EMBEDDING],
            dynamic_axes={name: {0: "n"} for name in (INPUT, LOGITS, EMBEDDING)},
            opset_version=17,
            dynamo=False,
        )
        model = load(str(file))
    helper.set_model_props(model, metadata.to_properties())
    return model


def banded_model(network: DeviceNetwork, metadata: ModelMetadata) -> ModelProto:
    """ConvLSTMs as LSTM operators with banded dense weights (no peepholes).

    Raises:
        ValueError: the network has peepholes.
    """
    if network.config.peepholes:
        raise ValueError("peepholes differ by position: no plain LSTM has them")
    properties = metadata.to_properties()
    return build_graph(Products(fold(network)), network.config, properties, _banded_convlstms)


def _banded_convlstms(g: GraphBuilder, products: Products, config: NetworkConfig, x: str) -> str:
    folded = products.folded
    first, second = config.positions
    steps = g.add("Transpose", x, perm=[1, 0, 2])  # (T, n, 73)
    kernel, bias = np.split(folded["convlstm1.input.weight"], [TAPS])
    inner = _dense_lstm(
        g,
        steps,
        _band(kernel[:, None], config.n_features, first, config.strides[0], 0),
        _band(_by_tap(folded["convlstm1.state.weight"]), first, first, 1, 1),
        bias,
        first,
    )
    return _dense_lstm(
        g,
        inner,
        _band(_by_tap(folded["convlstm2.input.weight"]), first, second, config.strides[1], 0),
        _band(_by_tap(folded["convlstm2.state.weight"]), second, second, 1, 1),
        folded["convlstm2.input.bias"],
        second,
    )


def _by_tap(kernel: Array) -> Array:
    """``(3 channels, gates)`` to ``(3, channels, gates)``."""
    return kernel.reshape(TAPS, -1, kernel.shape[1])


def _band(kernel: Array, inputs: int, positions: int, stride: int, padding: int) -> Array:
    """A 1-D convolution as a dense matrix.

    Args:
        kernel: ``(taps, channels, 4 filters)``.
        inputs: input positions.
        positions: output positions.
        stride: of the convolution.
        padding: zeros on either side.

    Returns:
        ``(4 positions filters, inputs channels)``, gate-major rows.
    """
    taps, channels, gates = kernel.shape
    filters = gates // 4
    dense = np.zeros((4, positions, filters, inputs, channels))
    for position in range(positions):
        for tap in range(taps):
            source = position * stride + tap - padding
            if 0 <= source < inputs:
                part = kernel[tap].T.reshape(4, filters, channels)
                dense[:, position, :, source] = part
    return dense.reshape(4 * positions * filters, inputs * channels)


def _dense_lstm(g: GraphBuilder, x: str, w: Array, r: Array, bias: Array, positions: int) -> str:
    """One LSTM operator: ``(T, n, in)`` to ``(T, n, positions filters)``."""
    hidden = r.shape[1]

    def ordered(rows: Array) -> Array:
        i, f, o, z = np.split(rows, 4)
        return np.concatenate([i, o, f, z])[None]

    spread = np.tile(bias.reshape(4, 1, -1), (1, positions, 1)).reshape(-1)
    biases = np.concatenate([ordered(spread), np.zeros((1, 4 * hidden))], axis=1)
    states = g.add(
        "LSTM",
        x,
        g.constant(ordered(w)),
        g.constant(ordered(r)),
        g.constant(biases),
        hidden_size=hidden,
    )
    return g.add("Reshape", states, g.integers(WINDOW_FRAMES, -1, hidden))
