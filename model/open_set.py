"""Known or unknown, same device or not: what a model file knows beyond its classes (numpy).

A device, of the model or of a gallery, is the mean of its clips' embeddings. The score of a clip is
the cosine with it, calibrated into a log10 likelihood ratio: "this device" against "another one".
A clip is of an unknown device where the best ratio of all known devices does not pass a threshold;
it was chosen for a stated rate of strangers that pass, on devices that the embedding was not
fitted on (:mod:`model.open_set_trials`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.embedding_scoring import ClipEmbedding, cosine_scores, prototype
from model.errors import ModelError
from model.likelihood_ratio import Calibration, LrBounds
from model.mel import DoubleArray

#: Validation trials that a model file keeps of either kind, for Tippett plots.
KEPT_TRIALS = 1000


@dataclass(frozen=True, eq=False)
class OpenSet:
    """The calibrated open set of a model.

    Attributes:
        prototypes: float64 ``(devices, dims)``, of the model's own devices, in the labels' order.
        spectra: float64 ``(devices, bands)``, their long-term log-mel spectra less the mean over
            bands, for pictures.
        calibration: cosine to log10 LR.
        bounds: of log10 LRs that the validation can support.
        threshold: log10 LR that the best device must exceed.
        false_acceptance: share of clips by unknown devices that passed it when it was chosen.
        known_devices: number of known devices then; with more, more strangers pass.
        temperature: of the posterior over the model's own devices.
        same: float64, log10 LRs of same-device validation trials, sorted.
        different: likewise of different-device trials.
        evidence: what was measured on what, JSON-ready, for reports.
        centre: float64 ``(dims,)``, taken from all embeddings before they are compared; ``None``
            for recordings of the kind that the model was made with.
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
    centre: DoubleArray | None = None

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
        return self.bounds.limit(self.unlimited_log10_lr(prototypes, questioned))

    def unlimited_log10_lr(self, prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
        """As :meth:`log10_lr`, also where it lies beyond what the validation supports."""
        if self.centre is not None:
            prototypes, questioned = prototypes - self.centre, questioned - self.centre
        scores = cosine_scores(prototypes, questioned)
        return self.calibration.log10_lr(scores.ravel()).reshape(scores.shape)

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
            "prototypes": _packed(self.prototypes),
            "shape": list(self.prototypes.shape),
            "spectra": _packed(self.spectra),
            "calibration": self.calibration.to_dict(),
            "bounds": self.bounds.to_dict(),
            "threshold": self.threshold,
            "false_acceptance": self.false_acceptance,
            "known_devices": self.known_devices,
            "temperature": self.temperature,
            "same": _packed(thinned(self.same)),
            "different": _packed(thinned(self.different)),
            "evidence": self.evidence,
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
            found = cls(
                prototypes=_unpacked(values["prototypes"]).reshape(devices, dims),
                spectra=_unpacked(values["spectra"]).reshape(devices, -1),
                calibration=Calibration.from_dict(values["calibration"]),
                bounds=LrBounds.from_dict(values["bounds"]),
                threshold=float(values["threshold"]),
                false_acceptance=float(values["false_acceptance"]),
                known_devices=int(values["known_devices"]),
                temperature=float(values["temperature"]),
                same=_unpacked(values["same"]),
                different=_unpacked(values["different"]),
                evidence=dict(values["evidence"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{source}: damaged open-set data: {error}") from error
        arrays = (found.prototypes, found.spectra, found.same, found.different)
        scalars = (found.threshold, found.false_acceptance, found.temperature)
        if not all(np.isfinite(part).all() for part in (*arrays, scalars)):
            raise ModelError(f"{source}: damaged open-set data: values that are not numbers")
        if found.temperature <= 0:
            raise ModelError(f"{source}: damaged open-set data: temperature {found.temperature}")
        return found


def thinned(trials: DoubleArray) -> DoubleArray:
    """At most :data:`KEPT_TRIALS` of sorted values, evenly by rank, the extremes included."""
    if len(trials) <= KEPT_TRIALS:
        return trials
    kept: DoubleArray = trials[np.linspace(0, len(trials) - 1, KEPT_TRIALS).round().astype(int)]
    return kept


def _packed(values: DoubleArray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> DoubleArray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
