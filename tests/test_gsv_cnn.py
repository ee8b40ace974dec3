"""GSV + CNN: simulated devices told apart; the matrix, its scaling and the network."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")
pytest.importorskip("torch", reason="torch is not installed (extra: train)")

import torch

from model.baselines.baseline import BaselineClip
from model.baselines.clip_network import ClipTraining
from model.baselines.gsv_cnn import GsvCnn, matrix_network, rows_to_range
from model.baselines.universal_background import fit_background_model
from model.features import FloatArray
from tests.baseline_rig import (
    TRAINING_SPEECH,
    UNHEARD_SPEECH,
    assert_deterministic,
    clips_of,
)

SHORT = ClipTraining(epochs=20, batch=8, label_smoothing=0.1)
small = partial(GsvCnn, n_gaussians=16, max_frames=2000, training=SHORT)


def test_tells_simulated_devices_apart() -> None:
    baseline = small(n_gaussians=32)
    baseline.fit(*clips_of(5, (11, 12, 13, 14, 15, 16, 17, 18)))
    clips, labels = clips_of(5, UNHEARD_SPEECH)
    scores = baseline.scores(clips)
    assert scores.shape == (len(clips), 5)
    assert scores.dtype == np.float32
    # Two seconds of noise-like sounds are little for supervectors; chance is 0.2.
    assert np.mean(scores.argmax(axis=1) == labels) >= 0.75


def test_deterministic() -> None:
    assert_deterministic(partial(small, n_gaussians=8))


def test_the_seed_decides() -> None:
    clips, labels = clips_of(3, TRAINING_SPEECH[:2])
    scores = []
    for seed in (0, 1):
        baseline = small(seed=seed, training=ClipTraining(epochs=1))
        baseline.fit(clips, labels)
        scores.append(baseline.scores(clips))
    assert not np.array_equal(*scores)


def test_the_matrix_has_a_row_for_each_dimension_and_a_column_for_each_gaussian() -> None:
    clips, labels = clips_of(2, TRAINING_SPEECH[:1])
    baseline = small(n_gaussians=8, training=ClipTraining(epochs=0), relevance_factor=7.0)
    baseline.fit(clips, labels)
    background = fit_background_model((clip.mfcc for clip in clips), 8, 0, 2000)
    frames = clips[1].mfcc.astype(np.float64)
    densities = background.log_densities(frames)
    expected = np.zeros((39, 8))
    for gaussian in range(8):
        shares = np.exp(densities[:, gaussian] - np.logaddexp.reduce(densities, axis=1))
        for dim in range(39):
            total = sum(share * value for share, value in zip(shares, frames[:, dim], strict=True))
            total += 7.0 * background.means[gaussian, dim]
            expected[dim, gaussian] = total / (shares.sum() + 7.0)
    matrix = baseline.matrix(clips[1])
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, expected, rtol=1e-5, atol=1e-5)


@given(arrays.arrays(np.float32, (3, 5), elements=st.floats(-100, 100, width=16)))
def test_rows_go_from_minus_one_to_one(matrix: FloatArray) -> None:
    scaled = rows_to_range(matrix)
    for row, given_row in zip(scaled, matrix, strict=True):
        low, high = given_row.min(), given_row.max()
        if low == high:
            np.testing.assert_array_equal(row, 0)
            continue
        # As MATLAB's manual has it: (ymax - ymin) (x - xmin) / (xmax - xmin) + ymin.
        expected = [2 * (float(x) - low) / (float(high) - low) - 1 for x in given_row]
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_the_network_is_given_the_scaled_matrix() -> None:
    clips, labels = clips_of(2, TRAINING_SPEECH[:1])
    baseline = small(training=ClipTraining(epochs=0))
    baseline.fit(clips, labels)
    (kept,) = baseline._kept(clips[0])
    assert (kept.shape, kept.dtype) == ((1, 39, 16), np.float32)
    np.testing.assert_array_equal(kept[0], rows_to_range(baseline.matrix(clips[0])))


def test_clips_are_not_read_again_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[BaselineClip] = []
    read = BaselineClip.mfcc.fget
    assert read is not None

    def counted(clip: BaselineClip) -> FloatArray:
        reads.append(clip)
        return read(clip)

    monkeypatch.setattr(BaselineClip, "mfcc", property(counted))
    clips, labels = clips_of(2, TRAINING_SPEECH[:2])
    small(training=ClipTraining(epochs=5)).fit(clips, labels)
    assert len(reads) == 2 * len(clips)


def test_the_logits_of_a_clip_do_not_depend_on_its_companions() -> None:
    torch.manual_seed(0)
    network = matrix_network(16, 4)
    for _ in range(3):  # batch norm's averages become others than those at the start
        network(3 + 2 * torch.randn(8, 1, 39, 16))
    network.eval()
    inputs = torch.randn(6, 1, 39, 16)
    alone = torch.cat([network(clip[None]) for clip in inputs])
    torch.testing.assert_close(network(inputs), alone, rtol=1e-4, atol=1e-5)


def test_parameters() -> None:
    clips, labels = clips_of(3, TRAINING_SPEECH[:2])
    convolutions = 9 * (1 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64)
    running = 2 * (16 + 32 + 64)  # mean and variance of the batch norms
    linear = 64 * 4 * 2 * 3 + 3  # 39 x 16 three times halved is 4 x 2
    background = 16 + 2 * 16 * 39
    baseline = small(training=ClipTraining(epochs=0))
    baseline.fit(clips, labels)
    assert baseline.n_parameters == convolutions + running + linear + background
    paper_size = sum(p.numel() for p in matrix_network(64, 45).parameters())
    assert paper_size == convolutions + 64 * 4 * 8 * 45 + 45


def test_refusals() -> None:
    clips, _ = clips_of(1, TRAINING_SPEECH[:1])
    with pytest.raises(RuntimeError, match="fit"):
        small().scores(clips)
    with pytest.raises(RuntimeError, match="fit"):
        small().matrix(clips[0])
    with pytest.raises(RuntimeError, match="fit"):
        _ = small().n_prepared
    with pytest.raises(ValueError, match="8 Gaussians"):
        matrix_network(7, 3)
