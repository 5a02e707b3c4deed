"""Memory is used again, and never while anybody can see it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth.system import array_pool


@pytest.fixture(autouse=True)
def nothing_waits():
    array_pool._waiting.clear()


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (0, 4)])
def test_like_empty(shape, dtype):
    array = array_pool.empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    array[...] = 1
    assert array.flags.c_contiguous
    assert array.sum() == array.size


def test_used_again_when_the_last_view_is_gone():
    array = array_pool.empty((100, 100), np.float32)
    array[...] = 7
    at, part = address(array), array[10:20].T[3:]
    del array
    other = array_pool.empty((100, 100), np.float32)
    other[...] = 8
    assert address(other) != at
    assert (part == 7).all()
    del part
    again = array_pool.empty((100, 100), np.int32)
    assert address(again) == at
    assert (other == 8).all()


def test_what_is_held_is_bounded():
    arrays = [array_pool.empty((1000, i), np.uint8) for i in range(1, 20)]
    arrays.append(array_pool.empty((array_pool.LARGEST + 1,), np.uint8))
    del arrays
    assert len(array_pool._waiting) == array_pool.WAITING
    assert all(memory.nbytes <= array_pool.LARGEST for memory in array_pool._waiting)


def test_from_many_threads():
    wrong = []

    def work(number):
        for _ in range(300):
            array = array_pool.empty((64, 64), np.int32)
            array[...] = number
            if not (array == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_rendering_keeps_its_depth_while_others_are_made():
    mesh = rd.Mesh(*shapes.icosphere(levels=2))
    cameras = rd.cameras.fibonacci(2, size=64)
    kept = rd.render(mesh, cameras)
    row = kept.depth[1, 30]
    copy = row.copy()
    del kept
    for fov in (10, 20, 60):
        rd.render(mesh, rd.cameras.fibonacci(2, size=64, fov_deg=fov))
    assert (row == copy).all()
