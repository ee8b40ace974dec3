"""The open set of a model: written and read back, refused when damaged, and what it computes."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.corpus_scoring import corpus_scores
from model.embedding_scoring import ClipEmbedding, cosine_scores
from model.errors import ModelError, UsageError
from model.features import FrontEndConfig
from model.likelihood_ratio import Calibration, LrBounds
from model.metadata import ModelMetadata
from model.open_set import OpenSet
from model.open_set_fitting import open_set_from, read_report
from model.other_domains import Cohort, OtherDomains
from model.packed_arrays import KEPT_TRIALS, thinned

#: As the model file keeps them, so that they come back as they were.
floats = st.floats(-1e6, 1e6, width=32)

SLOPES = (8.0, -2.0)  #: of the scores


def sorted_trials(n: int, fewest: int = 0) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, st.integers(fewest, n), elements=floats).map(np.sort)


@st.composite
def other_domains(draw: st.DrawFn, dims: int) -> OtherDomains:
    shape = (draw(st.integers(1, 5)), dims)
    return OtherDomains(
        cohort=Cohort(
            draw(st.integers(1, dims - 1)), draw(hnp.arrays(np.float64, shape, elements=floats))
        ),
        calibration=Calibration((draw(floats),), draw(floats)),
        bounds=LrBounds(-abs(draw(floats)), abs(draw(floats))),
        threshold=draw(floats),
        same=draw(sorted_trials(20, fewest=1)),
        different=draw(sorted_trials(20, fewest=1)),
    )


@st.composite
def open_sets(draw: st.DrawFn) -> OpenSet:
    devices, dims, bands = (draw(st.integers(1, 5)) for _ in range(3))
    return OpenSet(
        prototypes=draw(hnp.arrays(np.float64, (devices, dims), elements=floats)),
        spectra=draw(hnp.arrays(np.float64, (devices, bands), elements=floats)),
        calibration=Calibration(draw(st.tuples(*[floats] * len(SLOPES))), draw(floats)),
        bounds=LrBounds(-abs(draw(floats)), abs(draw(floats))),
        threshold=draw(floats),
        false_acceptance=draw(st.floats(0, 1)),
        known_devices=draw(st.integers(1, 1000)),
        temperature=draw(st.floats(1e-3, 1e3)),
        same=draw(sorted_trials(20)),
        different=draw(sorted_trials(20)),
        evidence=draw(st.dictionaries(st.text(), st.integers() | st.text() | st.none())),
        other_domains=draw(st.none() | other_domains(dims)) if dims > 1 else None,
    )


def example() -> OpenSet:
    rng = np.random.default_rng(0)
    return OpenSet(
        prototypes=rng.standard_normal((3, 6)).astype(np.float32).astype(np.float64),
        spectra=rng.standard_normal((3, 34)).astype(np.float32).astype(np.float64),
        calibration=Calibration(SLOPES, -4.0),
        bounds=LrBounds(-2.5, 2.0),
        threshold=0.7,
        false_acceptance=0.01,
        known_devices=3,
        temperature=0.9,
        same=np.array([0.5, 1.0, 1.5]),
        different=np.array([-2.0, -1.0]),
        evidence={"corpus": "simulated"},
        other_domains=OtherDomains(
            cohort=Cohort(4, rng.standard_normal((5, 6)).astype(np.float32).astype(np.float64)),
            calibration=Calibration((2.0,), -1.0),
            bounds=LrBounds(-1.0, 0.5),
            threshold=0.25,
            same=np.array([0.25, 0.5]),
            different=np.array([-1.5, -0.5, 0.0]),
        ),
    )


@settings(max_examples=50)
@given(open_sets())
def test_round_trip(open_set: OpenSet) -> None:
    written = json.loads(json.dumps(open_set.to_dict(), allow_nan=False))
    read = OpenSet.from_dict(written, "model.onnx")
    for name, value in vars(open_set).items():
        if name != "other_domains":
            np.testing.assert_array_equal(getattr(read, name), value)
    assert read.to_dict() == open_set.to_dict()
    assert read == open_set
    ours, theirs = open_set.other_domains, read.other_domains
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        np.testing.assert_array_equal(theirs.cohort.embeddings, ours.cohort.embeddings)
        for name, value in vars(ours).items():
            if name != "cohort":
                np.testing.assert_array_equal(getattr(theirs, name), value)


def packed(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.pop(key)


def having(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.update({key: value})


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {key}": without(key) for key in example().to_dict()},
    "text for numbers": having("prototypes", "not base64!"),
    "half a number": having("same", base64.b64encode(b"12345").decode()),
    "another shape": having("shape", [3, 7]),
    "no shape": having("shape", 18),
    "fewer spectra": having("spectra", packed(1, 2, 3, 4)),
    "prototype not a number": having("prototypes", packed(*[1] * 17, np.nan)),
    "infinite spectrum": having("spectra", packed(1, 2, np.inf)),
    "trial not a number": having("different", packed(1, np.nan)),
    "threshold not a number": having("threshold", float("nan")),
    "threshold a text": having("threshold", "high"),
    "false acceptance infinite": having("false_acceptance", float("inf")),
    "infinitely many devices": having("known_devices", float("inf")),
    "temperature 0": having("temperature", 0),
    "temperature below 0": having("temperature", -1.5),
    "bounds upside down": having("bounds", {"lower": 1.0, "upper": -1.0}),
    "no slope": having("calibration", {"slopes": [], "offset": 0.0}),
    "one slope": having("calibration", {"slopes": [8.0], "offset": -4.0}),
    "three slopes": having("calibration", {"slopes": [*SLOPES, 1.0], "offset": -4.0}),
    "evidence a number": having("evidence", 3),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_values_are_a_model_error(damage: str) -> None:
    values = copy.deepcopy(example().to_dict())
    DAMAGE[damage](values)
    with pytest.raises(ModelError, match=r"^model\.onnx: damaged open-set data: ") as caught:
        OpenSet.from_dict(values, "model.onnx")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("values", [[], "text", None, 3])
def test_something_else_is_a_model_error(values: Any) -> None:
    with pytest.raises(ModelError, match="damaged open-set data"):
        OpenSet.from_dict(values, "model.onnx")


def test_metadata_carries_it() -> None:
    metadata = ModelMetadata(("a", "b", "c"), FrontEndConfig(), open_set=example())
    read = ModelMetadata.from_properties(metadata.to_properties(), "model.onnx")
    assert read.open_set is not None
    assert read.open_set.to_dict() == example().to_dict()
    plain = ModelMetadata(("a", "b"), FrontEndConfig())
    assert "devrec.open_set" not in plain.to_properties()
    assert ModelMetadata.from_properties(plain.to_properties(), "model.onnx").open_set is None


def test_metadata_refuses_another_models() -> None:
    properties = ModelMetadata(("a", "b"), FrontEndConfig(), open_set=example()).to_properties()
    with pytest.raises(ModelError, match="other devices than the model"):
        ModelMetadata.from_properties(properties, "model.onnx")
    properties["devrec.open_set"] = "{}"
    with pytest.raises(ModelError, match="damaged open-set data"):
        ModelMetadata.from_properties(properties, "model.onnx")


vectors = hnp.arrays(np.float64, (4, 3), elements=st.floats(-1e3, 1e3))


@settings(max_examples=60)
@given(vectors, vectors, st.floats(1e-2, 1e2))
def test_cosine_scores(known: np.ndarray, asked: np.ndarray, scale: float) -> None:
    known[0] = 0.0
    scores = cosine_scores(known, asked)
    assert scores.shape == (4, 4)
    assert np.abs(scores).max() <= 1 + 1e-12
    assert not scores[:, 0].any()
    for i, j in np.ndindex(4, 4):
        lengths = np.linalg.norm(asked[i]) * np.linalg.norm(known[j])
        if lengths > 1e-100:
            assert scores[i, j] == pytest.approx(asked[i] @ known[j] / lengths, abs=1e-9)
    np.testing.assert_allclose(cosine_scores(scale * known, asked), scores, atol=1e-9)
    np.testing.assert_allclose(cosine_scores(known, asked[0]), scores[0], atol=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 3 * KEPT_TRIALS), st.integers(0, 99))
def test_thinned_keeps_extremes(n_trials: int, seed: int) -> None:
    trials = np.sort(np.random.default_rng(seed).standard_normal(n_trials))
    kept = thinned(trials)
    assert len(kept) == min(n_trials, KEPT_TRIALS)
    assert set(kept) <= set(trials)
    assert (np.diff(kept) >= 0).all()
    if n_trials:
        assert (kept[0], kept[-1]) == (trials[0], trials[-1])
        assert np.median(kept) == pytest.approx(np.median(trials), abs=0.02)


def test_likelihood_ratios() -> None:
    open_set = dataclasses.replace(example(), other_domains=None)
    asked = np.random.default_rng(1).standard_normal((2, 5, 6))
    ratios = open_set.log10_lr(open_set.prototypes, asked)
    assert ratios.shape == (2, 5, 3)
    scores = corpus_scores(open_set.prototypes, asked, open_set.prototypes)
    expected = sum(slope * scores[..., k] for k, slope in enumerate(SLOPES)) - 4.0
    np.testing.assert_allclose(ratios, np.clip(expected, -2.5, 2.0))
    assert ratios.min() == -2.5
    cosines = cosine_scores(open_set.prototypes, asked)
    np.testing.assert_array_equal(open_set.cosines(open_set.prototypes, asked), cosines)
    np.testing.assert_allclose(open_set.unlimited_log10_lr(open_set.prototypes, asked), expected)
    clips = [ClipEmbedding(vector, 1.0) for vector in asked[0]]
    mean = asked[0, :3].mean(axis=0)[None]
    assert open_set.same_device(clips[:3], clips[3]) == open_set.log10_lr(mean, asked[0, 3])[0]
    assert open_set.same_device([clips[0]], clips[0]) == 2.0
    with pytest.raises(ValueError, match="at least one"):
        open_set.same_device([], clips[0])


# What the reports bring

KINDS = ("auroc", "eer", "tpr", "enrolled_named_right", "known_named_right")


def openset_report() -> dict[str, Any]:
    return {
        "corpus": "c0ffee",
        "corpus_name": "simulated",
        "devices": 10,
        "known_devices": 6,
        "draws": 2,
        "speech": False,
        "kinds": {
            "clean": {
                **dict.fromkeys(KINDS, 0.123456789),
                "at_threshold_of_other_strangers": {"unknown_accepted": 0.04},
            }
        },
        "shipped": {
            "calibration": {"slopes": list(SLOPES), "offset": -4.0},
            "bounds": {"lower": -2.0, "upper": 1.5},
            "threshold": 0.25,
            "false_acceptance": 0.009,
            "true_acceptance": 0.98,
        },
        "comparison": {"clean": {"cllr": 0.1}},
        "other_domains": {"domains": 12, "scores": {"cllr": 0.4}},
        "validation": {"same": [0.5, 1.0], "different": [-2.0, -1.0, 0.1]},
    }


def crossval_report(profile: str = "statistics") -> dict[str, Any]:
    return {
        "settings": {"corpus": "c0ffee", "network": {"profile": profile}},
        "condition_means": {"clean": {"network": {"windows": 0.9, "clips": 1.0}}},
        "calibration": {"temperature": 0.8, "clean": {"ece": 0.01, "nll": 0.2}},
    }


def test_open_set_from_reports() -> None:
    prototypes, spectra = np.eye(3), np.arange(12.0).reshape(3, 4)
    open_set = open_set_from(prototypes, spectra, openset_report(), crossval_report())
    np.testing.assert_array_equal(open_set.prototypes, prototypes)
    np.testing.assert_allclose(open_set.spectra, [[-1.5, -0.5, 0.5, 1.5]] * 3)
    assert open_set.calibration == Calibration(SLOPES, -4.0)
    assert open_set.bounds == LrBounds(-2.0, 1.5)
    assert (open_set.threshold, open_set.false_acceptance) == (0.25, 0.009)
    assert (open_set.known_devices, open_set.temperature) == (6, 0.8)
    assert open_set.same.tolist() == [0.5, 1.0]
    assert open_set.evidence["kinds"]["clean"] == dict.fromkeys(KINDS, 0.12346)
    assert open_set.evidence["strangers_accepted"] == {"clean": 0.04}
    assert open_set.evidence["ece"] == {"clean": 0.01}
    assert open_set.evidence["other_domains"] == {"domains": 12, "scores": {"cllr": 0.4}}
    assert open_set.other_domains is None  # a report has figures, not the cohort
    again = OpenSet.from_dict(json.loads(json.dumps(open_set.to_dict())), "model.onnx")
    assert again.evidence == open_set.evidence


def test_open_set_without_a_crossval_or_enrolment_trials() -> None:
    report = openset_report()
    report["kinds"]["clean"]["enrolled_named_right"] = None
    open_set = open_set_from(np.eye(2), np.zeros((2, 4)), report, None)
    assert open_set.temperature == 1.0
    assert "ece" not in open_set.evidence
    assert "enrolled_named_right" not in open_set.evidence["kinds"]["clean"]


def test_read_report_takes_its_own(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for kind, report in (("openset", openset_report()), ("crossval", crossval_report())):
        path.write_text(json.dumps(report))
        assert read_report(path, kind, "c0ffee") == report


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("openset", "no JSON", "not a report of `devrec-agent openset`"),
        ("openset", "[1, 2]", "not a report of `devrec-agent openset`"),
        ("crossval", "{}", "not a report of `devrec-agent crossval`"),
        ("crossval", json.dumps(openset_report()), "not a report of `devrec-agent crossval`"),
        ("openset", json.dumps(crossval_report()), "not a report of `devrec-agent openset`"),
        ("openset", json.dumps(openset_report() | {"corpus": "other"}), "of another corpus"),
        ("crossval", json.dumps(crossval_report("hybrid")), "of the hybrid profile"),
    ],
)
def test_read_report_refuses_others(tmp_path: Path, kind: str, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_report(path, kind, "c0ffee")
    assert str(caught.value).startswith(str(path))
    with pytest.raises(UsageError, match="No such file"):
        read_report(tmp_path / "nowhere.json", kind, "c0ffee")
