"""Recordings of another kind than a model's corpus: how alike two of them are (numpy).

What all recordings of a kind have in common (one room, one set of voices) makes their embeddings
alike, and different devices seem to be one. Two things help: dimensions of the embedding that were
fitted on many simulated domains (:mod:`model.domain_training`), and a *cohort* of recordings from
such domains. A recording that is like many of the cohort is of another kind; and the cosine of two
such recordings is measured from their cosines with the cohort on, not from 0 (score normalisation
by a cohort, as in speaker verification).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.detection_metrics import threshold_at_fpr
from model.embedding_scoring import cosine_scores
from model.likelihood_ratio import Calibration, LrBounds, fit_calibration, lr_bounds
from model.mel import DoubleArray
from model.packed_arrays import packed, thinned, unpacked

NEAREST = 60  #: of the cohort, that count
#: Familiarity to the cohort from which on a recording counts as one of another kind, and at which
#: it does so fully. Recordings of the corpus lie below, nearly all degraded ones too.
BEGINS, COMPLETE = 0.45, 0.55
FALSE_ACCEPTANCE = 0.01  #: of comparisons of different devices, that the threshold is chosen for


def mixed(own: float | DoubleArray, other: float | DoubleArray, share: DoubleArray) -> DoubleArray:
    """What holds for recordings of the corpus's kind, and as far as they are of another, that."""
    total: DoubleArray = (1 - share) * own + share * other
    return total


