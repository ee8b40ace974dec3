"""Recordings of another kind: when scores for them count, what they are, and how they are kept."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.corpus_scoring import corpus_scores
from model.embedding_scoring import cosine_scores
from model.errors import ModelError
from model.likelihood_ratio import Calibration, LrBounds, fit_calibration, lr_bounds
from model.open_set import OpenSet
from model.open_set_adaptation import adapted_open_set
from model.other_domains import BEGINS, COMPLETE, NEAREST, Cohort, OtherDomains
from model.packed_arrays import KEPT_TRIALS
from model.trial_pairs import PairScores, joined
from tests.other_domains_rig import (
    COMMON,
    DEVICES,
    DIMS,
    FIRST,
    FOREIGN,
    OTHER_BOUNDS,
    OTHER_THRESHOLD,
    foreign,
    made_up_domains,
    made_up_open_set,
)

# The reference: the definitions in plain loops, by sorting


def reference_cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = []
    scaled = []
    for vector in (one, other):
        largest = max(abs(value) for value in vector)
        scaled.append([value / largest if largest else 0.0 for value in vector])
        lengths.append(math.sqrt(sum(value**2 for value in scaled[-1])))
    if not all(lengths):
        return 0.0
    return sum(a * b for a, b in zip(*scaled, strict=True)) / (lengths[0] * lengths[1])


def reference_nearness(cohort: np.ndarray, vector: np.ndarray) -> float:
    cosines = sorted((reference_cosine(row, vector) for row in cohort), reverse=True)
    nearest = cosines[:60]
    return sum(nearest) / len(nearest)


def reference_score(cohort: Cohort, known: np.ndarray, asked: np.ndarray) -> float:
    robust = cohort.embeddings[:, cohort.first :]
    known, asked = known[cohort.first :], asked[cohort.first :]
    common = (reference_nearness(robust, known) + reference_nearness(robust, asked)) / 2
    common = min(common, 1 - 1e-6)
    return (reference_cosine(known, asked) - common) / (1 - common)


def reference_otherness(other: OtherDomains, vector: np.ndarray, own: np.ndarray) -> float:
    if other.always:
        return 1.0
    first = other.cohort.first
    familiar = reference_nearness(other.cohort.embeddings[:, :first], vector[:first])
    if familiar <= max(reference_cosine(device[:first], vector[:first]) for device in own):
        return 0.0
    return min(1.0, max(0.0, (familiar - BEGINS) / (COMPLETE - BEGINS)))


@dataclass(frozen=True, eq=False)
class Case:
    """Embeddings to compare and what they are compared with."""

    open_set: OpenSet
    other: OtherDomains
    known: np.ndarray
    asked: np.ndarray


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Directions of some spread, at lengths from nothing to huge."""
    first, robust = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    centre = draw(st.sampled_from([0.0, 1.0, 4.0])) * rng.standard_normal(first + robust)
    lengths = draw(st.sampled_from([[1.0], [1.0, 0.0, 1e-320, 1e-170, 1e150]]))

    def vectors(n: int) -> np.ndarray:
        spread = rng.standard_normal((n, first + robust)) + centre
        return spread * rng.choice(lengths, (n, 1))

    cohort = Cohort(first, vectors(draw(st.sampled_from([1, 5, NEAREST, NEAREST + 1, 50]))))
    other = dataclasses.replace(
        made_up_domains(),
        cohort=cohort,
        always=draw(st.sampled_from([False, False, False, True])),
        bounds=LrBounds(-draw(st.floats(0, 3)), draw(st.floats(0, 3))),
    )
    known, asked = vectors(draw(st.integers(1, 4))), vectors(draw(st.integers(1, 4)))
    slopes = draw(st.sampled_from([(8.0, 0.0), (6.0, -3.0)]))
    found = made_up_open_set(other, slopes)
    # Among the recordings, or on the other side of them.
    own = draw(st.sampled_from([1, -1])) * vectors(draw(st.integers(1, 7)))
    return Case(dataclasses.replace(found, prototypes=own), other, known, asked)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_scores_and_shares_are_those_of_the_definition(case: Case) -> None:
    cohort = case.other.cohort
    scores = cohort.scores(case.known, case.asked)
    own = case.open_set.prototypes
    shares = case.other.share(case.known, case.asked, own)
    kinds = case.other.otherness(case.asked, own)
    familiar = cohort.familiarity(case.asked)
    assert scores.shape == shares.shape == (len(case.asked), len(case.known))
    assert scores.max() <= 1 + 1e-9
    for i, asked in enumerate(case.asked):
        mine = reference_nearness(cohort.embeddings[:, : cohort.first], asked[: cohort.first])
        assert familiar[i] == pytest.approx(mine, abs=1e-9)
        other_kind = reference_otherness(case.other, asked, own)
        assert kinds[i] == pytest.approx(other_kind, abs=1e-6)
        for j, known in enumerate(case.known):
            # Next to the limit of 1 - 1e-6 the last digits of a cosine count a million fold.
            expected = reference_score(cohort, known, asked)
            assert scores[i, j] == pytest.approx(expected, rel=1e-5, abs=1e-7)
            expected = min(other_kind, reference_otherness(case.other, known, own))
            assert shares[i, j] == pytest.approx(expected, abs=1e-6)
    # Of one, and of a table of many, as of a list.
    np.testing.assert_allclose(cohort.scores(case.known, case.asked[0]), scores[0], rtol=1e-5)
    table = np.stack([case.asked, case.asked])
    np.testing.assert_allclose(case.other.share(case.known, table, own)[1], shares, atol=1e-9)
    assert case.other.otherness(table, own).shape == (2, len(case.asked))
    assert float(case.other.otherness(case.asked[0], own)) == pytest.approx(kinds[0], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_everything_is_finite_and_within_its_limits(case: Case) -> None:
    found = case.open_set
    share = found.other_share(case.known, case.asked)
    assert share.min() >= 0
    assert share.max() <= 1
    expected = case.other.share(case.known, case.asked, found.prototypes)
    np.testing.assert_array_equal(share, expected)
    for i, asked in enumerate(case.asked):
        kind = float(case.other.otherness(asked, found.prototypes))
        assert found.is_another_kind(asked) == (kind > 0)
        assert share[i].max() <= kind + 1e-9
    unlimited = found.unlimited_log10_lr(case.known, case.asked)
    limited = found.log10_lr(case.known, case.asked)
    assert np.isfinite(unlimited).all()
    first = case.other.cohort.first
    known, asked = case.known[:, :first], case.asked[:, :first]
    np.testing.assert_array_equal(
        found.cosines(case.known, case.asked), cosine_scores(known, asked)
    )
    normalised = found.cosines(case.known, case.asked, another_kind=True)
    np.testing.assert_array_equal(normalised, case.other.cohort.scores(case.known, case.asked))
    scores = corpus_scores(known, asked, found.prototypes[:, :first])
    own = scores @ np.array(found.calibration.slopes) + found.calibration.offset
    other = case.other.calibration.slopes[0] * normalised + case.other.calibration.offset
    np.testing.assert_allclose(unlimited, (1 - share) * own + share * other, rtol=1e-9, atol=1e-9)
    thresholds = found.thresholds(case.known, case.asked)
    for i, j in np.ndindex(share.shape):
        mixed = (1 - share[i, j]) * found.threshold + share[i, j] * case.other.threshold
        assert thresholds[i, j] == pytest.approx(mixed)
        bounds = found.bounds_at(float(share[i, j]))
        assert limited[i, j] == pytest.approx(float(bounds.limit(unlimited[i, j])), abs=1e-12)
        assert bounds.lower <= limited[i, j] <= bounds.upper
        for ours, theirs, mixed in (
            (found.bounds.lower, case.other.bounds.lower, bounds.lower),
            (found.bounds.upper, case.other.bounds.upper, bounds.upper),
        ):
            assert mixed == pytest.approx((1 - share[i, j]) * ours + share[i, j] * theirs)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_trials_are_scored_as_the_open_set_scores(case: Case) -> None:
    own = case.open_set.prototypes
    pairs = PairScores.of(case.known, case.asked, own, case.other)
    found = pairs.log10_lr(case.open_set.calibration)
    expected = case.open_set.unlimited_log10_lr(case.known, case.asked)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert len(pairs) == len(case.asked)
    picked = pairs[-1:, 0]
    np.testing.assert_allclose(picked.log10_lr(case.open_set.calibration), found[-1:, 0])
    alone = dataclasses.replace(case.open_set, other_domains=None)
    pairs = PairScores.of(case.known, case.asked, own, None)
    assert not pairs.share.any()
    np.testing.assert_allclose(
        pairs.log10_lr(alone.calibration), alone.unlimited_log10_lr(case.known, case.asked)
    )


@pytest.mark.parametrize("other", [made_up_domains(), None])
def test_no_trials_have_no_ratios(other: OtherDomains | None) -> None:
    """As in a fold in which nobody can be enrolled."""
    calibration = made_up_open_set().calibration
    pairs = PairScores.of(DEVICES, DEVICES, DEVICES, other)
    assert pairs[:0].log10_lr(calibration).shape == (0, 2)
    both = joined([pairs[:0], pairs])
    np.testing.assert_array_equal(both.log10_lr(calibration), pairs.log10_lr(calibration))
    for nothing in (pairs[:0], pairs[:, :0], pairs[:0, :0]):
        assert nothing.own_log10_lr(calibration).shape == nothing.share.shape
        assert nothing.log10_lr(calibration).shape == nothing.share.shape


@settings(max_examples=60, deadline=None)
@given(cases())
def test_equal_recordings_score_one(case: Case) -> None:
    length = np.linalg.norm(case.asked[:, case.other.cohort.first :], axis=1)
    assume(length.all())
    scores = case.other.cohort.scores(case.asked, 3.0 * case.asked)
    np.testing.assert_allclose(np.diag(scores), 1.0, atol=1e-9)


@settings(max_examples=60)
@given(st.floats(0, 0.95), st.floats(0, 0.95), st.integers(1, 40))
def test_as_alike_as_to_the_cohort_scores_nothing(a: float, b: float, size: int) -> None:
    """Two vectors whose cosine is the mean of their cosines with the cohort."""
    heights = math.sqrt(1 - a**2), math.sqrt(1 - b**2)
    turned = ((a + b) / 2 - a * b) / (heights[0] * heights[1])
    assume(abs(turned) <= 1)
    known = np.array([7.0, a, heights[0], 0.0])
    asked = np.array([7.0, b, heights[1] * turned, heights[1] * math.sqrt(1 - turned**2)])
    cohort = Cohort(1, np.tile([1.0, 2.0, 0.0, 0.0], (size, 1)))
    assert cohort.scores(known[None], asked)[0] == pytest.approx(0.0, abs=1e-9)
    assert cohort.scores(asked[None], known)[0] == pytest.approx(0.0, abs=1e-9)


#: Of those to a cohort, some where recordings begin to be of another kind.
cosines = st.floats(-1, 1) | st.floats(0.4, 0.6)


@given(cosines, cosines)
def test_both_sides_must_be_of_another_kind(one: float, other: float) -> None:
    domains = dataclasses.replace(made_up_domains(), cohort=Cohort(2, np.array([[1.0, 0.0, 1.0]])))
    own = np.array([[-1.0, 0.0, 1.0]])  # opposite to the cohort: nothing is more like it
    sides = [np.array([cosine, math.sqrt(1 - cosine**2), 1.0]) for cosine in (one, other)]
    share = float(domains.share(sides[0][None], sides[1], own)[0])
    assert share == float(domains.share(sides[1][None], sides[0], own)[0])
    lesser = min(one, other)
    assert share == pytest.approx(np.clip((lesser - BEGINS) / (COMPLETE - BEGINS), 0, 1), abs=1e-9)
    assert share == min(float(domains.otherness(side, own)) for side in sides)


@given(st.floats(-180, 180), st.lists(st.floats(-180, 180), min_size=1, max_size=4))
def test_what_is_more_like_an_own_device_is_of_the_corpus(
    asked: float, devices: list[float]
) -> None:
    """Of one plane, at angles from the cohort; dimensions of many domains do not count."""

    def at(degrees: float, last: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), last]

    domains = dataclasses.replace(made_up_domains(), cohort=Cohort(2, np.array([at(0, 1)])))
    own = np.array([at(angle, -1) for angle in devices])
    nearest = min(min(abs(asked - angle), 360 - abs(asked - angle)) for angle in devices)
    assume(abs(nearest - abs(asked)) > 1e-3)
    ramp = np.clip((math.cos(math.radians(asked)) - BEGINS) / (COMPLETE - BEGINS), 0, 1)
    expected = ramp if abs(asked) < nearest else 0.0
    recording = np.array(at(asked, -1))
    assert float(domains.otherness(recording, own)) == pytest.approx(expected, abs=1e-9)
    always = dataclasses.replace(domains, always=True)
    assert float(always.otherness(recording, own)) == 1.0
    np.testing.assert_array_equal(always.share(own, recording, own), 1.0)


