"""The trainer of networks on clips: what it reads and when, its steps, its scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra: train)")

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.clip_network import ClipNetwork, ClipTraining, Inputs
from tests.baseline_rig import TRAINING_SPEECH, assert_deterministic, clips_of


class Heads(nn.Module):
    """Linear in what is kept and what is read; one answer for each head."""

    def __init__(self, n_devices: int, n_heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(2 * 39, n_devices) for _ in range(n_heads))
        self.batches: list[int] = []

    def forward(self, kept: Tensor, read: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.batches.append(len(kept))
        inputs = torch.cat([kept, read], dim=1)
        answers = tuple(head(inputs) for head in self.heads)
        return answers if len(answers) > 1 else answers[0]


class Means(ClipNetwork):
    """Keeps the clip's mean frame; reads the deviation of a random half, judging that of all."""

    def __init__(self, training: ClipTraining, seed: int = 0, n_heads: int = 1) -> None:
        super().__init__(training, seed)
        self.n_heads = n_heads
        self.prepared_with: list[int] = []
        self.kept: list[BaselineClip] = []
        self.read: list[tuple[BaselineClip, bool]] = []
        self.networks: list[Heads] = []

    def _network(self, n_devices: int) -> nn.Module:
        self.networks.append(Heads(n_devices, self.n_heads))
        return self.networks[-1]

    def _prepare(self, clips: Sequence[BaselineClip], labels: IntArray) -> list[Inputs]:
        self.prepared_with.append(len(clips))
        return super()._prepare(clips, labels)

    def _kept(self, clip: BaselineClip) -> Inputs:
        assert self.prepared_with
        self.kept.append(clip)
        return (clip.mfcc.mean(axis=0),)

    def _read(self, clip: BaselineClip, rng: np.random.Generator | None) -> Inputs:
        self.read.append((clip, rng is not None))
        frames = clip.mfcc if rng is None else rng.permutation(clip.mfcc)[: len(clip.mfcc) // 2]
        return (frames.std(axis=0),)

    @property
    def n_prepared(self) -> int:
        return 7


CLIPS, LABELS = clips_of(3, TRAINING_SPEECH)  # twelve


def weights(baseline: Means) -> list[np.ndarray]:
    """Of the first head's matrix."""
    return baseline.networks[0].heads[0].weight.detach().numpy().copy()


def test_learns() -> None:
    baseline = Means(ClipTraining(epochs=60, batch=4, learning_rate=0.01))
    baseline.fit(CLIPS, LABELS)
    np.testing.assert_array_equal(baseline.scores(CLIPS).argmax(axis=1), LABELS)


def test_deterministic_under_its_seed_alone() -> None:
    assert_deterministic(lambda: Means(ClipTraining(epochs=2, batch=4)))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (Means(ClipTraining(epochs=1), seed) for seed in (0, 0, 1))
    one.fit(CLIPS, LABELS)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.rand(3)
    for baseline in (same, other):
        baseline.fit(CLIPS, LABELS)
    np.testing.assert_array_equal(weights(one), weights(same))
    assert not np.array_equal(weights(one), weights(other))


def test_keeps_once_and_reads_every_clip_in_every_pass() -> None:
    baseline = Means(ClipTraining(epochs=3, batch=5))
    baseline.fit(CLIPS, LABELS)
    assert baseline.prepared_with == [12]
    assert baseline.kept == CLIPS
    passes = [baseline.read[start : start + 12] for start in range(0, 36, 12)]
    for one in passes:
        assert {id(clip) for clip, _ in one} == {id(clip) for clip in CLIPS}
    assert passes[0] != passes[1]  # in another order
    assert len(baseline.read) == 36
    assert all(training for _, training in baseline.read)
    baseline.scores(CLIPS[:2])
    assert baseline.read[36:] == [(clip, False) for clip in CLIPS[:2]]
    assert baseline.networks[0].batches == [6, 6] * 3 + [1, 1]


@pytest.mark.parametrize(
    ("n_clips", "batch", "sizes"),
    [(12, 32, [12]), (12, 5, [6, 6]), (11, 5, [6, 5]), (9, 8, [9]), (3, 1, [1, 1, 1])],
)
def test_batches_are_nearly_equal(n_clips: int, batch: int, sizes: list[int]) -> None:
    baseline = Means(ClipTraining(epochs=1, batch=batch))
    baseline.fit(CLIPS[:n_clips], LABELS[:n_clips])
    assert baseline.networks[0].batches == sizes


def losses_of(baseline: Means) -> tuple[Tensor, Tensor]:
    """Trainer's loss of two heads for a batch, and those heads' logits."""
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 3)
    return baseline._loss((logits[0], logits[1]), torch.from_numpy(LABELS[:6])), logits


