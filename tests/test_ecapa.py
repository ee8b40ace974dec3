"""ECAPA-TDNN: simulated devices told apart; its parts against plain loops; its size."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
pytest.importorskip("torch", reason="torch is not installed (extra: train)")

import torch
from torch import Tensor, nn

from model.baselines.clip_network import ClipTraining
from model.baselines.ecapa import (
    SHAPE,
    AttentiveStatistics,
    Ecapa,
    EcapaNetwork,
    EcapaShape,
    Res2Convolution,
    SeRes2Block,
    SqueezeExcitation,
    random_crop,
)
from tests.baseline_rig import (
    TRAINING_SPEECH,
    accuracy,
    as_clip,
    assert_deterministic,
    clip_of,
    clips_of,
)

Wide = npt.NDArray[np.float64]

SMALL = EcapaShape(channels=32, scale=4, squeezed=8, aggregated=32, attention=8, embedding=16)
small = partial(Ecapa, shape=SMALL, crop_frames=96, training=ClipTraining(epochs=15, batch=8))


def unsettled(module: nn.Module) -> nn.Module:
    """Float64, for scoring, with batch norm's numbers away from their start."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            for values in (part.running_mean, part.bias.data):
                assert values is not None
                values.normal_()
            for values in (part.running_var, part.weight.data):
                assert values is not None
                values.uniform_(0.5, 2.0)
    return module.double().eval()


def convolved(layer: nn.Sequential, x: Wide, dilation: int = 1) -> Wide:
    """Convolution, ReLU, batch norm of ``(channels, T)``, number by number."""
    convolution, _, norm = layer
    weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
    outputs, inputs, taps = weight.shape
    found = np.zeros((outputs, x.shape[1]))
    for o in range(outputs):
        scale = norm.weight[o].item() / np.sqrt(norm.running_var[o].item() + norm.eps)
        for t in range(x.shape[1]):
            total = bias[o]
            for k in range(taps):
                at = t + (k - taps // 2) * dilation
                if 0 <= at < x.shape[1]:
                    total += sum(weight[o, i, k] * x[i, at] for i in range(inputs))
            centred = max(total, 0.0) - norm.running_mean[o].item()
            found[o, t] = centred * scale + norm.bias[o].item()
    return found


def assert_computes(module: nn.Module, x: Tensor, expected: Wide) -> None:
    with torch.no_grad():
        np.testing.assert_allclose(module(x)[0].numpy(), expected, rtol=1e-9, atol=1e-9)


def res2(module: Res2Convolution, x: Wide, dilation: int) -> Wide:
    width = len(x) // module.scale
    outputs = [x[:width]]
    for number in range(1, module.scale):
        part = x[number * width : (number + 1) * width]
        if number > 1:
            part = part + outputs[-1]
        outputs.append(convolved(module.convolutions[number - 1], part, dilation))
    return np.concatenate(outputs)


def test_res2_convolution() -> None:
    module = unsettled(Res2Convolution(8, scale=4, dilation=3))
    x = torch.randn(1, 8, 11, dtype=torch.float64)
    assert_computes(module, x, res2(module, x[0].numpy(), 3))


def test_squeeze_excitation() -> None:
    module = unsettled(SqueezeExcitation(5, 3))
    x = torch.randn(1, 5, 7, dtype=torch.float64)
    assert_computes(module, x, excited(module, x[0].numpy()))


def excited(module: SqueezeExcitation, x: Wide) -> Wide:
    down, up = module.squeeze, module.excite
    hidden = np.maximum(down.weight.detach().numpy() @ x.mean(axis=1) + down.bias.tolist(), 0)
    gates = 1 / (1 + np.exp(-(up.weight.detach().numpy() @ hidden + up.bias.tolist())))
    return np.array([gate * row for gate, row in zip(gates, x, strict=True)])


def test_a_block_adds_its_input() -> None:
    module = unsettled(SeRes2Block(8, scale=2, squeezed=3, dilation=2))
    x = torch.randn(1, 8, 9, dtype=torch.float64)
    before, middle, after, gates = module.layers
    inner = convolved(after, res2(middle, convolved(before, x[0].numpy()), 2))
    assert_computes(module, x, x[0].numpy() + excited(gates, inner))


def test_attentive_statistics() -> None:
    channels, frames = 4, 9
    module = unsettled(AttentiveStatistics(channels, 3))
    x = torch.randn(1, channels, frames, dtype=torch.float64)
    h = x[0].numpy()
    w, b = module.hidden.weight.detach().numpy()[:, :, 0], module.hidden.bias.tolist()
    v, k = module.score.weight.detach().numpy()[:, :, 0], module.score.bias.tolist()
    scores = np.zeros((channels, frames))
    for t in range(frames):
        seen = [*h[:, t], *(row.mean() for row in h), *(row.std() for row in h)]
        hidden = np.tanh(w @ seen + b)
        for c in range(channels):
            scores[c, t] = v[c] @ hidden + k[c]
    means, deviations = [], []
    for c in range(channels):
        weights = np.exp(scores[c]) / np.exp(scores[c]).sum()
        mean = sum(weight * value for weight, value in zip(weights, h[c], strict=True))
        square = sum(weight * value**2 for weight, value in zip(weights, h[c], strict=True))
        means.append(mean)
        deviations.append(np.sqrt(square - mean**2))
    assert_computes(module, x, np.array(means + deviations))


def test_a_block_gets_the_sum_of_all_outputs_before_it() -> None:
    network = EcapaNetwork(SMALL, 3).eval()
    seen: list[tuple[Tensor, Tensor]] = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
    pooled: list[Tensor] = []
    network.aggregation.register_forward_hook(lambda _, given, __: pooled.append(given[0]))
    frames = torch.randn(2, 30, SMALL.n_features)
    network(frames)
    first = network.first(frames.transpose(1, 2))
    outputs = [made for _, made in seen]
    for number, (given, _) in enumerate(seen):
        torch.testing.assert_close(given, sum(outputs[:number], first))
    torch.testing.assert_close(pooled[0], torch.cat(outputs, dim=1))


def test_the_logits_of_a_clip_do_not_depend_on_its_companions() -> None:
    network = unsettled(EcapaNetwork(SMALL, 3))
    frames = torch.randn(4, 30, SMALL.n_features, dtype=torch.float64)
    alone = torch.cat([network(clip[None]) for clip in frames])
    torch.testing.assert_close(network(frames), alone)


def test_parameters_at_45_devices() -> None:
    def norm(channels: int) -> int:
        return 2 * channels

    def layer(inputs: int, outputs: int, taps: int = 1) -> int:
        return inputs * outputs * taps + outputs

    first = layer(73, 192, 5) + norm(192)
    res2_parts = 7 * (layer(24, 24, 3) + norm(24))  # 192 channels in 8 parts, one as it is
    excitation = layer(192, 64) + layer(64, 192)
    block = 2 * (layer(192, 192) + norm(192)) + res2_parts + excitation
    aggregation = layer(3 * 192, 192)
    attention = layer(3 * 192, 64) + layer(64, 192)
    embedding = norm(2 * 192) + layer(2 * 192, 128) + norm(128)
    total = first + 3 * block + aggregation + attention + embedding + layer(128, 45)
    assert total == sum(p.numel() for p in EcapaNetwork(SHAPE, 45).parameters())
    assert 550_000 < total < 700_000


def test_tells_simulated_devices_apart() -> None:
    assert accuracy(small(), 5) >= 0.9


def test_deterministic() -> None:
    assert_deterministic(partial(small, training=ClipTraining(epochs=3, batch=4)))


def test_the_seed_decides() -> None:
    clips, labels = clips_of(3, TRAINING_SPEECH[:2])
    scores = []
    for seed in (0, 1):
        baseline = small(seed=seed, training=ClipTraining(epochs=1))
        baseline.fit(clips, labels)
        scores.append(baseline.scores(clips))
    assert not np.array_equal(*scores)


def test_frames_are_standardised_over_the_training_clips() -> None:
    clips, labels = clips_of(2, TRAINING_SPEECH[:2])
    baseline = small(training=ClipTraining(epochs=0))
    baseline.fit(clips, labels)
    read = [baseline._read(clip, None)[0] for clip in clips]
    assert all(frames.dtype == np.float32 for frames in read)
    frames = np.concatenate(read).astype(np.float64)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-4)
    numbers = [p for p in EcapaNetwork(SMALL, 2).state_dict().values() if p.ndim]
    assert baseline.n_parameters == sum(p.numel() for p in numbers) + 2 * 73


