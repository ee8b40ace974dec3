"""``compare`` of made-up recordings of another kind than the model's corpus: what it says."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from agent.compared_recording import ComparedRecording
from agent.comparison import MOSTLY, Comparison, compare_recordings
from agent.comparison_report import comparison_report
from agent.comparison_validation import validation_figures, validation_trials, validation_words
from agent.comparison_view import show_comparison
from agent.comparison_words import OTHER_PLACES, SIMULATED_ONLY, comparison_limits, score_words
from agent.report.model_facts import model_facts
from model.embedding_scoring import ClipEmbedding
from model.features import FrontEndConfig
from model.likelihood_ratio_validation import lr_figures
from model.metadata import ModelMetadata
from model.open_set import OpenSet
from model.other_domains import BEGINS, COMPLETE
from tests.gallery_rig import made_up_clip
from tests.other_domains_rig import (
    DEVICES,
    FOREIGN,
    OTHER_BOUNDS,
    foreign,
    made_up_domains,
    made_up_open_set,
)

SHA256 = "c" * 64
TESTED: dict[str, Any] = {
    "domains": 12,
    "devices": 20,
    "measured_responses": True,
    "scores": {
        "cllr": 0.4321,
        "eer": 0.125,
        "named_right": 0.7,
        "same_accepted": 0.6,
        "different_accepted": 0.01,
    },
}


def told(**other_domains: Any) -> OpenSet:
    """An open set with what was measured in other domains, some of it changed."""
    evidence = {"other_domains": {**TESTED, **other_domains}}
    return dataclasses.replace(made_up_open_set(), evidence=evidence)


def recording(embedding: np.ndarray, name: str = "clip.wav") -> ComparedRecording:
    clip = dataclasses.replace(made_up_clip(name), embedding=ClipEmbedding(embedding, 1.5))
    return ComparedRecording(name, clip)


def compared(asked: np.ndarray, *known: np.ndarray, open_set: OpenSet | None = None) -> Comparison:
    references = [recording(embedding, f"reference {k}") for k, embedding in enumerate(known)]
    return compare_recordings(open_set or told(), recording(asked), references, SHA256)


def between(share: float) -> np.ndarray:
    """A recording that is of another kind to that share, and unlike any device otherwise."""
    return beside(-DEVICES[0], share)


def beside(at_home: np.ndarray, share: float) -> np.ndarray:
    """As like the cohort as that share is for, and in the corpus's dimensions like a vector."""
    familiarity = BEGINS + share * (COMPLETE - BEGINS)
    rest = math.sqrt(1 - familiarity**2)
    return familiarity * FOREIGN + rest * at_home + foreign(0.5, 0.5) - FOREIGN


def shown(comparison: Comparison, width: int = 100) -> str:
    """As the terminal has it, with lines joined."""
    terminal = Console(width=width, file=io.StringIO())
    show_comparison(terminal, comparison, ["The model has limits."])
    assert isinstance(terminal.file, io.StringIO)
    return " ".join(terminal.file.getvalue().replace("│", " ").split())


def test_two_foreign_recordings() -> None:
    one, other = foreign(1.0, 0.0), foreign(0.0, 1.0)
    same, different = compared(one, one), compared(one, other)
    for found in (same, different):
        assert found.other_share == 1.0
        assert found.another_kind
        assert [caution.code for caution in found.cautions] == ["another-kind"]
        assert "simulated rooms and microphones, and says less" in found.cautions[0].words
        assert found.bounds == found.figures.bounds == OTHER_BOUNDS
        assert found.alone == pytest.approx((found.log10_lr,))
        assert comparison_limits(found)[0] == SIMULATED_ONLY
    # The corpus's cosine is 1 for both.
    assert same.score == pytest.approx(1.0)
    assert different.score < 0
    assert same.log10_lr == OTHER_BOUNDS.upper
    assert different.log10_lr == OTHER_BOUNDS.lower
    assert same.limited
    assert "less what recordings of other kinds have in common" in score_words(same)


def test_at_home_nothing_is_said() -> None:
    for asked, known in ((DEVICES[0], DEVICES[0]), (DEVICES[0], foreign(1.0, 0.0))):
        found = compared(asked, known)
        assert found.other_share == 0.0
        assert not found.another_kind
        assert found.cautions == ()
        assert found.bounds == told().bounds
        assert np.array_equal(found.trials[0], told().same)
        assert score_words(found) == "cosine of the embeddings"
        assert comparison_limits(found)[0] == OTHER_PLACES


@settings(max_examples=40)
@given(st.floats(0.02, 1.0))
def test_in_between(share: float) -> None:
    open_set = told()
    vector = between(share)
    found = compared(vector, vector)
    assert found.other_share == pytest.approx(share, abs=1e-6)
    [caution] = found.cautions
    assert caution.code == "another-kind"
    for name in ("lower", "upper"):
        ours, theirs = getattr(open_set.bounds, name), getattr(OTHER_BOUNDS, name)
        mixed = (1 - found.other_share) * ours + found.other_share * theirs
        assert getattr(found.bounds, name) == pytest.approx(mixed)
    assert found.figures.bounds == found.bounds
    assert found.bounds.lower <= found.log10_lr <= found.bounds.upper
    mostly = found.other_share >= MOSTLY
    assert found.another_kind == mostly
    assert ("says less" in caution.words) == mostly
    assert ("% of the likelihood ratio" in caution.words) != mostly
    other = open_set.other_domains
    assert other is not None
    trials = (other.same, other.different) if mostly else (open_set.same, open_set.different)
    assert all(map(np.array_equal, found.trials, trials))


