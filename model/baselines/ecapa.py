"""A speaker recogniser's network on whole clips, as a further reference of our own (torch).

After ECAPA-TDNN: Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN: Emphasized channel attention,
propagation and aggregation in TDNN based speaker verification", Interspeech 2020. Kept: SE-Res2
blocks with growing dilation, each fed with the sum of all outputs before it; aggregation of all
blocks; attentive statistics with an attention of its own for every channel and the clip's
statistics as context; batch norm after pooling and after the embedding. Different here: narrower
layers, so that it has about as many parameters as the network of arXiv 2411.03668; a softmax with
cross entropy instead of margins; no augmentation; and the 73 values of the front end with
logarithmic pre-Fbank instead of MFCC. They are standardised over the training clips; their level
within a clip stays, for it is where a device's response is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.clip_network import ClipNetwork, ClipTraining, Inputs
from model.features import FloatArray

TRAINING = ClipTraining(epochs=20, batch=16, step_epochs=15)
CROP_FRAMES = 256  #: of a clip, in training
_VARIANCE_FLOOR = 1e-4  #: of a channel over a clip


@dataclass(frozen=True)
class EcapaShape:
    """Widths of the network; the paper's smaller one in brackets.

    Attributes:
        n_features: values of a frame.
        channels: of the first layer and the blocks (512).
        scale: parts that a block's dilated convolution is cut into (8).
        squeezed: hidden units of squeeze and excitation (128).
        dilations: of the blocks (2, 3, 4).
        aggregated: channels that are pooled (1536).
        attention: hidden units of the attention (128).
        embedding: values of an embedding (192).
    """

    n_features: int = 73
    channels: int = 192
    scale: int = 8
    squeezed: int = 64
    dilations: tuple[int, ...] = (2, 3, 4)
    aggregated: int = 192
    attention: int = 64
    embedding: int = 128


SHAPE = EcapaShape()  #: about 0.62 million parameters with 45 devices


class Ecapa(ClipNetwork):
    """The baseline; see :class:`model.baselines.baseline.Baseline`.

    In training a random piece of a clip stands for it, in scoring its whole. Clips are read one at
    a time: once for the standardisation, and once in every epoch.

    Args:
        seed: of the weights, the order of the clips and their pieces.
        training: hyper-parameters.
        shape: of the network.
        crop_frames: length of the pieces; a shorter clip repeats its frames.
    """

    def __init__(
        self,
        seed: int = 0,
        training: ClipTraining = TRAINING,
        shape: EcapaShape = SHAPE,
        crop_frames: int = CROP_FRAMES,
    ) -> None:
        super().__init__(training, seed)
        self._shape, self._crop_frames = shape, crop_frames
        self._scaler = StandardScaler()

    @property
    def n_prepared(self) -> int:
        """Mean and scale of a frame's values."""
        return 2 * self._shape.n_features

    def _prepare(self, clips: Sequence[BaselineClip], labels: IntArray) -> list[Inputs]:
        self._scaler = StandardScaler()
        for clip in clips:
            self._scaler.partial_fit(clip.features)
        return super()._prepare(clips, labels)

    def _read(self, clip: BaselineClip, rng: np.random.Generator | None) -> Inputs:
        frames = clip.features
        if rng is not None:
            frames = random_crop(frames, self._crop_frames, rng)
        return (self._scaler.transform(frames),)

    def _network(self, n_devices: int) -> nn.Module:
        return EcapaNetwork(self._shape, n_devices)


def random_crop(frames: FloatArray, n_frames: int, rng: np.random.Generator) -> FloatArray:
    """A piece of a clip, each equally likely.

    Args:
        frames: float32 ``(frames, dims)``; where there are too few, they repeat from the start.
        n_frames: length of the piece.
        rng: source of its start.

    Returns:
        float32 ``(n_frames, dims)``.
    """
    if len(frames) < n_frames:
        return np.resize(frames, (n_frames, frames.shape[1]))
    start = int(rng.integers(len(frames) - n_frames + 1))
    return frames[start : start + n_frames]


