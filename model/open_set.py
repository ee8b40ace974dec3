"""Known or unknown, same device or not: what a model file knows beyond its classes (numpy).

A device, of the model or of a gallery, is the mean of its clips' embeddings. How alike a clip's is
(:mod:`model.corpus_scoring`) is calibrated into a log10 likelihood ratio: "this device" against
"another one".
A clip is of an unknown device where the best ratio of all known devices does not pass a threshold;
it was chosen for a stated rate of strangers that pass, on devices that the embedding was not
fitted on (:mod:`model.open_set_trials`). Where both sides are recordings of another kind than the
corpus's, :mod:`model.other_domains` takes over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.corpus_scoring import SCORES, corpus_scores
from model.embedding_scoring import ClipEmbedding, cosine_scores, prototype
from model.errors import ModelError
from model.likelihood_ratio import Calibration, LrBounds
from model.mel import DoubleArray
from model.other_domains import OtherDomains, mixed
from model.packed_arrays import packed, thinned, unpacked


@dataclass(frozen=True, eq=False)
class OpenSet:
    """The calibrated open set of a model.

    Attributes:
        prototypes: float64 ``(devices, dims)``, of the model's own devices, in the labels' order.
        spectra: float64 ``(devices, bands)``, their long-term log-mel spectra less the mean over
            bands, for pictures.
        calibration: the scores of :mod:`model.corpus_scoring` to log10 LR.
        bounds: of log10 LRs that the validation can support.
        threshold: log10 LR that the best device must exceed, for recordings of the corpus's kind.
        false_acceptance: share of clips by unknown devices that passed it when it was chosen.
        known_devices: number of known devices then; with more, more strangers pass.
        temperature: of the posterior over the model's own devices.
        same: float64, log10 LRs of same-device validation trials, sorted.
        different: likewise of different-device trials.
        evidence: what was measured on what, JSON-ready, for reports.
        other_domains: for recordings of another kind than the corpus's; ``None`` where the model
            was made without speech to simulate some with.
    """

    prototypes: DoubleArray
    spectra: DoubleArray
    calibration: Calibration
    bounds: LrBounds
    threshold: float
    false_acceptance: float
    known_devices: int
    temperature: float
    same: DoubleArray
    different: DoubleArray
    evidence: dict[str, Any]
    other_domains: OtherDomains | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same, as a file keeps it."""
        return isinstance(other, OpenSet) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def log10_lr(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """Calibrated log10 likelihood ratios, within the bounds.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``, embeddings.

        Returns:
            float64 ``(..., devices)``.
        """
        values, share = self._compared(prototypes, questioned)
        other = self.other_domains
        if other is None:
            return self.bounds.limit(values)
        lower = mixed(self.bounds.lower, other.bounds.lower, share)
        upper = mixed(self.bounds.upper, other.bounds.upper, share)
        limited: DoubleArray = np.clip(values, lower, upper)
        return limited

    def unlimited_log10_lr(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """As :meth:`log10_lr`, also where it lies beyond what the validation supports."""
        return self._compared(prototypes, questioned)[0]

    def _compared(
        self, prototypes: DoubleArray, questioned: DoubleArray
    ) -> tuple[DoubleArray, DoubleArray]:
        """Log10 likelihood ratios, not limited, and :meth:`other_share`."""
        other, own = self.other_domains, self._own
        scores = corpus_scores(prototypes[:, own], questioned[..., own], self.prototypes[:, own])
        table = scores.reshape(-1, scores.shape[-1])
        values = self.calibration.log10_lr(table).reshape(scores.shape[:-1])
        share = self.other_share(prototypes, questioned)
        if other is None or not share.any():
            return values, share
        return mixed(values, other.log10_lr(prototypes, questioned), share), share

    @property
    def _own(self) -> slice:
        """The dimensions of an embedding that were fitted on the corpus."""
        other = self.other_domains
        return slice(None) if other is None else slice(None, other.cohort.first)

    def cosines(
        self, prototypes: DoubleArray, questioned: DoubleArray, *, another_kind: bool = False
    ) -> DoubleArray:
        """What people are shown as the score; the likelihood ratio rests on more than it.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``.
            another_kind: as for recordings of another kind than the corpus's.

        Returns:
            float64 ``(..., devices)``, at most 1: cosines, normalised ones for another kind.
        """
        other, own = self.other_domains, self._own
        if another_kind and other is not None:
            return other.cohort.scores(prototypes, questioned)
        return cosine_scores(prototypes[:, own], questioned[..., own])

    def is_another_kind(self, embedding: DoubleArray) -> bool:
        """Whether a clip, float64 ``(dims,)``, is of another kind than the model's corpus."""
        other = self.other_domains
        return other is not None and bool(other.otherness(embedding, self.prototypes) > 0)

    def other_share(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """How far comparisons are of recordings of another kind than the corpus's.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``.

        Returns:
            float64 ``(..., devices)``, 0 to 1; 0 without :attr:`other_domains`.
        """
        if self.other_domains is None:
            return np.zeros((*questioned.shape[:-1], len(prototypes)))
        return self.other_domains.share(prototypes, questioned, self.prototypes)

    def thresholds(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """Log10 LR that each device must exceed to be named, float64 ``(..., devices)``.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(..., dims)``.
        """
        share, other = self.other_share(prototypes, questioned), self.other_domains
        return mixed(self.threshold, self.threshold if other is None else other.threshold, share)

    def bounds_at(self, share: float) -> LrBounds:
        """Bounds of log10 LRs for a comparison with a given :meth:`other_share`."""
        if self.other_domains is None:
            return self.bounds
        other, weight = self.other_domains.bounds, np.float64(share)
        lower = mixed(self.bounds.lower, other.lower, weight)
        upper = mixed(self.bounds.upper, other.upper, weight)
        return LrBounds(float(lower), float(upper))

    def same_device(self, references: Sequence[ClipEmbedding], questioned: ClipEmbedding) -> float:
        """Log10 LR, within the bounds, that one device made the references and the questioned clip.

        Raises:
            ValueError: no reference.
        """
        known = prototype(references)[None]
        return float(self.log10_lr(known, questioned.mean)[0])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return {
            "prototypes": packed(self.prototypes),
            "shape": list(self.prototypes.shape),
            "spectra": packed(self.spectra),
            "calibration": self.calibration.to_dict(),
            "bounds": self.bounds.to_dict(),
            "threshold": self.threshold,
            "false_acceptance": self.false_acceptance,
            "known_devices": self.known_devices,
            "temperature": self.temperature,
            "same": packed(thinned(self.same)),
            "different": packed(thinned(self.different)),
            "evidence": self.evidence,
            "other_domains": self.other_domains and self.other_domains.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> OpenSet:
        """Read and check what :meth:`to_dict` wrote.

        Args:
            values: the mapping.
            source: file name for messages.

        Raises:
            ModelError: damaged.
        """
        try:
            devices, dims = values["shape"]
            other = values["other_domains"]
            found = cls(
                prototypes=unpacked(values["prototypes"]).reshape(devices, dims),
                spectra=unpacked(values["spectra"]).reshape(devices, -1),
                calibration=Calibration.from_dict(values["calibration"]),
                bounds=LrBounds.from_dict(values["bounds"]),
                threshold=float(values["threshold"]),
                false_acceptance=float(values["false_acceptance"]),
                known_devices=int(values["known_devices"]),
                temperature=float(values["temperature"]),
                same=unpacked(values["same"]),
                different=unpacked(values["different"]),
                evidence=dict(values["evidence"]),
                other_domains=OtherDomains.from_dict(other, dims) if other is not None else None,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{source}: damaged open-set data: {error}") from error
        arrays = (found.prototypes, found.spectra, found.same, found.different)
        scalars = (found.threshold, found.false_acceptance, found.temperature)
        if not all(np.isfinite(part).all() for part in (*arrays, scalars)):
            raise ModelError(f"{source}: damaged open-set data: values that are not numbers")
        if len(found.calibration.slopes) != len(SCORES):
            raise ModelError(f"{source}: damaged open-set data: a calibration of other scores")
        if found.temperature <= 0:
            raise ModelError(f"{source}: damaged open-set data: temperature {found.temperature}")
        return found
