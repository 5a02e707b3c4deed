"""The exact ray maths: what a hit is, and how far away.

Everything here is float64, in the hierarchy's local frame (see bvh.py). Which face a ray meets is
decided by `hit_distance` alone: the tile kernel (tiles.py) and the single-ray kernel (nearest.py)
only differ in which faces they spare it, so they agree bit for bit. It is watertight: a ray through
an edge or a vertex shared by faces hits one of them.

Kernels release the GIL and assume checked input; they never raise. Arrays come as pointers
(`vectors.pointer`) to flat data: vertex i is at `vertices[3 * i]`, face f at `faces[3 * f]`.
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit

# A distance to a face's plane is believed within the range of its vertices', and a little more:
# far above float64's rounding, far below float32's resolution.
BELOW, ABOVE = 1.0 - 1e-10, 1.0 + 1e-10


@jit
def pixel_ray(basis, column, row, origin, direction):
    """The ray through a pixel's centre, from one view's `Cameras.ray_basis` (18 numbers)."""
    x = column + 0.5
    y = row + 0.5
    for axis in range(3):
        origin[axis] = basis[axis] + x * basis[3 + axis] + y * basis[6 + axis]
        direction[axis] = basis[9 + axis] + x * basis[12 + axis] + y * basis[15 + axis]


@jit
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


@jit
def shear(direction):
    """The axis the ray runs along most, the other two, and the shear that straightens the ray.

    Source: Woop, Benthin, Wald, "Watertight Ray/Triangle Intersection", 2013.
    """
    kx, ky, kz = axes_of(direction)
    return kx, ky, kz, direction[kx] / direction[kz], direction[ky] / direction[kz]


@jit
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


@jit
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