def test_neither_side_may_be_like_an_own_device() -> None:
    """However like the cohort both are."""
    other = made_up_domains()
    near_home = foreign(1.0, 0.0) + 1.2 * DEVICES[0]
    assert float(other.cohort.familiarity(near_home)) > COMPLETE
    sides = near_home, foreign(1.0, 0.0)
    assert float(other.otherness(sides[0], DEVICES)) == 0.0
    assert float(other.otherness(sides[0], DEVICES[1:])) == 1.0
    for known, asked in (sides, sides[::-1]):
        assert float(other.share(known[None], asked, DEVICES)[0]) == 0.0
        assert float(other.share(known[None], asked, DEVICES[1:])[0]) == 1.0


def test_a_recording_is_of_another_kind_by_its_nearest_alone() -> None:
    """Half of a cohort that is far away takes nothing away."""
    near, far = np.tile([1.0, 0.0, 1.0], (NEAREST, 1)), np.tile([-1.0, 0.0, -1.0], (99, 1))
    cohort = Cohort(2, np.concatenate([far, near]))
    assert cohort.familiarity(np.array([2.0, 0.0, 0.0])) == pytest.approx(1.0)
    one_less = Cohort(2, np.concatenate([far, near[1:]]))
    assert one_less.familiarity(np.array([2.0, 0.0, 0.0])) == pytest.approx(1 - 2 / NEAREST)


