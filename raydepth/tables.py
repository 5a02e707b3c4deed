"""What is made of a mesh once: corners, normals, texture coordinates, edges.

A table for `surface.describe` has four numbers a row, so that no row reaches into another cache
line (see `simd.load_columns`):

| table          | row                                                              |
| -------------- | ---------------------------------------------------------------- |
| vertices       | x, y, z in the local frame, 0                                    |
| corners        | a face's three vertices as the hierarchy has them, and how the   |
|                | mesh orders them (see `_orders`)                                 |
| face_normals   | x, y, z, 0                                                       |
| vertex_normals | x, y, z, 0                                                       |
| uv             | u, v, 0, 0                                                       |
| uv_corners     | the rows of `uv` for a face's corners, in the mesh's order, and 0 |
"""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np

from raydepth import aligned, surface
from raydepth.bvh import Bvh
from raydepth.contours import Edges, edges_of
from raydepth.mesh import Mesh


class Tables:
    """What is looked up for a hierarchy."""

    def __init__(self, bvh: Bvh) -> None:
        self.bvh = weakref.proxy(bvh)

    @cached_property
    def vertices(self) -> np.ndarray:
        return _table(self.bvh.vertices)

    @cached_property
    def corners(self) -> np.ndarray:
        table = _table(self.bvh.faces)
        table[:, 3] = _orders(self.bvh.faces, self.bvh.mesh_faces)
        return table

    @cached_property
    def face_normals(self) -> np.ndarray:
        normals = np.empty((len(self.bvh.faces), 3))
        surface.face_normals(self.bvh.vertices, self.corners, normals)
        return _table(normals)

    @cached_property
    def vertex_normals(self) -> np.ndarray:
        normals = np.zeros((len(self.bvh.vertices), 3))
        surface.vertex_normals(self.bvh.vertices, self.bvh.mesh_faces, self.face_normals, normals)
        return _table(normals)

    @cached_property
    def edges(self) -> Edges:
        """Of the faces that rays can meet, in the order of leaves."""
        return edges_of(self.bvh.vertices, self.bvh.mesh_faces[self.bvh.slot_face])


def _orders(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """How the hierarchy's corners of faces, (n_faces, 3), become the mesh's: (n_faces,) int32.

    By `SWAPPED` more if the second and the third are to be exchanged; then the first to come is
    the one at the place that is left.
    """
    orders = np.zeros(len(ours), np.int32)
    for swapped, corners in ((0, ours), (surface.SWAPPED, ours[:, [0, 2, 1]])):
        for first in range(3):
            same = (np.roll(corners, -first, axis=1) == theirs).all(axis=1)
            orders[same] = swapped + first
    return orders


def _table(rows: np.ndarray) -> np.ndarray:
    table = aligned.empty((len(rows), 4), rows.dtype.type)
    table[:, : rows.shape[1]] = rows
    table[:, rows.shape[1] :] = 0
    return table


# Tables live as long as what they were made of.
_tables: weakref.WeakKeyDictionary[Bvh, Tables] = weakref.WeakKeyDictionary()
_uv_tables: weakref.WeakKeyDictionary[Mesh, tuple[np.ndarray, np.ndarray]] = (
    weakref.WeakKeyDictionary()
)
NO_NUMBERS, NO_CORNERS = np.zeros((1, 4)), np.zeros((1, 4), np.int32)


def tables_of(bvh: Bvh) -> Tables:
    """The tables of a hierarchy; made once, each when it is first needed."""
    found = _tables.get(bvh)
    if found is None:
        found = _tables[bvh] = Tables(bvh)
    return found


def uv_table(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """The tables `uv` and `uv_corners`."""
    found = _uv_tables.get(mesh)
    if found is None:
        assert mesh.texture is not None
        uv, faces = mesh.texture
        found = _uv_tables[mesh] = _table(uv), _table(faces)
    return found
