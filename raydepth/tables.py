"""What `surface.describe` looks up of a mesh: normals, corners, texture coordinates.

A table is flat, three numbers a row, and has one number more at its end (see `simd.load_rows`).
"""

from __future__ import annotations

import weakref
from functools import cached_property

import numpy as np

from raydepth import surface
from raydepth.bvh import Bvh
from raydepth.mesh import Mesh


class Tables:
    """What `surface.describe` looks up for a hierarchy: three numbers a row, and one at the end."""

    def __init__(self, bvh: Bvh) -> None:
        self.bvh = weakref.proxy(bvh)

    @cached_property
    def vertices(self) -> np.ndarray:
        return _padded(self.bvh.vertices)

    @cached_property
    def corners(self) -> np.ndarray:
        return _padded(self.bvh.mesh_faces)

    @cached_property
    def face_normals(self) -> np.ndarray:
        table = _empty_table(len(self.bvh.faces))
        surface.face_normals(self.bvh.vertices, self.bvh.mesh_faces, rows_of(table))
        return table

    @cached_property
    def vertex_normals(self) -> np.ndarray:
        table = _empty_table(len(self.bvh.vertices))
        surface.vertex_normals(
            self.bvh.vertices, self.bvh.mesh_faces, rows_of(self.face_normals), rows_of(table)
        )
        return table


def _empty_table(n_rows: int) -> np.ndarray:
    return np.zeros(3 * n_rows + 1)


def rows_of(table: np.ndarray) -> np.ndarray:
    """A table as (n_rows, 3)."""
    return table[:-1].reshape(-1, 3)


def _padded(rows: np.ndarray) -> np.ndarray:
    return np.append(rows.ravel(), rows.dtype.type(0))


# Tables live as long as what they were made of.
_tables: weakref.WeakKeyDictionary[Bvh, Tables] = weakref.WeakKeyDictionary()
_uv_tables: weakref.WeakKeyDictionary[Mesh, tuple[np.ndarray, np.ndarray]] = (
    weakref.WeakKeyDictionary()
)
NO_NUMBERS, NO_CORNERS = np.zeros(1), np.zeros(1, np.int32)


def tables_of(bvh: Bvh) -> Tables:
    """The tables of a hierarchy; made once, each when it is first needed."""
    found = _tables.get(bvh)
    if found is None:
        found = _tables[bvh] = Tables(bvh)
    return found


def uv_table(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates as rows (u, v, 0), and the indices of the faces' corners into them."""
    found = _uv_tables.get(mesh)
    if found is None:
        assert mesh.texture is not None
        uv, faces = mesh.texture
        rows = np.column_stack((uv, np.zeros(len(uv))))
        found = _uv_tables[mesh] = _padded(rows), _padded(faces)
    return found
