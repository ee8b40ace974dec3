"""The multi-feature fusion baseline weighs its features, and names simulated devices."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.baselines.clip_network import ClipTraining  # noqa: E402
from model.baselines.feature_fusion import (  # noqa: E402
    AttentionFusion,
    FeatureFusion,
    FeatureFusionNetwork,
)
from model.baselines.universal_background import (  # noqa: E402
    BaumWelchStatistics,
    DiagonalMixture,
)
from model.features import FloatArray  # noqa: E402
from tests.baseline_rig import (  # noqa: E402
    TRAINING_SPEECH,
    accuracy,
    assert_deterministic,
    clips_of,
)


def small(seed: int = 0, epochs: int = 20) -> FeatureFusion:
    return FeatureFusion(
        seed,
        ClipTraining(epochs, batch=8),
        n_gaussians=16,
        n_frames=200,
        rank=8,
        iterations=3,
        width=32,
        max_frames=2000,
    )


def test_learns_simulated_devices() -> None:
    baseline = small()
    assert accuracy(baseline, 5) >= 0.85
    network = FeatureFusionNetwork(5, 16 * 39, rank=8, width=32)
    trained = sum(p.numel() for p in network.parameters())
    running = 2 * (16 + 32 + 64)  # mean and variance of the batch norms
    background, scales = 16 * (1 + 2 * 39), 2 * (39 + 16 * 39 + 8)
    assert baseline.n_parameters == trained + running + background + 16 * 39 * 8 + scales


def test_deterministic_under_a_seed() -> None:
    assert_deterministic(lambda: small(seed=3, epochs=2))


def test_parameters_in_full_size() -> None:
    # The 39 values of a frame -> 13 -> 5 -> 3; each convolution with scale and shift of its norm.
    convolutions = 16 * (5 * 5 + 2) + 32 * (16 * 3 * 3 + 2) + 64 * (32 * 3 * 3 + 2)
    mfcc = convolutions + (64 * 3 + 1) * 128
    supervector = (2496 + 1) * 256 + (256 + 1) * 128
    ivector = (100 + 1) * 128
    attention = (128 + 1) * 128 + 128
    output = (128 + 1) * 45
    network = FeatureFusionNetwork(45, 2496, rank=100)
    total = mfcc + supervector + ivector + attention + output
    assert sum(p.numel() for p in network.parameters()) == total == 755_869


def test_attention_equals_the_formula() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion(6).double()
    features = torch.randn(4, 3, 6, dtype=torch.double)
    weight, bias = (p.detach().numpy() for p in fusion.hidden.parameters())
    v = fusion.score.weight.detach().numpy()[0]
    for got, h in zip(fusion(features).detach().numpy(), features.numpy(), strict=True):
        scores = [v @ np.tanh(weight @ h[i] + bias) for i in range(3)]
        alpha = np.exp(scores) / np.exp(scores).sum()
        expected = alpha[0] * h[0] + alpha[1] * h[1] + alpha[2] * h[2]
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_every_feature_has_a_say() -> None:
    torch.manual_seed(0)
    network = FeatureFusionNetwork(4, 20, rank=5, width=16).eval()
    inputs = [torch.randn(3, 20), torch.randn(3, 5), torch.randn(3, 60, 39)]
    before = network(*inputs)
    assert before.shape == (3, 4)
    for i, values in enumerate(inputs):
        others = [*inputs]
        others[i] = torch.randn_like(values)
        assert not torch.equal(network(*others), before)


def test_kept_inputs_are_standardised_and_independent_of_other_clips() -> None:
    baseline = small(epochs=1)
    clips, labels = clips_of(3, TRAINING_SPEECH)
    baseline.fit(clips, labels)
    for values in zip(*map(baseline._kept, clips), strict=True):
        stacked = np.stack(values)
        assert stacked.dtype == np.float32
        np.testing.assert_allclose(stacked.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(stacked.std(axis=0), 1, atol=1e-3)


def test_the_statistics_of_a_training_clip_are_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[int] = []
    compute = DiagonalMixture.statistics

    def statistics(self: DiagonalMixture, mfcc: FloatArray) -> BaumWelchStatistics:
        counted.append(len(mfcc))
        return compute(self, mfcc)

    monkeypatch.setattr(DiagonalMixture, "statistics", statistics)
    baseline = small(epochs=2)
    clips, labels = clips_of(3, TRAINING_SPEECH[:2])
    given = baseline._prepare(clips, labels)
    assert counted == [len(clip.mfcc) for clip in clips]
    for clip, (supervector, ivector) in zip(clips, given, strict=True):  # as in scoring
        np.testing.assert_array_equal(baseline._kept(clip)[0], supervector)
        np.testing.assert_array_equal(baseline._kept(clip)[1], ivector)


def test_fewer_clips_than_dimensions_give_shorter_ivectors() -> None:
    baseline = small(epochs=1)
    clips, labels = clips_of(3, TRAINING_SPEECH[:1])
    baseline.fit(clips, labels)
    assert baseline._kept(clips[0])[1].shape == (3,)
    assert np.isfinite(baseline.scores(clips)).all()


def test_scoring_needs_a_fit() -> None:
    with pytest.raises(RuntimeError, match="fit"):
        FeatureFusion().scores([])
    with pytest.raises(RuntimeError, match="fit"):
        _ = FeatureFusion().n_parameters
