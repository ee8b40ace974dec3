"""Random training windows drawn from clips (torch datasets)."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.corpus import Clip
from model.errors import CorpusError
from model.feature_copies import FeatureCopies
from model.features import WINDOW_FRAMES

SPREAD_WINDOWS = 16_000  #: windows of a corpus that are in memory at most, about 600 MB
SPREAD_LEAST_HOP = 8  #: frames; closer windows are all but the same


@dataclass(frozen=True, eq=False)
class ClipData:
    """A clip ready to draw from.

    Attributes:
        label: device index.
        features: ``(frames, 73)`` of any float type, in memory or mapped from a file.
        copies: the same clip under other conditions, ``(frames, 73)`` each, of any float type; all
            clips of a device are under the same condition in the same copy.
    """

    label: int
    features: npt.NDArray[np.floating]
    copies: Sequence[npt.NDArray[np.floating]] = ()

    def copy(self, number: int) -> npt.NDArray[np.floating]:
        """Frames of a copy; number 0 is the clip as it is."""
        return self.copies[number - 1] if number else self.features


class RandomWindows(Dataset[tuple[Tensor, Tensor]]):
    """One pass of random window crops, every device equally often.

    Args:
        clips: what to draw from; each device needs at least one clip.
        n_windows: length of the pass.
        seed: with ``epoch`` and the index it decides each window, so that a resumed run draws
            what an uninterrupted one would have drawn.
        epoch: number of the pass.
        splice: see :class:`model.training_config.TrainingConfig`.
    """

    def __init__(
        self,
        clips: Sequence[ClipData],
        n_windows: int,
        seed: int,
        epoch: int,
        splice: float = 0.0,
    ) -> None:
        by_device: dict[int, list[ClipData]] = {}
        for clip in clips:
            by_device.setdefault(clip.label, []).append(clip)
        self._by_device = [by_device[label] for label in sorted(by_device)]
        self._n_copies = 1 + min(len(clip.copies) for clip in clips)
        self._n_windows, self._seed, self._epoch = n_windows, seed, epoch
        self._splice = splice

    def __len__(self) -> int:
        return self._n_windows

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Window ``(128, 73)`` float32 and its label, int64."""
        if not 0 <= index < self._n_windows:
            raise IndexError(index)
        rng = np.random.default_rng((self._seed, self._epoch, index))
        clips = self._by_device[index % len(self._by_device)]
        # Longer clips are drawn more often: each frame is as likely as any other.
        lengths = np.array([len(clip.features) for clip in clips], dtype=np.float64)
        shares = lengths / lengths.sum()
        copy = int(rng.integers(self._n_copies))
        if rng.random() < self._splice:
            cut = int(rng.integers(WINDOW_FRAMES // 4, 3 * WINDOW_FRAMES // 4 + 1))
            first, second = (clips[k] for k in rng.choice(len(clips), 2, p=shares))
            window = np.concatenate(
                [
                    _crop(first.copy(copy), cut, rng),
                    _crop(second.copy(copy), WINDOW_FRAMES - cut, rng),
                ]
            )
        else:
            clip = clips[rng.choice(len(clips), p=shares)]
            window = _crop(clip.copy(copy), WINDOW_FRAMES, rng)
        label = clips[0].label
        return torch.from_numpy(np.array(window, dtype=np.float32)), torch.tensor(label)


def _crop(
    features: npt.NDArray[np.floating], n_frames: int, rng: np.random.Generator
) -> npt.NDArray[np.floating]:
    start = int(rng.integers(0, len(features) - n_frames + 1))
    return features[start : start + n_frames]


def fixed_windows(clips: Sequence[ClipData], hop_frames: int) -> tuple[Tensor, Tensor]:
    """All windows of all clips at a hop: float32 ``(n, 128, 73)`` and labels, int64 ``(n,)``."""
    return _windows_at(clips, _places(clips, hop_frames))


def drawn_windows(
    clips: Sequence[ClipData], hop_frames: int, most: int, seed: int = 0, n_copies: int = 1
) -> tuple[Tensor, Tensor]:
    """Windows of all clips at a hop: all of them, or a draw where they are too many.

    The draw takes every device as often as the others, as far as it has windows, each of them at
    most once. Memory is that of the windows returned.

    Args:
        clips: to cut windows from.
        hop_frames: frames between window starts.
        most: windows that are returned at most.
        seed: of the draw.
        n_copies: to go through, the clip as it is among them: every window is of the next copy.

    Returns:
        As :func:`fixed_windows`, in the order of clips and starts.
    """
    places = _places(clips, hop_frames)
    if len(places) > most:
        labels = np.array([clip.label for clip in clips])[places[:, 0]]
        places = places[_drawn(labels, most, np.random.default_rng(seed))]
    return _windows_at(clips, places, n_copies)


def spread_windows(clips: Sequence[ClipData]) -> tuple[Tensor, Tensor]:
    """Overlapping windows of all clips, as densely as :data:`SPREAD_WINDOWS` allows.

    What fixed statistics and linear baselines are measured on; see :func:`drawn_windows`. There is
    a draw only where many clips are shorter than the hop.
    """
    n_frames = sum(len(clip.features) for clip in clips)
    n_copies = 1 + min(len(clip.copies) for clip in clips)
    hop = max(SPREAD_LEAST_HOP // n_copies, -(-n_frames // SPREAD_WINDOWS), 1)
    return drawn_windows(clips, hop, SPREAD_WINDOWS, n_copies=n_copies)


_IntArray = npt.NDArray[np.int64]


def _places(clips: Sequence[ClipData], hop_frames: int) -> _IntArray:
    """Clip index and first frame of all windows, ``(n, 2)``."""
    rows = [np.zeros((0, 2), np.int64)]
    for index, clip in enumerate(clips):
        starts = np.arange(0, len(clip.features) - WINDOW_FRAMES + 1, hop_frames)
        rows.append(np.stack([np.full(len(starts), index), starts], axis=1))
    return np.concatenate(rows)


def _drawn(labels: _IntArray, most: int, rng: np.random.Generator) -> _IntArray:
    """Indices of ``most`` labels, in their order: of each label as many as of the others."""
    devices, counts = np.unique(labels, return_counts=True)
    taken: list[_IntArray] = []
    left = most
    order = np.argsort(counts, kind="stable")  # what a small one leaves, the larger ones share
    for place, index in enumerate(order):
        share = min(int(counts[index]), left // (len(devices) - place))
        of_device = np.flatnonzero(labels == devices[index])
        taken.append(rng.choice(of_device, share, replace=False))
        left -= share
    return np.sort(np.concatenate(taken))


def _windows_at(
    clips: Sequence[ClipData], places: _IntArray, n_copies: int = 1
) -> tuple[Tensor, Tensor]:
    """Windows copied one by one into one array, and their labels."""
    windows = np.empty((len(places), WINDOW_FRAMES, clips[0].features.shape[1]), np.float32)
    for number, (index, start) in enumerate(places):
        frames = clips[index].copy(number % n_copies)
        windows[number] = frames[start : start + WINDOW_FRAMES]
    labels = np.array([clip.label for clip in clips])[places[:, 0]]
    return torch.from_numpy(windows), torch.from_numpy(labels)


def label_clips(
    clips: Sequence[Clip],
    features: Mapping[Clip, npt.NDArray[np.floating]],
    labels: Sequence[str],
    copies: FeatureCopies | None = None,
) -> list[ClipData]:
    """Attach label indices; clips shorter than one window are left out."""
    index = {label: i for i, label in enumerate(labels)}
    return [
        ClipData(index[clip.device], features[clip], copies.of(clip) if copies else ())
        for clip in clips
        if len(features[clip]) >= WINDOW_FRAMES
    ]


def training_clips(
    clips: Sequence[Clip],
    features: Mapping[Clip, npt.NDArray[np.floating]],
    labels: Sequence[str],
    copies: FeatureCopies | None = None,
) -> list[ClipData]:
    """As :func:`label_clips`, of all devices.

    Raises:
        CorpusError: a device has no clip of at least one window to train on.
    """
    labelled = label_clips(clips, features, labels, copies)
    missing = set(range(len(labels))) - {clip.label for clip in labelled}
    if missing:
        names = ", ".join(labels[i] for i in sorted(missing))
        raise CorpusError(f"no training clip of at least {WINDOW_FRAMES} frames for: {names}")
    return labelled


def speech_clips(copies: FeatureCopies, files: Container[Path] | None = None) -> list[ClipData]:
    """Recordings of further speech, all by one device; those of at least a window.

    Args:
        copies: of all recordings.
        files: those to take; all without.
    """
    return [
        ClipData(0, copies.features(0, clip), copies.of(clip))
        for clip in copies.clips
        if (files is None or clip.path in files) and len(copies.features(0, clip)) >= WINDOW_FRAMES
    ]
