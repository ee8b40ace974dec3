"""Clips of a corpus as the baselines take them, read when they are asked for (numpy).

Features lie on disk; one clip at a time is in memory, whatever the corpus holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from model.audio import read_clip
from model.baselines.baseline import BaselineClip
from model.corpus import Clip
from model.feature_copies import FeatureCopies


class ClipStore(Sequence[BaselineClip]):
    """Some clips of a corpus.

    Args:
        clips: the clips.
        features: of them all, with the paper's front end.
        sample_rate_hz: of the samples.
    """

    def __init__(self, clips: Sequence[Clip], features: FeatureCopies, sample_rate_hz: int) -> None:
        self._clips, self._features, self._rate_hz = tuple(clips), features, sample_rate_hz

    def __len__(self) -> int:
        return len(self._clips)

    @overload
    def __getitem__(self, index: int) -> BaselineClip: ...

    @overload
    def __getitem__(self, index: slice) -> ClipStore: ...

    def __getitem__(self, index: int | slice) -> BaselineClip | ClipStore:
        if isinstance(index, slice):
            return ClipStore(self._clips[index], self._features, self._rate_hz)
        clip = self._clips[index]
        samples = read_clip(clip.path, self._rate_hz)
        return BaselineClip(self._features.features(0, clip), samples, self._rate_hz)
