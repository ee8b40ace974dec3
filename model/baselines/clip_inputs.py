"""What the networks on clips share of their inputs: frames, supervector and statistics of a clip.

Every value of a frame and of a supervector is standardised over the training clips, which are read
one by one: of a clip that has been read, only running moments stay, and statistics where they are
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import StandardScaler

from model.baselines.baseline import BaselineClip
from model.baselines.map_adaptation import adapted_means
from model.baselines.mfcc_svm import first_frames
from model.baselines.total_variability import TotalVariability, train_total_variability
from model.baselines.universal_background import DiagonalMixture, WideArray
from model.features import FloatArray

Statistics = tuple[WideArray, WideArray]
"""Of orders 0 and 1 of clips, float64 ``(clips, gaussians)`` and ``(clips, gaussians, 39)``."""


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """A background model, and the scales that :func:`prepare_inputs` has measured.

    Attributes:
        background: the model that supervectors are adapted from.
        n_frames: frames that a network sees of a clip; a shorter clip repeats its own.
        frame_scale: mean and deviation of the 39 values of a frame.
        supervector_scale: mean and deviation of the values of a supervector.
    """

    background: DiagonalMixture
    n_frames: int
    frame_scale: StandardScaler
    supervector_scale: StandardScaler

    def frames(self, mfcc: FloatArray) -> FloatArray:
        """The first frames of a clip, standardised: float32 ``(n_frames, 39)``."""
        rows = _first_rows(mfcc, self.n_frames)
        scaled: FloatArray = self.frame_scale.transform(rows).astype(np.float32)
        return scaled

    def supervector(self, n: WideArray, f: WideArray) -> FloatArray:
        """A clip's supervector, standardised.

        Args:
            n: float64 ``(gaussians,)``, its statistics of order 0.
            f: float64 ``(gaussians, 39)``, of order 1.

        Returns:
            float32 ``(gaussians * 39,)``, of adapted means.
        """
        row = adapted_means(self.background, n, f).reshape(1, -1)
        scaled: FloatArray = self.supervector_scale.transform(row)[0].astype(np.float32)
        return scaled

    @property
    def n_parameters(self) -> int:
        """Numbers of the background model, and a mean and a deviation for every value."""
        values = self.frame_scale.mean_.size + self.supervector_scale.mean_.size
        return int(self.background.n_parameters + 2 * values)


def prepare_inputs(
    clips: Sequence[BaselineClip],
    background: DiagonalMixture,
    n_frames: int,
    statistics: Statistics | None = None,
) -> ClipInputs:
    """Measure the scales of the inputs, in one pass over the training clips.

    Args:
        clips: at least one.
        background: fitted on them.
        n_frames: see :class:`ClipInputs`.
        statistics: of the clips, where they are known.
    """
    frames, supervectors = StandardScaler(), StandardScaler()
    for index, clip in enumerate(clips):
        mfcc = clip.mfcc
        frames.partial_fit(_first_rows(mfcc, n_frames))
        if statistics is None:
            n, f, _ = background.statistics(mfcc)
        else:
            n, f = (order[index] for order in statistics)
        supervectors.partial_fit(adapted_means(background, n, f).reshape(1, -1))
    return ClipInputs(background, n_frames, frames, supervectors)


def clip_statistics(background: DiagonalMixture, clips: Sequence[BaselineClip]) -> Statistics:
    """Baum-Welch statistics that i-vectors are made of, read clip by clip."""
    n = np.empty((len(clips), len(background.weights)))
    f = np.empty((len(clips), *background.means.shape))
    for index, clip in enumerate(clips):
        n[index], f[index], _ = background.statistics(clip.mfcc)
    return n, f


def train_extractor(
    background: DiagonalMixture, statistics: Statistics, rank: int, iterations: int, seed: int
) -> TotalVariability:
    """The i-vector extractor of training clips.

    Args:
        background: fitted on them.
        statistics: of the clips, under ``background``.
        rank: dimensions of an i-vector; fewer where there are fewer clips.
        iterations: of the training.
        seed: of its start.
    """
    return train_total_variability(
        *statistics,
        background.means,
        background.variances,
        rank=min(rank, len(statistics[0]), background.means.size),
        iterations=iterations,
        seed=seed,
    )


def _first_rows(mfcc: FloatArray, n_frames: int) -> WideArray:
    return first_frames(mfcc, n_frames).reshape(n_frames, mfcc.shape[1])
