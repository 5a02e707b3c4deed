"""The contents of a mesh file as readers return them, and the flattening of scenes into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np

from raydepth.errors import MeshError

# Counts of what was done to a file's geometry, such as 2 for ("quad", "triangulated").
Notes = Counter[tuple[str, str]]


class Contents(NamedTuple):
    """The geometry of a mesh file as triangles, in the order of the file's faces."""

    vertices: np.ndarray  # (n_vertices, 3) float64
    faces: np.ndarray  # (n_faces, 3) int64
    notes: Notes
    parts: tuple[Part, ...] = ()  # in the order of their faces; empty if there is no scene
    texture: Texture | None = None  # None if not requested or absent


class Part(NamedTuple):
    """The faces that one node puts into a scene: from `first_face` up to the next part's."""

    name: str
    first_face: int


class Texture(NamedTuple):
    """Texture coordinates, and the index into them for each corner of each face."""

    uv: np.ndarray  # (n_uv, 2) float64, as in the file; NaN where it has none
    faces: np.ndarray  # (n_faces, 3), indices into uv


class Instance(NamedTuple):
    """One geometry at one place in a scene."""

    geometry: Hashable  # the same for every instance of the same geometry
    vertices: np.ndarray  # (n_vertices, 3), in the geometry's own coordinates
    faces: np.ndarray  # (n_faces, 3)
    world_from_geometry: np.ndarray  # (4, 4) float64
    name: str = ""  # of its node
    node: Hashable = None  # equal for all instances of one node; None: a part of its own
    uv: np.ndarray | None = None  # (n_uv, 2) texture coordinates
    uv_faces: np.ndarray | None = None  # (n_faces, 3), indices into them; `faces` if None


def check_indices(indices: np.ndarray, n_vertices: int) -> None:
    """Raise MeshError if an index, counted from 0, is not that of a vertex."""
    if indices.size == 0:
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n_vertices:
        bad = low if low < 0 else high
        raise MeshError(
            f"a face uses vertex {bad} (counted from 0); there are {n_vertices} vertices"
        )


def flatten(instances: Iterable[Instance], notes: Notes) -> Contents:
    """Transform every instance into the scene, in float64, and join them in the order given.

    Parameters
    ----------
    instances : iterable of Instance
    notes : Notes
        The notes so far; flattening adds its own to them.

    Raises
    ------
    MeshError
        If there is no instance, a face index is out of the range of its own geometry, or there are
        too many faces for 32-bit indices.
    """
    instances = [_turned_right(instance) for instance in instances]
    if not instances:
        raise MeshError("; ".join(["nothing renderable: no triangles in its scene", *plain(notes)]))
    n_faces = sum(len(instance.faces) for instance in instances)
    if n_faces > np.iinfo(np.int32).max:
        raise MeshError(f"{n_faces} faces with all instances; expected at most 2147483647")
    vertices, faces, first = [], [], 0
    parts, first_face, node = [], 0, None
    for instance in instances:
        if instance.node is None or instance.node != node:
            parts.append(Part(instance.name, first_face))
        node = instance.node
        first_face += len(instance.faces)
        check_indices(instance.faces, len(instance.vertices))
        vertices.append(transform(instance.world_from_geometry, instance.vertices))
        faces.append(np.asarray(instance.faces, dtype=np.int64) + first)
        first += len(instance.vertices)
    n_geometries = len({instance.geometry for instance in instances})
    if len(instances) > 1:
        notes["instance", f"of {counted(n_geometries, 'geometry')} flattened"] = len(instances)
    has_uv = any(instance.uv is not None for instance in instances)
    texture = _texture(instances) if has_uv else None
    return Contents(np.concatenate(vertices), np.concatenate(faces), notes, tuple(parts), texture)


def _turned_right(instance: Instance) -> Instance:
    """Exchange two corners of each face of a mirrored instance, so that fronts stay fronts.

    glTF 2.0, 3.7.4: the sign of the determinant of a node's transform defines the winding.
    """
    if np.linalg.det(np.asarray(instance.world_from_geometry)[:3, :3]) >= 0.0:
        return instance
    order = [0, 2, 1]
    faces, uv_faces = np.asarray(instance.faces)[:, order], instance.uv_faces
    if uv_faces is not None:
        uv_faces = np.asarray(uv_faces)[:, order]
    return instance._replace(faces=faces, uv_faces=uv_faces)


def _texture(instances: list[Instance]) -> Texture:
    """Join the texture coordinates of all instances; NaN for those that have none."""
    coordinates, corners, first = [], [], 0
    for instance in instances:
        uv, faces = instance.uv, instance.uv_faces
        if uv is None:
            uv, faces = np.full((1, 2), np.nan), np.zeros_like(instance.faces)
        coordinates.append(np.asarray(uv, dtype=np.float64))
        corners.append((instance.faces if faces is None else faces) + np.int64(first))
        first += len(uv)
    return Texture(np.concatenate(coordinates), np.concatenate(corners))


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a (4, 4) affine matrix to (n, 3) points, in float64."""
    points = np.asarray(points, dtype=np.float64)
    if np.array_equal(matrix, np.eye(4)):
        return points
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def plain(notes: Notes) -> list[str]:
    """Write notes as sentences: "2 quads triangulated"."""
    return [f"{counted(n, noun)} {what}" for (noun, what), n in notes.items() if n]


def counted(n: int, noun: str) -> str:
    """Write a number with its noun: "1 geometry", "2 geometries", "3 faces"."""
    if n != 1:
        noun = noun[:-1] + "ies" if noun.endswith("ry") else noun + "s"
    return f"{n} {noun}"
