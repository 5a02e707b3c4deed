"""The exact ray maths, and the pixel loop that turns visible faces into depth.

Everything here is float64, in the hierarchy's local frame (see bvh.py). Which face a ray meets is
decided by `hit_distance` alone: the tile kernel (tiles.py) and the single-ray kernel (rays.py) only
differ in which faces they spare it, so they agree bit for bit. It is watertight: a ray through an
edge or a vertex shared by faces hits one of them.

Kernels release the GIL and assume checked input; they never raise. Arrays come as pointers
(`simd.pointer`) to flat data: vertex i is at `vertices[3 * i]`, face f at `faces[3 * f]`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raydepth.interleaved import load_columns, store_channels
from raydepth.simd import (
    bits,
    load,
    lowest_bit,
    offset,
    pointer,
    prefetch,
    root,
    select,
    splat,
    stack_float64,
    stack_int32,
    store,
    vmax,
    vmin,
)

# Pixels of a row that are resolved together.
LANES = 8
NEIGHBOURS = LANES - 1
# Pixels of background that are passed over together.
STRETCH = 32
# Bytes of a mesh that stay in a core's own cache, where asking ahead only costs.
FITS = 1 << 20
# Groups of eight pixels that are looked ahead: for vertices, and for the corners of faces.
NEAR_AHEAD, FAR_AHEAD = 3, 5

# A distance to a face's plane is believed within the range of its vertices', and a little more:
# far above float64's rounding, far below float32's resolution.
BELOW, ABOVE = 1.0 - 1e-10, 1.0 + 1e-10


@njit(cache=True, nogil=True, error_model="numpy")
def pixel_ray(basis, column, row, origin, direction):
    """The ray through a pixel's centre, from one view's `Cameras.ray_basis` (18 numbers)."""
    x = column + 0.5
    y = row + 0.5
    for axis in range(3):
        origin[axis] = basis[axis] + x * basis[3 + axis] + y * basis[6 + axis]
        direction[axis] = basis[9 + axis] + x * basis[12 + axis] + y * basis[15 + axis]


@njit(cache=True, nogil=True, error_model="numpy")
def axes_of(direction):
    """The axis that the ray runs along most, and before it the two others: kx, ky, kz."""
    kz = 0
    if abs(direction[1]) > abs(direction[kz]):
        kz = 1
    if abs(direction[2]) > abs(direction[kz]):
        kz = 2
    kx = kz + 1 if kz < 2 else 0
    ky = kx + 1 if kx < 2 else 0
    return kx, ky, kz


@njit(cache=True, nogil=True, error_model="numpy")
def shear(direction):
    """The axis the ray runs along most, the other two, and the shear that straightens the ray.

    Source: Woop, Benthin, Wald, "Watertight Ray/Triangle Intersection", 2013.
    """
    kx, ky, kz = axes_of(direction)
    return kx, ky, kz, direction[kx] / direction[kz], direction[ky] / direction[kz]


@njit(cache=True, nogil=True, error_model="numpy")
def edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy):
    """Edge functions u, v, w of a face seen along the ray, and their depths' weighted sum.

    In the sheared frame the ray is the z axis; u, v, w are the signed areas opposite to the three
    vertices. A vertex gets the same coordinates in every face that shares it, and a difference of
    two rounded products never has the wrong sign: so no ray slips between neighbours.
    """
    i = 3 * np.int64(faces[3 * face])
    j = 3 * np.int64(faces[3 * face + 1])
    k = 3 * np.int64(faces[3 * face + 2])
    az = vertices[i + kz] - origin[kz]
    bz = vertices[j + kz] - origin[kz]
    cz = vertices[k + kz] - origin[kz]
    ax = vertices[i + kx] - origin[kx] - sx * az
    ay = vertices[i + ky] - origin[ky] - sy * az
    bx = vertices[j + kx] - origin[kx] - sx * bz
    by = vertices[j + ky] - origin[ky] - sy * bz
    cx = vertices[k + kx] - origin[kx] - sx * cz
    cy = vertices[k + ky] - origin[ky] - sy * cz
    u = cx * by - cy * bx
    v = ax * cy - ay * cx
    w = bx * ay - by * ax
    return u, v, w, u * az + v * bz + w * cz


@njit(cache=True, nogil=True, error_model="numpy")
def hit_distance(vertices, faces, face, origin, direction, kx, ky, kz, sx, sy):
    """How far along the ray it meets the face, in units of `direction`; +inf if it does not."""
    u, v, w, weighted = edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy)
    if (u < 0.0 or v < 0.0 or w < 0.0) and (u > 0.0 or v > 0.0 or w > 0.0):
        return np.inf
    area = u + v + w
    if area == 0.0:
        return np.inf
    t = weighted / (area * direction[kz])
    return t if t > 0.0 else np.inf


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _corners(vertices, faces, face):
    """The nine coordinates of a face's vertices."""
    i = 3 * np.int64(faces[3 * face])
    j = 3 * np.int64(faces[3 * face + 1])
    k = 3 * np.int64(faces[3 * face + 2])
    a = vertices[i], vertices[i + 1], vertices[i + 2]
    b = vertices[j], vertices[j + 1], vertices[j + 2]
    return a, b, (vertices[k], vertices[k + 1], vertices[k + 2])


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _corners_of_each(vertices, faces, face):
    """The same of eight faces, as vectors; of face 0 for those below 0."""
    first, second, third = load_columns(faces, select(face >= 0, face, 0), 3, 3)
    return (
        load_columns(vertices, first, 3, 3),
        load_columns(vertices, second, 3, 3),
        load_columns(vertices, third, 3, 3),
    )


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def meet(corners, projection, origin, direction):
    """How far along eight rays they meet the planes of faces, and where that is to be believed.

    The faces are eight, a vector each coordinate, or one for all rays. A distance is believed if
    it is within the range of the vertices', and a little more.
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
    sx, sy, sz = projection[8], projection[9], projection[10]
    a = ax * sx + ay * sy + az * sz
    b = a + (ux * sx + uy * sy + uz * sz)
    c = a + (vx * sx + vy * sy + vz * sz)
    offset = projection[13] - 4.0  # see rendering.projections
    near = (vmin(vmin(a, b), c) + offset) * BELOW
    far = (vmax(vmax(a, b), c) + offset) * ABOVE
    return t, (t > 0.0) & (t >= near) & (t <= far)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def row_of(basis, y):
    """Three axes of a view's ray basis in the row at y: how they begin, and change with x."""
    begin = basis[0] + y * basis[6], basis[1] + y * basis[7], basis[2] + y * basis[8]
    return begin, (basis[3], basis[4], basis[5])


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def along(row, x):
    """Three axes of a view's ray basis at x (a vector) in a row, see `row_of`."""
    begin, change = row
    return x * change[0] + begin[0], x * change[1] + begin[1], x * change[2] + begin[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _weighted_distance(vertices, faces, face, basis, row, column):
    """The distance as a mean of the vertices': within their range however thin the face is seen."""
    origin = stack_float64(3)
    direction = stack_float64(3)
    pixel_ray(basis, column, row, origin, direction)
    kx, ky, kz, sx, sy = shear(direction)
    u, v, w, weighted = edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy)
    return weighted / ((u + v + w) * direction[kz])


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def fetch_ahead(faces, row_length, vertices, stride, normals, seen):
    """Ask for what is needed of the next pixels' vertices, and for the corners of faces behind.

    `row_length` is that of `faces`; a vertex stands at its number there times `stride`, in
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
            # Every other pixel's: those between see the same faces, or their neighbours.
            if normals is not None and lane % 2 == 0:
                prefetch(normals, place)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _distances(vertices, faces, view, inverse, row, column, seen, hits, origin, direction, scratch):
    """How far along their rays eight pixels of a row see their faces; anything for a miss."""
    face = load(seen, 0, LANES)
    # Where the next pixel sees something else.
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


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def settled(t, doubtful, vertices, faces, view, row, column, seen, scratch):
    """Eight distances, those of `doubtful` lanes by other means."""
    if doubtful == 0:
        return t
    # Seen edge on, or so thin that its plane is uncertain.
    store(scratch, 0, t)
    while doubtful != 0:
        lane = lowest_bit(doubtful)
        doubtful &= doubtful - 1
        which = np.int64(seen[lane])
        scratch[lane] = _weighted_distance(vertices, faces, which, view, row, column + lane)
    return load(scratch, 0, LANES)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def put(target, at, values, count, scratch):
    """Store the first `count` lanes."""
    if count == LANES:
        store(target, at, values)
        return
    store(scratch, 0, values)
    for lane in range(count):
        target[at + lane] = scratch[lane]


@njit(forceinline=True, cache=True, nogil=True, error_model="numpy")
def put_channels(target, at, channels, count, scratch):
    """Store the first `count` lanes of a tuple of vectors as pixels of so many channels."""
    if count == LANES:
        store_channels(target, len(channels) * at, channels)
    else:
        _put_some_channels(target, at, channels, count, scratch)


@njit(cache=True, nogil=True, error_model="numpy")
def _put_some_channels(target, at, channels, count, scratch):
    n_channels = len(channels)
    for channel in range(n_channels):
        store(scratch, 0, channels[channel])
        for lane in range(count):
            target[n_channels * (at + lane) + channel] = scratch[lane]


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def where(mask, vectors, other):
    """Lane by lane three vectors where `mask`, else three others."""
    return (
        select(mask, vectors[0], other[0]),
        select(mask, vectors[1], other[1]),
        select(mask, vectors[2], other[2]),
    )


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def turned(rotation, vector):
    """Three vectors as their components along the columns of a (3, 3) rotation."""
    x, y, z = vector
    return (
        x * rotation[0] + y * rotation[3] + z * rotation[6],
        x * rotation[1] + y * rotation[4] + z * rotation[7],
        x * rotation[2] + y * rotation[5] + z * rotation[8],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _points(frame, to_world, t, origin, direction):
    """Eight points `t` (world units) along their rays: in the world, and along the camera's axes.

    The latter are measured from the camera in the local frame, so that they keep their digits
    however far away from the origin camera and mesh are.
    """
    x, y, z = to_world * origin[0], to_world * origin[1], to_world * origin[2]
    tx, ty, tz = t * direction[0], t * direction[1], t * direction[2]
    camera = offset(frame, 9)
    seen = (x - camera[0] + tx, y - camera[1] + ty, z - camera[2] + tz)
    return (x + tx + camera[3], y + ty + camera[4], z + tz + camera[5]), turned(frame, seen)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def all_miss(seen):
    """Whether STRETCH pixels see nothing."""
    return bits((load(seen, 0, 16) >= 0) | (load(seen, 16, 16) >= 0)) == 0


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def seen_by_eight(triangle_id, at, count, last_ones):
    """The ids of eight pixels of a row from index `at` on; of `count`, fewer at its end, and -1."""
    seen = offset(pointer(triangle_id), at)
    if count < LANES:
        for lane in range(LANES):
            last_ones[lane] = seen[lane] if lane < count else np.int32(-1)
        seen = last_ones
    return seen


@njit(cache=True, nogil=True, error_model="numpy")
def resolve(
    vertices, faces, basis, projection, frame, scale, first_row, last_row, triangle_id, miss,
    z, ray, further,
):  # fmt: skip
    """Turn rows of `triangle_id` into depths and points; arrays without elements are not asked for.

    `further` is None for depth alone, which is then compiled without the rest.

    All is computed in float64, in world units, and rounded once to the outputs' dtype.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    faces : (n_faces, 3) int32
        Both `aligned.empty`.
    basis : (6, 3) float64
    projection : (14,) float64
        See `rendering.projections`.
    frame : (15,) float64
        See `resolver.frames`.
    triangle_id : (height, width) int32
    miss : float
        Of z and ray; that of disparity is 0, of points NaN.
    z, ray : (height, width) or (0, 0) float
    further : (disparity, point, point_camera) or None
        1 / z, (height, width) or (0, 0) float; points in the world, and along the camera's axes
        from its centre, (height, width, 3) or (0, 0, 3) float.
    """
    to_world = 1.0 / scale  # a power of two: exact
    width = triangle_id.shape[1]
    large = vertices.nbytes + faces.nbytes > FITS
    vertex, corner = pointer(vertices), pointer(faces)
    view, inverse = pointer(basis), pointer(projection)
    ids, z_pixels, ray_pixels = pointer(triangle_id), pointer(z), pointer(ray)
    if further is not None:
        disparity, point, point_camera = further
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
            # Most of most images is background.
            if further is None and column + STRETCH <= width and all_miss(offset(ids, at)):
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
            if further is not None:
                near_here = splat(0.0, LANES)
                point_here = point_seen = (nan, nan, nan)
            if hits != 0:
                x = lanes + float(column)
                origin, direction = along(origins, x), along(directions, x)
                t = to_world * _distances(
                    vertex, corner, view, inverse, row, column, seen, hits, origin, direction,
                    scratch,
                )  # fmt: skip
                dx, dy, dz = direction
                z_here = select(hit, t, z_here)
                if ray.shape[0] > 0:
                    length = root(dx * dx + dy * dy + dz * dz)
                    ray_here = select(hit, t * length, ray_here)
                if further is not None:
                    near_here = select(hit, 1.0 / t, near_here)
                    point_here, point_seen = _points(position, to_world, t, origin, direction)
                    point_here = where(hit, point_here, (nan, nan, nan))
                    point_seen = where(hit, point_seen, (nan, nan, nan))
            if z.shape[0] > 0:
                put(z_pixels, at, z_here, count, scratch)
            if ray.shape[0] > 0:
                put(ray_pixels, at, ray_here, count, scratch)
            if further is not None:
                if disparity.shape[0] > 0:
                    put(pointer(disparity), at, near_here, count, scratch)
                if point.shape[0] > 0:
                    put_channels(pointer(point), at, point_here, count, scratch)
                if point_camera.shape[0] > 0:
                    put_channels(pointer(point_camera), at, point_seen, count, scratch)
            column += LANES
