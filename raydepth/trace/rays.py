"""Cast single rays of any origin and direction: lists of rays, or those of a view's pixels."""

from __future__ import annotations

import numpy as np

from raydepth.kernels import LEAST, edge_functions, hit_distance, pixel_ray, shear
from raydepth.simd.jit import jit
from raydepth.simd.vectors import pointer, stack_float64
from raydepth.trace.nearest import nearest_face


@jit
def cast(
    nodes, leaves, vertices, faces, origins, directions,
    distance, triangle_id, barycentric, t_min=0.0,
):  # fmt: skip
    """Fill `distance`, `triangle_id` and `barycentric` of all rays.

    A miss is +inf, -1 and NaN.

    Parameters
    ----------
    nodes, leaves : see wide.py
    vertices : (n_vertices, 3) float64, local frame
    faces : (n_faces, 3) int32
    origins, directions : (n_rays, 3) float64, in the local frame
    distance : (n_rays,) float64
        In lengths of the direction.
    triangle_id : (n_rays,) int32
    barycentric : (n_rays, 3) float64
        The weights of the vertices in the order of `faces` (lexicographic, see bvh.py).
    t_min : float64
        Nearer faces are not hit. In lengths of the direction.
    """
    vertex = pointer(vertices)
    corner = pointer(faces)
    origin = stack_float64(3)
    direction = stack_float64(3)
    for ray in range(len(origins)):
        for axis in range(3):
            origin[axis] = origins[ray, axis]
            direction[axis] = directions[ray, axis]
        face, t = nearest_face(
            pointer(nodes), pointer(leaves), vertex, corner, origin, direction, t_min
        )
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


@jit
def limit(
    nodes, leaves, vertices, faces, basis, first_row, last_row, near, far, triangle_id,
):  # fmt: skip
    """Remove faces nearer than `near` or farther than `far` from rows of one view.

    A pixel whose face is too near sees what lies behind it, if that is within the limits. Without
    such a face the pixel becomes a miss, -1.

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
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            face = np.int64(triangle_id[row, column])
            if face < 0:
                continue
            pixel_ray(view, column, row, origin, direction)
            kx, ky, kz, sx, sy = shear(direction)
            t = hit_distance(vertex, corner, face, origin, direction, kx, ky, kz, sx, sy)
            if t < near:
                face, t = nearest_face(
                    pointer(nodes),
                    pointer(leaves),
                    vertex,
                    corner,
                    origin,
                    direction,
                    max(near, LEAST),
                )
            triangle_id[row, column] = face if t <= far else -1


@jit
def visibility(
    nodes, leaves, vertices, faces, basis, first_row, last_row, near, far, triangle_id,
):  # fmt: skip
    """Fill rows of one view's `triangle_id`, -1 for a miss; parameters are those of `limit`."""
    vertex = pointer(vertices)
    corner = pointer(faces)
    view = pointer(basis)
    origin = stack_float64(3)
    direction = stack_float64(3)
    for row in range(first_row, last_row):
        for column in range(triangle_id.shape[1]):
            pixel_ray(view, column, row, origin, direction)
            face, t = nearest_face(
                pointer(nodes), pointer(leaves), vertex, corner, origin, direction, max(near, LEAST)
            )
            triangle_id[row, column] = face if t <= far else -1


@jit
def put_in_mesh_order(barycentric, triangle_id, faces, mesh_faces):
    """Reorder weights of corners, in place, from the order of `faces` to that of `mesh_faces`.

    The first is the hierarchy's order, the second the user's.

    Parameters
    ----------
    barycentric : (n_rays, 3) float64
    triangle_id : (n_rays,) int32
    faces, mesh_faces : (n_faces, 3) int32
    """
    for ray in range(len(triangle_id)):
        face = triangle_id[ray]
        if face < 0:
            continue
        a, b, c = barycentric[ray, 0], barycentric[ray, 1], barycentric[ray, 2]
        for corner in range(3):
            vertex = mesh_faces[face, corner]
            barycentric[ray, corner] = (
                a if vertex == faces[face, 0] else (b if vertex == faces[face, 1] else c)
            )


@jit
def cover(
    nodes, leaves, vertices, faces, basis, samples, chosen, coverage,
):  # fmt: skip
    """Fill in, for the chosen pixels, the share of their samples whose rays meet a face.

    Parameters
    ----------
    basis : (6, 3) float64
        The ray basis of the samples, in the local frame.
    samples : int
        The number of samples along each side of a pixel.
    chosen : (height, width) bool
    coverage : (height, width) float
        From 0 to 1. Pixels that are not chosen are left as they are.
    """
    vertex = pointer(vertices)
    corner = pointer(faces)
    view = pointer(basis)
    origin = stack_float64(3)
    direction = stack_float64(3)
    for row in range(chosen.shape[0]):
        for column in range(chosen.shape[1]):
            if not chosen[row, column]:
                continue
            count = 0
            for sample in range(samples * samples):
                x, y = samples * column + sample % samples, samples * row + sample // samples
                pixel_ray(view, x, y, origin, direction)
                face, _ = nearest_face(
                    pointer(nodes), pointer(leaves), vertex, corner, origin, direction, LEAST
                )
                count += face >= 0
            coverage[row, column] = count / (samples * samples)
