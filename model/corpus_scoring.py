"""How alike two recordings are, in the dimensions of an embedding fitted on the corpus (numpy).

One cosine would do, and two scores that are calibrated together do better: a questioned recording
that is like many of the model's own devices (because it is noisy, or of a kind that they all are
like) says less of any one. Distances and lengths would do better still on whole clips, and fail on
short ones: they depend on how many windows are averaged, which angles hardly do.
"""

from __future__ import annotations

import numpy as np

from model.embedding_scoring import cosine_scores
from model.mel import DoubleArray

SCORES = ("cosine", "likeness to others")
NEAREST = 5  #: of the model's own devices, whose likeness counts


def corpus_scores(
    prototypes: DoubleArray, questioned: DoubleArray, cohort: DoubleArray
) -> DoubleArray:
    """The scores of all pairs.

    Args:
        prototypes: float64 ``(devices, dims)``.
        questioned: float64 ``(..., dims)``.
        cohort: float64 ``(n, dims)``, prototypes of the model's own devices.

    Returns:
        float64 ``(..., devices, 2)``: cosine; mean cosine of the questioned embedding with the
        nearest of the cohort, the member apart that is most like the prototype (which may be the
        device itself).
    """
    cosines = cosine_scores(prototypes, questioned)
    scores = np.empty((*cosines.shape, len(SCORES)))
    scores[..., 0] = cosines
    scores[..., 1] = _likeness_to_others(prototypes, questioned, cohort)
    return scores


def _likeness_to_others(
    prototypes: DoubleArray, questioned: DoubleArray, cohort: DoubleArray
) -> DoubleArray:
    """Second of the scores, float64 ``(..., devices)``; 0 where the cohort has no others."""
    kept = min(NEAREST, len(cohort) - 1)
    if kept < 1:
        return np.zeros((*questioned.shape[:-1], len(prototypes)))
    likeness = cosine_scores(cohort, questioned)
    own = cosine_scores(cohort, prototypes).argmax(axis=1)  # member most like each prototype
    order = np.argsort(-likeness, axis=-1)[..., : kept + 1]
    nearest = np.take_along_axis(likeness, order, axis=-1)
    is_own = order[..., None, :] == own[:, None]  # (..., devices, kept + 1)
    total = nearest.sum(axis=-1)[..., None]
    with_own = is_own.any(axis=-1)
    left_out = np.where(
        with_own, (is_own * nearest[..., None, :]).sum(axis=-1), nearest[..., -1][..., None]
    )
    mean: DoubleArray = (total - left_out) / kept
    return mean
