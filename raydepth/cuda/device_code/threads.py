"""The work of one thread of each kernel. The kernels (kernels.py) only pass the thread's number.

A block of 128 threads renders 16x8 pixels of one view. A warp renders 8x4 of them, a beam, because
rays that stay together walk the same nodes. Blocks of an image are numbered row by row, beams block
by block.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from raydepth.cuda.device_code import beams
from raydepth.cuda.device_code.exact import (
    address_in,
    edge_functions,
    hit_distance,
    number_in,
    pixel_ray,
    resolve_pixel,
)
from raydepth.cuda.device_code.intrinsics import (
    add,
    div,
    load_float64,
    load_int64,
    reload_int32,
    store_float64,
    store_int32,
)
from raydepth.cuda.device_code.jobs import (
    BARYCENTRIC,
    BEAMS,
    DIRECTIONS,
    DISTANCE,
    FACES,
    FAR,
    NEAR,
    NODES,
    ORIGINS,
    SIZE,
    TRIANGLE_ID,
    TRIANGLES,
    VERTICES,
    WORDS,
)
from raydepth.cuda.device_code.trace import NO_FACE, nearest_face, walk_exactly
from raydepth.kernels import LEAST

BLOCK_WIDTH, BLOCK_HEIGHT = 16, 8
THREADS = BLOCK_WIDTH * BLOCK_HEIGHT
BEAMS_OF_BLOCK = THREADS // 32
BEAMS_OF_WARP = 8  # in `find_visible_exactly`


@register_jitable
def blocks_of(size):
    """Return the number of blocks that render an image of (width, height)."""
    across = (size[0] + (BLOCK_WIDTH - 1)) // BLOCK_WIDTH
    return across * ((size[1] + (BLOCK_HEIGHT - 1)) // BLOCK_HEIGHT)


def beam_bytes(size: tuple[int, int]) -> int:
    """Bytes of the beams of one view."""
    return BEAMS_OF_BLOCK * blocks_of(size) * beams.BYTES


def launches(size: tuple[int, int]) -> dict[str, int]:
    """Return the number of blocks per view for each kernel, in the order of launches."""
    n_blocks = blocks_of(size)
    n_beams = BEAMS_OF_BLOCK * n_blocks
    return {
        "set_up_beams": -(-n_beams // THREADS),
        "find_visible": n_blocks,
        "find_visible_exactly": -(-n_blocks // BEAMS_OF_WARP),
        "resolve": n_blocks,
    }


@register_jitable
def _size_of(jobs, job):
    size = load_int64(jobs, WORDS * job + SIZE)
    return np.int32(size & 0xFFFFFFFF), np.int32(size >> 32)


@register_jitable
def corner_of(width, block, warp):
    """Return column and row of a beam's upper left pixel."""
    # Unsigned, so that the division is one of 32 bits.
    per_row = np.uint32(width + (BLOCK_WIDTH - 1)) >> np.uint32(4)
    block_row = np.uint32(np.uint32(block) // per_row)
    block_column = np.uint32(np.uint32(block) - np.uint32(block_row * per_row))
    return (
        np.int32(BLOCK_WIDTH * np.int32(block_column) + beams.WIDTH * (warp & 1)),
        np.int32(BLOCK_HEIGHT * np.int32(block_row) + beams.HEIGHT * (warp >> 1)),
    )


@register_jitable
def pixel_of(jobs, job, block, thread):
    """Return column, row and number of a thread's pixel; the number is -1 outside the image."""
    width, height = _size_of(jobs, job)
    column, row = corner_of(width, block, np.int32(thread >> 5))
    column, row = np.int32(column + (thread & 7)), np.int32(row + ((thread & 31) >> 3))
    if column >= width or row >= height:
        return column, row, np.int64(-1)
    return column, row, np.int64(row) * np.int64(width) + np.int64(column)


@register_jitable
def beam_of(block, thread):
    return np.int64(BEAMS_OF_BLOCK) * np.int64(block) + np.int64(thread >> 5)


@register_jitable
def set_up_beam(jobs, job, block, thread):
    """Set up one beam per thread."""
    beam = np.int64(block) * THREADS + np.int64(thread)
    width, height = _size_of(jobs, job)
    of_beam = np.int32(beam // BEAMS_OF_BLOCK)
    column, row = corner_of(width, of_beam, np.int32(beam % BEAMS_OF_BLOCK))
    # The last threads have no beam: their block would begin below the image.
    if row - (row & (BLOCK_HEIGHT - 1)) < height:
        nodes, records = address_in(jobs, job, NODES), address_in(jobs, job, BEAMS)
        beams.set_up(jobs, job, nodes, records, beam, column, row)


@register_jitable
def find_visible(jobs, job, block, thread):
    """Find a pixel's face, except in beams that `find_visible_exactly` has to trace."""
    column, row, pixel = pixel_of(jobs, job, block, thread)
    if pixel < 0:
        return
    beam = beam_of(block, thread)
    kind = beams.kind_of(address_in(jobs, job, BEAMS), beam)
    if kind == beams.FLOAT64:
        return
    face = NO_FACE
    if kind == beams.FLOAT32:
        face = nearest_face(jobs, job, beam, np.int32(thread & 31), column, row)
    store_int32(address_in(jobs, job, TRIANGLE_ID), pixel, face)


@register_jitable
def find_visible_exactly(jobs, job, block, thread):
    """Trace the beams that `find_visible` leaves, and apply the limits of views that have them.

    A warp handles several beams: mostly there is nothing to do, and it would take time to launch a
    block for every four beams only to find that out.
    """
    n_beams = np.int64(BEAMS_OF_BLOCK) * blocks_of(_size_of(jobs, job))
    records = address_in(jobs, job, BEAMS)
    near, far = number_in(jobs, job, NEAR), number_in(jobs, job, FAR)
    is_limited = near > 0.0 or far < np.inf
    first = BEAMS_OF_WARP * beam_of(block, thread)
    for beam in range(first, min(first + BEAMS_OF_WARP, n_beams)):
        kind = beams.kind_of(records, np.int64(beam))
        if kind == beams.FLOAT64 or (kind == beams.FLOAT32 and is_limited):
            in_block = np.int32((beam & (BEAMS_OF_BLOCK - 1)) << 5 | (thread & 31))
            _find_exactly(jobs, job, np.int32(beam // BEAMS_OF_BLOCK), in_block, kind, near, far)


@register_jitable
def _find_exactly(jobs, job, block, thread, kind, near, far):
    column, row, pixel = pixel_of(jobs, job, block, thread)
    if pixel < 0:
        return
    triangle_id = address_in(jobs, job, TRIANGLE_ID)
    vertices, faces = address_in(jobs, job, VERTICES), address_in(jobs, job, FACES)
    ox, oy, oz, dx, dy, dz = pixel_ray(jobs, job, column, row)
    face, t = NO_FACE, np.inf
    # Float32 has found the face already, and only the limits are left to apply.
    if kind == beams.FLOAT32:
        face = reload_int32(triangle_id, pixel)
        if face < 0:
            return
        t = hit_distance(vertices, faces, np.int64(face), ox, oy, oz, dx, dy, dz)
    if kind == beams.FLOAT64 or t < near:
        face, t = walk_exactly(
            address_in(jobs, job, NODES), address_in(jobs, job, TRIANGLES), vertices, faces,
            ox, oy, oz, dx, dy, dz, max(near, LEAST),
        )  # fmt: skip
    store_int32(triangle_id, pixel, face if t <= far else NO_FACE)


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
        ox, oy, oz, dx, dy, dz, number_in(jobs, 0, NEAR),
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
