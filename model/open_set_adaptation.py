"""A calibration of one's own for one kind of recordings: one room, one set of voices (numpy).

What likelihood ratios are worth depends on how alike all recordings of a kind are. Two recordings
each of some devices of that kind show it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.mel import DoubleArray
from model.open_set import OpenSet
from model.other_domains import FALSE_ACCEPTANCE, OtherDomains

FEWEST_DEVICES = 8


def adapted_open_set(open_set: OpenSet, first: DoubleArray, second: DoubleArray) -> OpenSet:
    """An open set for recordings of one kind.

    The devices that it is fitted on are few, and serve as strangers to one another; the model's
    own devices are of another kind, and cannot be named with it.

    Args:
        open_set: of the model.
        first: float64 ``(devices, dims)``, embedding of one recording of each device.
        second: likewise of another recording each, of other words.

    Raises:
        ValueError: fewer than 8 devices, shapes that differ, or a model without scores for other
            kinds of recordings.
    """
    if first.shape != second.shape or len(first) < FEWEST_DEVICES:
        raise ValueError(f"two recordings each of {FEWEST_DEVICES} devices or more, please")
    if open_set.other_domains is None:
        raise ValueError("the model has no scores for other kinds of recordings")
    cohort = open_set.other_domains.cohort
    scores = cohort.scores(first, second)
    own = np.eye(len(first), dtype=bool)
    other = OtherDomains.calibrated(cohort, scores[own], scores[~own], always=True)
    return replace(
        open_set,
        bounds=other.bounds,
        threshold=other.threshold,
        false_acceptance=FALSE_ACCEPTANCE,
        known_devices=1,
        same=other.same,
        different=other.different,
        evidence={},
        other_domains=other,
    )