@dataclass(frozen=True, eq=False)
class Cohort:
    """Recordings of many simulated domains and devices, to measure cosines from.

    Attributes:
        first: first dimension of the embedding that was fitted on many domains; those before it
            were fitted on the corpus.
        embeddings: float64 ``(n, dims)``, at least one.
    """

    first: int
    embeddings: DoubleArray

    def familiarity(self, embeddings: DoubleArray) -> DoubleArray:
        """How much like the cohort a recording is, and unlike the corpus; float64 ``(...,)``.

        Args:
            embeddings: float64 ``(..., dims)``.

        Returns:
            mean cosine with its nearest, in the dimensions that were fitted on the corpus.
        """
        return self._nearness(embeddings, slice(None, self.first))

    def scores(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """Normalised cosines, in the dimensions that were fitted on many domains.

        With ``m`` the mean of both sides' mean cosines with their nearest of the cohort, ``(s - m)
        / (1 - m)``: 0 for two recordings that are as alike as they are to the cohort, 1 for equal
        ones.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``.

        Returns:
            float64 ``(..., devices)``, at most 1.
        """
        dims = slice(self.first, None)
        cosines = cosine_scores(prototypes[:, dims], questioned[..., dims])
        common = 0.5 * (
            self._nearness(questioned, dims)[..., None] + self._nearness(prototypes, dims)
        )
        common = np.minimum(common, 1.0 - 1e-6)
        normalised: DoubleArray = (cosines - common) / (1.0 - common)
        return normalised

    def _nearness(self, embeddings: DoubleArray, dims: slice) -> DoubleArray:
        cosines = cosine_scores(self.embeddings[:, dims], embeddings[..., dims])
        kept = min(NEAREST, cosines.shape[-1])
        nearest: DoubleArray = np.partition(cosines, -kept, axis=-1)[..., -kept:].mean(axis=-1)
        return nearest


@dataclass(frozen=True, eq=False)
class OtherDomains:
    """How recordings of other kinds are compared.

    Attributes:
        cohort: what cosines are measured from.
        calibration: normalised cosine to log10 LR, fitted on further domains and devices.
        bounds: of log10 LRs that this validation can support.
        threshold: log10 LR that a device must exceed to be named; :data:`FALSE_ACCEPTANCE` of the
            comparisons of different devices did.
        same: float64, log10 LRs of same-device trials of it, sorted.
        different: likewise of different-device trials.
        always: whether all recordings count as of another kind; not kept in files.
    """

    cohort: Cohort
    calibration: Calibration
    bounds: LrBounds
    threshold: float
    same: DoubleArray
    different: DoubleArray
    always: bool = False

    @classmethod
    def calibrated(
        cls,
        cohort: Cohort,
        same: DoubleArray,
        different: DoubleArray,
        *,
        always: bool = False,
    ) -> OtherDomains:
        """With the calibration that validation trials give.

        Args:
            cohort: what gives the scores.
            same: ``(n,)``, scores of same-device trials.
            different: ``(m,)``, of different-device trials.
            always: see the class.
        """
        calibration = fit_calibration(same, different)
        same_lr, different_lr = calibration.log10_lr(same), calibration.log10_lr(different)
        bounds = lr_bounds(same_lr, different_lr)
        # Not below 0, however well the trials fall apart: that would name a device against the LR.
        threshold = max(0.0, threshold_at_fpr(bounds.limit(different_lr), FALSE_ACCEPTANCE))
        trials = np.sort(same_lr), np.sort(different_lr)
        return cls(cohort, calibration, bounds, threshold, *trials, always)

    def otherness(self, embeddings: DoubleArray, own: DoubleArray) -> DoubleArray:
        """How far recordings are of another kind, float64 ``(...,)``, 0 to 1.

        They are not where they are more like one of the model's own devices than like the cohort.

        Args:
            embeddings: float64 ``(..., dims)``.
            own: float64 ``(n, dims)``, prototypes of the model's own devices.
        """
        familiarity = self.cohort.familiarity(embeddings)
        if self.always:
            return np.ones_like(familiarity)
        dims = slice(None, self.cohort.first)
        likeness = cosine_scores(own[:, dims], embeddings[..., dims]).max(axis=-1)
        ramp = np.clip((familiarity - BEGINS) / (COMPLETE - BEGINS), 0.0, 1.0)
        otherness: DoubleArray = np.where(familiarity > likeness, ramp, 0.0)
        return otherness

    def share(
        self, prototypes: DoubleArray, questioned: DoubleArray, own: DoubleArray
    ) -> DoubleArray:
        """How far comparisons are of recordings of another kind: both sides must be.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``.
            own: float64 ``(n, dims)``, prototypes of the model's own devices.

        Returns:
            float64 ``(..., devices)``, 0 to 1.
        """
        share: DoubleArray = np.minimum(
            self.otherness(questioned, own)[..., None], self.otherness(prototypes, own)
        )
        return share

    def log10_lr(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """Calibrated log10 likelihood ratios, not limited, float64 ``(..., devices)``.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``.
        """
        scores = self.cohort.scores(prototypes, questioned)
        if not scores.size:
            return scores
        return self.calibration.log10_lr(scores.ravel()).reshape(scores.shape)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return {
            "first": self.cohort.first,
            "cohort": packed(self.cohort.embeddings),
            "size": len(self.cohort.embeddings),
            "calibration": self.calibration.to_dict(),
            "bounds": self.bounds.to_dict(),
            "threshold": self.threshold,
            "same": packed(thinned(self.same)),
            "different": packed(thinned(self.different)),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], dims: int) -> OtherDomains:
        """Read and check what :meth:`to_dict` wrote.

        Args:
            values: the mapping.
            dims: of the embedding.

        Raises:
            KeyError, TypeError, ValueError: damaged.
        """
        embeddings = unpacked(values["cohort"]).reshape(int(values["size"]), dims)
        found = cls(
            cohort=Cohort(int(values["first"]), embeddings),
            calibration=Calibration.from_dict(values["calibration"]),
            bounds=LrBounds.from_dict(values["bounds"]),
            threshold=float(values["threshold"]),
            same=unpacked(values["same"]),
            different=unpacked(values["different"]),
        )
        arrays = (embeddings, found.same, found.different, found.threshold)
        if not all(np.isfinite(part).all() for part in arrays):
            raise ValueError("values that are not numbers")
        if not len(embeddings) or not 0 < found.cohort.first < dims:
            raise ValueError("no cohort, or one of another embedding")
        if len(found.calibration.slopes) != 1 or not len(found.same) or not len(found.different):
            raise ValueError("a calibration of other scores, or no trials")
        return found
