"""The multi-attention baseline computes what its authors describe, and names simulated devices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from torch import nn  # noqa: E402

from model.baselines.baseline import Baseline  # noqa: E402
from model.baselines.clip_network import ClipTraining  # noqa: E402
from model.baselines.multi_attention import (  # noqa: E402
    MapAttention,
    MultiAttention,
    MultiAttentionNetwork,
    ResidualDenseBlock,
    SpatialBranch,
    TemporalBranch,
)
from tests.baseline_rig import accuracy, assert_deterministic  # noqa: E402

Wide = npt.NDArray[np.float64]


def small(seed: int = 0, epochs: int = 25) -> Baseline:
    """The smallest sizes that the poolings allow, or nearly."""
    training = ClipTraining(epochs, batch=10, step_epochs=15)
    return MultiAttention(seed, training, n_gaussians=16, n_frames=307, width=205, max_frames=2000)


def small_network() -> MultiAttentionNetwork:
    torch.manual_seed(1)
    return MultiAttentionNetwork(3, n_gaussians=9, n_frames=307, width=205).eval()


def fix_weights(attention: MapAttention, weights: Wide) -> None:
    """Make the attention give these weights, whatever it sees."""
    last = attention.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.from_numpy(np.log(weights) - np.log1p(-weights)))


def test_learns_simulated_devices() -> None:
    assert accuracy(small(), 5) >= 0.8


def test_deterministic_under_a_seed() -> None:
    assert_deterministic(lambda: small(seed=3, epochs=2))


def test_parameters_in_full_size() -> None:
    def convolution(n_in: int, n_out: int, kernel: int) -> int:
        return n_out * (n_in * kernel + 1)

    def dense(n_in: int, n_out: int) -> int:
        return n_out * (n_in + 1)

    # 650 x 39 -> 217 x 13 -> 73 x 5 -> 14 x 5 -> 2 x 5
    temporal_attention = (
        convolution(1, 16, 5 * 5) + convolution(16, 32, 3 * 3) + dense(32 * 2 * 5, 650)
    )
    blocks = sum(
        convolution(n_in, n_out, kernel)
        + 2 * convolution(n_out, n_out, kernel)
        + convolution(n_in, n_out, 1)
        for n_in, n_out, kernel in ((39, 6, 5), (6, 16, 5), (16, 40, 3))
    )
    temporal = temporal_attention + blocks + dense(26_000, 1024) + dense(1024, 45)
    # 39 x 64 -> 20 x 32 -> 10 x 16 -> 4 x 7
    spatial_attention = (
        convolution(1, 16, 3 * 3) + convolution(16, 32, 3 * 3) + dense(32 * 4 * 7, 2496)
    )
    spatial = spatial_attention + dense(2496, 1024) + dense(1024, 1024) + dense(1024, 45)
    # 2 x 1024 -> 2 x 512 -> 2 x 171 -> 2 x 34 -> 2 x 4
    branch_attention = convolution(1, 16, 3 * 3) + convolution(16, 32, 5 * 5) + dense(32 * 2 * 4, 2)
    fused = dense(2048, 1024) + dense(1024, 400) + dense(400, 128) + dense(128, 45)
    network = MultiAttentionNetwork(45)
    total = temporal + spatial + branch_attention + fused
    assert sum(p.numel() for p in network.parameters()) == total == 35_377_343


@pytest.mark.parametrize(("n_in", "kernel"), [(3, 5), (4, 3)])
def test_block_equals_loops(n_in: int, kernel: int) -> None:
    n_out, n_times = 4, 11
    torch.manual_seed(n_in)
    block = ResidualDenseBlock(n_in, n_out, kernel).double()
    x = torch.randn(2, n_in, n_times, dtype=torch.double)

    def convolved(signal: Wide, layer: nn.Module, dilation: int, kernel: int = kernel) -> Wide:
        weight, bias = (p.detach().numpy() for p in layer.parameters())
        assert weight.shape == (n_out, len(signal), kernel)
        result = np.zeros((n_out, n_times))
        for o in range(n_out):
            for t in range(n_times):
                result[o, t] = bias[o]
                for i in range(len(signal)):
                    for k in range(kernel):
                        at = t + dilation * (k - kernel // 2)
                        if 0 <= at < n_times:
                            result[o, t] += weight[o, i, k] * signal[i, at]
        return result

    got = block(x).detach().numpy()
    for row, signal in zip(got, x.numpy(), strict=True):
        a = np.maximum(convolved(signal, block.first, 1), 0)
        b = convolved(a, block.second, 2)
        c = convolved(b, block.third, 4)
        shortcut = signal if n_in == n_out else convolved(signal, block.shortcut, 1, kernel=1)
        np.testing.assert_allclose(row, np.maximum(a + b + c + shortcut, 0), atol=1e-12)


def test_attention_multiplies_frames() -> None:
    torch.manual_seed(0)
    branch = TemporalBranch(n_frames=307, width=8)
    frames = torch.randn(2, 307, 39)
    weights = np.random.default_rng(0).uniform(0.1, 0.9, 307)
    weights[7] = 1e-30
    fix_weights(branch.attention, weights)
    expected = frames.numpy() * weights[None, :, None]
    np.testing.assert_allclose(branch.weighted(frames).detach(), expected, rtol=1e-4, atol=1e-12)
    # A frame without weight says nothing, any other does.
    for frame, matters in ((7, False), (8, True)):
        other = frames.clone()
        other[:, frame] += 1.0
        assert bool((branch(other) != branch(frames)).any()) is matters


def test_attention_multiplies_values_of_supervectors() -> None:
    torch.manual_seed(0)
    branch = SpatialBranch(n_gaussians=9, width=8)
    maps = torch.randn(2, 39, 9)
    weights = np.random.default_rng(0).uniform(0.1, 0.9, (39, 9))
    fix_weights(branch.attention, weights.ravel())
    expected = maps.numpy() * weights
    np.testing.assert_allclose(branch.weighted(maps).detach(), expected, rtol=1e-4)


def test_attention_depends_on_its_input() -> None:
    torch.manual_seed(0)
    branch = TemporalBranch(n_frames=307, width=8)
    weights = branch.attention(torch.randn(2, 307, 39))
    assert weights.shape == (2, 307)
    assert bool(((weights > 0) & (weights < 1)).all())
    assert not torch.equal(weights[0], weights[1])


def test_attention_weighs_the_branches() -> None:
    network = small_network()
    supervectors, frames = torch.randn(2, 39, 9), torch.randn(2, 307, 39)
    others = torch.randn(2, 39, 9), torch.randn(2, 307, 39)
    fix_weights(network.attention, np.array([1e-30, 0.5]))
    with torch.no_grad():
        before = network(supervectors, frames)
        spatial_changed = network(others[0], frames)
        temporal_changed = network(supervectors, others[1])
    torch.testing.assert_close(spatial_changed[0], before[0], rtol=0, atol=0)
    assert not torch.equal(temporal_changed[0], before[0])
    # Each branch's own answer depends on its own input.
    for answer, matters in ((1, True), (2, False)):
        assert torch.equal(spatial_changed[answer], before[answer]) is not matters
        assert torch.equal(temporal_changed[answer], before[answer]) is matters


def test_losses_weigh_as_said() -> None:
    rng = np.random.default_rng(0)
    fused, supervector, mfcc = rng.standard_normal((3, 4, 5))
    labels = np.array([0, 4, 2, 2])

    def cross_entropy(logits: Wide) -> float:
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(-np.log(probabilities[np.arange(4), labels]).mean())

    answers = tuple(torch.from_numpy(logits) for logits in (fused, supervector, mfcc))
    loss = MultiAttention()._loss(answers, torch.from_numpy(labels))
    expected = cross_entropy(fused) + cross_entropy(supervector) + 2 * cross_entropy(mfcc)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_gaussians": 8, "n_frames": 307, "width": 205},
        {"n_gaussians": 9, "n_frames": 306, "width": 205},
        {"n_gaussians": 9, "n_frames": 307, "width": 204},
    ],
)
def test_sizes_that_the_poolings_do_not_fit_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="too small"):
        MultiAttentionNetwork(3, **sizes)


def test_scoring_needs_a_fit() -> None:
    with pytest.raises(RuntimeError, match="fit"):
        MultiAttention().scores([])
    with pytest.raises(RuntimeError, match="fit"):
        _ = MultiAttention().n_parameters
