"""The pixel loop that turns visible faces into depth and points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from raydepth.outputs.lanes import (
    FAR_AHEAD,
    FITS,
    LANES,
    STRETCH,
    all_miss,
    along,
    distances,
    fetch_ahead,
    points_along,
    put,
    put_channels,
    row_of,
    seen_by_eight,
    where,
)
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    bits,
    load,
    offset,
    pointer,
    root,
    select,
    splat,
    stack_float64,
    stack_int32,
    store,
)


class Depths(NamedTuple):
    """Arrays of one view, (height, width) float; (0, 0) for those not requested."""

    z: Any
    ray: Any


class Points(NamedTuple):
    """Arrays of one view, float; those not requested have no elements."""

    disparity: Any  # (height, width), 1 / z
    point: Any  # (height, width, 3), in the world
    point_camera: Any  # (height, width, 3), along the camera's axes from its centre


@jit
def resolve(
    vertices, faces, basis, projection, frame, scale, first_row, last_row, triangle_id, miss,
    depths, points,
):  # fmt: skip
    """Turn rows of `triangle_id` into depths and points.

    If `points` is None, the kernel is compiled for depth alone.

    All values are computed in float64, in world units, and rounded once to the outputs' dtype.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    faces : (n_faces, 3) int32
        Both are made by `aligned.empty`.
    basis : (6, 3) float64
    projection : (14,) float64
    frame : (15,) float64
        See view_frame.py.
    triangle_id : (height, width) int32
    miss : float
        The value of z and ray for a miss; disparity is 0 there, and points are NaN.
    depths : Depths
    points : Points or None
    """
    to_world = 1.0 / scale  # a power of two: exact
    z, ray = depths.z, depths.ray
    width = triangle_id.shape[1]
    large = vertices.nbytes + faces.nbytes > FITS
    vertex, corner = pointer(vertices), pointer(faces)
    view, inverse = pointer(basis), pointer(projection)
    ids, z_pixels, ray_pixels = pointer(triangle_id), pointer(z), pointer(ray)
    if points is not None:
        disparity, point, point_camera = points.disparity, points.point, points.point_camera
        position = pointer(frame)
        nan = splat(np.nan, LANES)
    scratch = stack_float64(LANES)
    last_ones = stack_int32(LANES)
    for lane in range(LANES):
        scratch[lane] = lane + 0.5
    lanes = load(scratch, 0, LANES)
    missed = splat(miss, LANES)
    last_to_look = last_row * width - (FAR_AHEAD + 1) * LANES
    for row in range(first_row, last_row):
        origins, directions = row_of(view, row + 0.5), row_of(offset(view, 9), row + 0.5)
        column = 0
        while column < width:
            at = row * width + column
            # Most pixels of most images are background.
            if points is None and column + STRETCH <= width and all_miss(offset(ids, at)):
                for part in range(at, at + STRETCH, LANES):
                    if z.shape[0] > 0:
                        store(z_pixels, part, missed)
                    if ray.shape[0] > 0:
                        store(ray_pixels, part, missed)
                column += STRETCH
                continue
            count = min(width - column, LANES)
            seen = seen_by_eight(triangle_id, at, count, last_ones)
            if large and at < last_to_look:
                fetch_ahead(corner, 3, vertex, 3, None, offset(ids, at))
            hit = load(seen, 0, LANES) >= 0
            hits = bits(hit)
            z_here = ray_here = splat(miss, LANES)
            if points is not None:
                near_here = splat(0.0, LANES)
                point_here = point_seen = (nan, nan, nan)
            if hits != 0:
                x = lanes + float(column)
                origin, direction = along(origins, x), along(directions, x)
                t = to_world * distances(
                    vertex, corner, view, inverse, row, column, seen, hits, origin, direction,
                    scratch,
                )  # fmt: skip
                dx, dy, dz = direction
                z_here = select(hit, t, z_here)
                if ray.shape[0] > 0:
                    length = root(dx * dx + dy * dy + dz * dz)
                    ray_here = select(hit, t * length, ray_here)
                if points is not None:
                    near_here = select(hit, 1.0 / t, near_here)
                    point_here, point_seen = points_along(position, to_world, t, origin, direction)
                    point_here = where(hit, point_here, (nan, nan, nan))
                    point_seen = where(hit, point_seen, (nan, nan, nan))
            if z.shape[0] > 0:
                put(z_pixels, at, z_here, count, scratch)
            if ray.shape[0] > 0:
                put(ray_pixels, at, ray_here, count, scratch)
            if points is not None:
                if disparity.shape[0] > 0:
                    put(pointer(disparity), at, near_here, count, scratch)
                if point.shape[0] > 0:
                    put_channels(pointer(point), at, point_here, count, scratch)
                if point_camera.shape[0] > 0:
                    put_channels(pointer(point_camera), at, point_seen, count, scratch)
            column += LANES
