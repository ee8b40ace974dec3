"""Front-end features of a corpus and of changed copies of it, on disk (numpy, all cores).

Copy 0 is every clip as it is; copy ``k`` is what augmentation or a test condition made of it. All
clips of a device go through the same conditions in the same augmented copy (of clips of one length,
with the same noise), and every clip on its own: so a window may be spliced from several clips of a
device, and a clip that is held out of training has touched nothing. Copies are made once and shared
by all folds of an experiment.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.audio import read_clip
from model.augmentation.augmentation import Augmentation, Samples
from model.corpus import Clip, Corpus
from model.features import FrontEndConfig, extract
from model.files import replacing
from model.worker_processes import results_of

FORMAT = 1
HALF_MAX = float(np.finfo(np.float16).max)

Track = Callable[[Sequence[int]], Iterable[int]]  #: wraps an iteration, for progress


class Variant(Protocol):
    """What makes a copy of a clip; ``repr`` tells variants apart."""

    def apply(self, samples: Samples, sample_rate_hz: int, clip: Clip) -> Samples:
        """The clip's samples, changed; the same every time, of the same length."""
        ...


@dataclass(frozen=True)
class Original:
    """The clip as it is."""

    def apply(self, samples: Samples, sample_rate_hz: int, clip: Clip) -> Samples:
        """Returns ``samples``."""
        return samples


@dataclass(frozen=True)
class AugmentedCopy:
    """What chance makes of a clip.

    Attributes:
        augmentation: what it goes through.
        number: of the copy; with ``seed`` and the device it decides the conditions.
        seed: see above.
    """

    augmentation: Augmentation
    number: int
    seed: int

    def apply(self, samples: Samples, sample_rate_hz: int, clip: Clip) -> Samples:
        """Augmented samples."""
        rng = np.random.default_rng((self.seed, self.number, zlib.crc32(clip.device.encode())))
        return self.augmentation(samples, sample_rate_hz, rng)


class FeatureCopies:
    """Features of every clip in every copy.

    Args:
        frames: ``(frames, 73)``, float16 or float32, all copies of all clips in a row.
        starts: int64 ``(copies, clips + 1)``, first frame of each clip of each copy.
        clips: the clips, in order.
    """

    def __init__(
        self,
        frames: npt.NDArray[np.floating],
        starts: npt.NDArray[np.int64],
        clips: tuple[Clip, ...],
    ) -> None:
        self.frames, self.starts, self.clips = frames, starts, clips
        self._index = {clip: i for i, clip in enumerate(clips)}

    @property
    def n_copies(self) -> int:
        """Copies, the original included."""
        return len(self.starts)

    def span(self, copy: int, clip: Clip) -> tuple[int, int]:
        """First frame of a clip in a copy, and the frame after its last."""
        i = self._index[clip]
        return int(self.starts[copy, i]), int(self.starts[copy, i + 1])

    def features(self, copy: int, clip: Clip) -> npt.NDArray[np.float32]:
        """Frames of a clip in a copy, float32 ``(frames, 73)``."""
        first, last = self.span(copy, clip)
        return np.asarray(self.frames[first:last], dtype=np.float32)

    def of(self, clip: Clip) -> list[npt.NDArray[np.floating]]:
        """Frames of a clip in every copy but the original, ``(frames, 73)`` each."""
        spans = [self.span(copy, clip) for copy in range(1, self.n_copies)]
        return [self.frames[first:last] for first, last in spans]


def plain_copies(features: Mapping[Clip, npt.NDArray[np.float32]]) -> FeatureCopies:
    """Clips as they are, in memory."""
    lengths = [len(frames) for frames in features.values()]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return FeatureCopies(np.concatenate(list(features.values())), starts[None], tuple(features))


def augmented_copies(augmentation: Augmentation, n_copies: int, seed: int) -> list[Variant]:
    """The original and ``n_copies`` augmented copies."""
    return [Original(), *(AugmentedCopy(augmentation, k + 1, seed) for k in range(n_copies))]