def test_training_sees_pieces_and_scoring_the_whole() -> None:
    clip = clip_of(0, TRAINING_SPEECH[0])
    baseline = small(training=ClipTraining(epochs=0))
    baseline.fit(*clips_of(2, TRAINING_SPEECH[:1]))
    (piece,) = baseline._read(clip, np.random.default_rng(0))
    (whole,) = baseline._read(clip, None)
    assert piece.shape == (96, 73)
    assert whole.shape == clip.features.shape


def test_every_piece_is_drawn_and_a_short_clip_repeats() -> None:
    frames = np.arange(24, dtype=np.float32).reshape(12, 2)
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(100):
        piece = random_crop(frames, 10, rng)
        start = int(piece[0, 0]) // 2
        np.testing.assert_array_equal(piece, frames[start : start + 10])
        starts.add(start)
    assert starts == {0, 1, 2}
    np.testing.assert_array_equal(random_crop(frames, 12, rng), frames)
    repeated = random_crop(frames, 30, rng)
    np.testing.assert_array_equal(repeated, np.concatenate([frames, frames, frames[:6]]))


def test_one_frame_can_be_scored() -> None:
    clips, labels = clips_of(2, TRAINING_SPEECH[:1])
    baseline = small(training=ClipTraining(epochs=1))
    baseline.fit(clips, labels)
    short = as_clip(clips[0].features[:1], clips[0].samples[:512])
    assert np.isfinite(baseline.scores([short])).all()


def test_refusals() -> None:
    with pytest.raises(RuntimeError, match="fit"):
        small().scores(clips_of(1, TRAINING_SPEECH[:1])[0])
    with pytest.raises(ValueError, match="cannot be cut"):
        Res2Convolution(10, scale=4, dilation=2)
