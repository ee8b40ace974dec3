"""Multi-feature fusion: bottlenecks of MFCC, supervector and i-vector, weighted and added (torch).

A baseline of arXiv 2411.03668 (Table V): Zeng et al., "An end-to-end deep source recording device
identification system for Web media forensics", International Journal of Web Information Systems
16(4), 2020. A CNN makes a bottleneck of the MFCC and a DNN one of the
supervector; an attention weighs them and the i-vector; a softmax names the device. All is trained
together, apart from the background model and the i-vectors.

No more than that was at hand, so the sizes are ours, and moderate:

- CNN: convolutions with batch norm and ReLU (16 filters of 5 x 5 and 32 of 3 x 3 with stride 3, 64
  of 3 x 3 with stride 2), the mean over time, a dense layer to the bottleneck.
- DNN: dense layers of 256 and to the bottleneck.
- i-vectors of 100 dimensions (:mod:`model.baselines.total_variability`), a dense layer to the same
  width. A bottleneck has 128 values and ends in ReLU; dropout is 0.5.
- Attention: with ``h_i`` the three vectors, their weights are the softmax over i of
  ``v' tanh(W h_i + b)`` (Bahdanau, Cho and Bengio, ICLR 2015, without a query).

Every input is standardised over the training clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from model.baselines.background_store import NOT_KEPT, BackgroundFit, BackgroundStore
from model.baselines.baseline import MFCC_DIMS, BaselineClip, IntArray, fitted
from model.baselines.clip_inputs import ClipInputs, clip_statistics, prepare_inputs, train_extractor
from model.baselines.clip_network import ClipNetwork, ClipTraining, Inputs
from model.baselines.mfcc_svm import PAPER_FRAMES
from model.baselines.total_variability import TotalVariability
from model.baselines.universal_background import MAX_FRAMES, N_GAUSSIANS, WideArray
from model.features import FloatArray

TRAINING = ClipTraining(epochs=50, batch=32, learning_rate=1e-3, step_epochs=20)
_DROPOUT = 0.5
_HIDDEN = 256  #: of the DNN
_CONVOLUTIONS = ((16, 5, 3), (32, 3, 3), (64, 3, 2))  #: filters, kernel, stride


class FrameBottleneck(nn.Module):
    """The CNN.

    Args:
        width: of the bottleneck.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, values = 1, MFCC_DIMS
        for n_out, kernel, stride in _CONVOLUTIONS:
            convolution = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(n_out), nn.ReLU()]
            n_in, values = n_out, ceil(values / stride)
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(n_in * values, width), nn.ReLU())

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, n_frames, 39)`` to ``(B, width)``."""
        maps: Tensor = self.convolutions(frames[:, None])
        bottleneck: Tensor = self.dense(maps.mean(dim=2).flatten(1))
        return bottleneck


class AttentionFusion(nn.Module):
    """Vectors of one width, each weighted by what is in it, and added.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, features, width)`` to ``(B, width)``."""
        scores: Tensor = self.score(torch.tanh(self.hidden(features)))
        return (torch.softmax(scores, dim=1) * features).sum(dim=1)


class FeatureFusionNetwork(nn.Module):
    """The three features of a clip to logits.

    Args:
        n_devices: devices to tell apart.
        n_values: of a supervector.
        rank: of the i-vectors.
        width: of the bottlenecks.
    """

    def __init__(self, n_devices: int, n_values: int, rank: int, width: int = 128) -> None:
        super().__init__()
        self.frames = FrameBottleneck(width)
        self.supervector = nn.Sequential(
            nn.Linear(n_values, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(_HIDDEN, width),
            nn.ReLU(),
        )
        self.ivector = nn.Sequential(nn.Linear(rank, width), nn.ReLU())
        self.fusion = AttentionFusion(width)
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(width, n_devices)

    def forward(self, supervectors: Tensor, ivectors: Tensor, frames: Tensor) -> Tensor:
        """Logits ``(B, n_devices)``.

        Args:
            supervectors: float32 ``(B, n_values)``.
            ivectors: float32 ``(B, rank)``.
            frames: float32 ``(B, n_frames, 39)``.
        """
        features = [self.frames(frames), self.supervector(supervectors), self.ivector(ivectors)]
        fused = self.fusion(torch.stack(features, dim=1))
        logits: Tensor = self.output(self.dropout(fused))
        return logits


@dataclass(frozen=True, eq=False)
class _Prepared:
    inputs: ClipInputs
    extractor: TotalVariability
    ivector_scale: StandardScaler

    def kept(self, n: WideArray, f: WideArray) -> Inputs:
        """Supervector and i-vector of a clip's statistics, standardised."""
        row = self.extractor.ivectors(n[None], f[None])
        ivector: FloatArray = self.ivector_scale.transform(row)[0].astype(np.float32)
        return self.inputs.supervector(n, f), ivector


class FeatureFusion(ClipNetwork):
    """The baseline; see :class:`model.baselines.baseline.Baseline`.

    Args:
        seed: of background model and i-vectors, and of weights, order and dropout.
        training: hyper-parameters.
        n_gaussians: size of the background model.
        n_frames: frames that are taken of a clip; a shorter clip repeats its own.
        rank: dimensions of an i-vector; fewer where there are fewer training clips.
        iterations: of the training of the total variability matrix.
        width: of the bottlenecks.
        max_frames: frames that the background model is fitted on at most, drawn at random.
        store: where the background model is kept.
    """

    def __init__(
        self,
        seed: int = 0,
        training: ClipTraining = TRAINING,
        n_gaussians: int = N_GAUSSIANS,
        n_frames: int = PAPER_FRAMES,
        rank: int = 100,
        iterations: int = 10,
        width: int = 128,
        max_frames: int = MAX_FRAMES,
        store: BackgroundStore = NOT_KEPT,
    ) -> None:
        super().__init__(training, seed)
        self._background_fit = BackgroundFit(n_gaussians, seed, max_frames, store)
        self._n_frames = n_frames
        self._rank = rank
        self._iterations = iterations
        self._width = width
        self._prepared: _Prepared | None = None

    def _network(self, n_devices: int) -> nn.Module:
        extractor = fitted(self._prepared).extractor
        return FeatureFusionNetwork(n_devices, extractor.means.size, extractor.rank, self._width)

    def _prepare(self, clips: Sequence[BaselineClip], labels: IntArray) -> list[Inputs]:
        background = self._background_fit.fit(clips)
        statistics = clip_statistics(background, clips)
        extractor = train_extractor(
            background, statistics, self._rank, self._iterations, self._seed
        )
        scale = StandardScaler().fit(extractor.ivectors(*statistics))
        inputs = prepare_inputs(clips, background, self._n_frames, statistics)
        self._prepared = _Prepared(inputs, extractor, scale)
        return [self._prepared.kept(n, f) for n, f in zip(*statistics, strict=True)]

    def _kept(self, clip: BaselineClip) -> Inputs:
        ready = fitted(self._prepared)
        n, f, _ = ready.inputs.background.statistics(clip.mfcc)
        return ready.kept(n, f)

    def _read(self, clip: BaselineClip, rng: np.random.Generator | None) -> Inputs:
        return (fitted(self._prepared).inputs.frames(clip.mfcc),)

    @property
    def n_prepared(self) -> int:
        """Numbers of the background model, T, and the scales of the three inputs."""
        ready = fitted(self._prepared)
        return int(
            ready.inputs.n_parameters + ready.extractor.matrix.size + 2 * ready.extractor.rank
        )
