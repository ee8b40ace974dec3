"""Multi-attention: a temporal branch on frames, a spatial one on supervectors, fused (torch).

A baseline of arXiv 2411.03668 (Table V): Zeng, Feng, Zhu and Wang, "Source Acquisition Device
Identification from Recorded Audio Based on Spatiotemporal Representation Learning with
Multi-Attention Mechanisms", Entropy 25(4), 626, 2023. Three attentions, each a small CNN that ends
in sigmoids and multiplies its input: one weight for every frame, for every value of the
supervector, and for each of the two branches.

Read into their description here:

- Convolutions pad so that stride 1 keeps the size ("same"): the branches' map of 2 x 1024 is lower
  than its kernels, and the temporal network must give 650 x 40 for 26,000 values. Pooling does not
  pad, and drops what does not fill a window. So the attentions flatten 2 x 5, 4 x 7 and 2 x 4
  positions of 32 channels. Both convolutions come first, then the poolings.
- Filters (6, 16, 40) and kernels (5, 5, 3) belong to the three residual dense blocks, for a block
  adds up its convolutions; the dilations (1, 2, 4) are those of its three convolutions, each of
  which takes what the one before it gives.
- The branches' 1024 values, weighted, go side by side into the fusion's first layer, as the other
  attentions also leave their input's shape alone. Each branch has a linear output of its own.

Ours: inputs standardised over the training clips, the supervector also (they scale each clip's to
[-1, 1]); batches of 32 instead of 128, for corpora of some hundred clips; and 50 epochs of their
200: by then their schedule, a tenth every 20 epochs, is down to a rate of 1e-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.baselines.background_store import NOT_KEPT, BackgroundFit, BackgroundStore
from model.baselines.baseline import MFCC_DIMS, BaselineClip, IntArray, fitted
from model.baselines.clip_inputs import ClipInputs, prepare_inputs
from model.baselines.clip_network import ClipNetwork, ClipTraining, Inputs
from model.baselines.mfcc_svm import PAPER_FRAMES
from model.baselines.universal_background import MAX_FRAMES, N_GAUSSIANS

TRAINING = ClipTraining(epochs=50, batch=32, learning_rate=1e-3, step_epochs=20)
_DILATIONS = (1, 2, 4)
_BLOCKS = ((6, 5), (16, 5), (40, 3))  #: filters and kernel
_DROPOUT = 0.5

Size = tuple[int, int]


class MapAttention(nn.Module):
    """A map to weights between 0 and 1: two convolutions, max pooling, a dense layer.

    Args:
        size: of the map.
        kernels: of the convolutions (16 and 32 filters, ReLU).
        strides: of the convolutions.
        pools: windows of the poolings, one after the other, and their strides.
        n_weights: how many weights.

    Raises:
        ValueError: the map is too small for the poolings.
    """

    def __init__(
        self,
        size: Size,
        kernels: tuple[Size, Size],
        strides: tuple[Size, Size],
        pools: Sequence[tuple[Size, Size]],
        n_weights: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        left = size
        for n_in, n_out, kernel, stride in zip((1, 16), (16, 32), kernels, strides, strict=True):
            padding = (kernel[0] // 2, kernel[1] // 2)
            layers += [nn.Conv2d(n_in, n_out, kernel, stride, padding), nn.ReLU()]
            left = (ceil(left[0] / stride[0]), ceil(left[1] / stride[1]))
        for window, step in pools:
            layers.append(nn.MaxPool2d(window, step))
            left = ((left[0] - window[0]) // step[0] + 1, (left[1] - window[1]) // step[1] + 1)
            if min(left) < 1:
                raise ValueError(f"a map of {size[0]} x {size[1]} is too small for this attention")
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * prod(left), n_weights))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(B, *size)`` to weights ``(B, n_weights)``."""
        return torch.sigmoid(self.layers(maps[:, None]))


