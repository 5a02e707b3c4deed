"""The single-ray kernel: any origins and directions, one ray after the other.

It walks the binary hierarchy (layout in bvh.py) in float64, near child first.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raydepth.bvh import MAX_DEPTH
from raydepth.kernels import edge_functions, hit_distance, pixel_ray, shear
from raydepth.simd import pointer, stack_float64, stack_int32

# Ize, "Robust BVH Ray Traversal", 2013: each slab distance carries three roundings (reciprocal,
# difference, product) of 2^-53 relative, so lengthening the far one by 8 * 2^-53 loses no box.
FAR_SLACK = 1.0 + 2.0**-50


@njit(cache=True, nogil=True, error_model="numpy")
def enter(nodes, row, origin, inverse, t_max):
    """Distance at which the ray enters a child's box, or +inf if it misses or comes too late."""
    near = 0.0
    far = t_max
    for axis in range(3):
        if inverse[axis] == np.inf:
            # The ray stays where it is on this axis; on the box's very face counts as inside.
            if nodes[row + axis] <= origin[axis] <= nodes[row + 4 + axis]:
                continue
            return np.inf
        # By the direction's sign, not by comparing: an empty box must stay inside out.
        backwards = 4 if inverse[axis] < 0.0 else 0
        t0 = (np.float64(nodes[row + backwards + axis]) - origin[axis]) * inverse[axis]
        t1 = (np.float64(nodes[row + 4 - backwards + axis]) - origin[axis]) * inverse[axis]
        t1 *= FAR_SLACK
        near = t0 if t0 > near else near
        far = t1 if t1 < far else far
    return near if near <= far else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def reciprocals(direction, inverse):
    """Fill `inverse` with 1 / direction, +inf for a component that is 0."""
    for axis in range(3):
        # abs: the reciprocal of -0 is -inf. Directions too small for a finite one count as 0.
        inverse[axis] = 1.0 / direction[axis]
        if abs(inverse[axis]) == np.inf:
            inverse[axis] = np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest_face(
    nodes, links, slot_face, vertices, faces, origin, direction, inverse, stack, t_min
):
    """The face that the ray meets first and its distance; -1 and +inf if none.

    Of equally near faces the one of the lowest index. Faces nearer than `t_min` do not count.
    """
    best_t = np.inf
    best_face = np.int64(-1)
    if direction[0] == 0.0 and direction[1] == 0.0 and direction[2] == 0.0:
        return best_face, best_t
    kx, ky, kz, sx, sy = shear(direction)
    reciprocals(direction, inverse)
    stack_size = 0
    node = np.int64(0)
    while True:
        t0 = enter(nodes, 16 * node, origin, inverse, best_t)
        t1 = enter(nodes, 16 * node + 8, origin, inverse, best_t)
        # Near child first; of two leaves the nearer shortens the ray for the other.
        near_side = 0 if t0 <= t1 else 1
        down = np.int64(-1)
        for step in range(2):
            side = near_side if step == 0 else 1 - near_side
            t_enter = t0 if side == 0 else t1
            if t_enter == np.inf or t_enter > best_t:
                continue
            link = np.int64(links[16 * node + 8 * side + 3])
            n_slots = links[16 * node + 8 * side + 7]
            if n_slots == 0:
                if down < 0:
                    down = link
                else:
                    stack[stack_size] = np.int32(link)
                    stack_size += 1
                continue
            for slot in range(link, link + n_slots):
                face = np.int64(slot_face[slot])
                t = hit_distance(vertices, faces, face, origin, direction, kx, ky, kz, sx, sy)
                if t >= t_min and (t < best_t or (t == best_t and face < best_face)):
                    best_t = t
                    best_face = face
        if down >= 0:
            node = down
        elif stack_size > 0:
            stack_size -= 1
            node = np.int64(stack[stack_size])
        else:
            return best_face, best_t


