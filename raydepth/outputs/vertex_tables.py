"""Tables that are made from a mesh once: corners, normals, texture coordinates, edges.

A table for `surface.describe` has four or eight numbers per row, so that no row crosses into
another cache line (see `interleaved.load_columns`):

| table          | row                                                              |
| -------------- | ---------------------------------------------------------------- |
| vertices       | x, y, z in the local frame, 0                                    |
| corners        | the places where the rows of a face's three vertices begin, in   |
|                | the hierarchy's order, and the mesh's order (see `_orders`)      |
| face_normals   | x, y, z, 0                                                       |
| vertex_normals | x, y, z, 0                                                       |
| uv             | a row of `corners` in place of two numbers; u, v of each corner  |
"""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np

from raydepth.bvh import Bvh
from raydepth.mesh.mesh import Mesh
from raydepth.outputs import normals
from raydepth.outputs.contours import Edges, edges_of
from raydepth.outputs.surface import SWAPPED
from raydepth.system import aligned


class Tables:
    """The tables of a hierarchy, each made when it is first needed."""

    def __init__(self, bvh: Bvh) -> None:
        self.bvh = weakref.proxy(bvh)

    @cached_property
    def vertices(self) -> np.ndarray:
        return _table(self.bvh.vertices)

    @cached_property
    def corners(self) -> np.ndarray:
        table = _table(4 * self.bvh.faces)
        table[:, 3] = _orders(self.bvh.faces, self.bvh.mesh_faces)
        return table

    @cached_property
    def face_normals(self) -> np.ndarray:
        found = np.empty((len(self.bvh.faces), 3))
        normals.face_normals(self.bvh.vertices, self.bvh.faces, self.corners[:, 3], found)
        return _table(found)

    @cached_property
    def vertex_normals(self) -> np.ndarray:
        found = np.zeros((len(self.bvh.vertices), 3))
        normals.vertex_normals(self.bvh.vertices, self.bvh.mesh_faces, self.face_normals, found)
        return _table(found)

    @cached_property
    def edges(self) -> Edges:
        """The edges of the faces that rays can meet, in the order of the leaves."""
        return edges_of(self.bvh.vertices, self.bvh.mesh_faces[self.bvh.slot_face])


def _orders(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the mesh's order of each face's corners in the hierarchy: (n_faces,) int32.

    `ours` (the hierarchy's) and `theirs` (the mesh's) are (n_faces, 3). To get from ours to theirs,
    exchange the second and the third corner if the order is SWAPPED or more. Then begin at the
    corner whose place, 0 to 2, is the order or the order minus SWAPPED.
    """
    orders = np.zeros(len(ours), np.int32)
    for swapped, corners in ((0, ours), (SWAPPED, ours[:, [0, 2, 1]])):
        for first in range(3):
            same = (np.roll(corners, -first, axis=1) == theirs).all(axis=1)
            orders[same] = swapped + first
    return orders


def _table(rows: np.ndarray) -> np.ndarray:
    table = aligned.empty((len(rows), 4), rows.dtype.type)
    table[:, : rows.shape[1]] = rows
    table[:, rows.shape[1] :] = 0
    return table


# Tables live as long as the hierarchy or the mesh that they were made from.
_tables: weakref.WeakKeyDictionary[Bvh, Tables] = weakref.WeakKeyDictionary()
_uv_tables: weakref.WeakKeyDictionary[Mesh, np.ndarray] = weakref.WeakKeyDictionary()
NO_NUMBERS = np.zeros((1, 4))


def tables_of(bvh: Bvh) -> Tables:
    """Return the tables of a hierarchy, which are made once."""
    found = _tables.get(bvh)
    if found is None:
        found = _tables[bvh] = Tables(bvh)
    return found


def uv_table(mesh: Mesh, tables: Tables) -> np.ndarray:
    """Return the table `uv` of a mesh, made with its hierarchy's tables."""
    found = _uv_tables.get(mesh)
    if found is None:
        assert mesh.texture is not None
        uv, faces = mesh.texture
        orders = tables.corners[:, 3:]
        places = (np.arange(3) - orders % SWAPPED) % 3
        swapped = orders[:, 0] >= SWAPPED
        places[swapped] = places[swapped][:, [0, 2, 1]]
        found = _uv_tables[mesh] = aligned.empty((len(faces), 8), np.float64)
        found.view(np.int32)[:, :4] = tables.corners
        found[:, 2:] = uv[np.take_along_axis(faces, places, axis=1)].reshape(-1, 6)
    return found
