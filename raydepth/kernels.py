"""The ray maths and the pixel loops on the CPU.

Two steps (see `render`): `visibility` finds which face each pixel's ray meets first, `resolve`
turns face and ray into depth. Both work in the BVH's local frame (see bvh.py), in float64, and
are watertight: a ray that passes through an edge or a vertex shared by faces hits one of them.

Kernels release the GIL and assume checked input; they never raise. They are kept in one file with
the functions they call, because Numba's disk cache does not see edits in another file.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raydepth.bvh import MAX_DEPTH

TILE = 16

# Ize, "Robust BVH Ray Traversal", 2013: each slab distance carries three roundings (reciprocal,
# difference, product) of 2^-53 relative, so lengthening the far one by 8 * 2^-53 loses no box.
FAR_SLACK = 1.0 + 2.0**-50

# Stands in for 1/0. Finite, so that 0 * HUGE is 0 and not NaN: a ray that runs inside a box's
# face is inside the box.
HUGE = 1e300


@njit(cache=True, nogil=True, error_model="numpy")
def _shear(direction):
    """The axis the ray runs along most, the other two, and the shear that straightens the ray.

    Source: Woop, Benthin, Wald, "Watertight Ray/Triangle Intersection", 2013.
    """
    kz = 0
    if abs(direction[1]) > abs(direction[kz]):
        kz = 1
    if abs(direction[2]) > abs(direction[kz]):
        kz = 2
    kx = (kz + 1) % 3
    ky = (kz + 2) % 3
    return kx, ky, kz, direction[kx] / direction[kz], direction[ky] / direction[kz]


@njit(cache=True, nogil=True, error_model="numpy")
def _edge_functions(vertices, i, j, k, origin, kx, ky, kz, sx, sy):
    """Edge functions u, v, w of a triangle seen along the ray, and their depths' weighted sum.

    In the sheared frame the ray is the z axis; u, v, w are the signed areas opposite to vertices
    i, j, k. A vertex gets the same coordinates in every face that shares it, and a difference of
    two rounded products never has the wrong sign: so no ray slips between neighbours.
    """
    az = vertices[i, kz] - origin[kz]
    bz = vertices[j, kz] - origin[kz]
    cz = vertices[k, kz] - origin[kz]
    ax = vertices[i, kx] - origin[kx] - sx * az
    ay = vertices[i, ky] - origin[ky] - sy * az
    bx = vertices[j, kx] - origin[kx] - sx * bz
    by = vertices[j, ky] - origin[ky] - sy * bz
    cx = vertices[k, kx] - origin[kx] - sx * cz
    cy = vertices[k, ky] - origin[ky] - sy * cz
    u = cx * by - cy * bx
    v = ax * cy - ay * cx
    w = bx * ay - by * ax
    return u, v, w, u * az + v * bz + w * cz


@njit(cache=True, nogil=True, error_model="numpy")
def _enter(nodes, node, row, origin, inverse, t_max):
    """Distance at which the ray enters a child's box, or +inf if it misses or comes too late."""
    near = 0.0
    far = t_max
    for axis in range(3):
        # By the direction's sign, not by comparing: an empty box must stay inside out.
        backwards = 1 if inverse[axis] < 0.0 else 0
        t0 = (np.float64(nodes[node, row + backwards, axis]) - origin[axis]) * inverse[axis]
        t1 = (np.float64(nodes[node, row + 1 - backwards, axis]) - origin[axis]) * inverse[axis]
        t1 *= FAR_SLACK
        near = t0 if t0 > near else near
        far = t1 if t1 < far else far
    return near if near <= far else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest_face(
    nodes, links, slot_face, slot_vertices, vertices, origin, direction, inverse, stack
):
    """Index of the face that the ray meets first, -1 if none; the lowest index of equally near."""
    kx, ky, kz, sx, sy = _shear(direction)
    for axis in range(3):
        inverse[axis] = 1.0 / direction[axis] if direction[axis] != 0.0 else HUGE
    best_t = np.inf
    best_face = np.int32(-1)
    stack_size = 0
    node = np.int32(0)
    while True:
        t0 = _enter(nodes, node, 0, origin, inverse, best_t)
        t1 = _enter(nodes, node, 2, origin, inverse, best_t)
        # Near child first; of two leaves the nearer shortens the ray for the other.
        near_side = 0 if t0 <= t1 else 1
        down = np.int32(-1)
        for step in range(2):
            side = near_side if step == 0 else 1 - near_side
            t_enter = t0 if side == 0 else t1
            if t_enter == np.inf or t_enter > best_t:
                continue
            link = links[node, 2 * side, 3]
            n_slots = links[node, 2 * side + 1, 3]
            if n_slots == 0:
                if down < 0:
                    down = link
                else:
                    stack[stack_size] = link
                    stack_size += 1
                continue
            for slot in range(link, link + n_slots):
                u, v, w, weighted = _edge_functions(
                    vertices,
                    slot_vertices[slot, 0], slot_vertices[slot, 1], slot_vertices[slot, 2],
                    origin, kx, ky, kz, sx, sy,
                )  # fmt: skip
                if (u < 0.0 or v < 0.0 or w < 0.0) and (u > 0.0 or v > 0.0 or w > 0.0):
                    continue
                area = u + v + w
                if area == 0.0:
                    continue
                t = weighted / (area * direction[kz])
                if t > 0.0 and (t < best_t or (t == best_t and slot_face[slot] < best_face)):
                    best_t = t
                    best_face = slot_face[slot]
        if down >= 0:
            node = down
        elif stack_size > 0:
            stack_size -= 1
            node = stack[stack_size]
        else:
            return best_face