def test_what_an_open_set_makes_of_another_kind() -> None:
    found = made_up_open_set()
    stranger, at_home = foreign(1.0, 0.0), DEVICES[0]
    assert found.is_another_kind(stranger)
    assert not found.is_another_kind(at_home)
    assert not found.is_another_kind(np.zeros(DIMS))
    # At home nothing changes, with one of another kind on the other side neither.
    alone = dataclasses.replace(found, prototypes=DEVICES[:, :FIRST], other_domains=None)
    for known in (DEVICES, np.stack([DEVICES[0], stranger])):
        for asked in (at_home, 0.5 * DEVICES[0] + DEVICES[1]):
            assert not found.other_share(known, asked).any()
            expected = alone.log10_lr(known[:, :FIRST], asked[:FIRST])
            np.testing.assert_allclose(found.log10_lr(known, asked), expected)
    # Elsewhere the corpus's scores would all be 1: the same device, whichever it is.
    others = np.stack([foreign(1.0, 0.0), foreign(0.0, 1.0), foreign(-1.0, 0.0)])
    np.testing.assert_allclose(found.cosines(others, stranger), 1.0)
    np.testing.assert_allclose(found.other_share(others, stranger), 1.0)
    ratios = found.log10_lr(others, stranger)
    assert ratios[0] == OTHER_BOUNDS.upper
    assert max(ratios[1:]) == OTHER_BOUNDS.lower
    np.testing.assert_allclose(found.thresholds(others, stranger), OTHER_THRESHOLD)
    np.testing.assert_allclose(found.thresholds(DEVICES, at_home), found.threshold)
    np.testing.assert_allclose(found.thresholds(DEVICES, stranger), found.threshold)
    assert found.bounds_at(1.0) == OTHER_BOUNDS
    assert found.bounds_at(0.0) == found.bounds


