"""Scores of the trials of an open set, before and after calibration (numpy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.corpus_scoring import corpus_scores
from model.likelihood_ratio import Calibration
from model.mel import DoubleArray
from model.other_domains import OtherDomains, mixed


@dataclass(frozen=True, eq=False)
class PairScores:
    """All that the likelihood ratios of pairs need but the calibration; float64.

    Attributes:
        own: ``(..., 2)``, scores in the dimensions of the embedding that were fitted on the corpus
            (:func:`model.corpus_scoring.corpus_scores`).
        share: ``(...)``, how far a pair is of recordings of another kind, 0 to 1.
        other: ``(...)``, log10 LR as for those.
    """

    own: DoubleArray
    share: DoubleArray
    other: DoubleArray

    @classmethod
    def of(
        cls,
        prototypes: DoubleArray,
        questioned: DoubleArray,
        cohort: DoubleArray,
        domains: OtherDomains | None,
    ) -> PairScores:
        """Scores of all pairs, ``(n, devices)``.

        Args:
            prototypes: float64 ``(devices, dims)``.
            questioned: float64 ``(n, dims)``.
            cohort: float64 ``(m, dims)``, prototypes of the known devices.
            domains: for recordings of another kind.
        """
        if domains is None:
            own = corpus_scores(prototypes, questioned, cohort)
            return cls(own, np.zeros(own.shape[:-1]), np.zeros(own.shape[:-1]))
        first = domains.cohort.first
        return cls(
            corpus_scores(prototypes[:, :first], questioned[:, :first], cohort[:, :first]),
            domains.share(prototypes, questioned, cohort),
            domains.log10_lr(prototypes, questioned),
        )

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, key: Any) -> PairScores:
        """Some of them, as numpy indexes."""
        return PairScores(self.own[key], self.share[key], self.other[key])

    def log10_lr(self, calibration: Calibration) -> DoubleArray:
        """Likelihood ratios, not limited, ``(...)``."""
        return mixed(self.own_log10_lr(calibration), self.other, self.share)

    def own_log10_lr(self, calibration: Calibration) -> DoubleArray:
        """As if all pairs were of recordings of the corpus's kind."""
        if not self.share.size:
            return np.zeros(self.share.shape)
        table = self.own.reshape(-1, self.own.shape[-1])
        return calibration.log10_lr(table).reshape(self.share.shape)


def joined(parts: Sequence[PairScores]) -> PairScores:
    """All of them in a row."""
    return PairScores(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("own", "share", "other")
        )
    )


def prototypes_of(
    embeddings: DoubleArray, owners: Sequence[str], devices: Sequence[str]
) -> DoubleArray:
    """Mean embedding of each device's clips, float64 ``(devices, dims)``."""
    owner = np.array(owners)
    return np.stack([embeddings[owner == device].mean(axis=0) for device in devices])


@dataclass(frozen=True, eq=False)
class Trials:
    """The trials of one draw and fold under one condition.

    Attributes:
        known: ``(n, devices)``, clips of known devices, with all known devices.
        right: int64 ``(n,)``, the device that each is of.
        unknown: two, ``(m, devices)``, clips of strangers with the known devices, a half each.
        enrolled: ``(k, strangers)``, clips of strangers with strangers enrolled from one clip.
        enrolled_right: int64 ``(k,)``, the stranger that each is of.
        same: two, ``(p,)``, pairs of clips by one stranger, a half of the strangers each.
        different: likewise by two strangers of a half.
    """

    known: PairScores
    right: npt.NDArray[np.int64]
    unknown: tuple[PairScores, PairScores]
    enrolled: PairScores
    enrolled_right: npt.NDArray[np.int64]
    same: tuple[PairScores, PairScores]
    different: tuple[PairScores, PairScores]

    @classmethod
    def of(
        cls,
        known: Sequence[str],
        halves: tuple[Sequence[str], Sequence[str]],
        enrolments: tuple[DoubleArray, Sequence[str], Sequence[str]],
        questioned: tuple[DoubleArray, Sequence[str]],
        domains: OtherDomains | None,
    ) -> Trials:
        """All trials of some clips.

        Args:
            known: devices.
            halves: strangers.
            enrolments: embeddings ``(clips, dims)`` of clips, their devices, and their groups.
            questioned: embeddings of the clips to test, and their devices.
            domains: for recordings of another kind.
        """
        owner, group, asked = (np.array(names) for names in (*enrolments[1:], questioned[1]))
        prototypes = prototypes_of(enrolments[0], enrolments[1], known)
        of_known = np.isin(asked, known)
        best = PairScores.of(prototypes, questioned[0], prototypes, domains)
        pairs = PairScores.of(enrolments[0], questioned[0], prototypes, domains)
        same_device = asked[:, None] == owner[None]
        strangers = sorted([*halves[0], *halves[1]])
        of_strangers = np.flatnonzero(np.isin(asked, strangers))
        enrolled: list[PairScores] = []
        for name in sorted(set(group)):
            # One clip of each stranger: only groups in which all have some.
            held = [np.flatnonzero((owner == device) & (group == name)) for device in strangers]
            if all(len(clips) for clips in held):
                columns = np.array([clips[0] for clips in held])
                enrolled.append(pairs[np.ix_(of_strangers, columns)])
        right = np.array([strangers.index(device) for device in asked[of_strangers]], np.int64)

        def within(half: Sequence[str]) -> npt.NDArray[np.bool_]:
            return np.isin(asked, half)[:, None] & np.isin(owner, half)[None]

        return cls(
            known=best[of_known],
            right=np.array([list(known).index(device) for device in asked[of_known]], np.int64),
            unknown=(best[np.isin(asked, halves[0])], best[np.isin(asked, halves[1])]),
            enrolled=joined(enrolled) if enrolled else pairs[:0, : len(strangers)],
            enrolled_right=np.tile(right, len(enrolled)),
            same=(pairs[same_device & within(halves[0])], pairs[same_device & within(halves[1])]),
            different=(
                pairs[~same_device & within(halves[0])],
                pairs[~same_device & within(halves[1])],
            ),
        )
