"""Table IX: networks of some phones, fine-tuned on others.

Groups 8 to 11 of Zeng, Zhao and Wang (arXiv 2411.03668): the whole network, or its Transformer
alone, is trained on one set of phones; then MLP and softmax, or the softmax alone, are trained on
phones that it has never heard.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.corpus import Clip, Corpus
from model.errors import CorpusError, UsageError
from model.experiments.ablations import TRANSFORMER_ONLY, WHOLE
from model.experiments.fold_task import (
    FoldTask,
    check_windows,
    decisions,
    labels_of,
    stored_clips,
)
from model.experiments.methods import LDA, Fitting, Method
from model.experiments.protocols import Protocol, folds
from model.experiments.tasks import Track, common_settings, run_tasks
from model.split import Split
from model.training_config import FREEZES, Freeze, preset

PRETRAINED_SHARE = 0.625  #: of the phones: 25 of 40
DRAWS = 3  #: of these phones


class Group(NamedTuple):
    """A row of the table.

    Attributes:
        number: of the paper.
        title: for the table.
        method: what is trained.
        freeze: what of it stayed as other phones had trained it; ``None``: trained on the new
            phones alone.
    """

    number: int | None
    title: str
    method: Method
    freeze: Freeze | None


GROUPS: tuple[Group, ...] = (
    Group(8, "whole network, MLP + softmax fine-tuned", WHOLE, "trunk"),
    Group(9, "whole network, softmax fine-tuned", WHOLE, "mlp"),
    Group(10, "Transformer alone, MLP + softmax fine-tuned", TRANSFORMER_ONLY, "trunk"),
    Group(11, "Transformer alone, softmax fine-tuned", TRANSFORMER_ONLY, "mlp"),
    Group(None, "log-mel LDA of the new phones alone (ours)", LDA, None),
)


@dataclass(frozen=True, eq=False)
class TransferTask:
    """A network trained on some phones, then fine-tuned on others in both ways.

    Attributes:
        method: the network.
        draw: which phones it is.
        number: of the fold.
        source: corpus of the clips to train on first.
        pretraining: these clips.
        target: corpus of the other phones.
        split: their clips.
        devices: the other phones.
        folder: of the experiment.
        fitting: of the first training.
        common: settings that all tasks share.
    """

    method: Method
    draw: int
    number: int
    source: Corpus
    pretraining: tuple[Clip, ...]
    target: Corpus
    split: Split
    devices: tuple[str, ...]
    folder: Path
    fitting: Fitting
    common: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Network, draw and fold."""
        return f"{self.method.key}-draw{self.draw + 1}-{self.number + 1}"

    @property
    def settings(self) -> dict[str, Any]:
        """Versions, corpora and draw, and what decides either training."""
        fine_tuning = preset("transfer").with_changes(seed=self.fitting.seed).to_dict()
        return {
            **self.common,
            **self.method.settings(self.fitting),
            "devices": self.devices,
            "fine_tuning": fine_tuning,
        }

    def run(self, checkpoints: Path) -> dict[str, Any]:
        """Train, fine-tune, test.

        Args:
            checkpoints: of the first training, which may be cut off.

        Returns:
            ``fold``, ``clips``, ``truth`` and, for each freeze, ``decided`` and ``n_learning``
            (numbers that were fine-tuned); ``n_parameters``, ``fit_s``, ``fine_tune_s``.
        """
        from model.crossval import network_scorer
        from model.experiments.network_method import NetworkMethod
        from model.experiments.window_votes import mean_log_posteriors
        from model.fine_tuning import fine_tune, fine_tuning_windows, learning_parameters
        from model.training_data import training_clips

        before = self.method.make(replace(self.fitting, checkpoints=checkpoints))
        assert isinstance(before, NetworkMethod)  # what the groups hold
        known = sorted({clip.device for clip in self.pretraining})
        clips = stored_clips(self.source, self.pretraining, self.method.front_end, self.folder)
        started = time.perf_counter()
        before.fit(clips, np.array(labels_of(self.pretraining, known), np.int64))
        trained = time.perf_counter()
        train, test = (
            stored_clips(self.target, side, self.method.front_end, self.folder)
            for side in (self.split.train, self.split.test)
        )
        frames = {clip: held.frames for clip, held in zip(self.split.train, train, strict=True)}
        clips_to_learn = training_clips(self.split.train, frames, self.devices)
        windows = fine_tuning_windows(clips_to_learn, self.fitting.seed)
        config = preset("transfer").with_changes(seed=self.fitting.seed)
        decided, n_learning = {}, {}
        for freeze in FREEZES:
            tuned = fine_tune(before.network, *windows, len(self.devices), freeze, config)
            scores = mean_log_posteriors(network_scorer(tuned), test, len(self.devices))
            decided[freeze] = decisions(scores)
            n_learning[freeze] = sum(p.numel() for p in learning_parameters(tuned, freeze))
        return {
            "fold": self.split.name,
            "clips": [clip.path.name for clip in self.split.test],
            "truth": labels_of(self.split.test, self.devices),
            "decided": decided,
            "n_learning": n_learning,
            "n_parameters": before.n_parameters,
            "fit_s": round(trained - started, 3),
            "fine_tune_s": round(time.perf_counter() - trained, 3),
        }


