"""Functions that the resolving kernels share, for eight pixels of a row at a time."""

from __future__ import annotations

import numpy as np

from raydepth.kernels import ABOVE, BELOW, edge_functions, pixel_ray, shear
from raydepth.simd.interleaved import load_columns, store_channels
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    bits,
    load,
    lowest_bit,
    offset,
    pointer,
    prefetch,
    select,
    splat,
    stack_float64,
    store,
    vmax,
    vmin,
)
from raydepth.trace.view_frame import CENTRE, FARTHEST, PLACE, REACH, S

# Pixels of a row that are resolved together.
LANES = 8
NEIGHBOURS = LANES - 1
# Pixels of background that are skipped together.
STRETCH = 32
# A mesh of at most this many bytes stays in a core's own cache, where prefetching does not pay.
FITS = 1 << 20
# Prefetching looks ahead by this many groups of eight pixels: for vertices, for faces' corners.
NEAR_AHEAD, FAR_AHEAD = 3, 5


@jit(forceinline=True)
def _corners(vertices, faces, face):
    """Return the nine coordinates of a face's vertices."""
    i = 3 * np.int64(faces[3 * face])
    j = 3 * np.int64(faces[3 * face + 1])
    k = 3 * np.int64(faces[3 * face + 2])
    a = vertices[i], vertices[i + 1], vertices[i + 2]
    b = vertices[j], vertices[j + 1], vertices[j + 2]
    return a, b, (vertices[k], vertices[k + 1], vertices[k + 2])


@jit(forceinline=True)
def _corners_of_each(vertices, faces, face):
    """Return the coordinates of eight faces' vertices, as vectors; face 0 for those below 0."""
    first, second, third = load_columns(faces, select(face >= 0, face, 0), 3, 3)
    return (
        load_columns(vertices, first, 3, 3),
        load_columns(vertices, second, 3, 3),
        load_columns(vertices, third, 3, 3),
    )


@jit(forceinline=True)
def meet(corners, projection, origin, direction):
    """Return the distances along eight rays to the planes of faces, and which of them to believe.

    There are eight faces, with a vector for each coordinate, or one face for all rays. A distance
    is believed if it is within the range of the vertices' distances, widened a little.
    """
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    nx = uy * vz - uz * vy
    ny = uz * vx - ux * vz
    nz = ux * vy - uy * vx
    ox, oy, oz = origin
    dx, dy, dz = direction
    t = ((ax - ox) * nx + (ay - oy) * ny + (az - oz) * nz) / (dx * nx + dy * ny + dz * nz)
    sx, sy, sz = projection[S], projection[S + 1], projection[S + 2]
    a = ax * sx + ay * sy + az * sz
    b = a + (ux * sx + uy * sy + uz * sz)
    c = a + (vx * sx + vy * sy + vz * sz)
    offset = projection[FARTHEST] - REACH
    near = (vmin(vmin(a, b), c) + offset) * BELOW
    far = (vmax(vmax(a, b), c) + offset) * ABOVE
    return t, (t > 0.0) & (t >= near) & (t <= far)


@jit(forceinline=True)
def row_of(basis, y):
    """Return three axes of a view's ray basis in the row at y: at x = 0, and their change by x."""
    begin = basis[0] + y * basis[6], basis[1] + y * basis[7], basis[2] + y * basis[8]
    return begin, (basis[3], basis[4], basis[5])


@jit(forceinline=True)
def along(row, x):
    """Return three axes of a view's ray basis at x (a vector) in a row; see `row_of`."""
    begin, change = row
    return x * change[0] + begin[0], x * change[1] + begin[1], x * change[2] + begin[2]


@jit
def _weighted_distance(vertices, faces, face, basis, row, column):
    """Return the distance as a mean of the vertices', in their range however thin the face is."""
    origin = stack_float64(3)
    direction = stack_float64(3)
    pixel_ray(basis, column, row, origin, direction)
    kx, ky, kz, sx, sy = shear(direction)
    u, v, w, weighted = edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy)
    return weighted / ((u + v + w) * direction[kz])


@jit(forceinline=True)
def fetch_ahead(faces, row_length, vertices, stride, normals, seen):
    """Prefetch the next pixels' vertices, and the corners of faces of the pixels after them.

    `row_length` is that of `faces`. An entry of `faces` times `stride` is the place of a vertex in
    `vertices` and in `normals`, which may be None.
    """
    for lane in range(LANES):
        prefetch(faces, row_length * np.int64(seen[FAR_AHEAD * LANES + lane]))
    near = offset(seen, NEAR_AHEAD * LANES)
    if bits(load(near, 0, LANES) >= 0) == 0:
        return
    for lane in range(LANES):
        face = row_length * np.int64(max(near[lane], np.int32(0)))
        for corner in range(3):
            place = stride * np.int64(faces[face + corner])
            prefetch(vertices, place)
            # For every other pixel only: those between see the same faces, or their neighbours.
            if normals is not None and lane % 2 == 0:
                prefetch(normals, place)


