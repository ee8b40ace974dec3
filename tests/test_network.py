"""The paper's network is the paper's network; the other profiles do what they say."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from export.folding import fold  # noqa: E402
from model.encoders import ScalarEncoder, tilted_mean  # noqa: E402
from model.errors import ModelError  # noqa: E402
from model.features import FrontEndConfig  # noqa: E402
from model.network import DeviceNetwork  # noqa: E402
from model.network_config import BLOCKS, NetworkConfig, front_end_for  # noqa: E402


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


def test_attention_over_scalars_has_the_gradient_of_the_softmax() -> None:
    torch.manual_seed(3)
    x = (4 * torch.randn(2, 12, dtype=torch.double)).requires_grad_()
    tilt = (3 * torch.randn(2, 5, dtype=torch.double)).requires_grad_()
    scores = tilt.unsqueeze(2) * x.unsqueeze(1)
    expected = (torch.softmax(scores, dim=2) * x.unsqueeze(1)).sum(dim=2)
    torch.testing.assert_close(tilted_mean(tilt, x), expected)
    weights = torch.randn(2, 5, dtype=torch.double)
    wanted = torch.autograd.grad((expected * weights).sum(), [tilt, x])
    found = torch.autograd.grad((tilted_mean(tilt, x) * weights).sum(), [tilt, x])
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(tilted_mean, (tilt, x))
    far = tilted_mean(1e4 * tilt.detach(), x.detach())  # the softmax is the extreme value then
    extreme = torch.where(tilt > 0, x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True))
    torch.testing.assert_close(far, extreme.detach())


def test_attention_over_scalars_far_from_zero_keeps_its_digits() -> None:
    torch.manual_seed(4)
    x = 30 + 0.1 * torch.randn(2, 200)
    tilt, weights = 3 * torch.randn(2, 50), torch.randn(2, 50)

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        given = [part.to(dtype).requires_grad_() for part in (tilt, x)]
        if dtype is torch.double:  # the reference
            shares = torch.softmax(given[0].unsqueeze(2) * given[1].unsqueeze(1), dim=2)
            mean = (shares * given[1].unsqueeze(1)).sum(dim=2)
        else:
            mean = tilted_mean(*given)
        return list(torch.autograd.grad((mean * weights.to(dtype)).sum(), given))

    for found, expected in zip(gradients(torch.float), gradients(torch.double), strict=True):
        error = (found.double() - expected).norm() / expected.norm()
        assert error < 1e-4
    deviations = tilted_mean(tilt, x).double() - tilted_mean(tilt.double(), x.double())
    assert deviations.abs().max() < 1e-5


GROUPS = [
    tuple(block for place, block in enumerate(BLOCKS) if number >> place & 1)
    for number in range(1, 8)
]


@pytest.mark.parametrize("blocks", GROUPS, ids="+".join)
def test_blocks_can_be_dropped(blocks: tuple[str, ...]) -> None:
    """Every network of the ablations learns with all it has, and has nothing else."""
    torch.manual_seed(0)
    whole = NetworkConfig.for_profile("paper", 3, front_end_for("paper"))
    network = DeviceNetwork(dataclasses.replace(whole, blocks=blocks))  # type: ignore[arg-type]
    assert NetworkConfig.from_dict(network.config.to_dict()) == network.config
    windows, labels = torch.rand(12, 128, 73) + 0.1, torch.arange(12) % 3
    network.fit_statistics(windows, labels)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters())
    logits, embedding = network(windows)
    assert (logits.shape, embedding.shape) == ((12, 3), (12, 128))
    torch.nn.functional.cross_entropy(logits, labels).backward()
    optimizer.step()
    moved = {name for name, value in network.named_parameters() if not value.equal(before[name])}
    # Of an encoder nothing moves what shifts all scores of a row alike, and what lies around the
    # norm of one feature.
    parts_of_encoders = ("query", "query_bias", "key", "value", "value_bias", "out", "out_bias")
    for name in before:
        if not name.startswith("encoders") or name.endswith(parts_of_encoders):
            assert name in moved
    parts = {"convlstm": "convlstm1.bias", "bilstm": "bilstm.bias_hh_l0", "transformer": "encoders"}
    for block, name in parts.items():
        assert any(part.startswith(name) for part in before) == (block in blocks)
    assert any(part.startswith("gather") for part in before) == ("bilstm" not in blocks)


@pytest.mark.parametrize("blocks", [(), ("bilstm", "convlstm"), ("gru",)])
def test_other_blocks_are_no_network(blocks: tuple[str, ...]) -> None:
    config = NetworkConfig.for_profile("paper", 3, front_end_for("paper"))
    with pytest.raises(ValueError, match="no paper network is made of"):
        dataclasses.replace(config, blocks=blocks)  # type: ignore[arg-type]


def test_only_the_paper_profile_drops_blocks() -> None:
    config = NetworkConfig.for_profile("hybrid", 3, front_end_for("hybrid"))
    with pytest.raises(ValueError, match="no hybrid network is made of"):
        dataclasses.replace(config, blocks=("bilstm",))


def test_a_network_without_some_blocks_is_not_exported() -> None:
    config = NetworkConfig.for_profile("paper", 3, front_end_for("paper"))
    network = DeviceNetwork(dataclasses.replace(config, blocks=("bilstm",)))
    with pytest.raises(ModelError, match="only whole networks become model files, not bilstm"):
        fold(network)