def run_transfer(
    source: Corpus,
    target: Corpus | None,
    protocol: Protocol,
    folder: Path,
    fitting: Fitting,
    draws: Sequence[tuple[str, ...]],
    *,
    processes: int | None = None,
    track: Track | None = None,
) -> list[dict[str, Any]]:
    """Run all groups; what the folder holds already is not repeated.

    Without a ``target`` some phones of ``source`` are drawn to train on, and the others are the new
    ones: of both the clips of a fold's training side are learnt from, and the new phones' clips of
    its test side are tested, so that no network has heard their contents. With a ``target`` all
    clips of ``source`` are trained on, and ``target`` is split by the protocol.

    Args:
        source: with its features in the folder.
        target: likewise.
        protocol: of the folds.
        folder: of the experiment; finished parts go to ``transfer`` in it.
        fitting: of the first training.
        draws: the new phones of each, see :func:`new_phones`.
        processes: see :func:`model.experiments.tasks.run_tasks`.
        track: likewise.

    Returns:
        for every draw, fold and method what :meth:`TransferTask.run` or :meth:`FoldTask.run` give,
        with ``draw`` and the method's ``key``.

    Raises:
        CorpusError: too few clips for the protocol, or too short ones.
        DevrecError: a process was killed.
    """
    tasks: list[TransferTask | FoldTask] = []
    draw_of: list[int] = []
    for draw, new in enumerate(draws):
        into = target or source
        common = common_settings(
            corpus=source.content_hash(), target=into.content_hash(), protocol=protocol
        )
        for number, fold in enumerate(folds(into, protocol)):
            sides = [_of(side, new) for side in (fold.train, fold.validation, fold.test)]
            if not sides[2]:  # contents that only the phones to train on first have
                continue
            split = Split(f"{fold.name}, {len(new)} new phones", *sides)
            pretraining = source.clips
            if target is None:
                known = tuple(device for device in source.devices if device not in new)
                pretraining = _of(fold.train, known)
            first = Split(f"{fold.name}, to train on first", pretraining, (), ())
            check_windows(source, [first], [WHOLE], folder)
            check_windows(into, [split], [WHOLE], folder)
            tasks += [
                TransferTask(
                    *(method, draw, number, source, pretraining, into, split, new),
                    *(folder, fitting, common),
                )
                for method in (WHOLE, TRANSFORMER_ONLY)
            ]
            alone = common | {"devices": new}
            label = f"-draw{draw + 1}"
            tasks.append(FoldTask(LDA, number, split, into, folder, fitting, alone, new, label))
            draw_of += [draw] * (len(tasks) - len(draw_of))
    results = run_tasks(tasks, folder / "transfer", processes=processes, track=track)
    return [
        {"draw": draw, "key": task.method.key, **result}
        for draw, task, result in zip(draw_of, tasks, results, strict=True)
    ]


def new_phones(
    source: Corpus, target: Corpus | None, n_pretrained: int | None, n_draws: int, seed: int
) -> list[tuple[str, ...]]:
    """The phones of each draw that no network has heard before, sorted.

    Args:
        source: corpus to train on first.
        target: another one: all its phones are new, in a single draw.
        n_pretrained: without a ``target``: phones of ``source`` to train on first; 62.5 % of them
            by default.
        n_draws: without a ``target``: draws of these.
        seed: of the draws.

    Raises:
        UsageError: fewer than two phones on either side.
        CorpusError: recordings of one corpus are in the other, too.
    """
    if target is not None:
        heard = set(source.audio_hashes.values())
        shared = sum(audio in heard for audio in target.audio_hashes.values())
        if shared:
            raise CorpusError(f"{shared} recordings of {target.name} are in {source.name}, too")
        return [target.devices]
    n_devices = len(source.devices)
    n_first = round(PRETRAINED_SHARE * n_devices) if n_pretrained is None else n_pretrained
    if not 2 <= n_first <= n_devices - 2:
        raise UsageError(
            f"{n_first} of {n_devices} phones to train on: at least two must be there and left over"
        )
    orders = [
        np.random.default_rng((seed, 9, draw)).permutation(n_devices) for draw in range(n_draws)
    ]
    return [tuple(sorted(source.devices[i] for i in order[n_first:])) for order in orders]


def _of(clips: Sequence[Clip], devices: Sequence[str]) -> tuple[Clip, ...]:
    return tuple(clip for clip in clips if clip.device in devices)
