"""Reading a whole corpus into features, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.audio import read_clip
from model.baselines.trivial import level_and_dc
from model.corpus import Clip, Corpus
from model.errors import AudioError, CorpusError
from model.features import FloatArray, FrontEndConfig, extract


@dataclass(frozen=True)
class LoadedCorpus:
    """A corpus with the features of its clips in memory.

    Attributes:
        corpus: the clips that could be read.
        features: float32 ``(frames, 73)`` per clip; about 36 kB per second of audio.
        levels: level and DC offset per clip, for the trivial baseline.
    """

    corpus: Corpus
    features: dict[Clip, FloatArray]
    levels: dict[Clip, npt.NDArray[np.float64]]


def load_corpus(
    corpus: Corpus,
    front_end: FrontEndConfig,
    *,
    on_skip: Callable[[AudioError], None] | None = None,
    track: Callable[[Sequence[Clip]], Iterable[Clip]] = iter,
) -> LoadedCorpus:
    """Read every clip; one that cannot be read is left out and reported.

    Args:
        corpus: what to read.
        front_end: config of the features.
        on_skip: called with the error of each clip left out.
        track: wraps the iteration, for progress.

    Raises:
        CorpusError: a device has no readable clip.
    """
    features: dict[Clip, FloatArray] = {}
    levels: dict[Clip, npt.NDArray[np.float64]] = {}
    for clip in track(corpus.clips):
        try:
            waveform = read_clip(clip.path, front_end.sample_rate_hz)
        except AudioError as error:
            if on_skip is not None:
                on_skip(error)
            continue
        features[clip] = extract(waveform, front_end)
        levels[clip] = level_and_dc(waveform)
    usable = Corpus(corpus.name, tuple(features))
    lost = sorted(set(corpus.devices) - set(usable.devices))
    if lost:
        raise CorpusError(f"{corpus.name}: no readable clip of {', '.join(lost)}")
    return LoadedCorpus(usable, features, levels)
