"""Parts of an experiment, in parallel processes, and resumable."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from model.files import make_folder, replacing
from model.worker_processes import results_of

FORMAT = 3

Track = Callable[[Sequence[int]], Iterable[int]]  #: wraps an iteration, for progress


class Task(Protocol):
    """A part that can be run on its own; goes to a process."""

    @property
    def name(self) -> str:
        """Unique in the experiment; names its file."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its result, JSON-ready."""
        ...

    def run(self, checkpoints: Path) -> dict[str, Any]:
        """The result, JSON-ready; may take hours.

        Args:
            checkpoints: folder for what a training goes on from when it was cut off; it may hold
                some of the same settings, and is removed when the result is written.
        """
        ...


def common_settings(**further: Any) -> dict[str, Any]:
    """What decides the results of any task, with what else does."""
    return {
        "format": FORMAT,
        "python": platform.python_version(),
        "versions": versions(),
        **further,
    }


def versions() -> dict[str, str]:
    """Of the libraries that decide the figures."""
    found = {}
    for name in (
        *("devrec-agent", "numpy", "scipy", "scikit-learn", "torch", "lightning"),
        *("soundfile", "soxr"),
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run_tasks(
    tasks: Sequence[Task], folder: Path, *, processes: int | None, track: Track | None = None
) -> list[dict[str, Any]]:
    """Run all tasks; what ``folder`` holds of them already is not repeated.

    Args:
        tasks: in the order in which they are begun.
        folder: for results, a file each, written whole or not at all; created.
        processes: to work with; as many as there are cores without it. They share the cores: where
            there are fewer tasks than cores, each gets more threads.
        track: shows progress over the tasks that are not done yet.

    Returns:
        the results, in the order of the tasks, each with its ``settings`` and how many
        ``processes`` ran beside it.

    Raises:
        DevrecError: a process was killed, or what a task raises. What is finished stays.
    """
    make_folder(folder)
    cores = os.cpu_count() or 1
    count = processes or cores
    results = [_held(folder, task) for task in tasks]
    missing = [index for index, result in enumerate(results) if result is None]
    if missing:
        count = min(count, len(missing))
        threads = max(1, cores // count)
        jobs = [(tasks[index], folder, count, threads) for index in missing]
        order = track(missing) if track else missing
        with results_of(_run, jobs, count, threads=threads) as found:
            for index, result in zip(order, found, strict=True):
                results[index] = result
    return [result for result in results if result is not None]


def _file(folder: Path, task: Task) -> Path:
    return folder / f"{task.name}.json"


def _held(folder: Path, task: Task) -> dict[str, Any] | None:
    """A finished result of the same settings."""
    try:
        found: dict[str, Any] = json.loads(_file(folder, task).read_text())
        return found if found["settings"] == _plain(task.settings) else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: run again
        return None


def _plain(settings: dict[str, Any]) -> Any:
    """Settings as a file gives them back: lists for tuples."""
    return json.loads(json.dumps(settings))


def _run(job: tuple[Task, Path, int, int]) -> dict[str, Any]:
    """Run one task, in a worker; the result is on disk before it is returned."""
    from threadpoolctl import threadpool_limits

    task, folder, processes, threads = job
    settings = _plain(task.settings)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    unfinished = folder / f"{task.name}.unfinished"
    with threadpool_limits(threads):
        result = {"settings": settings, **task.run(unfinished / digest), "processes": processes}
    with replacing(_file(folder, task)) as temporary:
        temporary.write_text(json.dumps(result))
    shutil.rmtree(unfinished, ignore_errors=True)
    return result
