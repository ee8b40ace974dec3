"""The devices that an answer may name: the model's own, those of a gallery, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from export.engine import Engine, Scores
from model.checked_values import one_of
from model.embedding_scoring import prototype
from model.errors import GalleryError, ModelError
from model.gallery import Gallery
from model.likelihood_ratio import LrBounds
from model.mel import DoubleArray
from model.open_set import OpenSet
from model.posterior import clip_posterior, log_posterior
from model.probability_calibration import scale_by_temperature

LN10 = math.log(10.0)

#: Which devices an answer may name.
DeviceChoice = Literal["built-in", "gallery", "both"]
CHOICES: tuple[DeviceChoice, ...] = get_args(DeviceChoice)
Source = Literal["built-in", "gallery"]


@dataclass(frozen=True, eq=False)
class KnownDevices:
    """Names, and how windows and clips are scored for them.

    Attributes:
        names: of the devices; with both kinds, those of the model first.
        sources: where each is from.
        open_set: what tells strangers apart; ``None``: one of the devices is named always.
        prototypes: float64 ``(devices, dims)``; ``None`` without ``open_set``.
        by_posterior: whether the network's own classes decide; the likelihood ratios of the
            embeddings otherwise.
    """

    names: tuple[str, ...]
    sources: tuple[Source, ...]
    open_set: OpenSet | None
    prototypes: DoubleArray | None
    by_posterior: bool

    def window_log_posteriors(self, scores: Scores) -> DoubleArray:
        """Log posteriors of windows under equal priors, float64 ``(windows, devices)``."""
        if self.by_posterior or self.open_set is None or self.prototypes is None:
            return log_posterior(scores.logits)
        embeddings = scores.embedding.astype(np.float64)
        ratios = self.open_set.unlimited_log10_lr(self.prototypes, embeddings)
        return log_posterior((LN10 * ratios).astype(np.float32))

    def clip_posterior(self, windows: DoubleArray, embedding: DoubleArray) -> DoubleArray:
        """Posterior of a clip under equal priors, float64 ``(devices,)``.

        Args:
            windows: float64 ``(windows, devices)``, of :meth:`window_log_posteriors`.
            embedding: float64 ``(dims,)``, mean over the clip's windows.
        """
        if self.open_set is None or self.prototypes is None:
            return clip_posterior(windows)
        if self.by_posterior:
            mean = np.log(np.maximum(clip_posterior(windows), 1e-12))
            scaled = scale_by_temperature(mean[None], self.open_set.temperature)
            return clip_posterior(scaled)
        ratios = self.open_set.unlimited_log10_lr(self.prototypes, embedding)
        return clip_posterior(LN10 * ratios[None])

    def log10_lr(self, embedding: DoubleArray) -> DoubleArray | None:
        """Calibrated log10 likelihood ratio of each device, float64 ``(..., devices)``.

        Args:
            embedding: float64 ``(..., dims)``, of windows or means over them.

        Returns:
            ``None`` where the model cannot tell.
        """
        if self.open_set is None or self.prototypes is None:
            return None
        return self.open_set.log10_lr(self.prototypes, embedding)

    def thresholds(self, embedding: DoubleArray) -> DoubleArray | None:
        """Log10 LR that each device must exceed to be named; as :meth:`log10_lr`."""
        if self.open_set is None or self.prototypes is None:
            return None
        return self.open_set.thresholds(self.prototypes, embedding)

    def bounds(self, device: int, embedding: DoubleArray) -> LrBounds | None:
        """Bounds of the log10 LR of a device and a clip, float64 ``(dims,)``."""
        if self.open_set is None or self.prototypes is None:
            return None
        share = self.open_set.other_share(self.prototypes[device : device + 1], embedding)
        return self.open_set.bounds_at(float(share[0]))


def built_in_devices(engine: Engine) -> KnownDevices:
    """The model's own devices."""
    open_set, labels = engine.metadata.open_set, engine.metadata.labels
    prototypes = None if open_set is None else open_set.prototypes
    return KnownDevices(labels, _from(labels, "built-in"), open_set, prototypes, True)


def known_devices(engine: Engine, gallery: Gallery | None, choice: str) -> KnownDevices:
    """The devices that were asked for.

    Args:
        engine: the model.
        gallery: needed for all choices but ``"built-in"``.
        choice: out of :data:`CHOICES`.

    Raises:
        UsageError: an unknown choice.
        ModelError: the model has no open set, which galleries need.
        GalleryError: the gallery is empty, or names a device that the model has, too.
    """
    one_of("devices", choice, CHOICES)
    if choice == "built-in" or gallery is None:
        return built_in_devices(engine)
    open_set, labels = engine.metadata.open_set, engine.metadata.labels
    if open_set is None:
        raise ModelError(
            "this model cannot use a gallery: it was trained without `train --openset`"
        )
    devices = gallery.devices
    if not devices:
        raise GalleryError(f"{gallery.folder}: no device is enrolled (`devrec-agent enroll`)")
    names = tuple(device.name for device in devices)
    enrolled = np.stack([prototype(device.embeddings) for device in devices])
    if choice == "gallery":
        return KnownDevices(names, _from(names, "gallery"), open_set, enrolled, False)
    own = {label.casefold() for label in labels}
    twice = [name for name in names if name.casefold() in own]
    if twice:
        raise GalleryError(
            f"{gallery.folder}: the model has a device of its own called {twice[0]}: use "
            "--devices gallery, or enrol it under another name"
        )
    return KnownDevices(
        labels + names,
        _from(labels, "built-in") + _from(names, "gallery"),
        open_set,
        np.concatenate([open_set.prototypes, enrolled]),
        False,
    )


def _from(names: tuple[str, ...], source: Source) -> tuple[Source, ...]:
    return tuple(source for _ in names)
