"""The fast ConvLSTM computes what the textbook loop computes, forwards and backwards."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from model.convlstm import ConvLSTM1d  # noqa: E402
from model.naive_convlstm import naive_forward  # noqa: E402


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_gradients_in_float64(peepholes: bool, stride: int) -> None:
    torch.manual_seed(0)
    layer = ConvLSTM1d(2, 3, 9, stride, peepholes=peepholes).double()
    if layer.peephole is not None:
        torch.nn.init.normal_(layer.peephole)
    x = torch.randn(4, 9, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("peepholes", [False, True])
def test_equals_the_per_step_loop(peepholes: bool) -> None:
    torch.manual_seed(1)
    layer = ConvLSTM1d(3, 5, 24, 2, peepholes=peepholes).double()
    if layer.peephole is not None:
        torch.nn.init.normal_(layer.peephole)
    x = torch.randn(12, 24, 4, 3, dtype=torch.double)
    weights = torch.randn_like(layer(x))
    fast = torch.autograd.grad((layer(x) * weights).sum(), list(layer.parameters()))
    slow = torch.autograd.grad((naive_forward(layer, x) * weights).sum(), list(layer.parameters()))
    torch.testing.assert_close(layer(x), naive_forward(layer, x), rtol=0, atol=1e-12)
    for ours, reference in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-10)


def test_passes_in_flight_do_not_share_memory() -> None:
    torch.manual_seed(2)
    layer = ConvLSTM1d(1, 4, 9, 2)
    a, b = torch.randn(6, 9, 3, 1), torch.randn(6, 9, 3, 1)
    alone = torch.autograd.grad(layer(a).square().sum(), layer.state_kernel)[0]
    out_a = layer(a)
    out_b = layer(b)  # before a's backward pass
    torch.autograd.grad(out_b.square().sum(), layer.state_kernel)
    together = torch.autograd.grad(out_a.square().sum(), layer.state_kernel)[0]
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


def test_retained_graph_gives_the_same_gradient_again() -> None:
    torch.manual_seed(3)
    layer = ConvLSTM1d(1, 4, 9, 2)
    loss = layer(torch.randn(6, 9, 3, 1)).square().sum()
    first = torch.autograd.grad(loss, layer.state_kernel, retain_graph=True)[0]
    second = torch.autograd.grad(loss, layer.state_kernel)[0]
    torch.testing.assert_close(first, second)


def test_copies_do_not_carry_buffers() -> None:
    layer = ConvLSTM1d(1, 4, 9, 2)
    layer(torch.randn(6, 9, 3, 1)).sum().backward()
    twin = copy.deepcopy(layer)
    assert twin._buffers_kept._free == []
    x = torch.randn(6, 9, 3, 1)
    torch.testing.assert_close(twin(x), layer(x))


def test_too_few_positions() -> None:
    with pytest.raises(ValueError, match="too few"):
        ConvLSTM1d(1, 4, 2, 1)
