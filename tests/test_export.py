"""The model file computes what the network computes, and refuses what it is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: train)")

from export.engine_loading import load_engine  # noqa: E402
from export.graph import build_model  # noqa: E402
from export.onnx_file import write_model  # noqa: E402
from export.parity import BOUNDS, Bounds  # noqa: E402
from model.errors import ModelError  # noqa: E402
from model.metadata import ModelMetadata  # noqa: E402
from model.network import DeviceNetwork  # noqa: E402
from model.network_config import NetworkConfig, front_end_for  # noqa: E402
from tests.conftest import save_changed  # noqa: E402


def make(
    profile: str, *, peepholes: bool = False, n_devices: int = 6
) -> tuple[DeviceNetwork, ModelMetadata]:
    """A network with random weights, none of them at its initial 0 or 1."""
    front_end = front_end_for(profile)  # type: ignore[arg-type]
    config = NetworkConfig.for_profile(profile, n_devices, front_end)  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = DeviceNetwork(dataclasses.replace(config, peepholes=peepholes))
    if profile != "statistics":
        for layer in (network.convlstm1, network.convlstm2):
            if layer.peephole is not None:
                torch.nn.init.normal_(layer.peephole, std=0.2)
    windows = 2 * torch.randn(32, 128, 73) + torch.randn(73)
    network.fit_statistics(windows, torch.arange(32) % n_devices)
    network.train()
    with torch.no_grad():
        network(windows)  # moves the batch norms' running statistics
    for parameter in network.parameters():  # biases and norms away from their initial 0 and 1
        with torch.no_grad():
            parameter.add_(0.03 * torch.randn_like(parameter))
    for name in ("discriminants.projection", "discriminants.centre", "linear_scores.weight"):
        if profile == "statistics":
            torch.nn.init.normal_(network.get_buffer(name), std=0.1)
    labels = tuple(f"phone {k}" for k in range(n_devices))
    return network.eval(), ModelMetadata(labels, front_end, network.config.to_dict(), {"a": 1})


@pytest.mark.parametrize(
    ("profile", "peepholes"),
    [("hybrid", False), ("statistics", False), ("paper", False), ("paper", True)],
)
def test_engine_equals_network(profile: str, peepholes: bool, tmp_path: Path) -> None:
    network, metadata = make(profile, peepholes=peepholes)
    windows = torch.randn(9, 128, 73)
    path = tmp_path / "m.onnx"
    assert write_model(network, metadata, path, windows.numpy()) < 1e-4
    with torch.no_grad():
        logits, embedding = network(windows)
    scores = load_engine(path).run(windows.numpy())
    np.testing.assert_allclose(scores.logits, logits.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.embedding, embedding.numpy(), rtol=1e-3, atol=1e-4)


def test_graph_is_small_and_batch_is_dynamic(tmp_path: Path) -> None:
    network, metadata = make("hybrid")
    model = build_model(network, metadata)
    body = sum(len(a.g.node) for n in model.graph.node for a in n.attribute if a.HasField("g"))
    assert len(model.graph.node) + body < 300
    onnx.save(model, str(tmp_path / "m.onnx"))
    engine = load_engine(tmp_path / "m.onnx")
    windows = np.random.default_rng(0).standard_normal((130, 128, 73)).astype(np.float32)
    together = engine.run(windows).logits
    assert together.shape == (130, 6)
    np.testing.assert_allclose(engine.run(windows[77:78]).logits, together[77:78], atol=1e-4)
    assert engine.run(windows[:0]).logits.shape == (0, 6)
    with pytest.raises(ValueError, match="windows must be"):
        engine.run(windows[:, :100])


def test_metadata_travels(tmp_path: Path) -> None:
    network, metadata = make("hybrid")
    path = tmp_path / "m.onnx"
    write_model(network, metadata, path, np.zeros((1, 128, 73), np.float32))
    assert load_engine(path).metadata == metadata


def test_failed_parity_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, metadata = make("hybrid")
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the old model")
    monkeypatch.setitem(BOUNDS, "fp32", Bounds(logits=0.0, embedding=0.0, top1=1.0))
    with pytest.raises(ModelError, match="differs"):
        write_model(network, metadata, path, np.ones((1, 128, 73), np.float32))
    assert path.read_bytes() == b"the old model"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devrec.format": "-"}, "not a devrec-agent model"),
        ({"devrec.format_version": "99"}, "model format 99"),
        ({"devrec.labels": '["a", "a"]'}, "damaged labels"),
        ({"devrec.labels": '["a", "b"]'}, "logits has shape"),
        ({"devrec.labels": "[1"}, "damaged metadata"),
        ({"devrec.front_end": '{"hop_length": 0}'}, "out of range"),
        ({"devrec.front_end": '{"colour": 1}'}, "unknown keys"),
        ({"devrec.front_end": '{"n_mels": 40}'}, "features has shape"),
        ({"devrec.window_frames": '"x"'}, "damaged metadata"),
    ],
)
def test_foreign_or_damaged_metadata(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_engine(save_changed(build_model(*make("hybrid")), tmp_path / "m.onnx", changes))
    assert "\n" not in str(caught.value)


def test_not_a_model_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        load_engine(tmp_path / "missing.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("hello")
    with pytest.raises(ModelError, match="not a loadable ONNX file"):
        load_engine(text)
    network, metadata = make("hybrid")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(build_model(network, metadata).SerializeToString()[:100_000])
    with pytest.raises(ModelError, match="not a loadable ONNX file"):
        load_engine(cut)