@settings(max_examples=20)
@given(st.floats(0.0, 1.0))
def test_more_like_a_device_of_the_models_than_like_the_cohort(share: float) -> None:
    """It is of the corpus's kind, however much it has of others."""
    vector = beside(DEVICES[0], share)
    found = compared(vector, vector)
    assert found.other_share == 0.0
    assert found.cautions == ()
    assert found.bounds == told().bounds
    # Nor does a comparison with one of another kind count as one of that kind.
    assert compared(vector, foreign(1.0, 0.0)).other_share == 0.0
    assert compared(foreign(1.0, 0.0), vector).other_share == 0.0


def test_the_share_is_that_of_the_references_together() -> None:
    """One of them at home pulls their mean there; each alone has bounds of its own."""
    found = compared(foreign(1.0, 0.0), foreign(1.0, 0.0), 4.0 * DEVICES[0])
    assert found.other_share == 0.0
    assert found.bounds == told().bounds
    assert found.alone[0] == OTHER_BOUNDS.upper
    assert found.alone[1] == pytest.approx(told().bounds.lower)


def test_json() -> None:
    vector = between(0.25)
    for found, share in ((compared(vector, vector), 0.25), (compared(DEVICES[0], vector), 0.0)):
        values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert values["other_share"] == pytest.approx(share, abs=1e-3)
        assert values["warnings"] == (["another-kind"] if share else [])
        assert values["bounds"] == found.bounds.to_dict() == values["validation"]["bounds"]
    values = compared(foreign(1.0, 0.0), foreign(1.0, 0.0)).to_dict()
    assert values["other_share"] == 1.0
    assert values["validation"]["data"] == validation_words(told(), another_kind=True)
    assert (values["validation"]["n_same"], values["validation"]["n_different"]) == (60, 300)


def test_validation_of_another_kind() -> None:
    other = made_up_domains()
    figures = validation_figures(told(), another_kind=True)
    expected = lr_figures(other.same, other.different)
    assert figures == dataclasses.replace(expected, bounds=OTHER_BOUNDS)
    trials = validation_trials(told(), another_kind=True)
    assert all(map(np.array_equal, trials, (other.same, other.different)))
    words = validation_words(told(), another_kind=True)
    for expected_words in (
        "Pairs of simulated recordings",
        "other rooms, microphones and voices than the scores were fitted on",
        "Tested on 12 further rooms, with simulated microphones of measured responses",
        "Cllr 0.432, EER 12.5",
    ):
        assert expected_words in words
    assert "drawn responses" in validation_words(told(measured_responses=False), another_kind=True)
    endless = {**TESTED["scores"], "cllr": None}
    assert "Cllr infinite" in validation_words(told(scores=endless), another_kind=True)


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"other_domains": None},
        {"other_domains": "much"},
        {"other_domains": {"scores": None}},
        {"other_domains": {**TESTED, "scores": {"cllr": "low", "eer": 0.1}}},
        {"other_domains": {"scores": TESTED["scores"]}},
    ],
)
def test_validation_without_figures_of_other_domains(evidence: dict[str, Any]) -> None:
    open_set = dataclasses.replace(made_up_open_set(), evidence=evidence)
    words = validation_words(open_set, another_kind=True)
    assert words.endswith("than the scores were fitted on.")
    assert "simulated" in words


def test_the_terminal_says_so() -> None:
    text = shown(compared(foreign(1.0, 0.0), foreign(1.0, 0.0)))
    for expected in (
        "The recordings are unlike those that the model was made with",
        "less what recordings of other kinds have in common",
        "60 trials with the same device, 300 with different ones",
        "Tested on 12 further rooms",
        "The validation is of simulated recordings alone",
    ):
        assert expected in text
    assert "simulated" not in shown(compared(DEVICES[0], DEVICES[0]))


def test_model_facts_have_the_figures_of_other_domains() -> None:
    metadata = ModelMetadata(("a", "b"), FrontEndConfig(), open_set=told())
    shares = {
        figure.name: figure.value
        for figure in model_facts(metadata, "m.onnx", SHA256).figures
        if "another kind" in figure.data
    }
    assert len(shares) == 3
    assert any("70" in value for value in shares.values())
    bare = ModelMetadata(("a", "b"), FrontEndConfig(), open_set=made_up_open_set())
    figures = model_facts(bare, "m.onnx", SHA256).figures
    assert not [figure for figure in figures if "another kind" in figure.data]


def test_the_report_plots_the_trials_of_that_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_compared", "how_made"):  # pictures of the audio, of which there is none
        monkeypatch.setattr(f"agent.comparison_report.{name}", lambda *_: "made up")
    found = compared(foreign(1.0, 0.0), foreign(1.0, 0.0))
    page = comparison_report(found, None, None)  # type: ignore[arg-type]
    other = made_up_domains()
    assert np.array_equal(page.validation.same_log10_lr, other.same)
    assert np.array_equal(page.validation.different_log10_lr, other.different)
    assert page.validation.figures.bounds == OTHER_BOUNDS
    assert page.warnings == tuple(caution.words for caution in found.cautions)