class ResidualDenseBlock(nn.Module):
    """Three dilated convolutions over time, whose outputs and shortcut add up.

    With ``a = relu(first(x))``, ``b = second(a)`` and ``c = third(b)`` the block gives
    ``relu(a + b + c + x)``; where the widths differ, ``x`` goes through a convolution of kernel 1.

    Args:
        n_in: channels of the input.
        n_filters: of each convolution.
        kernel: odd.
    """

    def __init__(self, n_in: int, n_filters: int, kernel: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            nn.Conv1d(width, n_filters, kernel, padding=dilation * (kernel // 2), dilation=dilation)
            for width, dilation in zip((n_in, n_filters, n_filters), _DILATIONS, strict=True)
        )
        same = n_in == n_filters
        self.shortcut = nn.Identity() if same else nn.Conv1d(n_in, n_filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, n_in, T)`` to ``(B, n_filters, T)``."""
        a = functional.relu(self.first(x))
        b = self.second(a)
        return functional.relu(a + b + self.third(b) + self.shortcut(x))


class TemporalBranch(nn.Module):
    """Frames, weighted, through the residual dense blocks to one vector.

    Args:
        n_frames: of a clip.
        width: of the vector.
    """

    def __init__(self, n_frames: int, width: int) -> None:
        super().__init__()
        self.attention = MapAttention(
            (n_frames, MFCC_DIMS),
            kernels=((5, 5), (3, 3)),
            strides=((3, 3), (3, 3)),
            pools=(((5, 1), (5, 1)), ((7, 1), (7, 1))),
            n_weights=n_frames,
        )
        widths = (MFCC_DIMS, *(filters for filters, _ in _BLOCKS))
        self.blocks = nn.Sequential(
            *(
                ResidualDenseBlock(n_in, *block)
                for n_in, block in zip(widths[:-1], _BLOCKS, strict=True)
            )
        )
        self.dense = nn.Linear(n_frames * widths[-1], width)

    def weighted(self, frames: Tensor) -> Tensor:
        """Every frame times its weight, ``(B, n_frames, 39)``."""
        weights: Tensor = self.attention(frames)
        return frames * weights[:, :, None]

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, n_frames, 39)`` to ``(B, width)``."""
        states = self.blocks(self.weighted(frames).transpose(1, 2))
        return functional.relu(self.dense(states.flatten(1)))


class SpatialBranch(nn.Module):
    """A supervector, weighted value by value, through two dense layers to one vector.

    Args:
        n_gaussians: of the background model.
        width: of the vector.
    """

    def __init__(self, n_gaussians: int, width: int) -> None:
        super().__init__()
        size = (MFCC_DIMS, n_gaussians)
        self.attention = MapAttention(
            size,
            kernels=((3, 3), (3, 3)),
            strides=((2, 2), (2, 2)),
            pools=(((3, 3), (2, 2)),),
            n_weights=prod(size),
        )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(prod(size), width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def weighted(self, maps: Tensor) -> Tensor:
        """Every value times its weight, ``(B, 39, n_gaussians)``."""
        weights: Tensor = self.attention(maps)
        return maps * weights.view_as(maps)

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, 39, n_gaussians)`` to ``(B, width)``."""
        vectors: Tensor = self.dense(self.weighted(maps))
        return vectors


class MultiAttentionNetwork(nn.Module):
    """Both branches, and what fuses them.

    Args:
        n_devices: devices to tell apart.
        n_gaussians: of the supervectors.
        n_frames: of a clip.
        width: of each branch's vector.
    """

    def __init__(
        self,
        n_devices: int,
        n_gaussians: int = N_GAUSSIANS,
        n_frames: int = PAPER_FRAMES,
        width: int = 1024,
    ) -> None:
        super().__init__()
        self.spatial = SpatialBranch(n_gaussians, width)
        self.temporal = TemporalBranch(n_frames, width)
        self.dropout = nn.Dropout(_DROPOUT)
        self.spatial_output = nn.Linear(width, n_devices)
        self.temporal_output = nn.Linear(width, n_devices)
        self.attention = MapAttention(
            (2, width),
            kernels=((3, 3), (5, 5)),
            strides=((1, 2), (1, 3)),
            pools=(((1, 5), (1, 5)), ((1, 7), (1, 7))),
            n_weights=2,
        )
        self.fused_output = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width, width),
            nn.ReLU(),
            nn.Linear(width, 400),
            nn.ReLU(),
            nn.Linear(400, 128),
            nn.ReLU(),
            nn.Linear(128, n_devices),
        )

    def forward(self, supervectors: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``(B, n_devices)`` of the fusion, the spatial and the temporal branch.

        Args:
            supervectors: float32 ``(B, 39, n_gaussians)``, standardised.
            frames: float32 ``(B, n_frames, 39)``, standardised.
        """
        spatial = self.dropout(self.spatial(supervectors))
        temporal = self.dropout(self.temporal(frames))
        branches = torch.stack([spatial, temporal], dim=1)
        weights: Tensor = self.attention(branches)
        fused = self.fused_output(branches * weights[:, :, None])
        return fused, self.spatial_output(spatial), self.temporal_output(temporal)


class MultiAttention(ClipNetwork):
    """The baseline; see :class:`model.baselines.baseline.Baseline`.

    Args:
        seed: of the background model, and of weights, order and dropout.
        training: hyper-parameters.
        n_gaussians: size of the background model; at least 9.
        n_frames: frames that are taken of a clip, at least 307; a shorter clip repeats its own.
        width: of a branch's vector; at least 205.
        max_frames: frames that the background model is fitted on at most, drawn at random.
        store: where the background model is kept.
    """

    loss_weights = (1.0, 1.0, 2.0)  #: fused, supervector branch, MFCC branch

    def __init__(
        self,
        seed: int = 0,
        training: ClipTraining = TRAINING,
        n_gaussians: int = N_GAUSSIANS,
        n_frames: int = PAPER_FRAMES,
        width: int = 1024,
        max_frames: int = MAX_FRAMES,
        store: BackgroundStore = NOT_KEPT,
    ) -> None:
        super().__init__(training, seed)
        self._background_fit = BackgroundFit(n_gaussians, seed, max_frames, store)
        self._n_gaussians = n_gaussians
        self._n_frames = n_frames
        self._width = width
        self._prepared: ClipInputs | None = None

    def _network(self, n_devices: int) -> nn.Module:
        return MultiAttentionNetwork(n_devices, self._n_gaussians, self._n_frames, self._width)

    def _prepare(self, clips: Sequence[BaselineClip], labels: IntArray) -> list[Inputs]:
        background = self._background_fit.fit(clips)
        self._prepared = prepare_inputs(clips, background, self._n_frames)
        return super()._prepare(clips, labels)

    def _kept(self, clip: BaselineClip) -> Inputs:
        inputs = fitted(self._prepared)
        n, f, _ = inputs.background.statistics(clip.mfcc)
        values = inputs.supervector(n, f)
        return (np.ascontiguousarray(values.reshape(self._n_gaussians, MFCC_DIMS).T),)

    def _read(self, clip: BaselineClip, rng: np.random.Generator | None) -> Inputs:
        return (fitted(self._prepared).frames(clip.mfcc),)

    @property
    def n_prepared(self) -> int:
        """Numbers of the background model and the scales."""
        return fitted(self._prepared).n_parameters
