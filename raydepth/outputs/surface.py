"""The outputs besides depth: normals, barycentric weights, texture coordinates, side.

Like `depth.resolve`, the kernel here starts from the face of each pixel and works in float64 on
eight pixels of a row at a time. Each value is rounded once to the output's dtype. Outputs have
corners in the order of the mesh's own faces; before that, they are in the order of the hierarchy's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from raydepth.kernels import edge_functions, pixel_ray, shear
from raydepth.outputs.lanes import (
    FAR_AHEAD,
    FITS,
    LANES,
    STRETCH,
    all_miss,
    along,
    fetch_ahead,
    meet,
    put,
    put_channels,
    row_of,
    seen_by_eight,
    settled,
    turned,
    where,
)
from raydepth.simd.interleaved import load_columns, stream_channels
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    bits,
    fma,
    load,
    lowest_bit,
    offset,
    pointer,
    root,
    select,
    splat,
    stack_float64,
    stack_int32,
    store_signs,
    vmax,
)

ALL = (1 << LANES) - 1
SCRATCH = 3 * LANES
# Marks an order of a face's corners that exchanges two of them: see `_orders` in vertex_tables.py.
SWAPPED = 4


class Described(NamedTuple):
    """The arrays of one view that `describe` fills; those not requested have no elements."""

    normal: Any  # (height, width, 3) float, like all but uv and facing
    normal_camera: Any
    smooth_normal: Any
    smooth_normal_camera: Any
    barycentric: Any
    uv: Any  # (height, width, 2) float
    facing: Any  # (height, width) int8


class FaceTables(NamedTuple):
    """The tables of vertex_tables.py that `describe` reads; they are made by `aligned.empty`."""

    vertices: Any
    corners: Any  # or `uv` viewed as int32, whose rows begin with those of `corners`
    vertex_normals: Any
    uv: Any


class _Slots(NamedTuple):
    """One entry for each array of `Depths` and `Described`."""

    z: Any
    ray: Any
    normal: Any
    normal_camera: Any
    smooth_normal: Any
    smooth_normal_camera: Any
    barycentric: Any
    uv: Any
    facing: Any


@jit(forceinline=True)
def _sum(a, b, c, weights, axis):
    """Return the weighted sum of one coordinate of three corners' rows."""
    return fma(weights[2], c[axis], fma(weights[1], b[axis], weights[0] * a[axis]))


@jit(forceinline=True)
def _in_order(order, a, b, c):
    """Return values of the hierarchy's three corners in the order of the mesh's corners."""
    swapped = order >= SWAPPED
    b, c = select(swapped, c, b), select(swapped, b, c)
    once, twice = (order == 1) | (order == SWAPPED + 1), (order == 2) | (order == SWAPPED + 2)
    return (
        select(twice, c, select(once, b, a)),
        select(twice, a, select(once, c, b)),
        select(twice, b, select(once, a, c)),
    )


@jit(forceinline=True)
def _edge_functions(corners, origin, direction):
    """Return `kernels.edge_functions` of eight pixels, times a factor for each: three vectors.

    All rays must run mostly along the same axis, which is the last one in `corners`, `origin` and
    `direction`.
    """
    a, b, c = corners
    ax, ay = _across(a, origin, direction)
    bx, by = _across(b, origin, direction)
    cx, cy = _across(c, origin, direction)
    return (
        fma(cx, by, 0.0 - cy * bx),
        fma(ax, cy, 0.0 - ay * cx),
        fma(bx, ay, 0.0 - by * ax),
    )


@jit(forceinline=True)
def _across(corner, origin, direction):
    """Return the distances of corners from rays along two axes, times the rays' third component.

    The factor spares a division.
    """
    dx, dy, dz = direction
    x, y, z = corner[0] - origin[0], corner[1] - origin[1], corner[2] - origin[2]
    return fma(x, dz, 0.0 - dx * z), fma(y, dz, 0.0 - dy * z)


@jit(forceinline=True)
def _rolled(vector):
    """Return the vector with its first axis moved to the end."""
    x, y, z = vector
    return y, z, x


@jit(forceinline=True)
def _all_rolled(corners, origin, direction):
    a, b, c = corners
    return (_rolled(a), _rolled(b), _rolled(c)), _rolled(origin), _rolled(direction)