@njit(cache=True, nogil=True, error_model="numpy")
def cast(
    nodes, links, slot_face, vertices, faces, origins, directions, begin, end,
    distance, triangle_id, barycentric, t_min=0.0,
):  # fmt: skip
    """Fill `distance`, `triangle_id` and `barycentric` of the rays from `begin` to `end`.

    Parameters
    ----------
    nodes : (n_nodes, 4, 4) float32, and `links`, the same memory as int32
    origins, directions : (n_rays, 3) float64, in the local frame
    distance : (n_rays,) float64
    triangle_id : (n_rays,) int32
    barycentric : (n_rays, 3) float64
        Weights of the vertices in the order of `faces` (lexicographic, see bvh.py).
    t_min : float64
        What is nearer is not hit, in lengths of the direction.
    """
    vertex = pointer(vertices)
    corner = pointer(faces)
    origin = stack_float64(3)
    direction = stack_float64(3)
    inverse = stack_float64(3)
    stack = stack_int32(MAX_DEPTH)
    for ray in range(begin, end):
        for axis in range(3):
            origin[axis] = origins[ray, axis]
            direction[axis] = directions[ray, axis]
        face, t = _nearest_face(
            pointer(nodes), pointer(links), pointer(slot_face), vertex, corner,
            origin, direction, inverse, stack, t_min,
        )  # fmt: skip
        distance[ray] = t
        triangle_id[ray] = face
        if face >= 0:
            kx, ky, kz, sx, sy = shear(direction)
            u, v, w, _ = edge_functions(vertex, corner, face, origin, kx, ky, kz, sx, sy)
            area = u + v + w
            barycentric[ray, 0] = u / area
            barycentric[ray, 1] = v / area
            barycentric[ray, 2] = w / area
        else:
            for axis in range(3):
                barycentric[ray, axis] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def limit(
    nodes, links, slot_face, vertices, faces, basis, first_row, last_row, near, far, triangle_id,
):  # fmt: skip
    """Take what lies nearer than `near` or farther than `far` out of rows of one view.

    A pixel whose face is too near sees what lies behind it, if that is within the limits.

    Parameters
    ----------
    basis : (6, 3) float64, `Cameras.ray_basis` in the local frame
    near, far : float64
        z depth, in local units.
    triangle_id : (height, width) int32
    """
    vertex = pointer(vertices)
    corner = pointer(faces)
    view = pointer(basis)
    origin = stack_float64(3)
    direction = stack_float64(3)
    inverse = stack_float64(3)
    stack = stack_int32(MAX_DEPTH)
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            face = np.int64(triangle_id[row, column])
            if face < 0:
                continue
            pixel_ray(view, column, row, origin, direction)
            kx, ky, kz, sx, sy = shear(direction)
            t = hit_distance(vertex, corner, face, origin, direction, kx, ky, kz, sx, sy)
            if t < near:
                face, t = _nearest_face(
                    pointer(nodes), pointer(links), pointer(slot_face), vertex, corner,
                    origin, direction, inverse, stack, near,
                )  # fmt: skip
            triangle_id[row, column] = face if t <= far else -1


@njit(cache=True, nogil=True, error_model="numpy")
def visibility(
    nodes, links, slot_face, vertices, faces, basis, first_row, last_row, near, far, triangle_id,
):  # fmt: skip
    """Fill rows of one view's `triangle_id`; parameters are those of `limit`."""
    vertex = pointer(vertices)
    corner = pointer(faces)
    view = pointer(basis)
    origin = stack_float64(3)
    direction = stack_float64(3)
    inverse = stack_float64(3)
    stack = stack_int32(MAX_DEPTH)
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            pixel_ray(view, column, row, origin, direction)
            face, t = _nearest_face(
                pointer(nodes), pointer(links), pointer(slot_face), vertex, corner,
                origin, direction, inverse, stack, near,
            )  # fmt: skip
            triangle_id[row, column] = face if t <= far else -1


@njit(cache=True, nogil=True, error_model="numpy")
def cover(
    nodes, links, slot_face, vertices, faces, basis, samples, chosen, coverage,
):  # fmt: skip
    """Fill, for the chosen pixels, the share of their samples whose rays meet something.

    Parameters
    ----------
    basis : (6, 3) float64
        Of the samples, in the local frame.
    samples : int
        Along each side of a pixel.
    chosen : (height, width) bool
    coverage : (height, width) float
    """
    vertex = pointer(vertices)
    corner = pointer(faces)
    view = pointer(basis)
    origin = stack_float64(3)
    direction = stack_float64(3)
    inverse = stack_float64(3)
    stack = stack_int32(MAX_DEPTH)
    for row in range(chosen.shape[0]):
        for column in range(chosen.shape[1]):
            if not chosen[row, column]:
                continue
            count = 0
            for sample in range(samples * samples):
                x, y = samples * column + sample % samples, samples * row + sample // samples
                pixel_ray(view, x, y, origin, direction)
                face, _ = _nearest_face(
                    pointer(nodes), pointer(links), pointer(slot_face), vertex, corner,
                    origin, direction, inverse, stack, 0.0,
                )  # fmt: skip
                count += face >= 0
            coverage[row, column] = count / (samples * samples)