def make_feature_copies(
    corpus: Corpus,
    front_end: FrontEndConfig,
    variants: Sequence[Variant],
    folder: Path,
    *,
    processes: int | None = None,
    track: Track | None = None,
) -> FeatureCopies:
    """Make the copies, or open them if ``folder`` holds them already.

    Args:
        corpus: what to copy; every clip must be readable.
        front_end: config of the features.
        variants: the copies to make, the first of which is :class:`Original`.
        folder: for the two files; created. About 18 kB a copy and second of audio.
        processes: to work with; as many as there are cores by default.
        track: shows progress.

    Raises:
        AudioError: a clip that cannot be read.
        DevrecError: a process was killed.
    """
    names = [clip.path.name for clip in corpus.clips]
    if len(set(names)) < len(names):  # the hash does not know the order of the clips
        names = [f"{clip.device}/{clip.group}/{clip.path.name}" for clip in corpus.clips]
    wanted = json.dumps(
        {
            "format": FORMAT,
            "corpus": corpus.content_hash(),
            "clips": names,
            "front_end": front_end.to_dict(),
            "variants": hashlib.sha256(repr(list(variants)).encode()).hexdigest(),
        }
    )
    described, data = folder / "copies.json", folder / "copies.npy"
    held = _held(described, data, wanted, corpus)
    if held is not None:
        return held
    folder.mkdir(parents=True, exist_ok=True)
    described.unlink(missing_ok=True)
    lengths = [
        front_end.frames_in(len(read_clip(clip.path, front_end.sample_rate_hz)))
        for clip in corpus.clips
    ]
    within = np.concatenate([[0], np.cumsum(lengths)])
    starts = (within[None] + within[-1] * np.arange(len(variants))[:, None]).astype(np.int64)
    jobs = [(clip, front_end, variant) for clip in corpus.clips for variant in variants]
    with replacing(data) as temporary:
        frames = np.lib.format.open_memmap(
            temporary, "w+", np.float16, (int(starts[-1, -1]), front_end.n_features)
        )
        order = track(range(len(jobs))) if track else range(len(jobs))
        with results_of(_copy, jobs, processes, at_once=max(1, len(variants) // 4)) as results:
            for index, features in zip(order, results, strict=True):
                i, copy = divmod(index, len(variants))
                frames[starts[copy, i] : starts[copy, i + 1]] = features
        frames.flush()
        del frames
    with replacing(described) as temporary:
        temporary.write_text(json.dumps({"wanted": wanted, "starts": starts.tolist()}))
    frames = np.load(data, mmap_mode="r", allow_pickle=False)
    return FeatureCopies(frames, starts, corpus.clips)


def opened_copies(folder: Path, clips: tuple[Clip, ...]) -> FeatureCopies:
    """What :func:`make_feature_copies` left in a folder a moment ago; nothing is checked.

    Args:
        folder: with the two files.
        clips: of the corpus that they are of, in its order.

    Raises:
        OSError, ValueError, KeyError: they are not there, or not whole.
    """
    starts = json.loads((folder / "copies.json").read_text())["starts"]
    frames = np.load(folder / "copies.npy", mmap_mode="r", allow_pickle=False)
    return FeatureCopies(frames, np.array(starts, np.int64), clips)


def _held(described: Path, data: Path, wanted: str, corpus: Corpus) -> FeatureCopies | None:
    """The copies in the folder, if they are the wanted ones and whole."""
    if not described.is_file() or not data.is_file():
        return None
    try:
        found = json.loads(described.read_text())
        if found["wanted"] != wanted:
            return None
        frames = np.load(data, mmap_mode="r", allow_pickle=False)
        return FeatureCopies(frames, np.array(found["starts"], np.int64), corpus.clips)
    except (ValueError, TypeError, KeyError):  # damaged: made again
        return None


def _copy(job: tuple[Clip, FrontEndConfig, Variant]) -> npt.NDArray[np.float16]:
    """Features of one clip in one copy, in a worker."""
    clip, front_end, variant = job
    samples = read_clip(clip.path, front_end.sample_rate_hz)
    if not front_end.frames_in(len(samples)):  # too short for some codecs, too
        return np.zeros((0, front_end.n_features), np.float16)
    changed = variant.apply(samples, front_end.sample_rate_hz, clip)
    if len(changed) != len(samples):
        raise ValueError(f"{variant} changed {len(samples)} samples into {len(changed)}")
    return np.clip(extract(changed, front_end), -HALF_MAX, HALF_MAX).astype(np.float16)
