"""Figures of detection: against scikit-learn, counted by hand, and blind to the scores' unit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from model.detection_metrics import (
    auroc,
    detection_figures,
    equal_error_rate,
    oscr,
    roc,
    threshold_at_fpr,
    tpr_at_fpr,
)

#: Few distinct values: many ties. Whole numbers: the maps below keep them apart exactly.
scores = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=40)
rates = st.floats(0.0, 0.999)


@given(scores, scores)
def test_auroc_as_scikit_learn(targets: list[float], nontargets: list[float]) -> None:
    truth = [1] * len(targets) + [0] * len(nontargets)
    expected = roc_auc_score(truth, targets + nontargets)
    assert auroc(targets, nontargets) == pytest.approx(expected, abs=1e-12)


@given(scores, scores, st.sampled_from([np.exp, np.arctan, lambda x: 5 * x - 7, lambda x: x**3]))
def test_only_the_order_counts(
    targets: list[float], nontargets: list[float], rising: object
) -> None:
    assert callable(rising)
    mapped = rising(np.array(targets)), rising(np.array(nontargets))
    assert auroc(*mapped) == auroc(targets, nontargets)
    assert equal_error_rate(*mapped) == equal_error_rate(targets, nontargets)
    assert tpr_at_fpr(*mapped, 0.1) == tpr_at_fpr(targets, nontargets, 0.1)


@given(scores, scores)
def test_exchanging_and_negating_changes_nothing(
    targets: list[float], nontargets: list[float]
) -> None:
    swapped = -np.array(nontargets), -np.array(targets)
    assert auroc(*swapped) == pytest.approx(auroc(targets, nontargets))
    assert equal_error_rate(*swapped) == pytest.approx(equal_error_rate(targets, nontargets))


@given(scores, scores)
def test_eer_is_the_worst_bayes_error_over_priors(
    targets: list[float], nontargets: list[float]
) -> None:
    curve = roc(targets, nontargets)
    priors = np.linspace(0.0, 1.0, 2001)[:, None]
    errors = priors * (1.0 - curve.tpr) + (1.0 - priors) * curve.fpr
    assert equal_error_rate(targets, nontargets) == pytest.approx(
        errors.min(axis=1).max(), abs=1e-3
    )


def test_gaussian_scores_have_their_theoretical_figures() -> None:
    rng = np.random.default_rng(7)
    targets, nontargets = rng.normal(2.0, 1.0, 40_000), rng.normal(0.0, 1.0, 40_000)
    assert auroc(targets, nontargets) == pytest.approx(norm.cdf(2.0 / np.sqrt(2.0)), abs=0.005)
    assert equal_error_rate(targets, nontargets) == pytest.approx(norm.cdf(-1.0), abs=0.005)
    expected = norm.sf(norm.isf(0.01) - 2.0)
    assert tpr_at_fpr(targets, nontargets, 0.01) == pytest.approx(expected, abs=0.02)


def test_roc_by_hand() -> None:
    curve = roc([3.0, 1.0], [2.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(curve.tpr, [0.0, 0.5, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(curve.fpr, [0.0, 0.0, 0.25, 0.5, 1.0])


@given(scores, rates)
def test_threshold_keeps_to_the_rate_and_is_the_lowest_that_does(
    nontargets: list[float], rate: float
) -> None:
    values = np.array(nontargets)
    threshold = threshold_at_fpr(values, rate)
    assert threshold in values
    assert (values > threshold).mean() <= rate + 1e-9
    lower = values[values < threshold]
    if lower.size:
        assert (values > lower.max()).mean() > rate


@pytest.mark.parametrize("percent", range(100))
def test_threshold_takes_round_rates_at_their_word(percent: int) -> None:
    values = np.arange(100.0)
    assert (values > threshold_at_fpr(values, percent / 100)).sum() == percent


def test_threshold_holds_in_single_precision() -> None:
    values = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    assert (values > np.float32(threshold_at_fpr(values, 0.01))).sum() == 10


@given(scores, scores, st.data())
def test_oscr_counts_right_and_accepted_pairs(
    known: list[float], unknown: list[float], data: st.DataObject
) -> None:
    marks = st.lists(st.booleans(), min_size=len(known), max_size=len(known))
    correct = np.array(data.draw(marks))
    above = np.subtract.outer(known, unknown)
    pairs = ((above > 0) + 0.5 * (above == 0)) * correct[:, None]
    curve = oscr(known, correct, unknown)
    assert curve.area == pytest.approx(pairs.mean())
    assert curve.ccr[-1] == pytest.approx(correct.mean())
    assert (curve.fpr[0], curve.ccr[0], curve.fpr[-1]) == (0.0, 0.0, 1.0)


@given(scores, scores)
def test_oscr_without_confusions_is_the_roc(known: list[float], unknown: list[float]) -> None:
    all_right = np.ones(len(known), bool)
    assert oscr(known, all_right, unknown).area == pytest.approx(auroc(known, unknown))


def test_one_trial_each() -> None:
    assert (auroc([1.0], [0.0]), equal_error_rate([1.0], [0.0])) == (1.0, 0.0)
    assert (auroc([0.0], [1.0]), equal_error_rate([0.0], [1.0])) == (0.0, 0.5)
    assert tpr_at_fpr([1.0], [0.0], 0.01) == 1.0
    assert tpr_at_fpr([0.0], [0.0], 0.01) == 0.0


def test_all_ties_are_chance() -> None:
    found = detection_figures([0.5] * 9, [0.5] * 4, correct=[True] * 9)
    assert (found.auroc, found.eer, found.oscr_area) == (0.5, 0.5, 0.5)
    assert (found.tpr, found.fpr, found.threshold) == (0.0, 0.0, 0.5)


def test_infinite_scores_are_scores() -> None:
    assert auroc([np.inf, 1.0], [-np.inf, 1.0]) == pytest.approx(0.875)
    found = detection_figures([np.inf, 1.0], [-np.inf, np.inf])
    assert (found.threshold, found.tpr, found.fpr) == (np.inf, 0.0, 0.0)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["threshold"] is None


def test_figures_are_json() -> None:
    found = detection_figures([3.0, 2.0, 0.5], [1.0, 0.0], 0.5, [True, False, True])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == {
        "n_targets": 3,
        "n_nontargets": 2,
        "auroc": pytest.approx(5 / 6),
        "eer": pytest.approx(0.2),  # on the hull from (0, 2/3) to (1/2, 1)
        "fpr_limit": 0.5,
        "threshold": 0.0,
        "fpr": 0.5,
        "tpr": 1.0,
        "oscr_area": pytest.approx(0.5),
    }


@pytest.mark.parametrize(
    ("targets", "nontargets"),
    [([], [1.0]), ([1.0], []), ([np.nan], [1.0]), ([1.0], [0.0, np.nan]), ([[1.0]], [0.0])],
)
def test_no_or_bad_scores_are_refused(targets: list[float], nontargets: list[float]) -> None:
    for figure in (roc, auroc, equal_error_rate, detection_figures):
        with pytest.raises(ValueError, match="scores"):
            figure(targets, nontargets)
    with pytest.raises(ValueError, match="scores"):
        oscr(targets, [True] * len(targets), nontargets)


def test_impossible_rates_and_marks_are_refused() -> None:
    for rate in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="false positive rate"):
            threshold_at_fpr([1.0], rate)
    with pytest.raises(ValueError, match="marks"):
        oscr([1.0, 2.0], [True], [0.0])
