"""All faces that a ray meets: the first few, and the last. Any rays, one after the other."""

from __future__ import annotations

import numpy as np
from numba import njit

from raydepth.bvh import MAX_DEPTH
from raydepth.kernels import hit_distance, shear
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
def _sort_in(t, face, distances, found):
    """Put a face among those found, which are in the order of distance and then of index."""
    place = len(found) - 1
    if t > distances[place] or (t == distances[place] and face > found[place]):
        return
    while place > 0 and (
        t < distances[place - 1] or (t == distances[place - 1] and face < found[place - 1])
    ):
        distances[place] = distances[place - 1]
        found[place] = found[place - 1]
        place -= 1
    distances[place] = t
    found[place] = face


@njit(cache=True, nogil=True, error_model="numpy")
def crossings(
    nodes, links, slot_face, vertices, faces, origins, directions, near, far,
    seen, first, first_t, last, last_t,
):  # fmt: skip
    """Fill `first` with the faces that each ray meets, nearest first, and `last` with the farthest.

    Of equally near faces the one of the lower index is the earlier. A face that a ray only grazes,
    edge on, is not met; where it meets an edge that two faces share, it meets both.

    Parameters
    ----------
    nodes : (n_nodes, 4, 4) float32, and `links`, the same memory as int32
    origins, directions : (n_rays, 3) float64, in the local frame
    near, far : (n_rays,) float64
        What is nearer or farther is not met, in lengths of the directions.
    seen : (n_rays,) int32
        The face that each ray meets first; of those with -1 nothing else is looked for.
    first, first_t : (n_rays, n_hits) int32 and float64
        Faces and distances; -1 and +inf behind the last of them.
    last, last_t : (n_rays,) or (0,) int32 and float64
        -1 and -inf = miss. Without elements they are not asked for, and the search ends with the
        nearest.
    """
    node_rows, node_links = pointer(nodes), pointer(links)
    vertex, corner = pointer(vertices), pointer(faces)
    origin, direction, inverse = stack_float64(3), stack_float64(3), stack_float64(3)
    stack = stack_int32(MAX_DEPTH)
    n_hits = first.shape[1]
    for ray in range(len(origins)):
        for axis in range(3):
            origin[axis] = origins[ray, axis]
            direction[axis] = directions[ray, axis]
        found, distances = first[ray], first_t[ray]
        for hit in range(n_hits):
            distances[hit] = np.inf
            found[hit] = -1
        farthest, last_face = -np.inf, np.int64(-1)
        if seen[ray] < 0:
            if len(last) > 0:
                last[ray], last_t[ray] = -1, -np.inf
            continue
        kx, ky, kz, sx, sy = shear(direction)
        reciprocals(direction, inverse)
        stack_size, node = 1, np.int64(0)
        stack[0] = np.int32(0)
        while stack_size > 0:
            stack_size -= 1
            node = np.int64(stack[stack_size])
            bound = far[ray]
            if len(last) == 0 and distances[n_hits - 1] < bound:
                bound = distances[n_hits - 1]
            t0 = enter(node_rows, 16 * node, origin, inverse, bound)
            t1 = enter(node_rows, 16 * node + 8, origin, inverse, bound)
            # The far child first on the stack, so that the near one is taken first.
            for step in range(2):
                side = (1 if t0 <= t1 else 0) ^ step
                if (t0 if side == 0 else t1) == np.inf:
                    continue
                link = np.int64(node_links[16 * node + 8 * side + 3])
                n_slots = node_links[16 * node + 8 * side + 7]
                if n_slots == 0:
                    stack[stack_size] = np.int32(link)
                    stack_size += 1
                    continue
                for slot in range(link, link + n_slots):
                    face = np.int64(slot_face[slot])
                    t = hit_distance(vertex, corner, face, origin, direction, kx, ky, kz, sx, sy)
                    if t == np.inf or t < near[ray] or t > far[ray]:
                        continue
                    if n_hits > 0:
                        _sort_in(t, face, distances, found)
                    if t > farthest or (t == farthest and face > last_face):
                        farthest, last_face = t, face
        if len(last) > 0:
            last[ray], last_t[ray] = last_face, farthest
