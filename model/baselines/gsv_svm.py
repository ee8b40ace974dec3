"""GSV + SVM: Gaussian supervectors of clips and a linear support vector machine.

A baseline of arXiv 2411.03668 (Table V). Where that paper is silent: every value of a supervector
is standardised over the training clips, and the machine is libsvm's with C = 1, one device against
one (:mod:`model.baselines.device_svm`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.baselines.background_store import NOT_KEPT, BackgroundFit, BackgroundStore
from model.baselines.baseline import BaselineClip, IntArray, fitted
from model.baselines.device_svm import DeviceSvm
from model.baselines.map_adaptation import RELEVANCE_FACTOR, AdaptedParts, adapt, supervector
from model.baselines.universal_background import (
    MAX_FRAMES,
    N_GAUSSIANS,
    DiagonalMixture,
    WideArray,
)
from model.features import FloatArray


@dataclass(frozen=True, eq=False)
class _Learnt:
    background: DiagonalMixture
    svm: DeviceSvm


class GsvSvm:
    """The baseline; see :class:`model.baselines.baseline.Baseline`.

    It asks for clips one by one and keeps none: two passes in :meth:`fit`, one in :meth:`scores`.

    Args:
        seed: of the background model, the only random part.
        n_gaussians: size of the background model.
        relevance_factor: of the MAP adaptation.
        parts: what a clip adapts and its supervector holds; see
            :func:`model.baselines.map_adaptation.supervector`.
        cost: of the SVM.
        max_frames: frames that the background model is fitted on at most, drawn at random.
        store: where the background model is kept, for other methods and runs.
    """

    def __init__(
        self,
        seed: int = 0,
        n_gaussians: int = N_GAUSSIANS,
        relevance_factor: float = RELEVANCE_FACTOR,
        parts: AdaptedParts = "means",
        cost: float = 1.0,
        max_frames: int = MAX_FRAMES,
        store: BackgroundStore = NOT_KEPT,
    ) -> None:
        self._background_fit = BackgroundFit(n_gaussians, seed, max_frames, store)
        self._relevance_factor = relevance_factor
        self._parts: AdaptedParts = parts
        self._cost = cost
        self._fitted: _Learnt | None = None

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn background model, standardisation and support vector machine.

        Args:
            clips: at least one of every device.
            labels: int64 ``(clips,)``, device indices from 0 on.

        Raises:
            CorpusError: fewer than two devices, or fewer frames than Gaussians.
        """
        background = self._background_fit.fit(clips)
        svm = DeviceSvm("linear", self._cost)
        svm.fit(self._supervectors(background, clips), labels)
        self._fitted = _Learnt(background, svm)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """Scores, float32 ``(clips, devices)``."""
        learnt = fitted(self._fitted)
        return learnt.svm.scores(self._supervectors(learnt.background, clips))

    @property
    def n_parameters(self) -> int:
        """Numbers of the background model, the standardisation and the support vector machine."""
        learnt = fitted(self._fitted)
        return learnt.background.n_parameters + learnt.svm.n_parameters

    def _supervectors(
        self, background: DiagonalMixture, clips: Sequence[BaselineClip]
    ) -> WideArray:
        """float64 ``(clips, values)``."""
        rows = np.empty((len(clips), supervector(background, self._parts).size))
        for row, clip in zip(rows, clips, strict=True):
            statistics = background.statistics(clip.mfcc)
            adapted = adapt(background, statistics, self._relevance_factor, self._parts)
            row[:] = supervector(adapted, self._parts)
        return rows
