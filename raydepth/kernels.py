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

from raydepth.simd import bits, load, pointer, prefetch, stack_float64

# Pixels of a row that are looked at, and whose faces are fetched, together.
BLOCK = 16

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
def shear(direction):
    """The axis the ray runs along most, the other two, and the shear that straightens the ray.

    Source: Woop, Benthin, Wald, "Watertight Ray/Triangle Intersection", 2013.
    """
    kz = 0
    if abs(direction[1]) > abs(direction[kz]):
        kz = 1
    if abs(direction[2]) > abs(direction[kz]):
        kz = 2
    kx = kz + 1 if kz < 2 else 0
    ky = kx + 1 if kx < 2 else 0
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


@njit(cache=True, nogil=True, error_model="numpy")
def _plane(vertices, faces, face, basis, projection, plane):
    """What the distance to a face's plane is made of, over a view's image coordinates.

    `plane` gets eight numbers. n, nx, ny, d, dx, dy: the ray through (x, y) meets the plane at
    (n + x * nx + y * ny) / (d + x * dx + y * dy), from `normal . (a - origin)` and
    `normal . direction`. Then the least and the greatest distance of the face's vertices.
    """
    i = 3 * np.int64(faces[3 * face])
    j = 3 * np.int64(faces[3 * face + 1])
    k = 3 * np.int64(faces[3 * face + 2])
    ax, ay, az = vertices[i], vertices[i + 1], vertices[i + 2]
    ux, uy, uz = vertices[j] - ax, vertices[j + 1] - ay, vertices[j + 2] - az
    vx, vy, vz = vertices[k] - ax, vertices[k + 1] - ay, vertices[k + 2] - az
    x = uy * vz - uz * vy
    y = uz * vx - ux * vz
    z = ux * vy - uy * vx
    plane[0] = x * (ax - basis[0]) + y * (ay - basis[1]) + z * (az - basis[2])
    plane[1] = -(x * basis[3] + y * basis[4] + z * basis[5])
    plane[2] = -(x * basis[6] + y * basis[7] + z * basis[8])
    plane[3] = x * basis[9] + y * basis[10] + z * basis[11]
    plane[4] = x * basis[12] + y * basis[13] + z * basis[14]
    plane[5] = x * basis[15] + y * basis[16] + z * basis[17]
    sx, sy, sz = projection[8], projection[9], projection[10]
    a = sx * ax + sy * ay + sz * az
    b = a + (sx * ux + sy * uy + sz * uz)
    c = a + (sx * vx + sy * vy + sz * vz)
    offset = projection[13] - 4.0  # see render.projections
    plane[6] = min(min(a, b), c) + offset
    plane[7] = max(max(a, b), c) + offset


@njit(cache=True, nogil=True, error_model="numpy")
def _weighted_distance(vertices, faces, face, basis, row, column):
    """The distance as a mean of the vertices': within their range however thin the face is seen."""
    origin = stack_float64(3)
    direction = stack_float64(3)
    pixel_ray(basis, column, row, origin, direction)
    kx, ky, kz, sx, sy = shear(direction)
    u, v, w, weighted = edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy)
    return weighted / ((u + v + w) * direction[kz])


@njit(cache=True, nogil=True, error_model="numpy")
def _prefetch(vertices, faces, seen, begin, count):
    """Ask for the vertices of `count` pixels' faces: most of resolve's time is waiting for them."""
    for pixel in range(begin, begin + count):
        prefetch(faces, 3 * np.int64(seen[pixel]))
    known = np.int32(-1)
    for pixel in range(begin, begin + count):
        face = seen[pixel]
        if face >= 0 and face != known:
            known = face
            for corner in range(3):
                vertex = 3 * np.int64(faces[3 * np.int64(face) + corner])
                prefetch(vertices, vertex)
                # 24 bytes may reach into the next line.
                prefetch(vertices, vertex + 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _resolve_pixels(
    vertices, faces, basis, projection, to_world, row, begin, end, seen, width, miss, plane, z, ray
):
    """`resolve` for the pixels of a row from `begin` to `end`."""
    y = row + 0.5
    known = np.int64(-1)
    for column in range(begin, end):
        face = np.int64(seen[row * width + column])
        if face < 0:
            if z.shape[0] > 0:
                z[row, column] = miss
            if ray.shape[0] > 0:
                ray[row, column] = miss
            continue
        if face != known:
            # Neighbours often see the same face.
            _plane(vertices, faces, face, basis, projection, plane)
            known = face
        x = column + 0.5
        above = plane[0] + x * plane[1] + y * plane[2]
        t = above / (plane[3] + x * plane[4] + y * plane[5])
        if not (t > 0.0 and plane[6] * BELOW <= t <= plane[7] * ABOVE):
            # Seen edge on, or so thin that its plane is uncertain.
            t = _weighted_distance(vertices, faces, face, basis, row, column)
        t *= to_world
        if z.shape[0] > 0:
            z[row, column] = t
        if ray.shape[0] > 0:
            dx = basis[9] + x * basis[12] + y * basis[15]
            dy = basis[10] + x * basis[13] + y * basis[16]
            dz = basis[11] + x * basis[14] + y * basis[17]
            ray[row, column] = t * np.sqrt(dx * dx + dy * dy + dz * dz)


@njit(cache=True, nogil=True, error_model="numpy")
def resolve(
    vertices, faces, basis, projection, scale, first_row, last_row, triangle_id, miss, z, ray
):
    """Turn rows of `triangle_id` into z depth and ray depth; (0, 0) arrays are not asked for.

    Depths are computed in float64, in world units, and rounded once to the outputs' dtype.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    faces : (n_faces, 3) int32
    basis : (6, 3) float64
    projection : (14,) float64
        See `render.projections`.
    triangle_id : (height, width) int32
    z, ray : (height, width) or (0, 0) float
    """
    vertex = pointer(vertices)
    corner = pointer(faces)
    view = pointer(basis)
    inverse = pointer(projection)
    plane = stack_float64(8)
    to_world = 1.0 / scale  # a power of two: exact
    width = triangle_id.shape[1]
    seen = pointer(triangle_id)
    for row in range(first_row, last_row):
        for begin in range(0, width, BLOCK):
            end = min(begin + BLOCK, width)
            at = row * width + begin
            if end - begin == BLOCK and bits(load(seen, at, BLOCK) >= 0) == 0:
                # Most of most images is background.
                if z.shape[0] > 0:
                    for column in range(begin, begin + BLOCK):
                        z[row, column] = miss
                if ray.shape[0] > 0:
                    for column in range(begin, begin + BLOCK):
                        ray[row, column] = miss
                continue
            _prefetch(vertex, corner, seen, at, end - begin)
            _resolve_pixels(
                vertex, corner, view, inverse, to_world, row, begin, end, seen, width, miss,
                plane, z, ray,
            )  # fmt: skip
