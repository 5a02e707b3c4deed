"""Wavefront OBJ: `v` and `f` lines, of any number of corners, with absolute or relative indices.

Names, groups, materials and normals are not read, texture coordinates (`vt`) when asked for.
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
from raydepth.readers.scene import Contents, Notes, Texture, check_indices, plain
from raydepth.readers.text import numbers, points, shown

# Statements with geometry that holds no triangles, and what to call it.
SKIPPED = {
    b"l": "line element",
    b"p": "point element",
    b"curv": "free-form curve",
    b"surf": "free-form surface",
}


def read(data: bytes, path: Path, uv: bool = False) -> Contents:
    """Read the vertices and faces of an OBJ file, and its texture coordinates if `uv`.

    Raises
    ------
    MeshError
        When a vertex or face line is malformed, an index is 0 or out of range, or nothing in the
        file is a face.
    """
    vertex_rows: list[bytes] = []
    face_rows: list[bytes] = []
    vertices_before: list[int] = []  # for each face line; relative indices count back from here
    uv_rows: list[bytes] = []
    uv_before: list[int] = []
    skipped = Notes()
    for line in _logical_lines(data):
        keyword, *rest = line.split(None, 1)
        if keyword == b"v":
            vertex_rows.append(rest[0] if rest else b"")
        elif keyword == b"f":
            face_rows.append(rest[0] if rest else b"")
            vertices_before.append(len(vertex_rows))
            uv_before.append(len(uv_rows))
        elif uv and keyword == b"vt":
            uv_rows.append(rest[0] if rest else b"")
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
    if not uv_rows:
        faces, notes = triangulate(vertices, corners, sizes)
        return Contents(vertices, faces, notes + skipped)
    check_indices(corners, len(vertices))
    # Cut with every corner as a vertex of its own, so that its other index can be looked up.
    places, notes = triangulate(vertices[corners], np.arange(len(corners)), sizes)
    texture = Texture(*_texture(uv_rows, face_rows, np.repeat(uv_before, sizes), places))
    return Contents(vertices, corners[places], notes + skipped, texture=texture)


def _texture(
    uv_rows: list[bytes], face_rows: list[bytes], n_before: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates, (n_uv + 1, 2) with NaN in the last row, and each triangle's indices."""
    widths = set(map(len, map(bytes.split, uv_rows)))
    if min(widths) < 2:
        short = next(row for row in uv_rows if len(row.split()) < 2)
        raise MeshError(f"texture coordinates of fewer than two numbers: {shown(short)}")
    uv = numbers(b"\n".join(b" ".join(row.split()[:2]) for row in uv_rows)).reshape(-1, 2)
    # 7/1/3 -> 1; 0, which OBJ does not have, where a corner has none: 7 or 7//3
    text = re.sub(rb"(\S+)", _second_index, b" ".join(face_rows))
    indices = numbers(text, np.int64)
    none = indices == 0
    indices[none] = 1
    indices = np.where(none, len(uv), _absolute(indices, n_before, "vt", "vt"))
    if indices.max() > len(uv) or (indices[~none] >= len(uv)).any():
        raise MeshError(
            f"a face uses texture coordinates {indices.max()} (counted from 0); there are {len(uv)}"
        )
    return np.append(uv, [[np.nan, np.nan]], axis=0), indices[places]


def _second_index(corner: re.Match[bytes]) -> bytes:
    parts = corner[1].split(b"/")
    return parts[1] if len(parts) > 1 and parts[1] else b"0"


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


def _absolute(
    corners: np.ndarray, n_before: np.ndarray, what: str = "vertex", keyword: str = "v"
) -> np.ndarray:
    """Turn indices from 1, or from -1 for the one read last, into indices from 0."""
    if not corners.all():
        raise MeshError("a face uses vertex 0; OBJ counts vertices from 1")
    beyond = corners + n_before < 0
    if beyond.any():
        worst = np.flatnonzero(beyond)[0]
        raise MeshError(
            f"a face uses {what} {corners[worst]}, "
            f"but only {n_before[worst]} '{keyword}' lines stand before it"
        )
    return np.where(corners > 0, corners - 1, corners + n_before)


def _check_last_face(row: bytes) -> None:
    """Refuse a last line without line end whose corners are not all written alike: 7/1 8/2 9/."""
    shapes = {re.sub(rb"-?\d+", b"n", corner) for corner in row.split()}
    if len(shapes) > 1:
        raise MeshError(f"truncated: the last face is cut off: {shown(row)}")