def test_without_other_domains_all_is_as_before() -> None:
    found = dataclasses.replace(made_up_open_set(), other_domains=None)
    asked = np.random.default_rng(0).standard_normal((2, 3, DIMS))
    share = found.other_share(DEVICES, asked)
    assert share.shape == (2, 3, 2)
    assert not share.any()
    assert not found.is_another_kind(foreign(1.0, 0.0))
    assert found.bounds_at(0.7) == found.bounds
    np.testing.assert_array_equal(found.thresholds(DEVICES, asked), np.full((2, 3, 2), 1.0))
    cosines = cosine_scores(DEVICES, asked)
    for another_kind in (False, True):
        given_ones = found.cosines(DEVICES, asked, another_kind=another_kind)
        np.testing.assert_array_equal(given_ones, cosines)
    np.testing.assert_allclose(found.unlimited_log10_lr(DEVICES, asked), 8 * cosines - 4)
    np.testing.assert_allclose(found.log10_lr(DEVICES, asked), np.clip(8 * cosines - 4, -2.5, 3.0))
    assert OpenSet.from_dict(found.to_dict(), "m").other_domains is None


# Calibration


def test_calibrated_on_trials() -> None:
    rng = np.random.default_rng(3)
    cohort = made_up_domains().cohort
    same, different = rng.normal(0.7, 0.2, 50), rng.normal(0.1, 0.2, 400)
    found = OtherDomains.calibrated(cohort, same, different)
    assert found.calibration == fit_calibration(same, different)
    assert found.same.tolist() == sorted(found.calibration.log10_lr(same))
    assert found.different.tolist() == sorted(found.calibration.log10_lr(different))
    assert found.bounds == lr_bounds(found.same, found.different)
    accepted = found.bounds.limit(found.different) > found.threshold
    assert 0 < accepted.mean() <= 0.01
    assert (found.bounds.limit(found.same) > found.threshold).mean() > 0.5
    assert found.threshold > 0
    assert not found.always
    always = OtherDomains.calibrated(cohort, same, different, always=True)
    assert always.always
    assert always.to_dict() == found.to_dict()  # a file does not keep it


