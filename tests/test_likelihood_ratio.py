"""Likelihood ratios: calibration against theory and scikit-learn, Cllr, bounds, words."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from model.likelihood_ratio import (
    LN10,
    Calibration,
    LrBounds,
    fit_calibration,
    lr_bounds,
    verbal,
)
from model.likelihood_ratio_validation import (
    cllr,
    isotonic,
    lr_figures,
    min_cllr,
    pav_log10_lr,
    tippett,
)

Array = npt.NDArray[np.float64]

scores = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=30)


def gaussian(distance: float, n: int, m: int, seed: int = 0) -> tuple[Array, Array]:
    """Scores of unit variance whose log10 LR is ``distance (score - distance / 2) / ln 10``."""
    rng = np.random.default_rng(seed)
    return rng.normal(distance, 1.0, n), rng.normal(0.0, 1.0, m)


# Calibration


def test_calibration_finds_the_likelihood_ratio_of_gaussians() -> None:
    found = fit_calibration(*gaussian(2.0, 20_000, 40_000))
    assert found.slopes[0] == pytest.approx(2.0 / LN10, rel=0.02)
    assert found.offset == pytest.approx(-2.0 / LN10, rel=0.02)


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0, 4.0])
def test_calibrated_scores_lose_little_beyond_their_discrimination(distance: float) -> None:
    found = fit_calibration(*gaussian(distance, 200, 2000))
    targets, nontargets = map(found.log10_lr, gaussian(distance, 5000, 20_000, seed=1))
    least = min_cllr(targets, nontargets)
    assert least <= cllr(targets, nontargets) <= 1.05 * least + 0.01


@pytest.mark.parametrize(("prior", "misleading"), [(0.5, 0.1), (0.5, 1.0), (0.01, 0.3), (0.9, 2.0)])
@pytest.mark.parametrize("n_scores", [1, 3])
def test_fit_as_scikit_learn(prior: float, misleading: float, n_scores: int) -> None:
    """Against a weighted logistic regression on trials and pseudo-trials, written out."""
    rng = np.random.default_rng(5)
    targets = rng.normal(100.0 + np.arange(n_scores), 3.0, (40, n_scores))
    nontargets = rng.normal(97.0, 3.0, (150, n_scores))
    n, m = len(targets), len(nontargets)
    weights = np.concatenate(
        [
            np.full(n, prior / (n + misleading)),
            np.full(m, prior * misleading / (n + misleading) / m),
            np.full(m, (1 - prior) / (m + misleading)),
            np.full(n, (1 - prior) * misleading / (m + misleading) / n),
        ]
    )
    reference = LogisticRegression(C=1e9, solver="newton-cholesky", tol=1e-12, max_iter=500).fit(
        np.concatenate([targets, nontargets, nontargets, targets]) - 98.0,
        np.repeat([1, 0], [n + m, m + n]),
        sample_weight=1000.0 * weights,
    )
    probes = rng.normal(98.0, 5.0, (20, n_scores))
    natural = reference.decision_function(probes - 98.0) - math.log(prior / (1 - prior))
    found = fit_calibration(targets, nontargets, prior, misleading)
    np.testing.assert_allclose(found.log10_lr(probes), natural / LN10, atol=1e-5)


@settings(deadline=None)
@given(scores, scores, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.sampled_from([-1.0, 1.0]))
def test_the_unit_of_the_scores_does_not_matter(
    targets: list[float], nontargets: list[float], scale: float, shift: float, sign: float
) -> None:
    here = fit_calibration(targets, nontargets)
    there = fit_calibration(
        sign * scale * np.array(targets) + shift, sign * scale * np.array(nontargets) + shift
    )
    probes = np.linspace(-6, 6, 5)
    np.testing.assert_allclose(
        there.log10_lr(sign * scale * probes + shift), here.log10_lr(probes), atol=1e-4
    )


@pytest.mark.parametrize(("n", "m"), [(1, 1), (40, 780), (500, 3)])
@pytest.mark.parametrize("misleading", [0.1, 1.0])
def test_separable_scores_come_out_at_the_bounds(n: int, m: int, misleading: float) -> None:
    found = fit_calibration(np.full(n, 5.0), np.full(m, 3.0), misleading=misleading)
    targets, nontargets = found.log10_lr(np.full(n, 5.0)), found.log10_lr(np.full(m, 3.0))
    bounds = lr_bounds(np.full(n, np.inf), np.full(m, -np.inf), misleading)
    assert targets[0] == pytest.approx(bounds.upper, abs=1e-5)
    assert nontargets[0] == pytest.approx(bounds.lower, abs=1e-5)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.floats(1.0, 1e6), st.integers(0, 99))
def test_slopes_stay_finite_however_far_apart_scores_are(
    n: int, m: int, distance: float, seed: int
) -> None:
    targets, nontargets = gaussian(distance, n, m, seed)
    found = fit_calibration(targets, nontargets)
    assert np.isfinite([*found.slopes, found.offset]).all()
    assert np.abs(found.log10_lr([0.0, distance])).max() < 12


def test_scores_that_are_all_alike_say_nothing() -> None:
    for value in (0.0, 0.1, 1e6):
        found = fit_calibration([value] * 7, [value] * 31)
        np.testing.assert_allclose(found.log10_lr([value, value + 1.0]), 0.0, atol=1e-9)


def test_a_useless_second_score_changes_nothing() -> None:
    targets, nontargets = gaussian(2.0, 300, 700)
    alone = fit_calibration(targets, nontargets)
    fused = fit_calibration(
        np.column_stack([targets, np.full(300, 4.0)]),
        np.column_stack([nontargets, np.full(700, 4.0)]),
    )
    assert fused.slopes == pytest.approx((alone.slopes[0], 0.0), abs=1e-6)
    assert fused.offset == pytest.approx(alone.offset, abs=1e-6)


def test_a_score_given_twice_counts_once() -> None:
    targets, nontargets = gaussian(2.0, 300, 700)
    alone = fit_calibration(targets, nontargets)
    twice = fit_calibration(
        np.column_stack([targets, 5.0 - 2.0 * targets]),
        np.column_stack([nontargets, 5.0 - 2.0 * nontargets]),
    )
    np.testing.assert_allclose(
        twice.log10_lr(np.column_stack([targets, 5.0 - 2.0 * targets])),
        alone.log10_lr(targets),
        atol=1e-6,
    )
    assert np.abs(twice.slopes).max() < alone.slopes[0]


def test_fusion_of_two_scores_beats_either() -> None:
    rng = np.random.default_rng(2)
    sets = [(rng.normal(1.5, 1.0, (n, 2)), rng.normal(0.0, 1.0, (4 * n, 2))) for n in (1000, 3000)]
    (targets, nontargets), (later, others) = sets
    fused = fit_calibration(targets, nontargets)
    together = cllr(fused.log10_lr(later), fused.log10_lr(others))
    for column in (0, 1):
        alone = fit_calibration(targets[:, column], nontargets[:, column])
        single = cllr(alone.log10_lr(later[:, column]), alone.log10_lr(others[:, column]))
        assert together < 0.85 * single


def test_calibration_survives_json() -> None:
    found = fit_calibration(np.eye(3)[:, :2], -np.eye(4)[:, :2])
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    for damaged in (
        {},
        {"slopes": [1.0]},
        {"slopes": [], "offset": 0.0},
        {"slopes": [math.nan], "offset": 0.0},
        {"slopes": [1.0], "offset": "x"},
        {"slopes": 1.0, "offset": 0.0},
        {"slopes": [1.0], "offset": 0.0, "more": 1},
    ):
        with pytest.raises(ValueError, match="not a calibration"):
            Calibration.from_dict(damaged)


@pytest.mark.parametrize(
    ("targets", "nontargets"),
    [
        ([], [0.0]),
        ([0.0], []),
        ([np.inf], [0.0]),
        ([0.0], [np.nan]),
        ([[1.0, 2.0]], [[1.0]]),
        ([[[1.0]]], [[[1.0]]]),
    ],
)
def test_scores_that_cannot_be_calibrated_are_refused(
    targets: list[float], nontargets: list[float]
) -> None:
    with pytest.raises(ValueError, match="score"):
        fit_calibration(targets, nontargets)


def test_settings_out_of_range_are_refused() -> None:
    for prior in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="prior"):
            fit_calibration([1.0], [0.0], prior=prior)
    for misleading in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="misleading"):
            fit_calibration([1.0], [0.0], misleading=misleading)
        with pytest.raises(ValueError, match="misleading"):
            lr_bounds([1.0], [0.0], misleading)
    with pytest.raises(ValueError, match="2 scores a trial; calibrated for 1"):
        Calibration((1.0,), 0.0).log10_lr([[1.0, 2.0]])


# Cllr


def test_saying_nothing_costs_one_bit() -> None:
    assert cllr([0.0, 0.0], [0.0]) == pytest.approx(1.0)
    assert min_cllr([0.0, 0.0], [0.0]) == pytest.approx(1.0)


@given(scores, scores)
def test_cllr_as_written_in_the_paper(targets: list[float], nontargets: list[float]) -> None:
    same, other = 10.0 ** np.array(targets), 10.0 ** np.array(nontargets)
    expected = (np.log2(1 + 1 / same).mean() + np.log2(1 + other).mean()) / 2
    assert cllr(targets, nontargets) == pytest.approx(expected)


def test_infinite_ratios_cost_nothing_or_everything() -> None:
    assert cllr([np.inf], [-np.inf]) == 0.0
    assert cllr([-np.inf, 1.0], [0.0]) == np.inf
    assert lr_figures([-np.inf, 1.0], [0.0]).to_dict()["cllr"] is None


@given(scores, scores, st.sampled_from([np.exp, np.arctan, lambda x: 5 * x - 7, lambda x: x**3]))
def test_min_cllr_knows_only_the_order(
    targets: list[float], nontargets: list[float], rising: object
) -> None:
    assert callable(rising)
    found = min_cllr(targets, nontargets)
    assert min_cllr(rising(np.array(targets)), rising(np.array(nontargets))) == found
    assert 0.0 <= found <= 1.0 + 1e-12
    assert found <= cllr(targets, nontargets) + 1e-12


@given(scores, scores)
def test_pav_is_the_isotonic_regression_of_scikit_learn(
    targets: list[float], nontargets: list[float]
) -> None:
    pooled = np.array(targets + nontargets)
    truth = np.repeat([1.0, 0.0], [len(targets), len(nontargets)])
    share = IsotonicRegression().fit(pooled, truth).predict(pooled)
    with np.errstate(divide="ignore"):
        odds = np.log10(share) - np.log10(1 - share)
    expected = odds - math.log10(len(targets) / len(nontargets))
    found = np.concatenate(pav_log10_lr(targets, nontargets))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(
    st.lists(st.tuples(st.floats(-10, 10), st.floats(0.1, 10)), min_size=1, max_size=50),
)
def test_isotonic_as_scikit_learn(rows: list[tuple[float, float]]) -> None:
    values, weights = np.array(rows).T
    places = np.arange(len(values))
    expected = IsotonicRegression().fit(places, values, sample_weight=weights).predict(places)
    np.testing.assert_allclose(isotonic(values, weights), expected, atol=1e-9)


def test_separable_trials_have_no_min_cllr() -> None:
    assert min_cllr([3.0], [1.0]) == 0.0
    assert min_cllr([3.0, 4.0], [1.0, 2.0, -np.inf]) == 0.0
    assert min_cllr([1.0], [3.0]) == pytest.approx(1.0)


# Tippett curves


def test_tippett_by_hand() -> None:
    curves = tippett([2.0, -1.0, 2.0, 3.0], [1.0, -2.0])
    np.testing.assert_allclose(curves.same_log10_lr, [-1.0, 2.0, 2.0, 3.0])
    np.testing.assert_allclose(curves.same_share, [0.25, 0.75, 0.75, 1.0])
    np.testing.assert_allclose(curves.different_log10_lr, [-2.0, 1.0])
    np.testing.assert_allclose(curves.different_share, [1.0, 0.5])


# Bounds


def loses(t: float, same: Array, other: Array) -> bool:
    """Whether deciding by LRs costs more than without them, at costs that make ``t`` the limit."""
    accepted_same, accepted_other = 10.0**same >= t, 10.0**other >= t
    misses = (np.sum(~accepted_same) + 1) / (same.size + 1)
    false_alarms = (np.sum(accepted_other) + 1) / (other.size + 1)
    return bool(misses + t * false_alarms > 1.0)


@given(scores, scores)
def test_bounds_are_where_the_ratios_first_lose(
    targets: list[float], nontargets: list[float]
) -> None:
    same, other = np.array(targets) / 4, np.array(nontargets) / 4
    step = 0.001
    grid = np.arange(1, 3000) * step - step / 2  # off the quarters on which the ratios lie
    found = lr_bounds(same, other)
    for bound, pair in ((found.upper, (same, other)), (-found.lower, (-other, -same))):
        first = next(t for t in grid if loses(10.0**t, *pair))
        assert bound == pytest.approx(first, abs=step)


def test_bounds_of_separable_trials_are_what_the_counts_allow() -> None:
    found = lr_bounds([np.inf] * 3, [-np.inf] * 3)
    assert (10**found.lower, 10**found.upper) == (pytest.approx(1 / 3), pytest.approx(3.0))
    assert lr_bounds([np.inf], [-np.inf]) == LrBounds(0.0, 0.0)
    wide = lr_bounds([9.0] * 40, [-9.0] * 780)
    assert 10**wide.upper == pytest.approx(781 * 40 / 41)
    assert 10**-wide.lower == pytest.approx(41 * 780 / 781)


@given(scores, scores)
def test_bounds_hold_one_and_no_more_than_the_trials_reach(
    targets: list[float], nontargets: list[float]
) -> None:
    found = lr_bounds(targets, nontargets)
    assert min(*targets, *nontargets, 0.0) <= found.lower <= 0.0
    assert 0.0 <= found.upper <= max(*targets, *nontargets, 0.0)
    stricter = lr_bounds(targets, nontargets, misleading=3.0)
    assert stricter.lower >= found.lower
    assert stricter.upper <= found.upper


def test_useless_ratios_support_nothing() -> None:
    assert lr_bounds([-1.0, -2.0], [1.0, 2.0]) == LrBounds(0.0, 0.0)
    assert lr_bounds([0.0] * 50, [0.0] * 50) == LrBounds(0.0, 0.0)


def test_bounds_limit_and_survive_json() -> None:
    bounds = LrBounds(-1.0, 2.0)
    np.testing.assert_array_equal(bounds.limit([-np.inf, -0.5, 7.0]), [-1.0, -0.5, 2.0])
    assert LrBounds.from_dict(json.loads(json.dumps(bounds.to_dict()))) == bounds
    for damaged in ({}, {"lower": 1.0, "upper": 2.0}, {"lower": -1.0, "upper": math.inf}):
        with pytest.raises(ValueError, match="not bounds"):
            LrBounds.from_dict(damaged)


# Figures and words


def test_figures_are_json() -> None:
    found = lr_figures([1.0, 2.0, -0.5], [-1.0, -2.0])
    mapping = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (mapping["n_same"], mapping["n_different"], mapping["min_cllr"]) == (3, 2, 0.0)
    assert LrBounds.from_dict(mapping["bounds"]) == found.bounds
    for function in (cllr, min_cllr, pav_log10_lr, tippett, lr_bounds, lr_figures):
        for wrong in (([], [0.0]), ([0.0], []), ([np.nan], [0.0])):
            with pytest.raises(ValueError, match="trials"):
                function(*wrong)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.9, None),
        (2.0, "weak"),
        (9.9, "weak"),
        (10.0, "moderate"),
        (100.0, "moderately strong"),
        (1e3, "strong"),
        (1e4, "very strong"),
        (999_999.0, "very strong"),
        (1e6, "extremely strong"),
        (math.inf, "extremely strong"),
    ],
)
def test_words_of_the_guideline_in_both_directions(ratio: float, words: str | None) -> None:
    log10_lr = math.log10(ratio)
    if words is None:
        assert verbal(log10_lr) == verbal(-log10_lr)
        assert verbal(log10_lr).startswith("no support")
    else:
        assert verbal(log10_lr) == f"{words} support for the same device over different devices"
        assert verbal(-log10_lr) == f"{words} support for different devices over the same device"


def test_no_words_for_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        verbal(math.nan)
