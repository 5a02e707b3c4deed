"""What the fast kernels must give: `hit_distance` asked about every face, for every ray."""

from __future__ import annotations

import numpy as np
from numba import njit

from raydepth.bvh import Bvh
from raydepth.kernels import hit_distance, shear
from raydepth.simd.vectors import pointer, stack_float64


def nearest(bvh: Bvh, origins: np.ndarray, directions: np.ndarray, t_min: float = 0.0):
    """Distances and faces of rays (n, 3) in the local frame; +inf and -1 = miss."""
    distance, face = np.empty(len(origins)), np.empty(len(origins), np.int32)
    _ask(bvh.vertices, bvh.faces, origins, directions, t_min, distance, face)
    return distance, face


@njit(cache=True, error_model="numpy")
def _ask(vertices, faces, origins, directions, t_min, distance, triangle_id):
    origin, direction = stack_float64(3), stack_float64(3)
    for ray in range(len(origins)):
        distance[ray], triangle_id[ray] = np.inf, -1
        for axis in range(3):
            origin[axis] = origins[ray, axis]
            direction[axis] = directions[ray, axis]
        if direction[0] == 0.0 and direction[1] == 0.0 and direction[2] == 0.0:
            continue
        kx, ky, kz, sx, sy = shear(direction)
        for face in range(len(faces)):
            t = hit_distance(
                pointer(vertices), pointer(faces), face, origin, direction, kx, ky, kz, sx, sy
            )
            if t_min <= t < distance[ray]:
                distance[ray], triangle_id[ray] = t, face
