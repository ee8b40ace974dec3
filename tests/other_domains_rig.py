"""Made-up embeddings of recordings of another kind, and an open set that knows of such."""

from __future__ import annotations

import dataclasses

import numpy as np

from model.likelihood_ratio import Calibration, LrBounds
from model.open_set import OpenSet
from model.other_domains import Cohort, OtherDomains

FIRST, DIMS = 3, 6  #: dimensions of the corpus, and all
DEVICES = np.eye(DIMS)[:2]  #: of the corpus, each along an axis of its own
FOREIGN = np.eye(DIMS)[2]  #: what the embeddings of all recordings of another kind point to
COMMON = np.eye(DIMS)[3]  #: what they have in common in the other dimensions
OTHER_BOUNDS = LrBounds(-0.75, 1.25)
OTHER_THRESHOLD = 0.5  #: 1 for the corpus's kind


def rounded(values: np.ndarray) -> np.ndarray:
    """As a file keeps them."""
    return values.astype(np.float32).astype(np.float64)


def foreign(*own: float, common: float = 1.0) -> np.ndarray:
    """Embedding of a recording of another kind, its own in the last two dimensions."""
    return FOREIGN + common * COMMON + np.concatenate([np.zeros(4), own])


def made_up_domains() -> OtherDomains:
    """A cohort around what is foreign and common, calibrated on made-up scores."""
    rng = np.random.default_rng(5)
    own = 0.3 * rng.standard_normal((40, 2))
    cohort = Cohort(FIRST, rounded(np.stack([foreign(*row) for row in own])))
    same, different = rng.normal(0.8, 0.2, 60), rng.normal(0.0, 0.3, 300)
    found = OtherDomains.calibrated(cohort, same, different)
    return dataclasses.replace(
        found,
        bounds=OTHER_BOUNDS,
        threshold=OTHER_THRESHOLD,
        same=rounded(found.same),
        different=rounded(found.different),
    )


def made_up_open_set(
    other: OtherDomains | None = None, slopes: tuple[float, ...] = (8.0, 0.0)
) -> OpenSet:
    """Of a model with two devices; with :func:`made_up_domains` without any given."""
    return OpenSet(
        prototypes=DEVICES,
        spectra=np.zeros((2, 34)),
        calibration=Calibration(slopes, -4.0),
        bounds=LrBounds(-2.5, 3.0),
        threshold=1.0,
        false_acceptance=0.01,
        known_devices=2,
        temperature=1.0,
        same=np.array([0.5, 1.5, 2.5]),
        different=np.array([-2.0, -1.0]),
        evidence={},
        other_domains=made_up_domains() if other is None else other,
    )
