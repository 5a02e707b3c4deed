"""Run many small tasks on threads.

The kernels release the GIL, so plain Python threads keep every core busy. Unlike Numba's own
threading layers, they need no library, work after a fork, and may be used from several threads at
once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numba

# More than the processors of any machine; threads are started only when they are needed.
MOST_THREADS = 1024


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for work, because starting them takes as long as a small image."""
    return ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="raydepth")


# Threads do not survive a fork, so the child starts its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def default_threads() -> int:
    """Return the number of processors this process may use, or NUMBA_NUM_THREADS if it is set."""
    return numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


def checked_threads(threads: int | None) -> int:
    """Check a number of threads and return it; None means one per processor."""
    if threads is None:
        return default_threads()
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected a whole number, 1 or more")
    return int(threads)


def for_each(task: Callable[[int], None], n_tasks: int, n_threads: int) -> None:
    """Call `task(0)` to `task(n_tasks - 1)`, each once, in any order."""
    n_threads = min(n_threads, n_tasks)
    if n_threads <= 1:
        for i in range(n_tasks):
            task(i)
        return
    todo = itertools.count()  # next() is atomic: each free thread takes the next task
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
            # A worker that has not begun has nothing left to do.
            if not other.cancel():
                other.result()
    finally:
        stop = True
        wait([other for other in others if not other.cancel()])
