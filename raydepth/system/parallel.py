"""Run many small tasks on threads.

The kernels release the GIL, so plain Python threads keep every core busy. Unlike Numba's own
threading layers they need no library, survive a fork, and may be used from several threads at once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numba

# More than there are processors to ask for; threads are started as they are needed.
MOST_THREADS = 1024


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for work: starting them anew takes as long as a small image."""
    return ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="raydepth")


# Threads do not survive a fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def default_threads() -> int:
    """The processors this process may use; the environment's NUMBA_NUM_THREADS overrides."""
    return numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


def checked_threads(threads: int | None) -> int:
    """The number of threads asked for; all there are if None."""
    if threads is None:
        return default_threads()
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected a whole number from 1")
    return int(threads)


def for_each(task: Callable[[int], None], n_tasks: int, n_threads: int) -> None:
    """Call `task(0)` to `task(n_tasks - 1)`, each once, in no stated order."""
    n_threads = min(n_threads, n_tasks)
    if n_threads <= 1:
        for i in range(n_tasks):
            task(i)
        return
    todo = itertools.count()  # next() is atomic: whoever is free takes the next task
    stop = False

    def work() -> None:
        nonlocal stop
        try:
            while not stop and (i := next(todo)) < n_tasks:
                task(i)
        except BaseException:
            stop = True
            raise

    others = [_pool().submit(work) for _ in range(n_threads - 1)]
    try:
        work()
        for other in others:
            # One that has not begun has nothing left to do.
            if not other.cancel():
                other.result()
    finally:
        stop = True
        wait([other for other in others if not other.cancel()])
