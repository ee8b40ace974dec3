"""The paper's network is the paper's network; the other profiles do what they say."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from model.encoders import ScalarEncoder  # noqa: E402
from model.features import FrontEndConfig  # noqa: E402
from model.network import DeviceNetwork  # noqa: E402
from model.network_config import NetworkConfig, front_end_for  # noqa: E402


def build(profile: str, n_devices: int = 45) -> DeviceNetwork:
    front_end = front_end_for(profile)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return DeviceNetwork(NetworkConfig.for_profile(profile, n_devices, front_end))  # type: ignore[arg-type]


def test_paper_parameter_count_reproduces_table_vi() -> None:
    """0.626 M at 45 devices, block by block as Keras counts it."""
    taps, gates = 3, 4
    first = (73 - taps) // 3 + 1
    second = (first - taps) // 2 + 1
    assert (first, second) == (24, 11)
    convlstm1 = taps * 1 * gates * 64 + taps * 64 * gates * 64 + gates * 64
    convlstm2 = taps * 64 * gates * 32 + taps * 32 * gates * 32 + gates * 32
    batch_norms = 4 * 64 + 4 * 32  # gain, bias and two running statistics
    bilstm = 2 * gates * 128 * (second * 32 + 128 + 1)
    attention = 3 * (1 * 8 * 64 + 8 * 64) + (8 * 64 * 1 + 1)
    feed_forward = (1 * 128 + 128) + (128 * 1 + 1)
    encoder = attention + 2 + feed_forward  # one LayerNorm over one feature
    mlp, softmax = 256 * 128 + 128, 128 * 45 + 45
    assert (convlstm1, convlstm2, bilstm) == (50_176, 36_992, 492_544)
    assert (encoder, mlp, softmax) == (3_972, 32_896, 5_805)
    keras = convlstm1 + convlstm2 + batch_norms + bilstm + 2 * encoder + mlp + softmax
    assert keras == 626_741

    network = build("paper")
    trained = sum(p.numel() for p in network.parameters())
    second_lstm_bias = 2 * gates * 128  # PyTorch keeps input and state bias apart
    running_statistics = 2 * 64 + 2 * 32  # buffers in PyTorch, not parameters
    assert trained == keras + second_lstm_bias - running_statistics


def test_scalar_encoder_equals_unfolded_attention() -> None:
    """Folding the attention over scalars is exact: compare with full queries, keys and values."""
    torch.manual_seed(1)
    encoder = ScalarEncoder(heads=8, head_dim=64, feed_forward=128).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, 40, dtype=torch.double)
    column = x[:, None, :, None]
    query = column * encoder.query[None, :, None] + encoder.query_bias[None, :, None]
    key = column * encoder.key[None, :, None] + encoder.key_bias[None, :, None]
    value = column * encoder.value[None, :, None] + encoder.value_bias[None, :, None]
    mixed = torch.softmax(query @ key.transpose(2, 3) / 64**0.5, dim=-1) @ value
    attended = x + torch.einsum("bhid,hd->bi", mixed, encoder.out) + encoder.out_bias
    normed = encoder.norm(attended.unsqueeze(-1))
    assert torch.allclose(normed, encoder.norm.bias.expand_as(normed))  # says the docstring
    hidden = torch.relu(encoder.expand(normed))
    expected = attended + encoder.contract(hidden).squeeze(-1)
    torch.testing.assert_close(encoder(x), expected)


@pytest.mark.parametrize("profile", ["paper", "hybrid", "statistics"])
def test_outputs(profile: str) -> None:
    network = build(profile, n_devices=7)
    windows = torch.randn(16, 128, 73)
    network.fit_statistics(windows, torch.arange(16) % 7)
    network.eval()
    logits, embedding = network(windows)
    assert logits.shape == (16, 7)
    assert embedding.shape == (16, network.config.embedding_dim)
    assert torch.isfinite(logits).all()
    if profile != "statistics":
        torch.testing.assert_close(network.classifier(embedding), logits)
    # A window's scores do not depend on what else is in the batch.
    torch.testing.assert_close(network(windows[3:4])[0], logits[3:4], rtol=1e-4, atol=1e-5)


def test_every_parameter_learns() -> None:
    for profile in ("paper", "hybrid", "statistics"):
        network = build(profile, n_devices=4)
        windows = torch.randn(8, 128, 73)
        network.fit_statistics(windows, torch.arange(8) % 4)
        network.train()
        torch.nn.functional.cross_entropy(network(windows)[0], torch.arange(8) % 4).backward()
        silent = {n for n, p in network.named_parameters() if p.grad is None}
        assert not silent, profile


@pytest.mark.parametrize("profile", ["hybrid", "statistics"])
def test_gain_changes_no_answer(profile: str) -> None:
    """A gain adds a constant to log energy and log pre-Fbank."""
    network = build(profile, n_devices=5)
    windows = torch.randn(6, 128, 73)
    network.fit_statistics(windows, torch.arange(6) % 5)
    network.eval()
    louder = windows.clone()
    louder[:, :, 12] += 2 * 0.7
    louder[:, :, 39:] += 0.7
    torch.testing.assert_close(network(louder)[0], network(windows)[0], rtol=1e-4, atol=1e-4)


def test_whitening_makes_within_device_covariance_the_identity() -> None:
    network = build("hybrid", n_devices=3)
    pool = network.statistics
    assert pool is not None
    torch.manual_seed(0)
    labels = torch.arange(3000) % 3
    mixing = torch.randn(pool.n_statistics, pool.n_statistics) / 10
    values = torch.randn(3000, pool.n_statistics) @ mixing + 5.0 * labels[:, None]
    pool.fit(values, labels, shrinkage=1e-9)
    white = (values - pool.mean) @ pool.whitening
    centred = torch.cat([white[labels == d] - white[labels == d].mean(dim=0) for d in range(3)])
    covariance = centred.T @ centred / len(centred)
    torch.testing.assert_close(covariance, torch.eye(pool.n_statistics), rtol=0, atol=2e-2)


def test_config_round_trip() -> None:
    config = NetworkConfig.for_profile("hybrid", 3, FrontEndConfig())
    changed = dataclasses.replace(config, peepholes=True, filters=(8, 4))
    assert NetworkConfig.from_dict(changed.to_dict()) == changed
    with pytest.raises(TypeError, match="unknown"):
        NetworkConfig.from_dict({**changed.to_dict(), "surprise": 1})