def test_the_threshold_is_not_below_no_support() -> None:
    """Where all trials of different devices support different devices."""
    cohort = made_up_domains().cohort
    found = OtherDomains.calibrated(cohort, np.linspace(0.8, 1, 50), np.linspace(-0.2, 0, 400))
    assert found.different.max() < 0 < found.same.min()
    assert found.threshold == 0.0


def cluster(share_of_other: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two recordings each of ten devices, of the corpus's kind or of another."""
    rng = np.random.default_rng(seed)
    kind = (1 - share_of_other) * DEVICES[0] + share_of_other * (FOREIGN + COMMON)
    devices = kind + 0.5 * rng.standard_normal((10, DIMS))
    first, second = (devices + 0.02 * rng.standard_normal(devices.shape) for _ in range(2))
    return first, second


@pytest.mark.parametrize("share_of_other", [0.0, 0.5, 1.0])
def test_an_open_set_of_ones_own(share_of_other: float) -> None:
    before = made_up_open_set()
    first, second = cluster(share_of_other, seed=1)
    adapted = adapted_open_set(before, first, second)
    assert before.other_domains is not None
    other, cohort = adapted.other_domains, before.other_domains.cohort
    assert other is not None
    assert other.cohort is cohort
    scores = cohort.scores(first, second)
    own = np.eye(10, dtype=bool)
    assert other.calibration == fit_calibration(scores[own], scores[~own])
    assert adapted.bounds == other.bounds == lr_bounds(adapted.same, adapted.different)
    assert (adapted.known_devices, adapted.evidence) == (1, {})
    assert (len(adapted.same), len(adapted.different)) == (10, 90)
    assert adapted.threshold == other.threshold
    assert (adapted.bounds.limit(adapted.different) > adapted.threshold).mean() <= 0.01
    np.testing.assert_array_equal(adapted.prototypes, before.prototypes)
    # Further recordings of that kind.
    asked, again = cluster(share_of_other, seed=2)
    ratios = adapted.log10_lr(asked, again)
    assert ratios[own].min() > 0.5
    assert (ratios[~own] > adapted.threshold).mean() < 0.2
    assert ratios.max() <= adapted.bounds.upper
    assert ratios.min() >= adapted.bounds.lower
    values = other.calibration.log10_lr(cohort.scores(asked, again).ravel())
    np.testing.assert_allclose(adapted.unlimited_log10_lr(asked, again).ravel(), values)
    # Whatever is compared, also what is nothing or unlike anything.
    anything = np.concatenate([asked, DEVICES, -np.ones((1, DIMS)), np.zeros((1, DIMS))])
    assert other.always
    np.testing.assert_array_equal(adapted.other_share(anything, anything), 1.0)
    np.testing.assert_array_equal(adapted.other_share(-anything, anything), 1.0)
    assert adapted.bounds_at(1.0) == adapted.bounds
    read = OpenSet.from_dict(json.loads(json.dumps(adapted.to_dict())), "m")
    assert read.other_domains is not None
    assert not read.other_domains.always
    kept_set = dataclasses.replace(
        read, other_domains=dataclasses.replace(read.other_domains, always=True)
    )
    np.testing.assert_allclose(kept_set.log10_lr(asked, again), ratios, atol=1e-4)


def test_an_open_set_of_ones_own_needs_devices_and_scores_for_them() -> None:
    first, second = cluster(1.0, seed=1)
    for wrong in ((first[:7], second[:7]), (first, second[:8])):
        with pytest.raises(ValueError, match="8 devices"):
            adapted_open_set(made_up_open_set(), *wrong)
    alone = dataclasses.replace(made_up_open_set(), other_domains=None)
    with pytest.raises(ValueError, match="no scores for other kinds"):
        adapted_open_set(alone, first, second)


# Written and read back

kept = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=50)
@given(
    size=st.integers(1, 5),
    seed=st.integers(0, 999),
    calibration=st.builds(Calibration, st.tuples(kept), kept),
    bounds=st.builds(lambda a, b: LrBounds(-abs(a), abs(b)), kept, kept),
    n_trials=st.sampled_from([1, 7, KEPT_TRIALS, 3 * KEPT_TRIALS]),
    always=st.booleans(),
)
def test_round_trip(
    size: int, seed: int, calibration: Calibration, bounds: LrBounds, n_trials: int, always: bool
) -> None:
    rng = np.random.default_rng(seed)
    trials = np.sort(rng.standard_normal((2, n_trials)).astype(np.float32).astype(np.float64))
    embeddings = rng.standard_normal((size, DIMS)).astype(np.float32).astype(np.float64)
    cohort = Cohort(int(rng.integers(1, DIMS)), embeddings)
    other = OtherDomains(cohort, calibration, bounds, bounds.upper / 2, *trials, always)
    written = json.loads(json.dumps(made_up_open_set(other).to_dict(), allow_nan=False))
    read = OpenSet.from_dict(written, "model.onnx").other_domains
    assert read is not None
    assert read.cohort.first == cohort.first
    np.testing.assert_array_equal(read.cohort.embeddings, embeddings)
    assert (read.calibration, read.bounds) == (calibration, bounds)
    assert not read.always
    assert read.threshold == bounds.upper / 2
    for found, given_ones in zip((read.same, read.different), trials, strict=True):
        assert len(found) == min(n_trials, KEPT_TRIALS)
        assert (found[0], found[-1]) == (given_ones[0], given_ones[-1])
    assert read.to_dict() == other.to_dict()
    np.testing.assert_array_equal(
        read.log10_lr(embeddings, embeddings), other.log10_lr(embeddings, embeddings)
    )


