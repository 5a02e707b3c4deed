"""Wavefront OBJ: `v` and `f` lines, of any number of corners, with absolute or relative indices.

Names, groups, materials, texture coordinates and normals play no part in depth and are not read.
What truncation leaves behind in an OBJ is often a smaller OBJ: the format has no counts and no
end mark. Found out are a line cut within its numbers, and faces without their vertices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from raydepth.errors import MeshError
from raydepth.readers.polygons import triangulate
from raydepth.readers.scene import Contents, Notes, plain
from raydepth.readers.text import numbers, points, shown

# Statements with geometry that holds no triangles, and what to call it.
SKIPPED = {
    b"l": "line element",
    b"p": "point element",
    b"curv": "free-form curve",
    b"surf": "free-form surface",
}


def read(data: bytes, path: Path) -> Contents:
    """Read the vertices and faces of an OBJ file.

    Raises
    ------
    MeshError
        When a vertex or face line is malformed, an index is 0 or out of range, or nothing in the
        file is a face.
    """
    vertex_rows: list[bytes] = []
    face_rows: list[bytes] = []
    vertices_before: list[int] = []  # for each face line; relative indices count back from here
    skipped = Notes()
    for line in _logical_lines(data):
        keyword, *rest = line.split(None, 1)
        if keyword == b"v":
            vertex_rows.append(rest[0] if rest else b"")
        elif keyword == b"f":
            face_rows.append(rest[0] if rest else b"")
            vertices_before.append(len(vertex_rows))
        elif keyword in SKIPPED:
            skipped[SKIPPED[keyword], "skipped"] += 1
    if not face_rows:
        found = ", ".join([f"{len(vertex_rows)} 'v' lines", *plain(skipped)])
        raise MeshError(f"nothing renderable: no 'f' line ({found})")
    if not data.endswith((b"\n", b"\r")):
        _check_last_face(face_rows[-1])
    vertices = points(vertex_rows)
    corners, sizes = _corners(face_rows)
    corners = _absolute(corners, np.repeat(vertices_before, sizes))
    faces, notes = triangulate(vertices, corners, sizes)
    return Contents(vertices, faces, notes + skipped)


def _logical_lines(data: bytes) -> Iterator[bytes]:
    """Yield the lines without comments, empty lines and line continuations."""
    comments = b"#" in data
    continuations = b"\\" in data
    held = b""
    for line in data.splitlines():
        if comments and b"#" in line:
            line = line.partition(b"#")[0]
        elif continuations and line.endswith(b"\\"):
            held += line[:-1] + b" "
            continue
        line = held + line
        held = b""
        if line and not line.isspace():
            yield line
    if held.strip():
        raise MeshError(f"the file ends in a continued line: {shown(held)}")


def _corners(face_rows: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Read the vertex index of every corner as it stands, and the number of corners per face."""
    text = b"\n".join(face_rows)
    if b"/" in text:
        text = re.sub(rb"/\S*", b"", text)  # 7/1/3 -> 7
    sizes = np.array(list(map(len, map(bytes.split, text.split(b"\n")))), dtype=np.int64)
    if sizes.min() < 3:
        row = face_rows[int(np.argmin(sizes))]
        raise MeshError(f"a face has fewer than three corners: {shown(row)}")
    return numbers(text, np.int64), sizes


def _absolute(corners: np.ndarray, n_before: np.ndarray) -> np.ndarray:
    """Turn indices from 1, or from -1 for the vertex read last, into indices from 0."""
    if not corners.all():
        raise MeshError("a face uses vertex 0; OBJ counts vertices from 1")
    beyond = corners + n_before < 0
    if beyond.any():
        worst = np.flatnonzero(beyond)[0]
        raise MeshError(
            f"a face uses vertex {corners[worst]}, "
            f"but only {n_before[worst]} 'v' lines stand before it"
        )
    return np.where(corners > 0, corners - 1, corners + n_before)


def _check_last_face(row: bytes) -> None:
    """Refuse a last line without line end whose corners are not all written alike: 7/1 8/2 9/."""
    shapes = {re.sub(rb"-?\d+", b"n", corner) for corner in row.split()}
    if len(shapes) > 1:
        raise MeshError(f"truncated: the last face is cut off: {shown(row)}")
