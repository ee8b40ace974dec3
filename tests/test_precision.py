"""The shipped graph in every precision computes what the network computes, within its bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: export)")

from export.arithmetic import multiply_adds  # noqa: E402
from export.engine_loading import load_engine  # noqa: E402
from export.folding import fold, folded_weights  # noqa: E402
from export.graph import build_graph, build_model  # noqa: E402
from export.graph_builder import bodies  # noqa: E402
from export.int8 import CpuInt8Products, Int8Products, product_inputs, quantised  # noqa: E402
from export.onnx_file import torch_scores, write_model  # noqa: E402
from export.parity import BOUNDS, difference  # noqa: E402
from export.products import HalfProducts, Products  # noqa: E402
from export.rebuild import rebuild_network  # noqa: E402
from export.source_model import Source  # noqa: E402
from export.variants import banded_model, unrolled_model  # noqa: E402
from model.errors import ModelError, UsageError  # noqa: E402
from tests.test_export import make  # noqa: E402

PROFILES = [("hybrid", False), ("paper", False), ("paper", True)]


def nodes_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """All nodes, those of loop bodies included."""
    return [*graph.node, *(node for body in bodies(graph) for node in nodes_of(body))]


def initializers_of(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    inner = [tensor for body in bodies(graph) for tensor in initializers_of(body)]
    return [*graph.initializer, *inner]


@pytest.fixture(params=PROFILES, ids=["hybrid", "paper", "paper with peepholes"], scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    profile, peepholes = request.param
    network, metadata = make(profile, peepholes=peepholes)
    path = tmp_path_factory.mktemp("source") / "m.onnx"
    generator = np.random.default_rng(0)
    windows = (2 * generator.standard_normal((16, 128, 73))).astype(np.float32)
    write_model(network, metadata, path, windows)
    source = Source(path)
    source.windows = windows
    return source


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_within_bounds_of_pytorch(
    precision: str, runtime: str, source: Source, tmp_path: Path
) -> None:
    """Also the graphs for TensorRT: ONNX Runtime computes them as they are written."""
    model, _ = source.in_precision(precision, runtime)  # type: ignore[arg-type]
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    engine = load_engine(path)
    engine.precision = precision
    comparisons = source.compare(engine)
    assert [(c.kind, c.reference) for c in comparisons] == [
        ("random", "PyTorch (recorded)"),
        ("real", "PyTorch"),
    ]
    assert len(nodes_of(model.graph)) < 300


def test_a_model_without_recurrent_layers(tmp_path: Path) -> None:
    network, metadata = make("statistics")
    windows = (2 * np.random.default_rng(0).standard_normal((16, 128, 73))).astype(np.float32)
    write_model(network, metadata, tmp_path / "m.onnx", windows)
    source = Source(tmp_path / "m.onnx")
    source.windows = windows
    for precision in ("fp32", "fp16"):
        model, _ = source.in_precision(precision, "onnxruntime")  # type: ignore[arg-type]
        onnx.save(model, str(tmp_path / f"{precision}.onnx"))
        engine = load_engine(tmp_path / f"{precision}.onnx")
        engine.precision = precision
        assert [c.reference for c in source.compare(engine)] == ["PyTorch (recorded)", "PyTorch"]
    with pytest.raises(UsageError, match="recurrent layers"):
        source.in_precision("int8", "onnxruntime")


def test_a_precision_is_not_another_one(source: Source, tmp_path: Path) -> None:
    """8 bits and half do round: they must not slip through as float32."""
    exact = source.engine.run(source.windows)
    for precision in ("fp16", "int8"):
        path = tmp_path / f"{precision}.onnx"
        onnx.save(source.in_precision(precision, "onnxruntime")[0], str(path))  # type: ignore[arg-type]
        found = difference(exact, load_engine(path).run(source.windows))
        assert max(found.logits, found.embedding) > 1e-5


def test_half_keeps_softmax_norms_and_states_in_float32(source: Source) -> None:
    model, _ = source.in_precision("fp16", "tensorrt")
    half = {t.name for t in initializers_of(model.graph) if t.data_type == onnx.TensorProto.FLOAT16}
    assert "convlstm1.joined.weight" in half
    assert not any("norm" in name or "bias" in name or "statistics" in name for name in half)
    casts = {
        node.output[0]
        for node in nodes_of(model.graph)
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16
    }
    products = {
        node.output[0]
        for node in nodes_of(model.graph)
        if node.op_type == "MatMul" and node.input[0] in casts
    }
    for node in nodes_of(model.graph):  # nothing but products takes half
        for name in node.input:
            if name in casts | half:
                assert node.op_type == "MatMul"
            if name in products:
                assert node.op_type == "Cast"


def test_int8_for_tensorrt_is_symmetric_standard_onnx(source: Source) -> None:
    model, ranges = source.in_precision("int8", "tensorrt")
    assert [opset.domain for opset in model.opset_import] == [""]
    assert {node.domain for node in nodes_of(model.graph)} == {""}
    codes = [t for t in initializers_of(model.graph) if t.data_type == onnx.TensorProto.INT8]
    assert {t.name for t in codes} >= {"convlstm1.state.weight", "convlstm2.state.weight"}
    for tensor in codes:
        if tensor.name.endswith(".weight"):
            assert np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max() == 127
        else:
            assert not onnx.numpy_helper.to_array(tensor).any()  # zero points
    again, _ = source.in_precision("int8", "tensorrt", ranges)  # without real windows
    assert again == model


def test_int8_for_cpus_has_no_float_recurrence(source: Source) -> None:
    model, _ = source.in_precision("int8", "onnxruntime")
    operators = {node.op_type for node in nodes_of(model.graph)}
    assert "DynamicQuantizeLSTM" in operators
    assert "LSTM" not in operators
    unsigned = [t for t in initializers_of(model.graph) if t.data_type == onnx.TensorProto.UINT8]
    assert unsigned
    assert all(onnx.numpy_helper.to_array(t) == 128 for t in unsigned)


def test_int8_needs_windows_and_ranges(source: Source) -> None:
    windows, source.windows = source.windows, source.windows[:0]
    try:
        with pytest.raises(UsageError, match="--clips"):
            source.in_precision("int8", "tensorrt")
    finally:
        source.windows = windows
    if product_inputs(source.model):
        with pytest.raises(ModelError, match="no range was measured for convlstm2"):
            source.in_precision("int8", "onnxruntime", {})


def test_quantised_weight_is_within_half_a_step() -> None:
    weight = np.random.default_rng(0).standard_normal((30, 7))
    weight[:, 3] = 0.0
    codes, scales = quantised(weight, axis=0)
    assert codes.dtype == np.int8
    assert (np.abs(codes * scales - weight) <= scales / 2 + 1e-12).all()


def test_folded_weights_come_back_from_the_file(source: Source) -> None:
    network = rebuild_network(source.model, "m")
    stored, again = folded_weights(source.model), fold(network)
    assert stored.keys() == again.keys()
    for name, values in stored.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    scores = torch_scores(network, source.windows)
    assert difference(source.engine.run(source.windows), scores).within(BOUNDS["fp32"])


def test_rebuilding_needs_our_float32_weights(source: Source) -> None:
    half, _ = source.in_precision("int8", "onnxruntime")
    with pytest.raises(ModelError, match="no network can be rebuilt"):
        rebuild_network(half, "m.onnx")
    with pytest.raises(ModelError, match="no named float32 weights"):
        folded_weights(half)


def test_half_refuses_what_does_not_fit() -> None:
    network, metadata = make("hybrid")
    folded = fold(network)
    folded["project.weight"] = folded["project.weight"] * 1e6
    with pytest.raises(ModelError, match=r"project\.weight does not fit into half"):
        build_graph(HalfProducts(folded), network.config, metadata.to_properties())


@pytest.mark.parametrize("profile", ["hybrid", "paper"])
def test_rivals_compute_the_same(profile: str, tmp_path: Path) -> None:
    """What `bench --compare` times must be the same function."""
    network, metadata = make(profile)
    windows = np.random.default_rng(0).standard_normal((2, 128, 73)).astype(np.float32)
    want = torch_scores(network, windows)
    models = {
        "unrolled": unrolled_model(network, metadata),
        "banded": banded_model(network, metadata),
    }
    for name, model in models.items():
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, str(path))
        assert difference(want, load_engine(path).run(windows)).within(BOUNDS["fp32"]), name
    assert len(models["unrolled"].graph.node) > 9000
    network, metadata = make("paper", peepholes=True)
    with pytest.raises(ValueError, match="peepholes"):
        banded_model(network, metadata)


def test_arithmetic_of_the_profiles() -> None:
    """Counted from the graph, and by hand."""
    steps, first, second, units = 128, 24, 11, 128
    trunk = steps * first * (3 * 64 + 4) * 256  # state, three taps and the bias
    trunk += steps * second * (3 * 64 + 3 * 32) * 128
    trunk += steps * 2 * (second * 32 + units) * 4 * units
    paper = trunk + 2 * 8 * 256 * 256 + 256 * 128 + 128 * 45
    network, metadata = make("paper", n_devices=45)
    assert multiply_adds(build_model(network, metadata)) == paper
    encoder = steps * (64 * 512 + 2 * 8 * steps * 64 + 512 * 64 + 2 * 64 * 128)
    default = trunk + steps * 256 * 64 + 2 * encoder + (128 + 136) * 128 + 128 * 6 + 73 * 73
    network, metadata = make("hybrid", n_devices=6)
    assert multiply_adds(build_model(network, metadata)) == default


def test_products_know_what_they_need() -> None:
    assert Products.extra_opsets == Int8Products.extra_opsets == ()
    assert CpuInt8Products.extra_opsets == (("com.microsoft", 1),)
