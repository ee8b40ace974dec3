"""Embeddings of clips, and how alike two devices' are (numpy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.mel import DoubleArray


@dataclass(frozen=True, eq=False)
class ClipEmbedding:
    """What the network makes of a clip.

    Attributes:
        mean: float64 ``(dims,)``, mean over the clip's windows of the network's embedding.
        windows: windows behind it, counted without overlap (two that overlap by half count 1.5).
    """

    mean: DoubleArray
    windows: float


def clip_embedding(window_embeddings: npt.NDArray[np.float32], hop_share: float) -> ClipEmbedding:
    """A clip's embedding from those of its windows.

    Args:
        window_embeddings: float32 ``(n, dims)``, at least one.
        hop_share: hop between windows over their length, at most 1.

    Raises:
        ValueError: no window.
    """
    if not len(window_embeddings):
        raise ValueError("a clip embedding needs at least one window")
    fresh = 1 + (len(window_embeddings) - 1) * min(1.0, hop_share)
    return ClipEmbedding(window_embeddings.mean(axis=0, dtype=np.float64), fresh)


def prototype(clips: Sequence[ClipEmbedding]) -> DoubleArray:
    """What stands for a device: the mean of its clips' embeddings, float64 ``(dims,)``.

    Raises:
        ValueError: no clip.
    """
    if not clips:
        raise ValueError("a device needs at least one clip")
    mean: DoubleArray = np.mean([clip.mean for clip in clips], axis=0)
    return mean


def cosine_scores(prototypes: DoubleArray, questioned: DoubleArray) -> DoubleArray:
    """Cosines of embeddings with those of devices.

    Args:
        prototypes: float64 ``(devices, dims)``.
        questioned: float64 ``(..., dims)``.

    Returns:
        float64 ``(..., devices)``, -1 to 1; an embedding of length 0 has the cosine 0 with all.
    """
    scores: DoubleArray = _unit(questioned) @ _unit(prototypes).T
    return scores


def _unit(vectors: DoubleArray) -> DoubleArray:
    # By the largest value first: squares of tiny ones are zero.
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0.0)
    scaled = vectors / np.where(largest > 0, largest, 1.0)
    length = np.linalg.norm(scaled, axis=-1, keepdims=True)
    unit: DoubleArray = scaled / np.where(length > 0, length, 1.0)
    return unit
