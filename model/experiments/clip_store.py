"""Clips of a corpus as the baselines take them, read when they are asked for (numpy).

Features lie on disk and are mapped into memory, whatever the corpus holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import overload

from model.audio import read_clip
from model.baselines.baseline import BaselineClip
from model.corpus import Clip
from model.feature_copies import FeatureCopies


class ClipStore(Sequence[BaselineClip]):
    """Some clips of a corpus.

    Args:
        clips: the clips.
        features: of them all, with the front end of the method that is to have them.
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
        first, last = self._features.span(0, clip)
        reader = partial(read_clip, clip.path, self._rate_hz)
        return BaselineClip(self._features.frames[first:last], reader, self._rate_hz)
