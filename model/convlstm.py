"""One-dimensional convolutional LSTM, equations (6)-(11) of the paper, trained fast.

The textbook way, a convolution per time step under autograd, spends most of its time in small
kernels and in bookkeeping. Here

* the input-to-gate convolution, which does not depend on the state, is hoisted out of the
  recurrence and runs for many steps at a time;
* states lie position by position with channels last, the layout in which oneDNN and cuDNN
  convolve without a copy;
* the backward pass through time is written out: gates are kept, their gradients take their place,
  and all weight gradients are one call each over all steps, after the loop.

The mathematics is the same; ``tests/test_convlstm.py`` checks gradients in float64 and compares
with the per-step loop. It runs wherever torch does.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from model.network_config import TAPS

INPUT_STEPS = 16  #: steps per call of the input convolution: its result stays in the cache


class _Buffers:
    """Large work arrays of one layer, kept between training steps.

    A layer needs some 300 MB per step of batch 64; fresh from the operating system each time,
    the page faults alone cost as much as a third of the arithmetic. Arrays are lent to one
    forward pass and come back after its backward pass, so two passes in flight never share any.
    """

    def __init__(self) -> None:
        self._free: list[tuple[Tensor, Tensor, Tensor]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> _Buffers:
        return _Buffers()

    def __reduce__(self) -> tuple[type[_Buffers], tuple[()]]:
        return (_Buffers, ())

    def lend(self, like: Tensor, steps: int, rows: int, filters: int) -> tuple[Tensor, ...]:
        """Gates ``(T, R, 4C)``, cells ``(T + 1, R, C)`` (first zero), squashed ``(T, R, C)``."""
        shape = (steps, rows, 4 * filters)
        while self._free:
            lent = self._free.pop()
            gates = lent[0]
            if (gates.shape, gates.dtype, gates.device) == (shape, like.dtype, like.device):
                return lent
        cells = like.new_empty(steps + 1, rows, filters)
        cells[0] = 0
        return like.new_empty(shape), cells, like.new_empty(steps, rows, filters)

    def give_back(self, gates: Tensor, cells: Tensor, squashed: Tensor) -> None:
        """Keep the arrays for the next forward pass (one set: passes seldom overlap)."""
        self._free = [(gates, cells, squashed)]


def _tanh_(x: Tensor) -> Tensor:
    """In-place tanh as ``2 sigmoid(2x) - 1``, which vectorises four times better on a CPU."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _image(states: Tensor) -> Tensor:
    """``(T, P, B, C)`` as ``T`` images of height P, width B and channels last, without a copy.

    The layout that oneDNN and cuDNN take as it is; their convolutions are about twice as fast
    as matrix products through MKL on an AMD processor.
    """
    return states.permute(0, 3, 1, 2)


def _image_kernel(kernel: Tensor) -> Tensor:
    """``(TAPS, in, out)`` as the weight of a 2-D convolution along the positions."""
    weight = kernel.permute(2, 1, 0).unsqueeze(-1)
    return weight.contiguous(memory_format=torch.channels_last)


def _convolve_positions(states: Tensor, weight: Tensor) -> Tensor:
    """Convolve ``(P, B, in)`` along the positions, zero padded; returns ``(P, B, out)``."""
    convolved: Tensor = nn.functional.conv2d(_image(states.unsqueeze(0)), weight, padding=(1, 0))
    return convolved.permute(0, 2, 3, 1)[0]


