"""Another kind of recordings than the model was made with: its own centre and calibration (numpy).

What all recordings of a kind have in common (one room, one language, one simulator) makes all their
embeddings alike, and different devices seem to be the same one. Two recordings each of some devices
of that kind show what is common; what is left after taking it away is calibrated anew.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.detection_metrics import threshold_at_fpr
from model.embedding_scoring import cosine_scores
from model.likelihood_ratio import fit_calibration, lr_bounds
from model.mel import DoubleArray
from model.open_set import OpenSet

FEWEST_DEVICES = 8
FALSE_ACCEPTANCE = 0.01  #: of comparisons with another device, that the threshold is chosen for


def adapted_open_set(open_set: OpenSet, first: DoubleArray, second: DoubleArray) -> OpenSet:
    """An open set for recordings of one kind.

    The devices that it is fitted on are few, and serve as strangers to one another; the model's
    own devices are of another kind, and cannot be named with it.

    Args:
        open_set: of the model.
        first: float64 ``(devices, dims)``, embedding of one recording of each device.
        second: likewise of another recording each, of other words.

    Raises:
        ValueError: fewer than 8 devices, or shapes that differ.
    """
    if first.shape != second.shape or len(first) < FEWEST_DEVICES:
        raise ValueError(f"two recordings each of {FEWEST_DEVICES} devices or more, please")
    centre: DoubleArray = np.concatenate([first, second]).mean(axis=0)
    scores = cosine_scores(first - centre, second - centre)
    own = np.eye(len(first), dtype=bool)
    same, different = scores[own], scores[~own]
    calibration = fit_calibration(same, different)
    same_lr, different_lr = calibration.log10_lr(same), calibration.log10_lr(different)
    return replace(
        open_set,
        calibration=calibration,
        bounds=lr_bounds(same_lr, different_lr),
        threshold=threshold_at_fpr(different_lr, FALSE_ACCEPTANCE),
        false_acceptance=FALSE_ACCEPTANCE,
        known_devices=1,
        same=np.sort(same_lr),
        different=np.sort(different_lr),
        evidence={},
        centre=centre,
    )
