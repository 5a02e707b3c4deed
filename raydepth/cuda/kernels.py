"""The kernels: which thread does which pixel or ray. What it does there is trace.py and exact.py.

A block of 128 threads renders 16x8 pixels of one view, a warp 8x4 of them: rays that stay together
walk the same nodes. `blockIdx.x` counts the blocks of an image, `blockIdx.y` the rows of the job
table. Arguments are addresses and numbers only, arrays cost too much time at a launch.

Importing this module imports Numba's CUDA target; `device.py` does that when a device is asked for.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from raydepth.cuda.exact import (
    address_in,
    edge_functions,
    pixel_ray,
    resolve_pixel,
)
from raydepth.cuda.intrinsics import add, div, load_float64, load_int32, load_int64, store_float64, store_int32
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

THREADS = 128
BLOCK_WIDTH, BLOCK_HEIGHT = 16, 8


def blocks_of(width: int, height: int) -> int:
    """How many blocks render an image."""
    return -(-width // BLOCK_WIDTH) * -(-height // BLOCK_HEIGHT)


@cuda.jit(device=True)
def _pixel(jobs, job):
    """Column, row and number of this thread's pixel; the number is -1 beyond the image."""
    size = load_int64(jobs, WORDS * job + SIZE)
    width, height = np.int32(size & 0xFFFFFFFF), np.int32(size >> 32)
    per_row = np.int32((width + BLOCK_WIDTH - 1) // BLOCK_WIDTH)
    block, thread = np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x)
    block_row = np.int32(block // per_row)
    warp, lane = np.int32(thread >> 5), np.int32(thread & 31)
    column = np.int32(BLOCK_WIDTH * (block - block_row * per_row) + 8 * (warp & 1) + (lane & 7))
    row = np.int32(BLOCK_HEIGHT * block_row + 4 * (warp >> 1) + (lane >> 3))
    if column >= width or row >= height:
        return column, row, np.int64(-1)
    return column, row, np.int64(row) * np.int64(width) + np.int64(column)


def find_visible(jobs):
    """Fill the triangle_id of each job. Origins must lie within trace.FARTHEST_ORIGIN.

    Parameters
    ----------
    jobs : uint64, address of the job table
    """
    job = np.int64(cuda.blockIdx.y)
    column, row, pixel = _pixel(jobs, job)
    if pixel < 0:
        return
    face = nearest_face(jobs, job, column, row)
    store_int32(address_in(jobs, job, TRIANGLE_ID), pixel, face)


def find_visible_exactly(jobs):
    """`find_visible` for any origins, in float64 throughout; slower."""
    job = np.int64(cuda.blockIdx.y)
    column, row, pixel = _pixel(jobs, job)
    if pixel < 0:
        return
    ox, oy, oz, dx, dy, dz = pixel_ray(jobs, job, column, row)
    face, _ = walk_exactly(
        address_in(jobs, job, NODES), address_in(jobs, job, TRIANGLES),
        address_in(jobs, job, VERTICES), address_in(jobs, job, FACES),
        ox, oy, oz, dx, dy, dz,
    )  # fmt: skip
    store_int32(address_in(jobs, job, TRIANGLE_ID), pixel, face)


def resolve(jobs, dtype):
    """Turn each job's triangle_id into the depths that are asked for.

    Parameters
    ----------
    jobs : uint64, address of the job table
    dtype : int32, exact.FLOAT32, FLOAT64 or UINT16
    """
    job = np.int64(cuda.blockIdx.y)
    column, row, pixel = _pixel(jobs, job)
    if pixel < 0:
        return
    face = load_int32(address_in(jobs, job, TRIANGLE_ID), pixel)
    resolve_pixel(jobs, job, face, column, row, pixel, dtype)


def cast_rays(jobs):
    """Single rays of any origin and direction: `rays.cast` on the device, row 0 of the table."""
    ray = np.int64(cuda.blockIdx.x) * THREADS + np.int64(cuda.threadIdx.x)
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


# What is compiled, with the types of the arguments.
SIGNATURES = {
    find_visible: "void(uint64)",
    find_visible_exactly: "void(uint64)",
    resolve: "void(uint64, int32)",
    cast_rays: "void(uint64)",
}
