"""Cross-validation: every group tested once, baselines beside, finished folds not repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra: train)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra: train)")

from model.baselines.logmel_lda import LogMelLDA
from model.baselines.trivial import level_and_dc, nearest_mean_accuracy
from model.crossval import LDA, NETWORK, QUIET_LDA, STATISTICS_ALONE
from model.features import FrontEndConfig
from model.metrics import confusion_matrix, figures
from tests.conftest import run_cli
from tests.simulated import write_corpus


def test_crossval_reports_every_fold_and_resumes(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", n_devices=3, n_clips=2, seconds=2.5)
    report_path = tmp_path / "report.json"
    arguments = [
        "crossval", corpus, "-o", report_path, "--profile", "hybrid", "--preset", "fast",
        "--steps", "5", "--epochs", "1", "--batch", "8", "--no-conditions",
    ]  # fmt: skip
    first = run_cli(*arguments)
    assert first.returncode == 0, first.stderr.decode()
    report = json.loads(report_path.read_text())
    assert [fold["group"] for fold in report["folds"]] == ["1", "2"]
    assert "conditions" not in report
    for name in (NETWORK, STATISTICS_ALONE, LDA, QUIET_LDA):
        assert report["pooled"][name]["clips"]["count"] == 6
        assert name.split(",")[0] in first.stdout.decode()
    again = run_cli(*arguments)
    assert again.returncode == 0
    assert b"fold 1" not in again.stderr
    assert json.loads(report_path.read_text()) == report


def test_figures_against_a_count_by_hand() -> None:
    truth, decided = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    matrix = confusion_matrix(truth, decided, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    result = figures(matrix)
    assert (result.count, result.correct) == (6, 4)
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.precision == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert result.recall == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert result.f1 == pytest.approx((2 / 3 + 0.8 + 0) / 3)


def test_lda_needs_logarithms() -> None:
    with pytest.raises(ValueError, match="prefbank='log'"):
        LogMelLDA(FrontEndConfig())


def test_lda_ignores_level() -> None:
    config = FrontEndConfig(prefbank="log")
    windows = np.random.default_rng(0).standard_normal((3, 128, 73)).astype(np.float32)
    for quietest in (1.0, 0.2):
        lda = LogMelLDA(config, quietest)
        np.testing.assert_allclose(
            lda.statistics(windows + np.float32(2)), lda.statistics(windows), atol=1e-4
        )


def test_trivial_baseline() -> None:
    rng = np.random.default_rng(0)

    def clip(level: float, dc: float) -> np.ndarray:
        return level_and_dc((level * rng.standard_normal(5000) + dc).astype(np.float32))

    level, dc = clip(0.1, 0.02)
    assert level == pytest.approx(-20, abs=0.3)
    assert dc == pytest.approx(0.02, abs=0.005)
    train = [(0, clip(0.1, 0.0)), (1, clip(0.01, 0.0)), (2, clip(0.1, 0.05))]
    assert nearest_mean_accuracy(train, train) == 1.0
    assert nearest_mean_accuracy(train, [(1, clip(0.1, 0.0))]) == 0.0
