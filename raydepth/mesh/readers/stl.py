"""STL files, binary and ASCII, with one or more bodies: triangles that do not share vertices.

A file is binary if its length is the one that its header declares, no matter which text the header
begins with. 3D Systems' specification has no other mark.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, Notes
from raydepth.mesh.readers.text import points, shown

# 80 bytes of free text, uint32 number of triangles, then this for each triangle.
HEADER_BYTES = 84
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])

FACET = (b"facet", b"outer", b"vertex", b"vertex", b"vertex", b"endloop", b"endfacet")


def read(data: bytes, path: Path) -> Contents:
    """Read the triangles of an STL file.

    Raises
    ------
    MeshError
        If the length contradicts the binary header, or the text is not a complete ASCII STL.
    """
    if is_binary(data):
        triangles = np.frombuffer(data, dtype=TRIANGLE, offset=HEADER_BYTES)
        vertices = triangles["corners"].reshape(-1, 3).astype(np.float64)
    elif data[:512].lstrip()[:5].lower() == b"solid" and b"\0" not in data[:512]:
        vertices = _read_ascii(data)
    elif len(data) < HEADER_BYTES:
        raise MeshError(f"truncated: {len(data)} bytes are less than a binary STL header")
    else:
        n_triangles = announced_triangles(data)
        raise MeshError(
            f"a binary STL of {n_triangles} triangles has {announced_length(data)} bytes, "
            f"this file has {len(data)}; it is truncated or not STL"
        )
    if not len(vertices):
        raise MeshError("nothing renderable: no triangles")
    return Contents(vertices, np.arange(len(vertices)).reshape(-1, 3), Notes())


def is_binary(data: bytes) -> bool:
    """Return True if the length of the data is the one that its binary STL header declares."""
    return len(data) >= HEADER_BYTES and len(data) == announced_length(data)


def announced_triangles(data: bytes) -> int:
    """Return the number of triangles that a binary STL header declares."""
    return int.from_bytes(data[80:HEADER_BYTES], "little")


def announced_length(data: bytes) -> int:
    """Return the length, in bytes, of a binary STL with this header."""
    return HEADER_BYTES + announced_triangles(data) * TRIANGLE.itemsize


def _read_ascii(data: bytes) -> np.ndarray:
    """Read the corners of all facets, (3 * n_facets, 3) float64, line by line."""
    lines = [line for line in map(bytes.strip, data.splitlines()) if line]
    keywords = [line.split(None, 1)[0].lower() for line in lines]
    if keywords[-1] != b"endsolid" or keywords.count(b"solid") != keywords.count(b"endsolid"):
        raise MeshError(f"truncated: expected endsolid at the end, got {shown(lines[-1])}")
    inside = [i for i, keyword in enumerate(keywords) if keyword not in (b"solid", b"endsolid")]
    for i, expected in zip(inside, cycle(FACET), strict=False):
        if keywords[i] != expected:
            raise MeshError(f"expected {expected.decode()!r}, got the line {shown(lines[i])}")
    if len(inside) % len(FACET):
        raise MeshError("truncated: the last facet is incomplete")
    return points([lines[i][len(b"vertex") :] for i in inside if keywords[i] == b"vertex"])
