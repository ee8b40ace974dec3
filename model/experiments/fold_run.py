"""Methods on the folds of a corpus, in parallel processes, and resumable."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.corpus import Corpus
from model.experiments.clip_store import ClipStore
from model.experiments.methods import METHODS, Method
from model.experiments.protocols import Protocol, folds
from model.feature_copies import FeatureCopies, Original, make_feature_copies, opened_copies
from model.features import FrontEndConfig
from model.files import replacing
from model.split import Split

FORMAT = 1

Track = Callable[[Sequence[int]], Iterable[int]]  #: wraps an iteration, for progress


@dataclass(frozen=True, eq=False)
class _Job:
    """One method on one fold; goes to a process."""

    key: str
    number: int
    split: Split
    corpus: Corpus
    cache: Path
    seed: int
    settings: dict[str, Any]
    processes: int
    target: Path


def paper_features(corpus: Corpus, cache: Path, track: Track | None = None) -> FeatureCopies:
    """Features of all clips with the paper's front end, on disk; made once."""
    return make_feature_copies(corpus, FrontEndConfig(), [Original()], cache, track=track)


def run_folds(
    corpus: Corpus,
    protocol: Protocol,
    methods: Sequence[Method],
    folder: Path,
    *,
    seed: int,
    processes: int | None = None,
    track: Track | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Fit and test every method on every fold; what ``folder`` holds already is not repeated.

    Validation clips of the ``paper`` protocol are neither learnt from nor tested.

    Args:
        corpus: with its features in ``folder``'s cache, see :func:`paper_features`.
        protocol: of the folds.
        methods: to run.
        folder: for finished folds, a file each, written whole or not at all.
        seed: of all methods.
        processes: to work with; as many as there are cores by default.
        track: shows progress over (method, fold).

    Returns:
        for each method's key its folds: ``settings``, ``fold``, ``clips`` (names), ``truth`` and
        ``decided`` (indices into the corpus's devices), ``n_parameters``, ``fit_s``,
        ``ms_per_clip``, and how many ``processes`` ran while these were measured.

    Raises:
        CorpusError: too few clips or contents for the protocol.
    """
    settings = {
        "format": FORMAT,
        "corpus": corpus.content_hash(),
        "protocol": protocol,
        "seed": seed,
        "python": platform.python_version(),
        "versions": versions(),
    }
    splits = folds(corpus, protocol)
    jobs = [
        _Job(
            *(method.key, number, split, corpus, folder / "features", seed, settings),
            processes or os.cpu_count() or 1,
            folder / "folds" / f"{method.key}-{number + 1}.json",
        )
        for method in methods
        for number, split in enumerate(splits)
    ]
    (folder / "folds").mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, dict[str, Any]]] = {method.key: {} for method in methods}
    open_jobs = []
    for job in jobs:
        held = _held(job)
        if held is None:
            open_jobs.append(job)
        else:
            found[job.key][job.number] = held
    processes = processes or os.cpu_count() or 1
    order = track(range(len(open_jobs))) if track else range(len(open_jobs))
    # Fresh processes, of one thread each: a fork of one that has run torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=_one_thread) as pool:
        for _, (key, number, fold) in zip(order, pool.imap(_run, open_jobs), strict=True):
            found[key][number] = fold
    return {key: [by_number[n] for n in sorted(by_number)] for key, by_number in found.items()}


def versions() -> dict[str, str]:
    """Of the libraries that decide the figures."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("numpy", "scipy", "scikit-learn", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _held(job: _Job) -> dict[str, Any] | None:
    """A finished fold of the same settings."""
    try:
        found: dict[str, Any] = json.loads(job.target.read_text())
        return found if found["settings"] == job.settings else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: run again
        return None


def _one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _run(job: _Job) -> tuple[str, int, dict[str, Any]]:
    """Fit and test, in a worker; the result is on disk before it is returned."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return job.key, job.number, _fold(job)


def _fold(job: _Job) -> dict[str, Any]:
    method = next(method for method in METHODS if method.key == job.key).make(job.seed)
    front_end = FrontEndConfig()
    # The corpus was checked once; a worker must not read all of its audio again.
    features = opened_copies(job.cache, job.corpus.clips)
    train, test = (
        ClipStore(clips, features, front_end.sample_rate_hz)
        for clips in (job.split.train, job.split.test)
    )
    devices = job.corpus.devices
    labels = np.array([devices.index(clip.device) for clip in job.split.train], np.int64)
    started = time.perf_counter()
    method.fit(train, labels)
    fitted = time.perf_counter()
    scores = method.scores(test)
    done = time.perf_counter()
    fold = {
        "settings": job.settings,
        "fold": job.split.name,
        "clips": [clip.path.name for clip in job.split.test],
        "truth": [devices.index(clip.device) for clip in job.split.test],
        "decided": scores.argmax(axis=1).tolist(),
        "n_parameters": method.n_parameters,
        "fit_s": round(fitted - started, 3),
        "ms_per_clip": round(1000 * (done - fitted) / len(test), 3),
        "processes": job.processes,
    }
    with replacing(job.target) as temporary:
        temporary.write_text(json.dumps(fold))
    return fold
