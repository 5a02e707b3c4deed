"""OFF, the Object File Format of Geomview, as text: [ST][C][N]OFF, counts, vertices, polygons."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents
from raydepth.mesh.readers.polygons import triangulate
from raydepth.mesh.readers.text import numbers, points, shown

# ModelNet40 has headers without a line end: "OFF490 518 0".
HEADER = re.compile(rb"(ST)?(C)?(N)?(4)?(n)?OFF\b|OFF(?=\d)")


def read(data: bytes, path: Path) -> Contents:
    """Read the vertices and faces of an OFF file.

    Raises
    ------
    MeshError
        If the header is not that of plain text OFF, the file holds fewer vertices or faces than
        the header counts, or a line is malformed.
    """
    if b"#" in data:
        data = re.sub(rb"#[^\r\n]*", b"", data)
    data = data.lstrip()
    header = HEADER.match(data)
    if header is None:
        raise MeshError(f"expected an OFF header, got {shown(data[:20])}")
    if header[4] or header[5] or data[header.end() :].lstrip(b" \t").startswith(b"BINARY"):
        raise MeshError("4OFF, nOFF and binary OFF are not read; expected plain text OFF")
    lines = [line for line in data[header.end() :].splitlines() if line and not line.isspace()]
    n_vertices, n_faces = _counts(lines)
    body = lines[1:]
    if len(body) < n_vertices + n_faces:
        raise MeshError(
            f"truncated: the header counts {n_vertices} vertices and {n_faces} faces, "
            f"but {len(body)} lines follow"
        )
    vertices = points(body[:n_vertices])
    rows = [line.split() for line in body[n_vertices : n_vertices + n_faces]]
    sizes = numbers(b" ".join(row[0] for row in rows), np.int64)
    # A colour may follow the indices.
    indices = [row[1 : size + 1] for row, size in zip(rows, sizes.tolist(), strict=True)]
    for row, index, size in zip(rows, indices, sizes, strict=True):
        if len(index) != size:
            raise MeshError(f"a face has fewer indices than it declares: {shown(b' '.join(row))}")
    corners = numbers(b" ".join(chain.from_iterable(indices)), np.int64)
    if not n_faces:
        raise MeshError(f"nothing renderable: {n_vertices} vertices and no faces")
    return Contents(vertices, *triangulate(vertices, corners, sizes))


def _counts(lines: list[bytes]) -> tuple[int, int]:
    counts = numbers(lines[0], np.int64).tolist() if lines else []
    if len(counts) not in (2, 3) or min(counts) < 0:
        got = shown(lines[0]) if lines else "the end of the file"
        raise MeshError(f"expected the counts of vertices, faces and edges, got {got}")
    return counts[0], counts[1]
