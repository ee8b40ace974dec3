"""Baselines that make one vector of a clip and leave the rest to a support vector machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.device_svm import DeviceSvm, Kernel, Vectors
from model.features import FloatArray


class VectorSvm(ABC):
    """Everything but the vectors.

    Args:
        kernel: of the SVM.
        cost: of the SVM.
    """

    def __init__(self, kernel: Kernel, cost: float) -> None:
        self._svm = DeviceSvm(kernel, cost)

    @abstractmethod
    def _vectors(self, clips: Sequence[BaselineClip]) -> Vectors:
        """One vector a clip, float64 ``(clips, dims)``."""

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn, as :class:`model.baselines.baseline.Baseline` has it."""
        self._svm.fit(self._vectors(clips), labels)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """Scores, float32 ``(clips, devices)``."""
        return self._svm.scores(self._vectors(clips))

    @property
    def n_parameters(self) -> int:
        """Those of the SVM and of the standardisation."""
        return self._svm.n_parameters
