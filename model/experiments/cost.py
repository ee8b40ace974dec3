"""Table VI: what each method costs, in one run and as ratios to the paper's network (one thread).

A clip's 73 features a frame are the front end's work and are timed apart. All that a method makes
of them itself (supervectors, i-vectors, windows) is its own; BED takes samples and no features.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from model.baselines.baseline import Baseline, BaselineClip
from model.corpus import Clip, Corpus
from model.experiments.fold_task import labels_of, stored_clips
from model.experiments.methods import PAPER_NETWORK, Fitting, Method
from model.experiments.protocols import Protocol, folds
from model.experiments.tasks import Track, common_settings
from model.features import FrontEndConfig, extract

MAX_CLIPS = 40  #: that are timed
ROUNDS = 5  #: over all clips; a clip's time is the median

Seconds = npt.NDArray[np.float64]


def measure_costs(
    corpus: Corpus,
    protocol: Protocol,
    methods: Sequence[Method],
    folder: Path,
    fitting: Fitting,
    track: Track | None = None,
) -> dict[str, Any]:
    """Fit every method on the first fold, in a hurry, and time it on test clips of that fold.

    Args:
        corpus: with its features in ``folder``.
        protocol: of the fold.
        methods: the paper's network must be among them.
        folder: of the experiment.
        fitting: of all methods. Networks are hurried: what they have learnt is no matter here.
        track: shows progress over the methods, then over the rounds.

    Returns:
        JSON-ready: for each method ``n_parameters``, ``front_end_ms`` and ``scoring_ms`` (medians
        over clips), and ``excluded`` and ``included``: medians over clips of the ratio to the
        paper's network, without and with the front end.
    """
    split = folds(corpus, protocol)[0]
    timed = split.test[:: max(1, -(-len(split.test) // MAX_CLIPS))]
    labels = np.array(labels_of(split.train, corpus.devices), np.int64)
    hurried = replace(fitting, hurried=True, accelerator="cpu", store=folder / "background")
    fitted: dict[str, Baseline] = {}
    for number in track(range(len(methods))) if track else range(len(methods)):
        method = methods[number]
        made = method.make(hurried)
        made.fit(stored_clips(corpus, split.train, method.front_end, folder), labels)
        fitted[method.key] = made
    with threadpool_limits(1):  # of the libraries that are loaded: by now all are
        front_ends, scorings = _timed(corpus, timed, methods, fitted, folder, track)
    own = {
        method.key: np.zeros(len(timed)) if method.takes_samples else front_ends[method.front_end]
        for method in methods
    }
    reference = scorings[PAPER_NETWORK.key]
    reference_in_all = reference + own[PAPER_NETWORK.key]
    rows = [
        {
            "key": method.key,
            "title": method.title,
            "n_parameters": fitted[method.key].n_parameters,
            "front_end_ms": _milliseconds(own[method.key]),
            "scoring_ms": _milliseconds(scorings[method.key]),
            "excluded": float(np.median(scorings[method.key] / reference)),
            "included": float(
                np.median((scorings[method.key] + own[method.key]) / reference_in_all)
            ),
        }
        for method in methods
    ]
    return {
        "experiment": "table6",
        "corpus": corpus.name,
        "devices": len(corpus.devices),
        "clips_timed": [clip.path.name for clip in timed],
        "rounds": ROUNDS,
        "settings": common_settings(
            corpus=corpus.content_hash(), protocol=protocol, seed=fitting.seed
        ),
        "methods": rows,
    }


def _timed(
    corpus: Corpus,
    clips: Sequence[Clip],
    methods: Sequence[Method],
    fitted: Mapping[str, Baseline],
    folder: Path,
    track: Track | None,
) -> tuple[dict[FrontEndConfig, Seconds], dict[str, Seconds]]:
    """Seconds of each front end and of each method, ``(clips,)`` each, all in turn."""
    kinds = list(dict.fromkeys(method.front_end for method in methods))
    front_ends = {kind: np.zeros((ROUNDS, len(clips))) for kind in kinds}
    scorings = {method.key: np.zeros((ROUNDS, len(clips))) for method in methods}
    stores = {kind: stored_clips(corpus, clips, kind, folder) for kind in kinds}
    for turn in track(range(ROUNDS)) if track else range(ROUNDS):
        for index in range(len(clips)):
            samples = stores[kinds[0]][index].samples
            held: dict[FrontEndConfig, BaselineClip] = {}
            for kind in kinds:
                started = time.perf_counter()
                frames = extract(samples, kind)
                front_ends[kind][turn, index] = time.perf_counter() - started
                held[kind] = BaselineClip(frames, lambda s=samples: s, kind.sample_rate_hz)  # type: ignore[misc]
            for method in methods:
                clip = held[method.front_end]
                started = time.perf_counter()
                fitted[method.key].scores([clip])
                scorings[method.key][turn, index] = time.perf_counter() - started
    return (
        {kind: np.median(times, axis=0) for kind, times in front_ends.items()},
        {key: np.median(times, axis=0) for key, times in scorings.items()},
    )


def _milliseconds(seconds: Seconds) -> float:
    return round(1000 * float(np.median(seconds)), 3)


def cost_markdown(report: Mapping[str, Any]) -> str:
    """The table; the paper's network has ratio 1."""
    lines = [
        f"{report['corpus']}: {len(report['clips_timed'])} clips, {report['devices']} devices, "
        f"medians of {report['rounds']} rounds, one thread.",
        "",
        "| method | parameters | front end, ms | scoring, ms | ratio without front end | "
        "ratio with it |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['title']} | {row['n_parameters']:,} | {row['front_end_ms']:.1f} | "
        f"{row['scoring_ms']:.2f} | {row['excluded']:.3g} | {row['included']:.3g} |"
        for row in report["methods"]
    ]
    return "\n".join(lines) + "\n"