@njit(cache=True, nogil=True, error_model="numpy")
def _pixel_ray(basis, column, row, origin, direction):
    """The ray through a pixel's centre, from one view's `Cameras.ray_basis`."""
    x = column + 0.5
    y = row + 0.5
    for axis in range(3):
        origin[axis] = basis[0, axis] + x * basis[1, axis] + y * basis[2, axis]
        direction[axis] = basis[3, axis] + x * basis[4, axis] + y * basis[5, axis]


@njit(cache=True, nogil=True, error_model="numpy")
def visibility(
    nodes, links, slot_face, slot_vertices, vertices, basis, first_row, last_row, triangle_id
):
    """Fill rows first_row to last_row of one view's `triangle_id` (height, width) int32.

    `links` are the bit patterns of `nodes` as int32; `basis` (6, 3) float64 is the view's ray
    basis in the local frame. A miss is -1.
    """
    origin = np.empty(3)
    direction = np.empty(3)
    inverse = np.empty(3)
    stack = np.empty(MAX_DEPTH, np.int32)
    width = triangle_id.shape[1]
    # Square tiles keep neighbouring rays, which visit the same nodes, close in time.
    for tile_row in range(first_row, last_row, TILE):
        for tile_column in range(0, width, TILE):
            for row in range(tile_row, min(tile_row + TILE, last_row)):
                for column in range(tile_column, min(tile_column + TILE, width)):
                    _pixel_ray(basis, column, row, origin, direction)
                    triangle_id[row, column] = _nearest_face(
                        nodes, links, slot_face, slot_vertices, vertices,
                        origin, direction, inverse, stack,
                    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def resolve(vertices, faces, basis, scale, first_row, last_row, triangle_id, miss, z, ray):
    """Turn rows of `triangle_id` into z depth and ray depth; (0, 0) arrays are not asked for.

    Depths are computed in float64, in world units, and rounded once to the outputs' dtype.
    """
    origin = np.empty(3)
    direction = np.empty(3)
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            face = triangle_id[row, column]
            t = miss
            length = 1.0
            if face >= 0:
                _pixel_ray(basis, column, row, origin, direction)
                kx, ky, kz, sx, sy = _shear(direction)
                u, v, w, weighted = _edge_functions(
                    vertices, faces[face, 0], faces[face, 1], faces[face, 2],
                    origin, kx, ky, kz, sx, sy,
                )  # fmt: skip
                t = weighted / ((u + v + w) * direction[kz]) / scale
                length = np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
            if z.shape[0] > 0:
                z[row, column] = t
            if ray.shape[0] > 0:
                ray[row, column] = t * length
