"""Memory is used again, and never while anybody can see it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth.system import array_pool
from raydepth.system.array_pool import LEAST, ArrayPool


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


def pool(**options):
    return ArrayPool(lambda n_bytes: np.empty(n_bytes, np.uint8), **options)


def test_used_again_when_the_last_view_is_gone():
    arrays = pool()
    array = arrays.empty((100, 100), np.float32)
    array[...] = 7
    at, part = address(array), array[10:20].T[3:]
    del array
    other = arrays.empty((100, 100), np.float32)
    other[...] = 8
    assert address(other) != at
    assert (part == 7).all()
    del part
    again = arrays.empty((90, 110), np.int32)  # of about the same size
    assert address(again) == at
    assert (other == 8).all()


def test_images_are_used_again():
    array = array_pool.empty((100, 100), np.float32)
    at = address(array)
    del array
    assert address(array_pool.empty((100, 100), np.float32)) == at


def test_what_waits_is_bounded_and_new_sizes_make_room():
    arrays = pool(kept=10 * LEAST)
    many = [arrays.empty((LEAST,), np.uint8) for _ in range(20)]
    del many
    assert arrays.free_bytes == 10 * LEAST
    large = arrays.empty((6 * LEAST,), np.uint8)
    del large
    assert arrays.free_bytes == 10 * LEAST
    again = arrays.empty((6 * LEAST,), np.uint8)
    assert arrays.free_bytes == 4 * LEAST, "the large piece was kept"
    del again
    too_large = arrays.empty((11 * LEAST,), np.uint8)
    del too_large
    assert arrays.free_bytes == 10 * LEAST


def test_beyond_what_may_be_lent_arrays_are_ordinary():
    arrays = pool(lent=LEAST)
    first, second = (arrays.empty((10,), np.uint8) for _ in range(2))
    second[...] = first[...] = 1
    del first, second
    assert arrays.free_bytes == LEAST


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