def _convolution_gradients(
    grad_gates: Tensor,
    states: Tensor,
    kernel: Tensor,
    stride: int,
    padding: int,
    *,
    states_too: bool,
) -> tuple[Tensor | None, Tensor]:
    """Gradients of a convolution along the positions, over all steps at once.

    Args:
        grad_gates: ``(T, P, B, out)``.
        states: ``(T, P_in, B, in)``, what was convolved.
        kernel: ``(TAPS, in, out)``.
        stride: along the positions.
        padding: zeros at either end.
        states_too: whether the gradient of the states is wanted as well.

    Returns:
        gradients of states (as ``states``) and kernel (as ``kernel``).
    """
    grad_states, grad_weight, _ = torch.ops.aten.convolution_backward(
        _image(grad_gates),
        _image(states),
        _image_kernel(kernel),
        None,
        [stride, 1],
        [padding, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [states_too, True, False],
    )
    states_gradient = grad_states.permute(0, 2, 3, 1) if states_too else None
    return states_gradient, grad_weight.squeeze(-1).permute(2, 1, 0)


def _run_forward(
    x: Tensor,
    stride: int,
    kernel_in: Tensor,
    bias: Tensor,
    kernel: Tensor,
    peephole: Tensor | None,
    lent: tuple[Tensor, ...],
) -> Tensor:
    """Equations (6)-(11) for all steps; fills the lent arrays, returns the padded states.

    Returns:
        shape ``(T + 1, P, B, C)``: entry ``t + 1`` is the state after step ``t``.
    """
    gates, cells, squashed = lent
    steps, rows, _ = gates.shape
    batch, filters = x.shape[2], kernel.shape[1]
    positions = rows // batch
    shape = (positions, batch, filters)
    # The input convolution, hoisted out of the recurrence: many steps at a time.
    weight_in = _image_kernel(kernel_in)
    for start in range(0, steps, INPUT_STEPS):
        part = slice(start, start + INPUT_STEPS)
        seen = nn.functional.conv2d(_image(x[part]), weight_in, bias, stride=(stride, 1))
        gates[part].view(-1, *shape[:2], 4 * filters).copy_(seen.permute(0, 2, 3, 1))
    hidden = x.new_empty(steps + 1, *shape)
    hidden[0] = 0
    weight = _image_kernel(kernel)
    for t in range(steps):
        g = gates[t]
        if t:
            g += _convolve_positions(hidden[t], weight).view(rows, 4 * filters)
        i, f, o, z = g.split(filters, dim=1)
        if peephole is None:
            g[:, : 3 * filters].sigmoid_()
        else:
            before = cells[t].view(shape)
            i.unflatten(0, shape[:2]).addcmul_(before, peephole[0].unsqueeze(1))
            f.unflatten(0, shape[:2]).addcmul_(before, peephole[1].unsqueeze(1))
            g[:, : 2 * filters].sigmoid_()
        _tanh_(z)
        cell = torch.mul(f, cells[t], out=cells[t + 1])
        cell.addcmul_(i, z)
        if peephole is not None:
            o.unflatten(0, shape[:2]).addcmul_(cell.view(shape), peephole[2].unsqueeze(1))
            o.sigmoid_()
        _tanh_(squashed[t].copy_(cell))
        torch.mul(o, squashed[t], out=hidden[t + 1].view(rows, filters))
    return hidden


class _Recurrence(torch.autograd.Function):
    """The whole layer as one node of the graph, with its own backward pass through time.

    Shapes: ``T`` steps, ``P`` positions, ``B`` batch, ``C`` filters, ``R = P B`` rows; gates in
    the order input, forget, output, candidate along the last axis.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        stride: int,
        kernel_in: Tensor,
        bias: Tensor,
        kernel: Tensor,
        peephole: Tensor | None,
        buffers: _Buffers,
    ) -> Tensor:
        positions = (x.shape[1] - TAPS) // stride + 1
        lent = buffers.lend(x, x.shape[0], positions * x.shape[2], kernel.shape[1])
        hidden = _run_forward(x, stride, kernel_in, bias, kernel, peephole, lent)
        ctx.save_for_backward(x, kernel_in, bias, kernel, peephole, hidden)
        ctx.stride, ctx.lent, ctx.buffers = stride, lent, buffers
        return hidden[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel_in, bias, kernel, peephole, hidden = ctx.saved_tensors
        steps, positions, batch, filters = hidden[1:].shape
        rows = positions * batch
        if ctx.lent is None:  # a second backward pass through a retained graph
            ctx.lent = ctx.buffers.lend(x, steps, rows, filters)
            _run_forward(x, ctx.stride, kernel_in, bias, kernel, peephole, ctx.lent)
        gates, cells, squashed = ctx.lent
        shape = (positions, batch, filters)
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        weight_back = _image_kernel(kernel.flip(0).transpose(1, 2))
        grad_hidden = gates.new_zeros(shape)
        grad_cell, spare = gates.new_zeros(rows, filters), gates.new_empty(rows, filters)
        work = gates.new_empty(rows, filters)
        dh = gates.new_empty(shape)
        grad_peephole = None if peephole is None else torch.zeros_like(peephole)
        for t in range(steps - 1, -1, -1):
            # The gates' gradients take the place of the gates themselves.
            d = gates[t]
            i, f, o, z = d.split(filters, dim=1)
            torch.add(grad_hidden, grad_output[t], out=dh)
            dh2 = dh.view(rows, filters)
            torch.mul(dh2, o, out=work)
            grad_cell.add_(tanh_backward(work, squashed[t], grad_input=work))
            torch.mul(dh2, squashed[t], out=work)
            sigmoid_backward(work, o, grad_input=o)
            if peephole is not None and grad_peephole is not None:
                do = o.unflatten(0, shape[:2])
                grad_cell.view(shape).addcmul_(do, peephole[2].unsqueeze(1))
                grad_peephole[2] += (do * cells[t + 1].view(shape)).sum(dim=1)
            torch.mul(grad_cell, f, out=spare)
            torch.mul(grad_cell, cells[t], out=work)
            sigmoid_backward(work, f, grad_input=f)
            torch.mul(grad_cell, i, out=work)
            grad_cell.mul_(z)
            sigmoid_backward(grad_cell, i, grad_input=i)
            tanh_backward(work, z, grad_input=z)
            grad_cell, spare = spare, grad_cell
            if peephole is not None and grad_peephole is not None:
                before = cells[t].view(shape)
                di, df = i.unflatten(0, shape[:2]), f.unflatten(0, shape[:2])
                grad_peephole[0] += (di * before).sum(dim=1)
                grad_peephole[1] += (df * before).sum(dim=1)
                grad_cell.view(shape).addcmul_(di, peephole[0].unsqueeze(1))
                grad_cell.view(shape).addcmul_(df, peephole[1].unsqueeze(1))
            if t:
                d_image = d.view(positions, batch, 4 * filters)
                grad_hidden = _convolve_positions(d_image, weight_back)
        grad_gates = gates.view(steps, *shape[:2], 4 * filters)
        _, grad_kernel = _convolution_gradients(
            grad_gates, hidden[:steps], kernel, 1, 1, states_too=False
        )
        grad_x, grad_kernel_in = _convolution_gradients(
            grad_gates, x, kernel_in, ctx.stride, 0, states_too=ctx.needs_input_grad[0]
        )
        grad_bias = gates.view(-1, 4 * filters).sum(dim=0)
        ctx.buffers.give_back(*ctx.lent)
        ctx.lent = None
        return grad_x, None, grad_kernel_in, grad_bias, grad_kernel, grad_peephole, None


class ConvLSTM1d(nn.Module):
    """One ConvLSTM layer over the feature axis: time is the recurrence, features the space.

    Args:
        in_channels: channels of the input (1 for the first layer).
        filters: filters of each gate.
        in_positions: positions along the feature axis of the input.
        stride: stride of the input convolution along that axis.
        peepholes: let the gates see the cell state (Hadamard terms of equations (6)-(9)).
            The paper's parameter count has none.

    Valid padding for the input convolution, zero padding for the state's, as in Keras.
    Parameters: ``TAPS * (in_channels + filters) * 4 filters + 4 filters``, and
    ``3 * positions * filters`` for peepholes.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        in_positions: int,
        stride: int,
        *,
        peepholes: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.filters, self.stride = in_channels, filters, stride
        self.positions = (in_positions - TAPS) // stride + 1
        if self.positions < 1:
            raise ValueError(f"{in_positions} positions are too few for {TAPS} taps")
        self.input_kernel = nn.Parameter(torch.empty(TAPS, in_channels, 4 * filters))
        self.state_kernel = nn.Parameter(torch.empty(TAPS, filters, 4 * filters))
        self.bias = nn.Parameter(torch.zeros(4 * filters))
        self.peephole = nn.Parameter(torch.zeros(3, self.positions, filters)) if peepholes else None
        self._buffers_kept = _Buffers()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform input kernel, orthogonal state kernel, forget bias 1 (Keras defaults)."""
        fan_in, fan_out = TAPS * self.in_channels, TAPS * 4 * self.filters
        bound = math.sqrt(6.0 / (fan_in + fan_out))
        nn.init.uniform_(self.input_kernel, -bound, bound)
        nn.init.orthogonal_(self.state_kernel.view(TAPS * self.filters, -1))
        with torch.no_grad():
            self.bias.zero_()
            self.bias[self.filters : 2 * self.filters] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Run all steps from a zero state.

        Args:
            x: shape ``(T, in_positions, B, in_channels)``.

        Returns:
            hidden states, shape ``(T, positions, B, filters)``.
        """
        # The recurrence keeps full precision under mixed precision: 128 steps add up errors.
        with torch.autocast(x.device.type, enabled=False):
            states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
                x.to(self.input_kernel.dtype).contiguous(),
                self.stride,
                self.input_kernel,
                self.bias,
                self.state_kernel,
                self.peephole,
                self._buffers_kept,
            )
        return states
