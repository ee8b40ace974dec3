"""Temperature scaling and reliability, against known temperatures and counts by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from model.metrics import IntArray
from model.probability_calibration import (
    TEMPERATURES,
    fit_temperature,
    reliability,
    scale_by_temperature,
)

Array = npt.NDArray[np.float64]


def honest_trials(n: int, devices: int = 10, seed: int = 0) -> tuple[Array, IntArray]:
    """Log posteriors, and true devices drawn from them."""
    rng = np.random.default_rng(seed)
    logs = log_softmax(rng.normal(0.0, 2.0, (n, devices)), axis=1)
    drawn = (np.exp(logs).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logs, np.minimum(drawn, devices - 1).astype(np.int64)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_finds_a_known_temperature(temperature: float) -> None:
    logs, truth = honest_trials(10_000)
    assert fit_temperature(logs * temperature, truth) == pytest.approx(temperature, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(5, 60), st.integers(2, 6))
def test_no_other_temperature_is_likelier(seed: int, n: int, devices: int) -> None:
    logs, truth = honest_trials(n, devices, seed)
    found = fit_temperature(logs, truth, pseudo_trials=0.0)

    def cost(temperature: float) -> float:
        scaled = log_softmax(logs / temperature, axis=1)
        return float(-scaled[np.arange(n), truth].mean())

    others = np.geomspace(0.05, 50.0, 60)
    assert cost(found) <= min(map(cost, others)) + 1e-9


def test_scaling_makes_sure_posteriors_honest() -> None:
    logs, truth = honest_trials(6000)
    too_sure = 3.0 * logs
    later, true_later = honest_trials(6000, seed=1)
    temperature = fit_temperature(too_sure, truth)
    before = reliability(3.0 * later, true_later)
    after = reliability(scale_by_temperature(3.0 * later, temperature), true_later)
    assert before.ece > 0.15
    assert after.ece < 0.03
    assert after.accuracy == before.accuracy
    assert after.nll < before.nll
    assert after.brier < before.brier


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_trials_that_are_all_right_do_not_show_certainty(n: int) -> None:
    logs = np.zeros((n, 5))
    logs[:, 2] = 4.0
    truth = np.full(n, 2)
    scaled = scale_by_temperature(logs, fit_temperature(logs, truth))
    # One trial more, drawn blindly from five devices.
    np.testing.assert_allclose(np.exp(scaled[:, 2]), (n + 1 / 5) / (n + 1), rtol=1e-6)
    assert fit_temperature(logs, truth, pseudo_trials=0.0) < 0.2


def test_temperature_has_limits() -> None:
    logs = np.zeros((20, 3))
    assert fit_temperature(logs, np.zeros(20, int)) == 1.0
    logs[:, 1] = 5.0
    assert fit_temperature(logs, np.zeros(20, int)) == TEMPERATURES[1]
    tiny = logs * 1e-6
    assert fit_temperature(tiny, np.ones(20, int)) == TEMPERATURES[0]


@given(
    st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=10),
    st.floats(0.01, 100),
)
def test_scaling_keeps_the_order_and_normalises(
    rows: list[list[float]], temperature: float
) -> None:
    scaled = scale_by_temperature(rows, temperature)
    np.testing.assert_allclose(np.exp(scaled).sum(axis=1), 1.0)
    for row, result in zip(rows, scaled, strict=True):
        assert result[int(np.argmax(row))] == result.max()
    np.testing.assert_allclose(scale_by_temperature(rows, 1.0), log_softmax(rows, axis=1))


def test_reliability_by_hand() -> None:
    posteriors = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55]])
    found = reliability(np.log(posteriors), [0, 1, 0, 0], n_bins=4)
    assert (found.count, found.accuracy) == (4, 0.5)
    assert found.confidence == pytest.approx((0.9 + 0.8 + 0.6 + 0.55) / 4)
    low, _, third, last = found.bins
    assert (low.count, low.confidence, low.accuracy) == (0, None, None)
    assert (third.lower, third.upper, third.count, third.accuracy) == (0.5, 0.75, 2, 0.5)
    assert third.confidence == pytest.approx(0.575)
    assert (last.count, last.accuracy) == (2, 0.5)
    assert last.confidence == pytest.approx(0.85)
    assert found.ece == pytest.approx((0.075 + 0.35) / 2)
    assert found.max_error == pytest.approx(0.35)
    assert found.brier == pytest.approx((2 * 0.01 + 2 * 0.64 + 2 * 0.16 + 2 * 0.55**2) / 4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.45]).mean())


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 200), st.integers(1, 20), st.floats(0.1, 10))
def test_reliability_adds_up(seed: int, n: int, n_bins: int, sureness: float) -> None:
    logs, truth = honest_trials(n, 4, seed)
    found = reliability(sureness * logs, truth, n_bins)
    assert sum(row.count for row in found.bins) == n
    for row in found.bins:
        if row.confidence is not None:
            assert row.lower - 1e-12 <= row.confidence <= row.upper + 1e-12
    # The gaps of the bins can only cancel in the sum.
    assert abs(found.confidence - found.accuracy) <= found.ece + 1e-12
    assert found.ece <= found.max_error + 1e-12
    assert 0.0 <= found.brier <= 2.0
    mapping = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(mapping["bins"]) == n_bins


def test_one_sure_trial() -> None:
    found = reliability([[0.0, -800.0]], [0])
    assert (found.accuracy, found.ece, found.brier) == (1.0, 0.0, 0.0)
    assert found.bins[-1].count == 1


@pytest.mark.parametrize(
    ("logs", "truth", "match"),
    [
        (np.zeros((0, 3)), [], "no log posteriors"),
        (np.zeros(3), [0], "no log posteriors"),
        ([[0.0, -np.inf]], [0], "not finite"),
        ([[0.0, np.nan]], [0], "not finite"),
        ([[0.0, 1.0]], [2], "outside"),
        ([[0.0, 1.0]], [-1], "outside"),
        ([[0.0, 1.0]], [0, 1], "as many"),
        ([[0.0, 1.0]], [0.5], "as many"),
    ],
)
def test_wrong_input_is_refused(logs: Array, truth: list[int], match: str) -> None:
    for function in (fit_temperature, reliability):
        with pytest.raises(ValueError, match=match):
            function(logs, truth)


def test_wrong_settings_are_refused() -> None:
    logs, truth = honest_trials(5)
    with pytest.raises(ValueError, match="0 bins"):
        reliability(logs, truth, n_bins=0)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            scale_by_temperature(logs, temperature)
    with pytest.raises(ValueError, match="pseudo"):
        fit_temperature(logs, truth, pseudo_trials=-1.0)