@jit(forceinline=True)
def _weights(mesh, basis, row, column, seen, hits, corners, origin, direction, scratch):
    """Return the weights of eight pixels, three vectors, times their sum; arbitrary for a miss."""
    dx, dy, dz = direction
    ax, ay, az = vmax(dx, 0.0 - dx), vmax(dy, 0.0 - dy), vmax(dz, 0.0 - dz)
    second = bits(ay > ax)
    third = bits(az > vmax(ax, ay))
    # A branch for each axis: rolling the axes then moves no data.
    if third == ALL:
        u, v, w = _edge_functions(corners, origin, direction)
    elif third == 0 and second == 0:
        u, v, w = _edge_functions(*_all_rolled(corners, origin, direction))
    elif third == 0 and second == ALL:
        u, v, w = _edge_functions(*_all_rolled(*_all_rolled(corners, origin, direction)))
    else:
        _edge_functions_of_each(mesh, basis, row, column, seen, hits, scratch)
        u = load(scratch, 0, LANES)
        v = load(scratch, LANES, LANES)
        w = load(scratch, 2 * LANES, LANES)
    return u, v, w


@jit(forceinline=True)
def _barycentric(weights):
    """Scale weights to the sum 1; those that rounding made negative, along edges, become 0."""
    u, v, w = weights
    per_sum = 1.0 / (u + v + w)
    return vmax(u * per_sum, 0.0), vmax(v * per_sum, 0.0), vmax(w * per_sum, 0.0)


@jit
def _edge_functions_of_each(mesh, basis, row, column, seen, hits, scratch):
    """Put edge functions into `scratch` one by one, for eight rays that share no main axis."""
    vertices, faces = mesh
    origin = stack_float64(3)
    direction = stack_float64(3)
    for lane in range(3 * LANES):
        scratch[lane] = 1.0
    while hits != 0:
        lane = lowest_bit(hits)
        hits &= hits - 1
        pixel_ray(basis, column + lane, row, origin, direction)
        kx, ky, kz, sx, sy = shear(direction)
        face = np.int64(seen[lane])
        u, v, w, _ = edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy)
        scratch[lane], scratch[LANES + lane], scratch[2 * LANES + lane] = u, v, w


@jit(forceinline=True)
def _distances(
    vertices, faces, view, inverse, row, column, seen, hits, corners, origin, direction, scratch
):
    """Return the distances along eight pixels' rays to their faces, as in `depth.resolve`."""
    t, believed = meet(corners, inverse, origin, direction)
    doubtful = hits & ~bits(believed)
    return settled(t, doubtful, vertices, faces, view, row, column, seen, scratch)


@jit(forceinline=True)
def _order_of(corners, places):
    """Return the mesh's order of the corners of faces whose rows begin at `places`."""
    return load_columns(offset(corners, 3), places, 1, 1)[0]


@jit(forceinline=True)
def _rows_of(table, i, j, k):
    """Return the rows of three corners."""
    return (
        load_columns(table, i, 1, 3),
        load_columns(table, j, 1, 3),
        load_columns(table, k, 1, 3),
    )


@jit(forceinline=True)
def _flat(corners, order):
    """Return the normals of eight faces, as `normals.face_normals` does."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    per_length = 1.0 / root(x * x + y * y + z * z)
    per_length = select(order >= SWAPPED, 0.0 - per_length, per_length)
    return x * per_length, y * per_length, z * per_length


@jit(forceinline=True)
def _smooth(normals, weights):
    """Return the mean of corners' normals at length 1, and its length before, up to a factor."""
    a, b, c = normals
    x, y, z = _sum(a, b, c, weights, 0), _sum(a, b, c, weights, 1), _sum(a, b, c, weights, 2)
    length = root(fma(z, z, fma(y, y, x * x)))
    # Weights are below 0 where the face is seen from behind.
    per_length = 1.0 / select(weights[0] + weights[1] + weights[2] < 0.0, 0.0 - length, length)
    return (x * per_length, y * per_length, z * per_length), length


