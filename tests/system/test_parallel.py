"""Tasks on threads: each once, errors come out, and nothing goes on after them."""

from __future__ import annotations

import os
import threading
import time

import pytest

from raydepth.system.parallel import default_threads, for_each


@pytest.mark.parametrize("n_threads", [1, 2, 7, 50])
@pytest.mark.parametrize("n_tasks", [0, 1, 2, 33])
def test_each_task_once(n_tasks, n_threads):
    done = []
    for_each(done.append, n_tasks, n_threads)
    assert sorted(done) == list(range(n_tasks))


def test_threads_work_at_the_same_time():
    """Three tasks that wait for each other end only if three threads run them."""
    together = threading.Barrier(3, timeout=20)
    for_each(lambda i: together.wait(), 3, 3)


def test_the_caller_is_one_of_the_threads():
    names = set()

    def task(i):
        names.add(threading.current_thread().name)
        time.sleep(0.001)

    for_each(task, 40, 2)
    assert threading.current_thread().name in names
    assert len(names) <= 2


@pytest.mark.parametrize("n_threads", [1, 4])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_ends_the_work_and_comes_out(n_threads, error):
    done = []

    def task(i):
        if i == 5:
            raise error
        done.append(i)
        time.sleep(0.001)

    with pytest.raises(error):
        for_each(task, 10_000, n_threads)
    assert len(done) < 100
    n_done = len(done)
    time.sleep(0.02)
    assert len(done) == n_done


def test_tasks_of_tasks():
    """Whoever waits for others does not keep them from starting."""
    done = []
    for_each(lambda i: for_each(lambda j: done.append((i, j)), 20, 4), 20, 4)
    assert sorted(done) == [(i, j) for i in range(20) for j in range(20)]


def test_threads_are_kept():
    for_each(lambda i: time.sleep(0.001), 8, 3)
    before = set(threading.enumerate())
    for _ in range(5):
        for_each(lambda i: time.sleep(0.001), 8, 3)
    assert set(threading.enumerate()) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_after_a_fork():
    for_each(lambda i: None, 8, 3)
    child = os.fork()
    if child == 0:
        done = []
        for_each(done.append, 8, 3)
        os._exit(0 if sorted(done) == list(range(8)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_interrupt_of_the_caller_ends_the_others():
    """Ctrl-C arrives in the main thread, whichever task it has at hand."""
    caller = threading.current_thread()
    done = []

    def task(i):
        done.append(i)
        time.sleep(0.001)
        if threading.current_thread() is caller:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for_each(task, 10_000, 4)
    assert len(done) < 100


def test_from_several_threads_at_once():
    results = [[] for _ in range(4)]
    callers = [
        threading.Thread(target=for_each, args=(result.append, 500, 3)) for result in results
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert all(sorted(result) == list(range(500)) for result in results)


def test_default_threads():
    assert default_threads() >= 1
