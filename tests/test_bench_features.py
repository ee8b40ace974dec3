"""The front-end benchmark runs and reports its fields; how fast is not a test's business."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest


def test_benchmark_reports_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rival in ("kaldi_native_fbank", "librosa", "threadpoolctl"):
        pytest.importorskip(rival, reason=f"{rival} is not installed")
    from tests.benchmarks import bench_features

    path = tmp_path / "bench.json"
    arguments = ["bench_features", "--seconds", "0.5", "--repeats", "1", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", arguments)
    bench_features.main()
    result = json.loads(path.read_text())
    assert {
        "ours ms",
        "kaldi-native-fbank ms",
        "librosa ms",
        "kaldi-native-fbank / ours",
        "librosa / ours",
        "share of a core, hop by hop",
        "share of a core, 20 ms blocks",
    } <= result.keys()
    assert all(math.isfinite(value) and value > 0 for value in result.values())
    shown = capsys.readouterr().out
    assert "required" in shown
    for requirement in (">= 1", ">= 5", "< 1 %"):
        assert requirement in shown
