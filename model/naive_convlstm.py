"""The textbook ConvLSTM, one convolution pair per step under autograd: reference and rival."""

from __future__ import annotations

import torch
from torch import Tensor

from model.convlstm import ConvLSTM1d


def naive_forward(layer: ConvLSTM1d, x: Tensor) -> Tensor:
    """Equations (6)-(11) with the weights of a fast layer.

    Args:
        layer: gives weights, stride and sizes.
        x: shape ``(T, in_positions, B, in_channels)``.

    Returns:
        hidden states, shape ``(T, positions, B, filters)``.
    """
    steps, _, batch, _ = x.shape
    filters, positions = layer.filters, layer.positions
    input_weight = layer.input_kernel.permute(2, 1, 0)
    state_weight = layer.state_kernel.permute(2, 1, 0)
    hidden = x.new_zeros(batch, filters, positions)
    cell = x.new_zeros(batch, filters, positions)
    outputs = []
    for t in range(steps):
        gates = torch.conv1d(
            x[t].permute(1, 2, 0), input_weight, layer.bias, stride=layer.stride
        ) + torch.conv1d(hidden, state_weight, padding=1)
        i, f, o, z = gates.chunk(4, dim=1)
        if layer.peephole is not None:
            peep = layer.peephole.transpose(1, 2)  # (3, filters, positions)
            i = i + peep[0] * cell
            f = f + peep[1] * cell
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(z)
        if layer.peephole is not None:
            o = o + peep[2] * cell
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs).permute(0, 3, 1, 2)


def naive_forward_by_gate(layer: ConvLSTM1d, x: Tensor) -> Tensor:
    """The same without peepholes, with a convolution per gate as the equations are written."""
    steps, _, batch, _ = x.shape
    filters, positions = layer.filters, layer.positions
    input_weights = layer.input_kernel.permute(2, 1, 0).chunk(4)
    state_weights = layer.state_kernel.permute(2, 1, 0).chunk(4)
    biases = layer.bias.chunk(4)
    hidden = x.new_zeros(batch, filters, positions)
    cell = x.new_zeros(batch, filters, positions)
    outputs = []
    for t in range(steps):
        seen = x[t].permute(1, 2, 0)
        i, f, o, z = (
            torch.conv1d(seen, input_weights[k], biases[k], stride=layer.stride)
            + torch.conv1d(hidden, state_weights[k], padding=1)
            for k in range(4)
        )
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(z)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs).permute(0, 3, 1, 2)
