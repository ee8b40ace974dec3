"""Random training windows drawn from clips (torch datasets)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.augment import Augmentation, Samples
from model.corpus import Clip
from model.features import WINDOW_FRAMES, FloatArray, FrontEndConfig, extract, windows_of

SPREAD_WINDOWS = 16_000  #: windows that :func:`spread_windows` keeps at most, about 600 MB
SPREAD_LEAST_HOP = 8  #: frames; closer windows are all but the same


@dataclass(frozen=True)
class ClipData:
    """A clip ready to draw from.

    Attributes:
        label: device index.
        features: float32 ``(frames, 73)``.
        samples: float32 waveform at the front end's rate; only kept for augmentation.
    """

    label: int
    features: FloatArray
    samples: Samples | None = None


class RandomWindows(Dataset[tuple[Tensor, Tensor]]):
    """One pass of random window crops, every device equally often.

    Args:
        clips: what to draw from; each device needs at least one clip.
        n_windows: length of the pass.
        seed: with ``epoch`` and the index it decides each window, so that a resumed run draws
            what an uninterrupted one would have drawn.
        epoch: number of the pass.
        splice: see :class:`model.training_config.TrainingConfig`.
        front_end: needed with ``augmentation``.
        augmentation: applied to the waveform of a crop before its features are computed.
    """

    def __init__(
        self,
        clips: Sequence[ClipData],
        n_windows: int,
        seed: int,
        epoch: int,
        splice: float = 0.0,
        front_end: FrontEndConfig | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        by_device: dict[int, list[ClipData]] = {}
        for clip in clips:
            by_device.setdefault(clip.label, []).append(clip)
        self._by_device = [by_device[label] for label in sorted(by_device)]
        self._n_windows, self._seed, self._epoch = n_windows, seed, epoch
        self._splice = splice
        self._front_end, self._augmentation = front_end, augmentation

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
        if self._augmentation is not None:
            window = self._augmented(clips[rng.choice(len(clips), p=shares)], rng)
        elif rng.random() < self._splice:
            cut = int(rng.integers(WINDOW_FRAMES // 4, 3 * WINDOW_FRAMES // 4 + 1))
            first, second = (clips[k] for k in rng.choice(len(clips), 2, p=shares))
            window = np.concatenate(
                [
                    _crop(first.features, cut, rng),
                    _crop(second.features, WINDOW_FRAMES - cut, rng),
                ]
            )
        else:
            clip = clips[rng.choice(len(clips), p=shares)]
            window = _crop(clip.features, WINDOW_FRAMES, rng)
        label = clips[0].label
        return torch.from_numpy(np.array(window)), torch.tensor(label)

    def _augmented(self, clip: ClipData, rng: np.random.Generator) -> FloatArray:
        if clip.samples is None or self._front_end is None or self._augmentation is None:
            raise ValueError("augmentation needs the clips' samples and a front end")
        config = self._front_end
        # Crop with the frames that the first and last frame's deltas look at.
        n_frames = WINDOW_FRAMES + 2 * config.look_ahead
        n_samples = min(config.samples_for(n_frames), len(clip.samples))
        start = int(rng.integers(0, len(clip.samples) - n_samples + 1))
        part = clip.samples[start : start + n_samples]
        changed = self._augmentation(part, config.sample_rate_hz, rng)
        features = extract(changed, config)
        skip = min(config.look_ahead, len(features) - WINDOW_FRAMES)
        return features[skip : skip + WINDOW_FRAMES]


def _crop(features: FloatArray, n_frames: int, rng: np.random.Generator) -> FloatArray:
    start = int(rng.integers(0, len(features) - n_frames + 1))
    return features[start : start + n_frames]


def fixed_windows(clips: Sequence[ClipData], hop_frames: int) -> tuple[Tensor, Tensor]:
    """All windows of all clips at a hop: float32 ``(n, 128, 73)`` and labels, int64 ``(n,)``."""
    windows = [windows_of(clip.features, hop_frames) for clip in clips]
    labels = [np.full(len(w), clip.label) for w, clip in zip(windows, clips, strict=True)]
    return torch.from_numpy(np.concatenate(windows)), torch.from_numpy(np.concatenate(labels))


def spread_windows(clips: Sequence[ClipData]) -> tuple[Tensor, Tensor]:
    """Overlapping windows of all clips, as densely as :data:`SPREAD_WINDOWS` allows.

    What fixed statistics and linear baselines are measured on; returns as :func:`fixed_windows`.
    """
    n_frames = sum(len(clip.features) for clip in clips)
    return fixed_windows(clips, max(SPREAD_LEAST_HOP, -(-n_frames // SPREAD_WINDOWS)))


def label_clips(
    clips: Sequence[Clip],
    features: Mapping[Clip, FloatArray],
    labels: Sequence[str],
    samples: Mapping[Clip, Samples] | None = None,
) -> list[ClipData]:
    """Attach label indices; clips shorter than one window are left out."""
    index = {label: i for i, label in enumerate(labels)}
    return [
        ClipData(index[clip.device], features[clip], samples[clip] if samples else None)
        for clip in clips
        if len(features[clip]) >= WINDOW_FRAMES
    ]
