"""Normals of a mesh's faces and vertices."""

from __future__ import annotations

import math

from raydepth.outputs.surface import SWAPPED
from raydepth.simd.jit import jit


@jit
def face_normals(vertices, faces, orders, normals):
    """Fill `normals` (n_faces, 3) with each face's unit normal by its winding; 0 without an area.

    Seen from the side that the normal points to, the mesh's corners go round counterclockwise.
    `faces` are the hierarchy's; `orders` are those of `_orders` in vertex_tables.py.
    """
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = _difference(vertices, b, a)
        vx, vy, vz = _difference(vertices, c, a)
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = math.sqrt(x * x + y * y + z * z)
        per_length = 0.0 if length == 0.0 else 1.0 / length
        if orders[face] >= SWAPPED:
            per_length = -per_length
        normals[face, 0] = x * per_length
        normals[face, 1] = y * per_length
        normals[face, 2] = z * per_length


@jit
def vertex_normals(vertices, faces, normals_of_faces, normals):
    """Add up the normals of each vertex's faces, weighted by the faces' angles at the vertex.

    `normals` (n_vertices, 3) must be zeros before. It is unit vectors after, or 0 where the normals
    cancel out or a vertex has no face. Source: Thuermer, Wuethrich, "Computing Vertex Normals from
    Polygonal Facets", 1998.
    """
    for face in range(faces.shape[0]):
        for corner in range(3):
            here = faces[face, corner]
            ux, uy, uz = _difference(vertices, faces[face, (corner + 1) % 3], here)
            vx, vy, vz = _difference(vertices, faces[face, (corner + 2) % 3], here)
            x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            angle = math.atan2(math.sqrt(x * x + y * y + z * z), ux * vx + uy * vy + uz * vz)
            for axis in range(3):
                normals[here, axis] += angle * normals_of_faces[face, axis]
    for vertex in range(normals.shape[0]):
        x, y, z = normals[vertex, 0], normals[vertex, 1], normals[vertex, 2]
        length = math.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            for axis in range(3):
                normals[vertex, axis] /= length


@jit
def _difference(vertices, end, start):
    return (
        vertices[end, 0] - vertices[start, 0],
        vertices[end, 1] - vertices[start, 1],
        vertices[end, 2] - vertices[start, 2],
    )
