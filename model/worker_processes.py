"""Work in fresh processes, which end with the program and are missed if they are lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.pool import IMapIterator
from multiprocessing.process import BaseProcess
from typing import TypeVar

from model.errors import DevrecError

J = TypeVar("J")
R = TypeVar("R")

_LOOK_S = 0.5  #: between looks at whether all processes live, while a result is awaited


@contextmanager
def results_of(
    work: Callable[[J], R],
    jobs: Sequence[J],
    processes: int | None,
    at_once: int = 1,
    threads: int = 1,
) -> Iterator[Iterator[R]]:
    """The results of jobs, in their order, while the block lasts; its end ends the processes.

    Args:
        work: what is done with each job; like jobs and results, it goes through a pipe.
        jobs: what there is to do.
        processes: at work at a time; as many as there are cores without it.
        at_once: jobs that a process is given at a time: more of them where each takes little time.
        threads: of each process, for libraries that do linear algebra.

    Raises:
        DevrecError: a process was killed, as Linux does where memory runs out. Its job would be
            waited for in vain.
    """
    earlier = set(multiprocessing.active_children())
    # Ctrl-C reaches every process of a terminal. The program says so, in a line, and ends its
    # workers; they are started with the signal blocked, as are the pool's own threads. The tracker
    # would let the signal in again if the pool had to start it.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # Fresh processes: a fork of one that has run torch's threads may hang.
        context = multiprocessing.get_context("spawn")
        count = processes or os.cpu_count() or 1
        with context.Pool(count, initializer=_begin, initargs=(threads,)) as pool:
            workers = set(multiprocessing.active_children()) - earlier
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            parts = [jobs[start : start + at_once] for start in range(0, len(jobs), at_once)]
            found = _watched(pool.imap(partial(_each, work), parts), workers, earlier)
            yield (result for part in found for result in part)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _watched(
    found: IMapIterator[R], workers: set[BaseProcess], earlier: set[BaseProcess]
) -> Iterator[R]:
    while True:
        try:
            yield found.next(timeout=_LOOK_S)
        except StopIteration:
            return
        except multiprocessing.TimeoutError:
            # A pool's processes end when it does, and not before. It puts another in the place of
            # a lost one: a stranger tells of one that was lost before the first look.
            codes = [worker.exitcode for worker in workers if worker.exitcode is not None]
            strangers = set(multiprocessing.active_children()) - earlier - workers
            if codes or strangers:
                known = f" (exit code {codes[0]})" if codes else ""
                raise DevrecError(
                    f"a process was lost{known}; if memory ran out, fewer at a time may do"
                ) from None


def _each(work: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
    return [work(job) for job in jobs]


def _begin(threads: int) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    threading.Thread(target=_end_with_the_program, daemon=True).start()


def _end_with_the_program() -> None:
    """A program that is killed cannot end its workers: they would work on for nobody."""
    program = multiprocessing.parent_process()
    if program is not None:
        program.join()
        os._exit(1)
