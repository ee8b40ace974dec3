"""The Transformer encoders: the paper's over scalar tokens, another over time tokens (torch)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _TiltedMean(torch.autograd.Function):
    """See :func:`tilted_mean`."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, tilt: Tensor, x: Tensor) -> Tensor:
        # The softmax ignores a shift of x. Far from 0, the variance below would be a small
        # difference of large numbers. The gradient is the same: with x, the answer shifts as much.
        shift = x.mean(dim=1, keepdim=True)
        x = x - shift
        # Of tilt_i x_j, for each i: so that no exponential overflows.
        highest = torch.where(
            tilt >= 0, tilt * x.amax(dim=1, keepdim=True), tilt * x.amin(dim=1, keepdim=True)
        )
        weights = torch.baddbmm(-highest.unsqueeze(2), tilt.unsqueeze(2), x.unsqueeze(1)).exp_()
        total, first, second = (
            weights @ torch.stack([torch.ones_like(x), x, x.square()], dim=2)
        ).unbind(dim=2)
        mean = first / total
        ctx.save_for_backward(tilt, x, weights, total, mean, second / total - mean.square())
        return mean + shift

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cuda")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        # d mean_i / d tilt_i is the variance of x under the weights of i, and
        # d mean_i / d x_j = weights_ij / total_i * (1 + tilt_i (x_j - mean_i)).
        tilt, x, weights, total, mean, variance = ctx.saved_tensors
        scaled = gradient / total
        sloped = scaled * tilt
        parts = torch.stack([scaled - sloped * mean, sloped], dim=1) @ weights
        return gradient * variance, parts[:, 0] + x * parts[:, 1]


def tilted_mean(tilt: Tensor, x: Tensor) -> Tensor:
    """Attention over scalars: ``sum_j softmax_j(tilt_i x_j) x_j``.

    With the gradient written out, a training step goes through the weights, ``(B, n, tokens)``,
    four times; differentiating the softmax took three times as long.

    Args:
        tilt: float32 ``(B, n)``, one for each answer.
        x: float32 ``(B, tokens)``.

    Returns:
        float32 ``(B, n)``.
    """
    mean: Tensor = _TiltedMean.apply(tilt, x)  # type: ignore[no-untyped-call]
    return mean


class ScalarEncoder(nn.Module):
    """The paper's Transformer encoder over tokens of one feature.

    Self-attention with ``heads`` heads of ``head_dim`` on scalar tokens ``x_i``, residual,
    LayerNorm, feed-forward, residual. Queries are ``x_i q + q0`` and keys ``x_j k + k0`` (vectors
    per head), so that the score is ``(x_i q.k + q0.k) x_j / sqrt(d)`` plus terms equal for all
    ``j``, which the softmax removes; values are ``x_j v + v0`` and the output projection a vector,
    so that head ``h`` contributes ``(v.o) sum_j p_ij x_j + v0.o``. The forward pass uses this
    folded form with the full set of parameters; ``tests/test_network.py`` compares it with the
    unfolded computation.
    """

    def __init__(self, heads: int, head_dim: int, feed_forward: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(heads, head_dim))
        self.key = nn.Parameter(torch.empty(heads, head_dim))
        self.value = nn.Parameter(torch.empty(heads, head_dim))
        self.query_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.key_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.value_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.out = nn.Parameter(torch.empty(heads, head_dim))
        self.out_bias = nn.Parameter(torch.zeros(1))
        self.norm = nn.LayerNorm(1)
        self.expand = nn.Linear(1, feed_forward)
        self.contract = nn.Linear(feed_forward, 1)
        bound = (6.0 / (1 + heads * head_dim)) ** 0.5  # Glorot uniform, one input feature
        for weight in (self.query, self.key, self.value, self.out):
            nn.init.uniform_(weight, -bound, bound)

    def folded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slope and offset of the score, ``(heads,)`` each, gain ``(heads,)``, constant ``(1,)``.

        ``score_hij = (slope_h x_i + offset_h) x_j``;
        ``attention_i = sum_h gain_h sum_j softmax_j(score_hij) x_j + constant``.
        """
        scale = self.query.shape[1] ** -0.5
        slope = (self.query * self.key).sum(dim=1) * scale
        offset = (self.query_bias * self.key).sum(dim=1) * scale
        gain = (self.value * self.out).sum(dim=1)
        # The key bias shifts all scores of a row alike: no effect, but data-parallel training wants
        # every parameter in the graph.
        constant = (self.value_bias * self.out).sum() + self.out_bias + 0.0 * self.key_bias.sum()
        return slope, offset, gain, constant

    def feed_forward(self, x: Tensor) -> Tensor:
        """The constant that the feed-forward half adds, computed the long way."""
        return self.contract(torch.relu(self.expand(self.norm(x))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, tokens)`` scalars to ``(B, tokens)``."""
        slope, offset, gain, constant = self.folded()
        pre = slope[None, :, None] * x[:, None, :] + offset[None, :, None]  # (B, heads, i)
        mixed = tilted_mean(pre.flatten(1), x).view_as(pre)
        x = x + torch.einsum("h,bhi->bi", gain, mixed) + constant
        return x + self.feed_forward(x.unsqueeze(-1)).squeeze(-1)


class TokenEncoder(nn.Module):
    """Pre-norm Transformer encoder over time tokens: 8 heads of 64 and a small feed-forward."""

    def __init__(self, dim: int, heads: int, head_dim: int, feed_forward: int, dropout: float):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * heads * head_dim)
        self.out = nn.Linear(heads * head_dim, dim)
        self.feed_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, feed_forward)
        self.contract = nn.Linear(feed_forward, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, dim)`` to the same shape."""
        batch, steps, _ = x.shape
        packed = self.query_key_value(self.attention_norm(x))
        query, key, value = packed.view(batch, steps, 3, self.heads, self.head_dim).permute(
            2, 0, 3, 1, 4
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, steps, -1)))
        hidden = torch.relu(self.expand(self.feed_norm(x)))
        return x + self.dropout(self.contract(hidden))  # type: ignore[no-any-return]
