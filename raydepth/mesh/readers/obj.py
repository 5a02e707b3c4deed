"""Wavefront OBJ: `v` lines, and `f` lines with any number of absolute or relative indices.

Texture coordinates (`vt`) are read if requested; names, groups, materials and normals are not read.
A truncated OBJ is often a valid smaller OBJ, because the format has no counts and no end mark.
The reader detects a line that is cut within its numbers, and faces whose vertices are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, Notes, Texture, check_indices, plain
from raydepth.mesh.readers.polygons import triangulate
from raydepth.mesh.readers.text import numbers, points, shown

# Keywords of geometry that has no triangles, and its name in notes.
SKIPPED = {
    b"l": "line element",
    b"p": "point element",
    b"curv": "free-form curve",
    b"surf": "free-form surface",
}


WHITE_SPACE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))


class Rows(NamedTuple):
    """The statements of one keyword."""

    text: bytes  # the statements without the keyword, one per line
    lines: np.ndarray  # (n_rows,) int64, their line numbers in the file

    def split(self) -> list[bytes]:
        """Return the rows, without white space around them."""
        return [row.strip() for row in self.text.split(b"\n")] if len(self.lines) else []


def read(data: bytes, path: Path, uv: bool = False) -> Contents:
    """Read the vertices and faces of an OBJ file, and its texture coordinates if `uv`.

    Raises
    ------
    MeshError
        If a vertex or face line is malformed, an index is 0 or out of range, or the file has no
        face.
    """
    vertex_rows, face_rows, uv_rows, skipped = _statements(data)
    if not len(face_rows.lines):
        found = ", ".join([f"{len(vertex_rows.lines)} 'v' lines", *plain(skipped)])
        raise MeshError(f"nothing renderable: no 'f' line ({found})")
    if not data.endswith((b"\n", b"\r")):
        _check_last_face(face_rows.text[face_rows.text.rfind(b"\n") + 1 :].strip())
    vertices = _vertices(vertex_rows)
    corners, sizes = _corners(face_rows)
    # Relative indices count back from the line in which they stand.
    before = np.searchsorted(vertex_rows.lines, face_rows.lines)
    corners = _absolute(corners, np.repeat(before, sizes))
    if not uv or not len(uv_rows.lines):
        faces, notes = triangulate(vertices, corners, sizes)
        return Contents(vertices, faces, notes + skipped)
    check_indices(corners, len(vertices))
    # Make each corner a vertex of its own, so that its `vt` index can be looked up afterwards.
    places, notes = triangulate(vertices[corners], np.arange(len(corners)), sizes)
    before = np.searchsorted(uv_rows.lines, face_rows.lines)
    n_before = np.repeat(before, sizes)
    texture = Texture(*_texture(uv_rows.split(), face_rows.split(), n_before, places))
    return Contents(vertices, corners[places], notes + skipped, texture=texture)


def _statements(data: bytes) -> tuple[Rows, Rows, Rows, Notes]:
    """Find the 'v', 'f' and 'vt' lines, and count those in `SKIPPED`.

    All lines are classified at once by their first bytes, which is many times as fast as one after
    the other.
    """
    text, starts, ends = _lines(data)
    if not _are_statements(data, text, starts):
        data = b"\n".join(map(bytes.lstrip, _logical_lines(data)))
        text, starts, ends = _lines(data)
    first, second, third = (text[starts + i] for i in range(3))
    one_letter = WHITE_SPACE[second]
    texture = (first == ord("v")) & (second == ord("t")) & WHITE_SPACE[third]
    skipped = Notes()
    for line in np.flatnonzero(np.isin(first, [keyword[0] for keyword in SKIPPED])):
        keyword = data[starts[line] : ends[line]].split(None, 1)[0]
        if keyword in SKIPPED:
            skipped[SKIPPED[keyword], "skipped"] += 1
    vertex_rows, face_rows, uv_rows = (
        _rows(text, starts, ends, chosen, n_letters)
        for chosen, n_letters in (
            (one_letter & (first == ord("v")), 1),
            (one_letter & (first == ord("f")), 1),
            (texture, 2),
        )
    )
    return vertex_rows, face_rows, uv_rows, skipped


def _lines(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bytes, and the offsets at which lines begin and end."""
    # Padded after the last line, so that three bytes can be read from the start of each.
    text = np.frombuffer(data + b"\n\n\n", np.uint8)
    ends = np.flatnonzero(text == ord("\n"))[:-2]
    return text, np.append(0, ends[:-1] + 1), ends


