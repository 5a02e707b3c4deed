"""All faces that a ray meets: the first few, and the last. For any rays, one at a time.

The walk is that of nearest.py, but it ends at the last of the wanted hits, not at the nearest one.
Where the farthest face of all is wanted, no hit ends it.
"""

from __future__ import annotations

import numpy as np

from raydepth.accel.nodes import WIDTH, face_at, lanes_in_use, leaf_of, link_at
from raydepth.kernels import hit_distance, shear
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    integers,
    lowest_bit,
    pointer,
    stack_float32,
    stack_float64,
    stack_int32,
)
from raydepth.trace.nearest import STACK, enter_children, in_float32, may_hit, put_in_order

f4 = np.float32


@jit
def _sort_in(t, face, distances, found):
    """Insert a face into those found, which are in order of distance and then of index."""
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


@jit
def crossings(
    nodes, leaves, vertices, faces, origins, directions, near, far,
    seen, first, first_t, last, last_t,
):  # fmt: skip
    """Fill `first` with the faces that each ray meets, nearest first, and `last` with the farthest.

    Of faces at the same distance, the one of lower index comes first. A face that a ray only
    grazes, edge on, is not met. A ray that meets an edge shared by two faces meets both.

    Parameters
    ----------
    nodes, leaves : see wide.py
    vertices : (n_vertices, 3) float64, local frame
    faces : (n_faces, 3) int32
    origins, directions : (n_rays, 3) float64, in the local frame
    near, far : (n_rays,) float64
        Limits on the distance, in lengths of the directions: nearer or farther faces are not met.
    seen : (n_rays,) int32
        The face that each ray meets first. A ray with -1 is not traced.
    first, first_t : (n_rays, n_hits) int32 and float64
        Faces, and distances in lengths of the directions; -1 and +inf after the last hit.
    last, last_t : (n_rays,) or (0,) int32 and float64
        The farthest face and its distance; -1 and -inf for a miss. Arrays without elements are not
        filled, and the search ends with the nearest faces.
    """
    node, leaf_data = pointer(nodes), pointer(leaves)
    links, leaf_faces = integers(node), integers(leaf_data)
    vertex, corner = pointer(vertices), pointer(faces)
    origin, direction = stack_float64(3), stack_float64(3)
    start, inverse = stack_float32(3), stack_float32(3)
    entered = stack_float32(WIDTH)
    stack_link, stack_t = stack_int32(STACK), stack_float32(STACK)
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
        comes_near, axes, shears, forward, margin, error, begin, length, t_begin = in_float32(
            origin, direction, near[ray], start, inverse
        )
        if seen[ray] < 0 or not comes_near:
            if len(last) > 0:
                last[ray], last_t[ray] = -1, -np.inf
            continue
        kx, ky, kz, sx, sy = shear(direction)
        t_end = f4(far[ray] * length - begin) + error
        stack_link[0], stack_t[0] = np.int32(0), t_begin
        stack_size = 1
        while stack_size > 0:
            stack_size -= 1
            if stack_t[stack_size] > t_end:
                continue
            link = np.int64(stack_link[stack_size])
            if link >= 0:
                todo = enter_children(node, link, start, inverse, margin, t_begin, t_end, entered)
                base = stack_size
                while todo != 0:
                    lane = lowest_bit(todo)
                    todo &= todo - 1
                    child = link_at(links, link, lane)
                    stack_size = put_in_order(
                        stack_link, stack_t, base, stack_size, child, entered[lane]
                    )
                continue
            leaf = leaf_of(link)
            todo = may_hit(leaf_data, leaf, start, axes, shears, forward, error, t_begin, t_end)
            todo &= lanes_in_use(link)
            while todo != 0:
                lane = lowest_bit(todo)
                todo &= todo - 1
                face = face_at(leaf_faces, leaf, lane)
                t = hit_distance(vertex, corner, face, origin, direction, kx, ky, kz, sx, sy)
                if t == np.inf or t < near[ray] or t > far[ray]:
                    continue
                if n_hits > 0:
                    _sort_in(t, face, distances, found)
                if t > farthest or (t == farthest and face > last_face):
                    farthest, last_face = t, face
            # The last wanted hit so far limits the search, unless the farthest of all is wanted.
            if len(last) == 0 and distances[n_hits - 1] < far[ray]:
                t_end = f4(distances[n_hits - 1] * length - begin) + error
        if len(last) > 0:
            last[ray], last_t[ray] = last_face, farthest
