"""Work of worker processes done in this one: for what is not about processes, and to be quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def results_here(
    work: Callable[[Any], Any],
    jobs: Sequence[Any],
    processes: int | None,
    at_once: int = 1,
    threads: int = 1,
) -> Iterator[Iterator[Any]]:
    """In the place of :func:`model.worker_processes.results_of`."""
    yield map(work, jobs)