def _are_statements(data: bytes, text: np.ndarray, starts: np.ndarray) -> bool:
    """Return True if every line is a comment, blank, or a statement from first to last byte."""
    if b"\\" in data or data.count(b"\r") != data.count(b"\r\n"):
        return False
    first = text[starts]
    blank = (first == ord("\n")) | ((first == ord("\r")) & (text[starts + 1] == ord("\n")))
    if (WHITE_SPACE[first] & ~blank).any():
        return False
    if b"#" not in data:
        return True
    lines = np.searchsorted(starts, np.flatnonzero(text == ord("#")), side="right") - 1
    return bool((first[lines] == ord("#")).all())


def _rows(
    text: np.ndarray, starts: np.ndarray, ends: np.ndarray, chosen: np.ndarray, n_letters: int
) -> Rows:
    """Join the chosen lines, with spaces in place of their keyword of `n_letters` letters."""
    is_in = np.repeat(chosen, ends - starts + 1)
    joined = text[: len(is_in)][is_in]
    lengths = (ends - starts + 1)[chosen]
    for letter in range(n_letters):
        joined[np.cumsum(lengths) - lengths + letter] = ord(" ")
    return Rows(joined[:-1].tobytes(), np.flatnonzero(chosen))


def _widths(text: bytes) -> np.ndarray:
    """Count the words of each line, (n_lines,)."""
    white = WHITE_SPACE[np.frombuffer(b"\n%b\n" % text, np.uint8)]
    words = np.cumsum(white[:-1] & ~white[1:])
    ends = np.flatnonzero(np.frombuffer(b"%b\n" % text, np.uint8) == ord("\n"))
    return np.diff(words[ends], prepend=0)


def _vertices(rows: Rows) -> np.ndarray:
    """Read the first three numbers of every row, (n_rows, 3)."""
    if not len(rows.lines):
        return np.empty((0, 3))
    widths = _widths(rows.text)
    if widths.min() < 3 or widths.min() < widths.max():
        return points(rows.split())
    return numbers(rows.text).reshape(len(widths), -1)[:, :3]


def _texture(
    uv_rows: list[bytes], face_rows: list[bytes], n_before: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n_uv + 1, 2) texture coordinates, the last row NaN, and each triangle's indices."""
    widths = set(map(len, map(bytes.split, uv_rows)))
    if min(widths) < 2:
        short = next(row for row in uv_rows if len(row.split()) < 2)
        raise MeshError(f"texture coordinates of fewer than two numbers: {shown(short)}")
    uv = numbers(b"\n".join(b" ".join(row.split()[:2]) for row in uv_rows)).reshape(-1, 2)
    # 7/1/3 -> 1; no index (7 or 7//3) -> 0, which is not a valid index in OBJ
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
    """Yield the lines without comments and empty lines, and with continued lines joined."""
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


def _corners(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Read the vertex index of every corner as written, and the number of corners per face."""
    text = rows.text
    if b"/" in text:
        text = re.sub(rb"/\S*", b"", text)  # 7/1/3 -> 7
    sizes = _widths(text)
    if sizes.min() < 3:
        raise MeshError(
            f"a face has fewer than three corners: {shown(rows.split()[int(np.argmin(sizes))])}"
        )
    return numbers(text, np.int64), sizes


def _absolute(
    corners: np.ndarray, n_before: np.ndarray, what: str = "vertex", keyword: str = "v"
) -> np.ndarray:
    """Convert indices that count from 1, or back from -1 for the last one read, to count from 0."""
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
    """Refuse a last line without a line end if its corners differ in form: 7/1 8/2 9/."""
    shapes = {re.sub(rb"-?\d+", b"n", corner) for corner in row.split()}
    if len(shapes) > 1:
        raise MeshError(f"truncated: the last face is cut off: {shown(row)}")
