"""Differences between engines, the record of PyTorch's answers, and `verify`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: export)")

from export.engine import Scores  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from export.parity import (  # noqa: E402
    BOUNDS,
    ParityRecord,
    check_parity,
    difference,
    random_windows,
)
from export.source_model import Source  # noqa: E402
from model.builtin import BUILTIN_MODEL  # noqa: E402
from model.errors import ModelError, ParityError  # noqa: E402
from tests.conftest import run_cli  # noqa: E402


def scores(seed: int, n: int = 5) -> Scores:
    generator = np.random.default_rng(seed)
    return Scores(
        generator.standard_normal((n, 7)).astype(np.float32),
        generator.standard_normal((n, 128)).astype(np.float32),
    )


@given(seed=st.integers(0, 1000), size=st.floats(1e-6, 0.5))
@settings(max_examples=50, deadline=None)
def test_difference_is_relative_to_the_largest_value(seed: int, size: float) -> None:
    reference = scores(seed)
    moved = reference.logits.copy()
    moved[2, 3] += np.float32(size * np.abs(reference.logits).max())
    found = difference(reference, Scores(moved, 1000 * reference.embedding / 1000))
    assert found.logits == pytest.approx(size, rel=0.05, abs=1e-6)
    assert found.embedding < 1e-6
    assert found.top1 >= 0.8  # one window of five moved
    scaled = difference(
        Scores(100 * reference.logits, reference.embedding),
        Scores(100 * moved, reference.embedding),
    )
    assert scaled.logits == pytest.approx(found.logits, rel=0.05, abs=1e-6)


def test_nan_is_never_within_bounds() -> None:
    reference = scores(0)
    broken = Scores(np.full_like(reference.logits, np.nan), reference.embedding)
    found = difference(reference, broken)
    for precision, bounds in BOUNDS.items():
        assert not found.within(bounds)
        with pytest.raises(ParityError):
            check_parity(found, precision, "here")


def test_other_shapes_are_another_question() -> None:
    with pytest.raises(ModelError, match="the engines give"):
        difference(scores(0), Scores(np.zeros((5, 8), np.float32), scores(0).embedding))


def test_record_survives_its_file() -> None:
    record = Source(BUILTIN_MODEL).record
    properties = {"devrec.parity": record.to_property()}
    again = ParityRecord.from_properties(properties, "m", (128, 73))
    np.testing.assert_array_equal(again.scores.logits, record.scores.logits)
    np.testing.assert_array_equal(again.windows(), record.windows())
    with pytest.raises(ModelError, match="carries no answers"):
        ParityRecord.from_properties({}, "m", (128, 73))
    whole = properties["devrec.parity"]
    damaged = ["", "[]", "{}", whole.replace("logits", "x")]
    damaged += [whole.replace('"seed": 0', f'"seed": {seed}') for seed in ("-1", "1e99", "[]")]
    damaged += [whole.replace('"count": 32', f'"count": {n}') for n in ("Infinity", "0", "31")]
    damaged.append(whole.replace('"mean": "', '"mean": "AAAA'))
    for text in damaged:
        with pytest.raises(ModelError, match="damaged answers"):
            ParityRecord.from_properties({"devrec.parity": text}, "m", (128, 73))


def test_random_windows_look_like_features() -> None:
    mean = np.arange(73, dtype=np.float32)
    deviation = np.full(73, 2.0, np.float32)
    windows = random_windows(mean, deviation, 128, 200, seed=3)
    assert windows.dtype == np.float32
    assert windows.shape == (200, 128, 73)
    assert np.abs(windows.mean(axis=(0, 1)) - mean).max() < 0.5
    assert np.abs(windows.std(axis=(0, 1)) - deviation).max() < 0.3
    np.testing.assert_array_equal(windows, random_windows(mean, deviation, 128, 200, seed=3))


def changed(path: Path, **initializers: float) -> Path:
    """The built-in model with something added to some of its weights."""
    model = onnx.load(str(BUILTIN_MODEL))
    for tensor in model.graph.initializer:
        key = tensor.name.replace(".", "_")
        if key in initializers:
            values = onnx.numpy_helper.to_array(tensor)
            noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(values + initializers[key] * noise, tensor.name)
            )
    onnx.save(model, str(path))
    return path


def test_verify_tells_equal_from_different(tmp_path: Path) -> None:
    done = run_cli("verify", BUILTIN_MODEL, BUILTIN_MODEL, "--json")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["parity"][0]["logits"] == 0.0
    assert found["parity"][0]["windows"] == 32
    other = changed(tmp_path / "other.onnx", classifier_bias=0.1)
    done = run_cli("verify", BUILTIN_MODEL, other)
    assert done.returncode == 9
    assert b"0.001" in done.stdout  # the bound stands in the table
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert "on random windows the engine differs by" in lines[0]


def test_verify_on_recordings(simulated_corpus: Path, simulated_model: Path) -> None:
    done = run_cli(
        "verify", simulated_model, simulated_model, "--clips", simulated_corpus, "--json"
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)["parity"]
    assert [(p["kind"], p["windows"]) for p in found] == [("random", 32), ("real", 60)]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 4, "no such model file"),
        (b"no model", 4, "not a loadable ONNX file"),
    ],
)
def test_verify_bad_files(content: bytes | None, code: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    done = run_cli("verify", BUILTIN_MODEL, path)
    assert done.returncode == code
    assert message in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1


def test_verify_refuses_models_of_other_devices(simulated_model: Path) -> None:
    done = run_cli("verify", BUILTIN_MODEL, simulated_model)
    assert done.returncode == 4
    assert b"have other devices: nothing to compare" in done.stderr


def test_engines_in_tests_are_the_real_ones() -> None:
    assert "ONNX Runtime" in load_engine(BUILTIN_MODEL).description
