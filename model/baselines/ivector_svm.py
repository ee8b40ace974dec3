"""i-vectors of clips and a support vector machine.

A baseline of arXiv 2411.03668 (Table V), which does not give its details. Here: Baum-Welch
statistics of the MFCC under a background model, i-vectors of Dehak et al. (IEEE TASLP 19(4), 2011,
:mod:`model.baselines.total_variability`), the mean of the training clips taken off, every vector
scaled to length 1 (Garcia-Romero and Espy-Wilson, Interspeech 2011), and a linear machine. On
vectors of length 1 that is the cosine kernel that Dehak et al. give their SVM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.baselines.background_store import NOT_KEPT, BackgroundFit, BackgroundStore
from model.baselines.baseline import BaselineClip, IntArray, fitted
from model.baselines.clip_inputs import clip_statistics, train_extractor
from model.baselines.device_svm import DeviceSvm, Kernel, Vectors
from model.baselines.total_variability import TotalVariability
from model.baselines.universal_background import MAX_FRAMES, N_GAUSSIANS, DiagonalMixture
from model.features import FloatArray


@dataclass(frozen=True, eq=False)
class _Learnt:
    background: DiagonalMixture
    extractor: TotalVariability
    mean: Vectors
    svm: DeviceSvm


class IVectorSvm:
    """The baseline; see :class:`model.baselines.baseline.Baseline`.

    It asks for clips one by one and keeps none: two passes in :meth:`fit`, one in :meth:`scores`.

    Args:
        seed: of the background model and of the start of the total variability matrix.
        n_gaussians: size of the background model.
        rank: dimensions of an i-vector; fewer where there are fewer training clips.
        iterations: of the training of the total variability matrix.
        length_normalise: take the mean off and scale to length 1; otherwise the i-vectors'
            dimensions are standardised.
        kernel: of the SVM.
        cost: of the SVM.
        max_frames: frames that the background model is fitted on at most, drawn at random.
        store: where the background model is kept, for other methods and runs.
    """

    def __init__(
        self,
        seed: int = 0,
        n_gaussians: int = N_GAUSSIANS,
        rank: int = 100,
        iterations: int = 10,
        length_normalise: bool = True,
        kernel: Kernel = "linear",
        cost: float = 1.0,
        max_frames: int = MAX_FRAMES,
        store: BackgroundStore = NOT_KEPT,
    ) -> None:
        self._background_fit = BackgroundFit(n_gaussians, seed, max_frames, store)
        self._seed = seed
        self._rank = rank
        self._iterations = iterations
        self._length_normalise = length_normalise
        self._kernel: Kernel = kernel
        self._cost = cost
        self._fitted: _Learnt | None = None

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn background model, total variability matrix and support vector machine.

        Args:
            clips: at least one of every device.
            labels: int64 ``(clips,)``, device indices from 0 on.

        Raises:
            CorpusError: fewer than two devices, or fewer frames than Gaussians.
        """
        background = self._background_fit.fit(clips)
        statistics = clip_statistics(background, clips)
        extractor = train_extractor(
            background, statistics, self._rank, self._iterations, self._seed
        )
        vectors = extractor.ivectors(*statistics)
        mean = vectors.mean(axis=0)
        svm = DeviceSvm(self._kernel, self._cost, standardise=not self._length_normalise)
        svm.fit(self._normalised(vectors, mean), labels)
        self._fitted = _Learnt(background, extractor, mean, svm)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """Scores, float32 ``(clips, devices)``."""
        learnt = fitted(self._fitted)
        vectors = learnt.extractor.ivectors(*clip_statistics(learnt.background, clips))
        return learnt.svm.scores(self._normalised(vectors, learnt.mean))

    @property
    def n_parameters(self) -> int:
        """Numbers of the background model, T, the i-vectors' mean and the SVM.

        The mean counts where the i-vectors are length-normalised.
        """
        learnt = fitted(self._fitted)
        mean = learnt.mean.size if self._length_normalise else 0
        matrix = learnt.extractor.matrix.size
        return learnt.background.n_parameters + matrix + mean + learnt.svm.n_parameters

    def _normalised(self, vectors: Vectors, mean: Vectors) -> Vectors:
        if not self._length_normalise:
            return vectors
        centred = vectors - mean
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        normalised: Vectors = centred / np.maximum(lengths, np.finfo(np.float64).tiny)
        return normalised
