"""Windows of mel bands drawn in batches from clips and their copies, spliced from pieces (torch).

What the statistics of a window see does not depend on the order of its frames. So a window may be
put together from pieces of several clips of a device: other words, same fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.features import WINDOW_FRAMES
from model.network_config import NetworkConfig
from model.training_data import ClipData

IntArray = npt.NDArray[np.int64]


class SegmentWindows:
    """The mel bands of clips in memory (float16), and random windows of them.

    Args:
        clips: of all devices, each with the same number of copies.
        first_mel: index of the first mel band in a frame.

    Attributes:
        n_devices: labels run below this.
        n_copies: copies a clip, the original included.
    """

    def __init__(self, clips: Sequence[ClipData], first_mel: int) -> None:
        self.n_devices = 1 + max(clip.label for clip in clips)
        self.n_copies = 1 + min(len(clip.copies) for clip in clips)
        per_device: list[list[ClipData]] = [[] for _ in range(self.n_devices)]
        for clip in clips:
            per_device[clip.label].append(clip)
        most = max(len(group) for group in per_device)
        self._starts = np.zeros((self.n_copies, self.n_devices, most), np.int64)
        self._lengths = np.zeros((self.n_copies, self.n_devices, most), np.int64)
        total = sum(len(clip.copy(copy)) for clip in clips for copy in range(self.n_copies))
        n_mels = clips[0].features.shape[1] - first_mel
        mels = np.empty((total, n_mels), np.float16)  # filled in place: it may be a gigabyte
        position = 0
        for device, group in enumerate(per_device):
            for slot, clip in enumerate(group):
                for copy in range(self.n_copies):
                    frames = clip.copy(copy)[:, first_mel:]
                    mels[position : position + len(frames)] = frames
                    self._starts[copy, device, slot] = position
                    self._lengths[copy, device, slot] = len(frames)
                    position += len(frames)
        self._mels = torch.from_numpy(mels)

    @classmethod
    def for_network(cls, clips: Sequence[ClipData], config: NetworkConfig) -> SegmentWindows:
        """Of frames as a network takes them."""
        return cls(clips, 3 * config.n_static)

    def draw(
        self, copies: IntArray, devices: IntArray, pieces: int, rng: np.random.Generator
    ) -> Tensor:
        """A window for each (copy, device).

        Args:
            copies: int64 ``(n,)``.
            devices: int64 ``(n,)``.
            pieces: equally long pieces that a window is put together from; divides 128.
            rng: what clips and places are drawn from; each frame is as likely as any other.

        Returns:
            float32 ``(n, 128, bands)``.
        """
        length = WINDOW_FRAMES // pieces
        room = self._lengths[copies, devices] - length + 1
        ends = np.maximum(room, 0).cumsum(axis=1)
        starts = self._starts[copies, devices]
        rows = np.arange(len(devices))
        frames = []
        for _ in range(pieces):
            place = (rng.random(len(rows)) * ends[:, -1]).astype(np.int64)
            slot = (place[:, None] >= ends).sum(axis=1)
            before = np.where(slot > 0, ends[rows, slot - 1], 0)
            first = starts[rows, slot] + place - before
            frames.append(first[:, None] + np.arange(length))
        return self._mels[torch.from_numpy(np.concatenate(frames, axis=1))].float()
