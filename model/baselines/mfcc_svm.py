"""MFCC and a support vector machine, with two ways to make one vector of a clip.

Zeng, Zhao and Wang (arXiv 2411.03668, Table V) give their SVM the first 650 frames of 39 MFCC
values; statistics over the clip are the way that also fits clips of any length, and does not depend
on what was said when. The kernel is not given there: RBF, libsvm's default, on the statistics;
linear on the frames, which have far more values than a corpus has clips (Hsu, Chang and Lin, "A
practical guide to support vector classification", advise that).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.baselines.baseline import MFCC_DIMS, BaselineClip
from model.baselines.device_svm import Kernel, Vectors
from model.baselines.vector_svm import VectorSvm
from model.features import FloatArray

PAPER_FRAMES = 650  #: frames of a clip that the paper's SVM sees


def mfcc_statistics(mfcc: FloatArray) -> Vectors:
    """Mean, then standard deviation over time: float32 ``(frames, 39)`` to float64 ``(78,)``."""
    wide = mfcc.astype(np.float64)
    return np.concatenate([wide.mean(axis=0), wide.std(axis=0)])


def first_frames(mfcc: FloatArray, n_frames: int = PAPER_FRAMES) -> Vectors:
    """The first frames, one after the other: float32 ``(frames, 39)`` to float64 ``(n * 39,)``.

    A clip that is shorter repeats its frames from the start; the paper does not say what to do.
    """
    repeated = np.resize(mfcc[:n_frames], (n_frames, mfcc.shape[1]))
    return repeated.astype(np.float64).ravel()


class MfccStatisticsSvm(VectorSvm):
    """Mean and standard deviation of the MFCC over the clip (78 values), standardised; SVM.

    Args:
        kernel: of the SVM.
        cost: of the SVM.
    """

    def __init__(self, kernel: Kernel = "rbf", cost: float = 1.0) -> None:
        super().__init__(kernel, cost)

    def _vectors(self, clips: Sequence[BaselineClip]) -> Vectors:
        return np.stack([mfcc_statistics(clip.mfcc) for clip in clips])


class MfccFramesSvm(VectorSvm):
    """The first frames of the MFCC as one long vector (650 x 39 values), standardised; SVM.

    Args:
        n_frames: frames that are taken; clips that are shorter repeat theirs from the start.
        kernel: of the SVM.
        cost: of the SVM.
    """

    def __init__(
        self, n_frames: int = PAPER_FRAMES, kernel: Kernel = "linear", cost: float = 1.0
    ) -> None:
        if n_frames < 1:
            raise ValueError(f"n_frames must be at least 1, got {n_frames}")
        self._n_frames = n_frames
        super().__init__(kernel, cost)

    def _vectors(self, clips: Sequence[BaselineClip]) -> Vectors:
        # Row by row: a second copy of all of them would count.
        vectors = np.empty((len(clips), self._n_frames * MFCC_DIMS))
        for row, clip in zip(vectors, clips, strict=True):
            row[:] = first_frames(clip.mfcc, self._n_frames)
        return vectors
