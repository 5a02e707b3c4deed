"""The exact ray maths: what counts as a hit, and how far away it is.

Everything here is float64, in the hierarchy's local frame (see bvh.py). `hit_distance` alone
decides which face a ray meets. The tile kernel (tiles.py) and the single-ray kernel (nearest.py)
differ only in which faces they rule out before they call it, so they agree bit for bit.
`hit_distance` is watertight: a ray through an edge or a vertex that faces share hits one of them.

Kernels release the GIL, assume checked input and never raise. Arrays are passed as pointers
(`vectors.pointer`) to flat data: vertex i is at `vertices[3 * i]`, face f at `faces[3 * f]`.
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit

# A distance to a face's plane is accepted if it lies within the range of the vertices' distances,
# widened by these factors: far above float64's rounding, far below float32's resolution.
BELOW, ABOVE = 1.0 - 1e-10, 1.0 + 1e-10

# The least distance at which a pixel sees a face: the least normal float64.
LEAST = 2.0**-1022


@jit
def pixel_ray(basis, column, row, origin, direction):
    """Fill `origin` and `direction` with the ray through a pixel's centre.

    `basis` is one view's `Cameras.ray_basis` (18 numbers).
    """
    x = column + 0.5
    y = row + 0.5
    for axis in range(3):
        origin[axis] = basis[axis] + x * basis[3 + axis] + y * basis[6 + axis]
        direction[axis] = basis[9 + axis] + x * basis[12 + axis] + y * basis[15 + axis]


@jit
def axes_of(direction):
    """Return kx, ky, kz: kz is the axis that the ray runs along most, kx and ky the two others."""
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
    """Return kx, ky, kz of `axes_of`, and the shear in x and y that makes the ray the z axis.

    Source: Woop, Benthin, Wald, "Watertight Ray/Triangle Intersection", 2013.
    """
    kx, ky, kz = axes_of(direction)
    return kx, ky, kz, direction[kx] / direction[kz], direction[ky] / direction[kz]


@jit
def edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy):
    """Return a face's edge functions u, v, w, seen along the ray, and the weighted sum of depths.

    In the sheared frame the ray is the z axis; u, v, w are the signed areas opposite to the three
    vertices, and weight the vertices' depths. A vertex gets the same coordinates in every face
    that shares it, and a difference of two rounded products never has the wrong sign. So no ray
    slips between neighbouring faces.
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
def signed_distance(vertices, faces, face, origin, direction, kx, ky, kz, sx, sy):
    """Return where the ray's line meets the face, in units of `direction`; +inf if it does not.

    The distance is below 0 for a face behind the origin, and 0 for one that the origin lies on.
    """
    u, v, w, weighted = edge_functions(vertices, faces, face, origin, kx, ky, kz, sx, sy)
    # Mixed signs are a miss. Zeros are not, so that shared edges and vertices are hit.
    if (u < 0.0 or v < 0.0 or w < 0.0) and (u > 0.0 or v > 0.0 or w > 0.0):
        return np.inf
    area = u + v + w
    # The face is seen edge on.
    if area == 0.0:
        return np.inf
    # Adding 0 turns -0 into 0.
    return weighted / (area * direction[kz]) + 0.0


@jit
def hit_distance(vertices, faces, face, origin, direction, kx, ky, kz, sx, sy):
    """Return the distance along a pixel's ray to the face, in units of `direction`, above 0.

    It is +inf for a miss.
    """
    t = signed_distance(vertices, faces, face, origin, direction, kx, ky, kz, sx, sy)
    return t if t > 0.0 else np.inf