@jit
def describe(
    mesh, basis, projection, frame, scale, first_row, last_row, triangle_id, miss, tables, depths,
    outputs, stream,
):  # fmt: skip
    """Fill rows of the outputs from `triangle_id`; arrays without elements are skipped.

    Parameters
    ----------
    mesh : (vertices, faces)
        Those of the hierarchy, see bvh.py.
    basis : (6, 3) float64
        The view's ray basis in the local frame.
    projection, frame, scale, miss
        As for `depth.resolve`.
    triangle_id : (height, width) int32
    tables : FaceTables
    depths : Depths
        Filled here, too, because they need the same corners.
    outputs : Described
    stream : bool
        True to store outputs with several channels directly to memory, past the caches. This pays
        if they are larger than the caches. It needs a width that is a multiple of LANES, and arrays
        that begin at a multiple of 32 bytes.
    """
    vertices, faces = mesh
    vertex_table, corner_table = tables.vertices, tables.corners
    of_vertices, uv_table = tables.vertex_normals, tables.uv
    z, ray = depths.z, depths.ray
    normal, normal_camera = outputs.normal, outputs.normal_camera
    smooth, smooth_camera = outputs.smooth_normal, outputs.smooth_normal_camera
    barycentric, uv, facing = outputs.barycentric, outputs.uv, outputs.facing
    deep = z.size + ray.size > 0
    smooth_normals = smooth.size + smooth_camera.size > 0
    flat_normals = normal.size + normal_camera.size + facing.size > 0
    weighted = smooth_normals or barycentric.size + uv.size > 0
    width, row_length = triangle_id.shape[1], corner_table.shape[1]
    large = vertices.nbytes + faces.nbytes > FITS
    to_world = 1.0 / scale  # a power of two: exact
    view, inverse, turn = pointer(basis), pointer(projection), pointer(frame)
    places, corners_of = pointer(vertex_table), pointer(corner_table)
    scratch = stack_float64(SCRATCH)
    last_ones = stack_int32(LANES)
    for lane in range(LANES):
        scratch[lane] = lane + 0.5
    lanes = load(scratch, 0, LANES)
    zero, nan = splat(0.0, LANES), splat(np.nan, LANES)
    nothing, unknown = (zero, zero, zero), (nan, nan, nan)
    missed = splat(miss, LANES)
    misses = missed, nothing, turned(turn, nothing), nan
    # For each slot: whether it is requested, and the memory of its array.
    asked = _Slots(
        z=z.size > 0, ray=ray.size > 0, normal=normal.size > 0,
        normal_camera=normal_camera.size > 0, smooth_normal=smooth.size > 0,
        smooth_normal_camera=smooth_camera.size > 0, barycentric=barycentric.size > 0,
        uv=uv.size > 0, facing=facing.size > 0,
    )  # fmt: skip
    targets = _Slots(
        z=pointer(z), ray=pointer(ray), normal=pointer(normal),
        normal_camera=pointer(normal_camera), smooth_normal=pointer(smooth),
        smooth_normal_camera=pointer(smooth_camera), barycentric=pointer(barycentric),
        uv=pointer(uv), facing=pointer(facing),
    )  # fmt: skip
    ids = pointer(triangle_id)
    last_to_look = last_row * width - (FAR_AHEAD + 1) * LANES
    for row in range(first_row, last_row):
        origins, directions = row_of(view, row + 0.5), row_of(offset(view, 9), row + 0.5)
        column = 0
        while column < width:
            at = row * width + column
            # Most of most images is background.
            if column + STRETCH <= width and all_miss(offset(ids, at)):
                for part in range(at, at + STRETCH, LANES):
                    _put_nothing(targets, asked, part, LANES, misses, scratch, stream)
                column += STRETCH
                continue
            first, column = column, column + LANES
            count = min(width - first, LANES)
            seen = seen_by_eight(triangle_id, at, count, last_ones)
            if large and at < last_to_look:
                ahead = offset(ids, at)
                if smooth_normals:
                    fetch_ahead(corners_of, row_length, places, 1, pointer(of_vertices), ahead)
                else:
                    fetch_ahead(corners_of, row_length, places, 1, None, ahead)
            face = load(seen, 0, LANES)
            hit = face >= 0
            hits = bits(hit)
            if hits == 0:
                _put_nothing(targets, asked, at, count, misses, scratch, stream)
                continue
            face = select(hit, face, 0)
            x = lanes + float(first)
            origin, direction = along(origins, x), along(directions, x)
            at_corners = face * row_length
            i, j, k = load_columns(corners_of, at_corners, 1, 3)
            corners = _rows_of(places, i, j, k)
            if deep:
                # The result equals that of `depth.resolve` to the last bit.
                t = to_world * _distances(
                    pointer(vertices), pointer(faces), view, inverse, row, first, seen, hits,
                    corners, origin, direction, scratch,
                )  # fmt: skip
                if z.size > 0:
                    put(pointer(z), at, select(hit, t, missed), count, scratch)
                if ray.size > 0:
                    dx, dy, dz = direction
                    length = root(dx * dx + dy * dy + dz * dz)
                    put(pointer(ray), at, select(hit, t * length, missed), count, scratch)
            if flat_normals:
                order = _order_of(corners_of, at_corners)
                flat = where(hit, _flat(corners, order), nothing)
                if normal.size > 0:
                    _put_channels(pointer(normal), at, flat, count, scratch, stream)
                if normal_camera.size > 0:
                    _put_channels(
                        pointer(normal_camera), at, turned(turn, flat), count, scratch, stream
                    )
                if facing.size > 0:
                    nx, ny, nz = flat
                    dx, dy, dz = direction
                    towards = nx * dx + ny * dy + nz * dz
                    back = hit & (towards >= 0.0)
                    _put_sides(pointer(facing), at, hit & (towards < 0.0), back, count)
            if not weighted:
                continue
            weights = _weights(
                (pointer(vertices), pointer(faces)), view, row, first, seen, hits,
                corners, origin, direction, scratch,
            )  # fmt: skip
            if barycentric.size > 0:
                order = _order_of(corners_of, at_corners)
                known = where(hit, _in_order(order, *_barycentric(weights)), unknown)
                _put_channels(pointer(barycentric), at, known, count, scratch, stream)
            if smooth_normals:
                bent, length = _smooth(_rows_of(pointer(of_vertices), i, j, k), weights)
                if hits & ~bits(length > 0.0) != 0:
                    # Where the corners' normals cancel out, the face's own normal is used.
                    own = _flat(corners, _order_of(corners_of, at_corners))
                    bent = where(length > 0.0, bent, own)
                bent = where(hit, bent, nothing)
                if smooth.size > 0:
                    _put_channels(pointer(smooth), at, bent, count, scratch, stream)
                if smooth_camera.size > 0:
                    _put_channels(
                        pointer(smooth_camera), at, turned(turn, bent), count, scratch, stream
                    )
            if uv.size > 0:
                # In a face's row, the first corner's u, v are at 2 and 3, the others' at 4 to 7.
                au, av = load_columns(offset(pointer(uv_table), 2), face, 8, 2)
                bu, bv, cu, cv = load_columns(offset(pointer(uv_table), 4), face, 8, 4)
                a, b, c = (au, av), (bu, bv), (cu, cv)
                per_sum = 1.0 / (weights[0] + weights[1] + weights[2])
                u, v = _sum(a, b, c, weights, 0) * per_sum, _sum(a, b, c, weights, 1) * per_sum
                pair = select(hit, u, nan), select(hit, v, nan)
                _put_channels(pointer(uv), at, pair, count, scratch, stream)