def test_losses_are_weighted_and_smoothed() -> None:
    baseline = Means(ClipTraining(label_smoothing=0.1))
    baseline.loss_weights = (1.0, 0.25)
    loss, logits = losses_of(baseline)
    expected = 0.0
    for weight, answers in zip((1.0, 0.25), logits.double().numpy(), strict=True):
        for answer, label in zip(answers, LABELS[:6], strict=True):
            log_shares = answer - np.log(np.exp(answer).sum())
            target = np.full(3, 0.1 / 3)
            target[label] += 0.9
            expected -= weight * float(target @ log_shares) / 6
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    single = Means(ClipTraining())
    found = single._loss(logits[0], torch.from_numpy(LABELS[:6]))
    torch.testing.assert_close(
        found, functional.cross_entropy(logits[0], torch.from_numpy(LABELS[:6]))
    )
    with pytest.raises(ValueError, match="zip"):
        losses_of(single)  # two heads and one weight


def test_the_first_of_several_heads_answers() -> None:
    baseline = Means(ClipTraining(epochs=1), n_heads=2)
    baseline.loss_weights = (1.0, 0.5)
    baseline.fit(CLIPS, LABELS)
    scores = baseline.scores(CLIPS)
    (network,) = baseline.networks
    assert not network.training
    inputs = [np.concatenate([c.mfcc.mean(axis=0), c.mfcc.std(axis=0)]) for c in CLIPS]
    expected = network.heads[0](torch.from_numpy(np.stack(inputs))).detach().numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert baseline.n_parameters == 7 + 2 * (78 * 3 + 3)


def test_running_statistics_are_counted_and_counts_of_batches_are_not() -> None:
    baseline = Means(ClipTraining(epochs=1))
    baseline.fit(CLIPS, LABELS)
    (network,) = baseline.networks
    before = baseline.n_parameters
    network.norm = nn.BatchNorm1d(5)
    assert baseline.n_parameters == before + 4 * 5  # gain, bias, mean and variance


def moved(training: ClipTraining) -> float:
    """How far one fit moves the weights."""
    started = Means(ClipTraining(epochs=0))
    baseline = Means(training)
    for one in (started, baseline):
        one.fit(CLIPS, LABELS)
    return float(np.abs(weights(baseline) - weights(started)).max())


def test_the_learning_rate_is_adams_and_falls() -> None:
    # Adam's first step is as long as the learning rate, whatever the gradient.
    assert moved(ClipTraining(epochs=1, learning_rate=0.01)) == pytest.approx(0.01, rel=1e-3)
    steady = moved(ClipTraining(epochs=30, learning_rate=0.01))
    fallen = moved(ClipTraining(epochs=30, learning_rate=0.01, step_epochs=1))
    assert fallen < 0.0112  # 0.01 + 0.001 + 0.0001 + ...
    assert steady > 3 * fallen


def test_fitting_anew_forgets() -> None:
    baseline, fresh = (Means(ClipTraining(epochs=2)) for _ in range(2))
    baseline.fit(CLIPS[:8], LABELS[:8])
    for one in (baseline, fresh):
        one.fit(CLIPS, LABELS)
    np.testing.assert_array_equal(baseline.scores(CLIPS), fresh.scores(CLIPS))


def test_scoring_needs_a_fit() -> None:
    with pytest.raises(RuntimeError, match="fit"):
        Means(ClipTraining()).scores(CLIPS)
    with pytest.raises(RuntimeError, match="fit"):
        _ = Means(ClipTraining()).n_parameters
