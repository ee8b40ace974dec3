"""The house rules that a machine can check: imports run one way, torch stays where it belongs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("agent", "export", "model")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

#: Modules that may import torch: training, torch -> ONNX, and comparisons with torch.
TORCH_FILES = {
    "model/accelerator.py",
    "model/baselines/clip_network.py",
    "model/baselines/ecapa.py",
    "model/baselines/feature_fusion.py",
    "model/baselines/gsv_cnn.py",
    "model/baselines/multi_attention.py",
    "model/convlstm.py",
    "model/crossval.py",
    "model/domain_training.py",
    "model/encoders.py",
    "model/experiments/network_method.py",
    "model/fine_tuning.py",
    "model/naive_convlstm.py",
    "model/network.py",
    "model/one_cycle.py",
    "model/open_set_trials.py",
    "model/segment_windows.py",
    "model/statistics_training.py",
    "model/training.py",
    "model/training_data.py",
    "model/window_statistics.py",
    "export/graph_comparison.py",
    "export/onnx_file.py",
    "export/rebuild.py",
    "export/variants.py",
    "agent/commands/model_writing.py",
}


def imported_modules(path: Path) -> set[str]:
    """Full names of all imports, also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = {"agent": set(), "export": {"agent"}, "model": {"agent", "export"}}[package]
    tops = {name.split(".")[0] for name in imported_modules(path)}
    assert not tops & forbidden
    assert "tests" not in tops
    assert not tops & {"pickle", "dill", "cloudpickle"}
    if str(path.relative_to(ROOT)) not in TORCH_FILES:
        assert not tops & {"torch", "lightning"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


def test_front_end_needs_numpy_and_scipy_alone() -> None:
    outside = {name.split(".")[0] for name in imported_modules(ROOT / "model" / "features.py")}
    assert outside <= {
        "__future__",
        "dataclasses",
        "functools",
        "typing",
        "numpy",
        "scipy",
        "model",
    }
