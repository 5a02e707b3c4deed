"""What one thread of each kernel does. The kernels (kernels.py) only say which thread it is.

A block of 128 threads renders 16x8 pixels of one view, a warp 8x4 of them: rays that stay together
walk the same nodes. Blocks of an image are counted row by row.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from raydepth.cuda.exact import address_in, edge_functions, pixel_ray, resolve_pixel
from raydepth.cuda.intrinsics import (
    add,
    div,
    load_float64,
    load_int64,
    reload_int32,
    store_float64,
    store_int32,
)
from raydepth.cuda.jobs import (
    BARYCENTRIC,
    DIRECTIONS,
    DISTANCE,
    FACES,
    NODES,
    ORIGINS,
    SIZE,
    TRIANGLE_ID,
    TRIANGLES,
    VERTICES,
    WORDS,
)
from raydepth.cuda.trace import nearest_face, walk_exactly

BLOCK_WIDTH, BLOCK_HEIGHT = 16, 8
THREADS = BLOCK_WIDTH * BLOCK_HEIGHT


def blocks_of(size: tuple[int, int]) -> int:
    """How many blocks render an image of (width, height)."""
    return -(-size[0] // BLOCK_WIDTH) * -(-size[1] // BLOCK_HEIGHT)


@register_jitable
def pixel_of(jobs, job, block, thread):
    """Column, row and number of a thread's pixel; the number is -1 beyond the image."""
    size = load_int64(jobs, WORDS * job + SIZE)
    width, height = np.int32(size & 0xFFFFFFFF), np.int32(size >> 32)
    per_row = np.int32((width + BLOCK_WIDTH - 1) // BLOCK_WIDTH)
    block_row = np.int32(block // per_row)
    warp, lane = np.int32(thread >> 5), np.int32(thread & 31)
    column = np.int32(BLOCK_WIDTH * (block - block_row * per_row) + 8 * (warp & 1) + (lane & 7))
    row = np.int32(BLOCK_HEIGHT * block_row + 4 * (warp >> 1) + (lane >> 3))
    if column >= width or row >= height:
        return column, row, np.int64(-1)
    return column, row, np.int64(row) * np.int64(width) + np.int64(column)


@register_jitable
def find_visible(jobs, job, block, thread):
    column, row, pixel = pixel_of(jobs, job, block, thread)
    if pixel >= 0:
        face = nearest_face(jobs, job, column, row)
        store_int32(address_in(jobs, job, TRIANGLE_ID), pixel, face)


@register_jitable
def find_visible_exactly(jobs, job, block, thread):
    column, row, pixel = pixel_of(jobs, job, block, thread)
    if pixel >= 0:
        ox, oy, oz, dx, dy, dz = pixel_ray(jobs, job, column, row)
        face, _ = walk_exactly(
            address_in(jobs, job, NODES), address_in(jobs, job, TRIANGLES),
            address_in(jobs, job, VERTICES), address_in(jobs, job, FACES),
            ox, oy, oz, dx, dy, dz,
        )  # fmt: skip
        store_int32(address_in(jobs, job, TRIANGLE_ID), pixel, face)


@register_jitable
def resolve(jobs, job, block, thread, dtype):
    column, row, pixel = pixel_of(jobs, job, block, thread)
    if pixel >= 0:
        face = reload_int32(address_in(jobs, job, TRIANGLE_ID), pixel)
        resolve_pixel(jobs, job, face, column, row, pixel, dtype)


@register_jitable
def cast_ray(jobs, block, thread):
    ray = np.int64(block) * THREADS + np.int64(thread)
    if ray >= load_int64(jobs, SIZE):
        return
    origins, directions = address_in(jobs, 0, ORIGINS), address_in(jobs, 0, DIRECTIONS)
    ox = load_float64(origins, 3 * ray)
    oy = load_float64(origins, 3 * ray + 1)
    oz = load_float64(origins, 3 * ray + 2)
    dx = load_float64(directions, 3 * ray)
    dy = load_float64(directions, 3 * ray + 1)
    dz = load_float64(directions, 3 * ray + 2)
    vertices, faces = address_in(jobs, 0, VERTICES), address_in(jobs, 0, FACES)
    face, t = walk_exactly(
        address_in(jobs, 0, NODES), address_in(jobs, 0, TRIANGLES), vertices, faces,
        ox, oy, oz, dx, dy, dz,
    )  # fmt: skip
    store_int32(address_in(jobs, 0, TRIANGLE_ID), ray, face)
    store_float64(address_in(jobs, 0, DISTANCE), ray, t)
    first = second = third = np.nan
    if face >= 0:
        u, v, w, _, _ = edge_functions(vertices, faces, np.int64(face), ox, oy, oz, dx, dy, dz)
        area = add(add(u, v), w)
        first, second, third = div(u, area), div(v, area), div(w, area)
    barycentric = address_in(jobs, 0, BARYCENTRIC)
    store_float64(barycentric, 3 * ray, first)
    store_float64(barycentric, 3 * ray + 1, second)
    store_float64(barycentric, 3 * ray + 2, third)