@jit(forceinline=True)
def distances(vertices, faces, view, inverse, row, column, seen, hits, origin, direction, scratch):
    """Return the distances along the rays of eight pixels to their faces; arbitrary for a miss."""
    face = load(seen, 0, LANES)
    # The pixels whose next pixel sees something else, except the first two of them.
    changes = bits(load(seen, 0, NEIGHBOURS) != load(seen, 1, NEIGHBOURS))
    changes &= changes - 1
    changes &= changes - 1
    if changes == 0:
        # At most three faces: one at a time.
        t = splat(0.0, LANES)
        good = np.int64(0)
        todo = hits
        while todo != 0:
            one = seen[lowest_bit(todo)]
            here = face == one
            todo &= ~bits(here)
            corners = _corners(vertices, faces, np.int64(one))
            distance, believed = meet(corners, inverse, origin, direction)
            good |= bits(believed & here)
            t = select(here, distance, t)
    else:
        corners = _corners_of_each(vertices, faces, face)
        t, believed = meet(corners, inverse, origin, direction)
        good = bits(believed)
    return settled(t, hits & ~good, vertices, faces, view, row, column, seen, scratch)


@jit(forceinline=True)
def settled(t, doubtful, vertices, faces, view, row, column, seen, scratch):
    """Return eight distances, with those of `doubtful` lanes computed by `_weighted_distance`."""
    if doubtful == 0:
        return t
    # These faces are seen edge on, or are so thin that their planes are uncertain.
    store(scratch, 0, t)
    while doubtful != 0:
        lane = lowest_bit(doubtful)
        doubtful &= doubtful - 1
        which = np.int64(seen[lane])
        scratch[lane] = _weighted_distance(vertices, faces, which, view, row, column + lane)
    return load(scratch, 0, LANES)


@jit(forceinline=True)
def put(target, at, values, count, scratch):
    """Store the first `count` lanes."""
    if count == LANES:
        store(target, at, values)
        return
    store(scratch, 0, values)
    for lane in range(count):
        target[at + lane] = scratch[lane]


@jit(forceinline=True)
def put_channels(target, at, channels, count, scratch):
    """Store the first `count` lanes of a tuple of vectors, each a channel of the pixels."""
    if count == LANES:
        store_channels(target, len(channels) * at, channels)
    else:
        _put_some_channels(target, at, channels, count, scratch)


@jit
def _put_some_channels(target, at, channels, count, scratch):
    n_channels = len(channels)
    for channel in range(n_channels):
        store(scratch, 0, channels[channel])
        for lane in range(count):
            target[n_channels * (at + lane) + channel] = scratch[lane]


@jit(forceinline=True)
def where(mask, vectors, other):
    """Select lane by lane: three vectors where `mask` is set, else three others."""
    return (
        select(mask, vectors[0], other[0]),
        select(mask, vectors[1], other[1]),
        select(mask, vectors[2], other[2]),
    )


@jit(forceinline=True)
def turned(rotation, vector):
    """Return the components of `vector`, three SIMD vectors, along a (3, 3) rotation's columns."""
    x, y, z = vector
    return (
        x * rotation[0] + y * rotation[3] + z * rotation[6],
        x * rotation[1] + y * rotation[4] + z * rotation[7],
        x * rotation[2] + y * rotation[5] + z * rotation[8],
    )


@jit
def points_along(frame, to_world, t, origin, direction):
    """Return eight points `t` (world units) along their rays, in the world and in camera axes.

    The latter are measured from the camera in the local frame, so they keep their digits even if
    the camera and the mesh are far from the world's origin.
    """
    x, y, z = to_world * origin[0], to_world * origin[1], to_world * origin[2]
    tx, ty, tz = t * direction[0], t * direction[1], t * direction[2]
    camera = offset(frame, PLACE)
    centre = offset(frame, CENTRE)
    seen = (x - camera[0] + tx, y - camera[1] + ty, z - camera[2] + tz)
    return (x + tx + centre[0], y + ty + centre[1], z + tz + centre[2]), turned(frame, seen)


@jit(forceinline=True)
def all_miss(seen):
    """Return whether STRETCH pixels all see nothing."""
    return bits((load(seen, 0, 16) >= 0) | (load(seen, 16, 16) >= 0)) == 0


@jit(forceinline=True)
def seen_by_eight(triangle_id, at, count, last_ones):
    """Return the face ids of eight pixels of a row from index `at`; -1 after the first `count`."""
    seen = offset(pointer(triangle_id), at)
    if count < LANES:
        for lane in range(LANES):
            last_ones[lane] = seen[lane] if lane < count else np.int32(-1)
        seen = last_ones
    return seen
