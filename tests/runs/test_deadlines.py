"""Deadlines: kept to the moment by one thread, and forgotten when a block is over."""

from __future__ import annotations

import threading
import time

import pytest

from raydepth.runs.deadlines import Watch


def test_what_takes_too_long_is_given_up_once():
    called = []
    with Watch().within(0.05, lambda: called.append(time.monotonic())):
        start = time.monotonic()
        while not called and time.monotonic() < start + 20:
            time.sleep(0.01)
        time.sleep(0.1)
    assert len(called) == 1
    assert called[0] >= start + 0.04


def test_what_is_over_in_time_is_left_alone():
    called = []
    watch = Watch()
    for _ in range(100):
        with watch.within(0.05, lambda: called.append(1)):
            pass
    time.sleep(0.2)
    assert called == []


def test_a_nearer_deadline_wakes_the_thread():
    watch, called = Watch(), threading.Event()
    with watch.within(threading.TIMEOUT_MAX, called.clear), watch.within(0.05, called.set):
        assert called.wait(20)


def test_one_thread_for_all():
    watch, before = Watch(), threading.active_count()
    with watch.within(60, print), watch.within(50, print), watch.within(70, print):
        assert threading.active_count() == before + 1


def test_errors_pass_through():
    watch = Watch()
    with pytest.raises(KeyError), watch.within(60, print):
        raise KeyError
    assert not watch._due
