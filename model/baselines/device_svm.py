"""The support vector machine behind several baselines: a vector per clip, a score per device.

scikit-learn's ``SVC`` (libsvm) trains one machine for every pair of devices; the scores are its
``decision_function`` of shape ``ovr``: votes of the pairs, ties broken by their margins. Where the
papers leave cost and width open, its defaults stand in: cost 1, and an RBF of width
1 / (dimensions x variance of all values).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from model.baselines.baseline import IntArray, fitted
from model.errors import CorpusError
from model.features import FloatArray

Vectors = npt.NDArray[np.float64]

Kernel = Literal["linear", "rbf"]


class DeviceSvm:
    """Vectors of clips in, scores of devices out. Nothing in it is random.

    Args:
        kernel: ``"rbf"`` or ``"linear"``.
        cost: of a training clip on the wrong side of its margin (libsvm's C).
        standardise: bring every dimension to mean 0 and variance 1 over the training clips first;
            not for vectors whose length has a meaning.
    """

    def __init__(self, kernel: Kernel, cost: float = 1.0, standardise: bool = True) -> None:
        self._kernel = kernel
        self._svc = SVC(kernel=kernel, C=cost, gamma="scale", decision_function_shape="ovr")
        self._scaler = StandardScaler(copy=False) if standardise else None
        self._trained: SVC | None = None

    def fit(self, vectors: Vectors, labels: IntArray) -> None:
        """Learn.

        Args:
            vectors: float64 ``(clips, dims)``; overwritten where they are standardised.
            labels: int64 ``(clips,)``, device indices from 0 on.

        Raises:
            CorpusError: fewer than two devices.
        """
        if len(np.unique(labels)) < 2:
            raise CorpusError("a support vector machine needs clips of at least two devices")
        if self._scaler is not None:
            vectors = self._scaler.fit_transform(vectors)
        self._trained = self._svc.fit(vectors, labels)

    def scores(self, vectors: Vectors) -> FloatArray:
        """Vectors ``(clips, dims)``, likewise overwritten, to scores, float32 ``(clips, devices)``.

        For two devices, scikit-learn has one margin ``d`` a clip: the scores are ``-d`` and ``d``.
        """
        svc = fitted(self._trained)
        if self._scaler is not None:
            vectors = self._scaler.transform(vectors)
        margins = svc.decision_function(vectors)
        if margins.ndim == 1:
            margins = np.stack([-margins, margins], axis=1)
        scores: FloatArray = margins.astype(np.float32)
        return scores

    @property
    def n_parameters(self) -> int:
        """Numbers that scoring needs.

        The support vectors, ``devices - 1`` weights of each, a bias for every pair of devices, and
        the width of the RBF. A linear machine can also do with a weight per dimension and a bias
        for every pair: then the smaller count. With standardisation, mean and scale of every
        dimension come on top.
        """
        svc = fitted(self._trained)
        n_biases = svc.intercept_.size
        count = svc.support_vectors_.size + svc.dual_coef_.size + n_biases
        if self._kernel == "rbf":
            count += 1
        else:
            count = min(count, n_biases * (svc.support_vectors_.shape[1] + 1))
        if self._scaler is not None:
            count += self._scaler.mean_.size + self._scaler.scale_.size
        return int(count)