@jit(forceinline=True)
def _put_nothing(targets, asked, at, count, misses, scratch, stream):
    """Store eight misses, or fewer at the end of a row, in all outputs."""
    missed, nothing, turned_nothing, nan = misses
    if asked.z:
        put(targets.z, at, missed, count, scratch)
    if asked.ray:
        put(targets.ray, at, missed, count, scratch)
    if asked.normal:
        _put_channels(targets.normal, at, nothing, count, scratch, stream)
    if asked.normal_camera:
        _put_channels(targets.normal_camera, at, turned_nothing, count, scratch, stream)
    if asked.smooth_normal:
        _put_channels(targets.smooth_normal, at, nothing, count, scratch, stream)
    if asked.smooth_normal_camera:
        _put_channels(targets.smooth_normal_camera, at, turned_nothing, count, scratch, stream)
    if asked.barycentric:
        _put_channels(targets.barycentric, at, (nan, nan, nan), count, scratch, stream)
    if asked.uv:
        _put_channels(targets.uv, at, (nan, nan), count, scratch, stream)
    if asked.facing:
        _put_sides(targets.facing, at, nan == nan, nan == nan, count)


@jit(forceinline=True)
def _put_channels(target, at, channels, count, scratch, stream):
    """Store the first `count` lanes; if `stream`, store all lanes past the caches."""
    if stream:
        stream_channels(target, len(channels) * at, channels)
    else:
        put_channels(target, at, channels, count, scratch)


@jit(forceinline=True)
def _put_sides(target, at, front, back, count):
    """Store 1 where the front is seen, -1 where the back is seen, 0 for a miss."""
    if count == LANES:
        store_signs(target, at, front, back)
        return
    fronts, backs = bits(front), bits(back)
    for lane in range(count):
        target[at + lane] = np.int8(((fronts >> lane) & 1) - ((backs >> lane) & 1))


@jit
def look_up(table, first_row, last_row, triangle_id, output):
    """Fill rows of `output` (height, width) int32 with each face's entry in a table; -1 = miss."""
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            face = triangle_id[row, column]
            output[row, column] = table[face] if face >= 0 else -1