class EcapaNetwork(nn.Module):
    """Frames to logits.

    Args:
        shape: of the layers.
        n_devices: number of classes.
    """

    def __init__(self, shape: EcapaShape, n_devices: int) -> None:
        super().__init__()
        self.first = _convolution(shape.n_features, shape.channels, taps=5)
        self.blocks = nn.ModuleList(
            SeRes2Block(shape.channels, shape.scale, shape.squeezed, dilation)
            for dilation in shape.dilations
        )
        aggregated = len(shape.dilations) * shape.channels
        self.aggregation = nn.Conv1d(aggregated, shape.aggregated, 1)
        self.pooling = AttentiveStatistics(shape.aggregated, shape.attention)
        self.pooled_norm = nn.BatchNorm1d(2 * shape.aggregated)
        self.embedding = nn.Linear(2 * shape.aggregated, shape.embedding)
        self.embedding_norm = nn.BatchNorm1d(shape.embedding)
        self.classifier = nn.Linear(shape.embedding, n_devices)

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, T, n_features)``, standardised, to logits ``(B, n_devices)``."""
        total = self.first(frames.transpose(1, 2))
        outputs = []
        for block in self.blocks:
            outputs.append(block(total))
            total = total + outputs[-1]
        aggregated = torch.relu(self.aggregation(torch.cat(outputs, dim=1)))
        pooled = self.pooled_norm(self.pooling(aggregated))
        logits: Tensor = self.classifier(self.embedding_norm(self.embedding(pooled)))
        return logits


class SeRes2Block(nn.Module):
    """A dilated Res2 convolution between two 1 x 1 ones, squeeze and excitation, and the input.

    Args:
        channels: in and out.
        scale: parts of the Res2 convolution.
        squeezed: hidden units of squeeze and excitation.
        dilation: of the Res2 convolution, in frames.
    """

    def __init__(self, channels: int, scale: int, squeezed: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(channels, channels),
            Res2Convolution(channels, scale, dilation),
            _convolution(channels, channels),
            SqueezeExcitation(channels, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, T)`` to the same shape."""
        changed: Tensor = self.layers(x)
        return x + changed


class Res2Convolution(nn.Module):
    """Gao et al., "Res2Net: A new multi-scale backbone architecture", IEEE TPAMI 43(2), 2021.

    The channels are cut into parts ``x_1 ... x_s``; ``y_1 = x_1``, ``y_2 = K_2(x_2)`` and
    ``y_i = K_i(x_i + y_(i-1))``, where ``K_i`` has 3 taps.

    Args:
        channels: in and out, a multiple of ``scale``.
        scale: number of parts.
        dilation: in frames.

    Raises:
        ValueError: the channels cannot be cut into equal parts.
    """

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        if channels % scale:
            raise ValueError(f"{channels} channels cannot be cut into {scale} parts")
        width = channels // scale
        self.scale = scale
        self.convolutions = nn.ModuleList(
            _convolution(width, width, taps=3, dilation=dilation) for _ in range(scale - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, T)`` to the same shape."""
        first, *rest = x.chunk(self.scale, dim=1)
        outputs = [first]
        for index, (part, convolution) in enumerate(zip(rest, self.convolutions, strict=True)):
            outputs.append(convolution(part + outputs[-1] if index else part))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Channels weighted by what their means over time say.

    ``s = sigmoid(W_2 relu(W_1 mean + b_1) + b_2)``.

    Args:
        channels: in and out.
        squeezed: hidden units.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed)
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, T)`` to the same shape."""
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean(dim=2)))))
        return x * weights[:, :, None]


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, weighted for every channel on its own.

    ``e_tc = v_c' tanh(W [h_t; m; s] + b) + k_c`` with the plain mean ``m`` and standard deviation
    ``s`` of the clip; the weights are the softmax of ``e`` over time.

    Args:
        channels: in.
        hidden: units of the attention.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(3 * channels, hidden, 1)
        self.score = nn.Conv1d(hidden, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        """``(B, channels, T)`` to ``(B, 2 channels)``: means, then standard deviations."""
        alike = torch.full_like(h, 1 / h.shape[2])
        context = [part[:, :, None].expand_as(h) for part in _weighted_statistics(h, alike)]
        scores = self.score(torch.tanh(self.hidden(torch.cat([h, *context], dim=1))))
        return torch.cat(_weighted_statistics(h, scores.softmax(dim=2)), dim=1)


def _weighted_statistics(h: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations over time, ``(B, channels)`` each."""
    mean = (weights * h).sum(dim=2)
    variance = (weights * (h - mean[:, :, None]).square()).sum(dim=2)
    return mean, variance.clamp(min=_VARIANCE_FLOOR).sqrt()


def _convolution(inputs: int, outputs: int, taps: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution over time that keeps the length, ReLU, batch norm."""
    padding = dilation * (taps - 1) // 2
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, taps, padding=padding, dilation=dilation),
        nn.ReLU(),
        nn.BatchNorm1d(outputs),
    )
