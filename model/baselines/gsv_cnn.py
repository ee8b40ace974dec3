"""GSV + CNN: a clip's Gaussian supervector as a picture, and a convolutional network (torch).

A baseline of arXiv 2411.03668 (Table V), of which that paper says: the supervector as a matrix, and
3 x 3 convolutions with batch norm. As its authors have it, every row of a clip's matrix is scaled
to the range from -1 to 1. Number and width of the convolutions, and the training, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from model.baselines.background_store import NOT_KEPT, BackgroundFit, BackgroundStore
from model.baselines.baseline import MFCC_DIMS, BaselineClip, IntArray, fitted
from model.baselines.clip_network import ClipNetwork, ClipTraining, Inputs
from model.baselines.map_adaptation import RELEVANCE_FACTOR, adapted_means
from model.baselines.universal_background import MAX_FRAMES, N_GAUSSIANS, DiagonalMixture
from model.features import FloatArray

TRAINING = ClipTraining(epochs=40, batch=16, step_epochs=30, label_smoothing=0.1)
FILTERS = (16, 32, 64)  #: of the convolutions


def rows_to_range(matrix: FloatArray) -> FloatArray:
    """Every row from its minimum at -1 to its maximum at 1, as MATLAB's ``mapminmax`` has it.

    Args:
        matrix: float32 ``(rows, columns)``; a row of equal values becomes 0.
    """
    low, high = matrix.min(axis=1, keepdims=True), matrix.max(axis=1, keepdims=True)
    spread = high - low
    middle = (high + low) / 2
    scaled: FloatArray = 2 * (matrix - middle) / np.where(spread > 0, spread, 1)
    return scaled


class GsvCnn(ClipNetwork):
    """The baseline; see :class:`model.baselines.baseline.Baseline`.

    Args:
        seed: of the background model, the weights and the order of the clips.
        n_gaussians: size of the background model, and width of the matrix.
        relevance_factor: of the MAP adaptation of the means.
        training: hyper-parameters.
        max_frames: frames that the background model is fitted on at most, drawn at random.
        store: where the background model is kept.
    """

    def __init__(
        self,
        seed: int = 0,
        n_gaussians: int = N_GAUSSIANS,
        relevance_factor: float = RELEVANCE_FACTOR,
        training: ClipTraining = TRAINING,
        max_frames: int = MAX_FRAMES,
        store: BackgroundStore = NOT_KEPT,
    ) -> None:
        super().__init__(training, seed)
        self._background_fit = BackgroundFit(n_gaussians, seed, max_frames, store)
        self._n_gaussians, self._relevance_factor = n_gaussians, relevance_factor
        self._background: DiagonalMixture | None = None

    def matrix(self, clip: BaselineClip) -> FloatArray:
        """A clip's supervector, unscaled, float32 ``(dims, gaussians)``: a column a Gaussian.

        Raises:
            RuntimeError: not fitted yet.
        """
        background = fitted(self._background)
        n, f, _ = background.statistics(clip.mfcc)
        means = adapted_means(background, n, f, self._relevance_factor)
        return np.ascontiguousarray(means.T, np.float32)

    @property
    def n_prepared(self) -> int:
        """Numbers of the background model."""
        return fitted(self._background).n_parameters

    def _prepare(self, clips: Sequence[BaselineClip], labels: IntArray) -> list[Inputs]:
        self._background = self._background_fit.fit(clips)
        return super()._prepare(clips, labels)

    def _kept(self, clip: BaselineClip) -> Inputs:
        return (rows_to_range(self.matrix(clip))[None],)

    def _network(self, n_devices: int) -> nn.Module:
        return matrix_network(self._n_gaussians, n_devices)


def matrix_network(n_gaussians: int, n_devices: int) -> nn.Sequential:
    """The network: ``(B, 1, 39, gaussians)`` to logits ``(B, n_devices)``.

    Three times a 3 x 3 convolution, batch norm, ReLU and 2 x 2 maxima; then a linear layer.

    Raises:
        ValueError: fewer than 8 Gaussians: nothing is left of the matrix's width.
    """
    if n_gaussians < 8:
        raise ValueError(f"GSV + CNN needs at least 8 Gaussians, got {n_gaussians}")
    layers: list[nn.Module] = []
    channels, rows, columns = 1, MFCC_DIMS, n_gaussians
    for filters in FILTERS:
        layers += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),  # batch norm has an offset
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels, rows, columns = filters, rows // 2, columns // 2
    layers += [nn.Flatten(), nn.Linear(channels * rows * columns, n_devices)]
    return nn.Sequential(*layers)