def packed(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.pop(key)


def having(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.update({key: value})


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {key}": without(key) for key in made_up_domains().to_dict()},
    "text for numbers": having("cohort", "not base64!"),
    "half a number": having("same", base64.b64encode(b"12345").decode()),
    "a number for text": having("cohort", 3),
    "another size": having("size", 39),
    "a size that is none": having("size", "many"),
    "infinitely many": having("size", float("inf")),
    "no cohort": lambda values: values.update(cohort="", size=0),
    "no dimension of the corpus": having("first", 0),
    "no other dimension": having("first", DIMS),
    "a dimension below 0": having("first", -1),
    "cohort not a number": having("cohort", packed(*[np.nan] * 40 * DIMS)),
    "infinite trial": having("different", packed(1, np.inf)),
    "bounds upside down": having("bounds", {"lower": 1.0, "upper": -1.0}),
    "no slope": having("calibration", {"slopes": [], "offset": 0.0}),
    "two slopes": having("calibration", {"slopes": [1.0, 2.0], "offset": 0.0}),
    "no same-device trials": having("same", ""),
    "no different-device trials": having("different", ""),
    "threshold not a number": having("threshold", float("nan")),
    "threshold a text": having("threshold", "high"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_values_are_a_model_error(damage: str) -> None:
    values = copy.deepcopy(made_up_open_set().to_dict())
    DAMAGE[damage](values["other_domains"])
    with pytest.raises(ModelError, match=r"^model\.onnx: damaged open-set data: ") as caught:
        OpenSet.from_dict(values, "model.onnx")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("other", [[], {}, "text", 3, False])
def test_something_else_is_a_model_error(other: object) -> None:
    values = {**made_up_open_set().to_dict(), "other_domains": other}
    with pytest.raises(ModelError, match="damaged open-set data"):
        OpenSet.from_dict(values, "model.onnx")


def test_an_embedding_of_another_size_is_a_model_error() -> None:
    values = made_up_open_set().to_dict()
    values.update(prototypes=packed(*range(8)), shape=[2, 4])
    with pytest.raises(ModelError, match="damaged open-set data"):
        OpenSet.from_dict(values, "model.onnx")
