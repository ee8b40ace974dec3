"""One method on one fold of a corpus: fitted, tested, timed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model.corpus import Clip, Corpus
from model.errors import AudioError, CorpusError
from model.experiments.clip_store import ClipStore
from model.experiments.methods import Fitting, Method
from model.experiments.protocols import Protocol, folds
from model.experiments.tasks import Track, common_settings, run_tasks
from model.feature_copies import Original, make_feature_copies, opened_copies
from model.features import WINDOW_FRAMES, FloatArray, FrontEndConfig
from model.split import Split


def features_folder(folder: Path, corpus: Corpus, front_end: FrontEndConfig) -> Path:
    """Where an experiment keeps the features of a corpus with one front end.

    Others never go there: a run on another corpus into the same folder must not change what this
    one reads.
    """
    decides = json.dumps([corpus.content_hash(), front_end.to_dict()], sort_keys=True)
    return folder / "features" / hashlib.sha256(decides.encode()).hexdigest()[:16]


def make_features(
    corpus: Corpus,
    methods: Iterable[Method],
    folder: Path,
    *,
    processes: int | None = None,
    track: Track | None = None,
) -> None:
    """Features of all clips on disk, with every front end that the methods need; made once.

    Raises:
        AudioError: a clip that cannot be read, or is shorter than a frame: every method must be
            able to name the device of every clip.
        DevrecError: a process was killed.
    """
    for front_end in dict.fromkeys(method.front_end for method in methods):
        kept = features_folder(folder, corpus, front_end)
        copies = make_feature_copies(
            corpus, front_end, [Original()], kept, processes=processes, track=track
        )
        lengths = np.diff(copies.starts[0])
        short = [clip.path for clip, n in zip(corpus.clips, lengths, strict=True) if not n]
        if short:
            raise AudioError(f"{short[0]}: shorter than a frame, {len(short)} such clips in all")


def stored_clips(
    corpus: Corpus, clips: Sequence[Clip], front_end: FrontEndConfig, folder: Path
) -> ClipStore:
    """Clips with the features that :func:`make_features` has left in the folder."""
    # The corpus was checked once; a worker must not read all of its audio again.
    features = opened_copies(features_folder(folder, corpus, front_end), corpus.clips)
    return ClipStore(clips, features, front_end.sample_rate_hz)


def check_windows(
    corpus: Corpus, splits: Iterable[Split], methods: Iterable[Method], folder: Path
) -> None:
    """See that methods that know windows alone have some of every device, before hours of work.

    Raises:
        CorpusError: naming a device without.
    """
    kind = next((method.front_end for method in methods if method.by_window), None)
    if kind is None:
        return
    features = opened_copies(features_folder(folder, corpus, kind), corpus.clips)
    spans = {clip: features.span(0, clip) for clip in corpus.clips}
    for split in splits:
        long = {c.device for c in split.train if spans[c][1] - spans[c][0] >= WINDOW_FRAMES}
        for device in sorted({clip.device for clip in split.train} - long):
            raise CorpusError(
                f"{device}: no clip of at least {WINDOW_FRAMES} frames to learn from ({split.name})"
            )


def labels_of(clips: Sequence[Clip], devices: Sequence[str]) -> list[int]:
    """Index of each clip's device."""
    index = {device: i for i, device in enumerate(devices)}
    return [index[clip.device] for clip in clips]


def decisions(scores: FloatArray) -> list[int]:
    """The device with the highest score of each clip; -1 where all are alike: nothing is known."""
    known = scores.max(axis=1) > scores.min(axis=1)
    return [int(index) for index in np.where(known, scores.argmax(axis=1), -1)]


@dataclass(frozen=True, eq=False)
class FoldTask:
    """A method, a fold, and where the features are.

    Attributes:
        method: to fit and test.
        number: of the fold.
        split: its clips; those for validation are neither learnt from nor tested.
        corpus: of the clips.
        folder: of the experiment.
        fitting: how to fit.
        common: settings that all tasks share.
        devices: that are told apart; those of the split.
        label: tells tasks of one method and fold apart, where there are several.
    """

    method: Method
    number: int
    split: Split
    corpus: Corpus
    folder: Path
    fitting: Fitting
    common: Mapping[str, Any]
    devices: tuple[str, ...]
    label: str = ""

    @property
    def name(self) -> str:
        """Method and fold."""
        return f"{self.method.key}{self.label}-{self.number + 1}"

    @property
    def settings(self) -> dict[str, Any]:
        """Versions, corpus and protocol, and what decides this method."""
        return {**self.common, **self.method.settings(self.fitting)}

    def run(self, checkpoints: Path) -> dict[str, Any]:
        """Fit and test.

        Args:
            checkpoints: of a training that may be cut off.

        Returns:
            ``fold``, ``clips`` (names), ``truth`` and ``decided`` (indices of devices, see
            :func:`decisions`), ``n_parameters``, ``fit_s`` and ``ms_per_clip`` (with features on
            disk).
        """
        train, test = (
            stored_clips(self.corpus, clips, self.method.front_end, self.folder)
            for clips in (self.split.train, self.split.test)
        )
        method = self.method.make(replace(self.fitting, checkpoints=checkpoints))
        started = time.perf_counter()
        method.fit(train, np.array(labels_of(self.split.train, self.devices), np.int64))
        fitted = time.perf_counter()
        scores = method.scores(test)
        done = time.perf_counter()
        return {
            "fold": self.split.name,
            "clips": [clip.path.name for clip in self.split.test],
            "truth": labels_of(self.split.test, self.devices),
            "decided": decisions(scores),
            "n_parameters": method.n_parameters,
            "fit_s": round(fitted - started, 3),
            "ms_per_clip": round(1000 * (done - fitted) / len(test), 3),
        }


Folds = dict[str, list[dict[str, Any]]]  #: of each method's key


def run_folds(
    corpus: Corpus,
    protocol: Protocol,
    methods: Sequence[Method],
    folder: Path,
    fitting: Fitting,
    *,
    processes: int | None = None,
    track: Track | None = None,
) -> Folds:
    """Fit and test every method on every fold; what ``folder`` holds already is not repeated.

    Args:
        corpus: with its features in ``folder``, see :func:`make_features`.
        protocol: of the folds.
        methods: to run.
        folder: of the experiment; finished folds go to ``folds`` in it.
        fitting: of all methods; background models go to ``background`` in the folder.
        processes: see :func:`model.experiments.tasks.run_tasks`.
        track: likewise.

    Raises:
        CorpusError: too few clips for the protocol, or too short ones for a method.
        DevrecError: a process was killed.
    """
    splits = folds(corpus, protocol)
    check_windows(corpus, splits, methods, folder)
    common = common_settings(corpus=corpus.content_hash(), protocol=protocol)
    fitting = replace(fitting, store=folder / "background")
    tasks = [
        FoldTask(method, number, split, corpus, folder, fitting, common, corpus.devices)
        for method in methods
        for number, split in enumerate(splits)
    ]
    results = run_tasks(tasks, folder / "folds", processes=processes, track=track)
    found: Folds = {method.key: [] for method in methods}
    for task, result in zip(tasks, results, strict=True):
        found[task.method.key].append(result)
    return found
