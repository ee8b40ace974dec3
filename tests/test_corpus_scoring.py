"""The scores of a pair, against loops that do one thing at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.corpus_scoring import NEAREST, SCORES, corpus_scores


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length else 0.0


def by_hand(prototype: np.ndarray, asked: np.ndarray, cohort: np.ndarray) -> list[float]:
    own = max(range(len(cohort)), key=lambda i: cosine(cohort[i], prototype))
    others = [cosine(member, asked) for i, member in enumerate(cohort) if i != own]
    nearest = sorted(others, reverse=True)[:NEAREST]
    return [
        cosine(prototype, asked),
        sum(nearest) / len(nearest) if nearest else 0.0,
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 6), st.integers(1, 5))
def test_scores_are_those_of_loops(seed: int, members: int, devices: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    cohort = rng.standard_normal((members, dims))
    prototypes = np.concatenate([cohort[:2], rng.standard_normal((devices, dims))])
    asked = rng.standard_normal((3, 2, dims))
    scores = corpus_scores(prototypes, asked, cohort)
    assert scores.shape == (3, 2, len(prototypes), len(SCORES))
    for place in np.ndindex(3, 2):
        for device, prototype in enumerate(prototypes):
            expected = by_hand(prototype, asked[place], cohort)
            if dims == 1:  # cosines are 1 and -1, and the member most like a prototype is any
                expected[1] = scores[(*place, device, 1)]
            np.testing.assert_allclose(scores[(*place, device)], expected, atol=1e-9)


def test_a_device_of_the_cohort_is_not_one_of_the_others() -> None:
    cohort = np.eye(3)
    scores = corpus_scores(cohort, cohort[0], cohort)
    assert scores[0].tolist() == pytest.approx([1.0, 0.0])
    assert scores[1].tolist() == pytest.approx([0.0, 0.5])


def test_a_clip_alone_scores_as_among_others() -> None:
    rng = np.random.default_rng(1)
    cohort, asked = rng.standard_normal((9, 4)), rng.standard_normal((5, 4))
    together = corpus_scores(cohort[:3], asked, cohort)
    for i, one in enumerate(asked):
        np.testing.assert_allclose(corpus_scores(cohort[:3], one, cohort), together[i], atol=1e-12)


def test_nothing_at_all_and_lengths_of_0() -> None:
    cohort = np.zeros((4, 3))
    assert corpus_scores(cohort, np.zeros((0, 3)), cohort).shape == (0, 4, 2)
    assert not corpus_scores(cohort, np.zeros((2, 3)), cohort).any()
