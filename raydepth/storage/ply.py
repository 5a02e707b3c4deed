"""One point cloud for each mesh: the points that its views see, in world coordinates.

    OUT/bunny.points.ply

A binary little-endian PLY with one element "vertex": a point for each pixel that is a hit, in the
order of views, rows and columns.

| property               | meaning                                                              |
| ---------------------- | -------------------------------------------------------------------- |
| float x y z            | in the world, in units                                               |
| float depth            | of the kind in the description, in units, exactly as rendered        |
| float nx ny nz         | unit normal of the face, if the output "normal" is asked for         |
| int view, row, column  | the pixel                                                            |

The description is in the header, as JSON cut into lines of "comment raydepth". There is no
contact sheet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from raydepth.camera.conversions import points_from_depth
from raydepth.codecs.formats import as_value_error, npy
from raydepth.export import StoredDepth, checked_floats
from raydepth.storage.base import MeshWriter, Store, StoredMesh, names_with_suffix, new_file
from raydepth.storage.description import parsed_description
from raydepth.storage.output_files import decode_output, parts_of

SUFFIX = ".points.ply"
COMMENT = b"comment raydepth "
# Bytes of JSON per line; some readers of PLY files do not take long lines.
PIECE = 200
FLOATS, NORMALS, WHOLE = ("x", "y", "z", "depth"), ("nx", "ny", "nz"), ("view", "row", "column")


class PlyStore(Store):
    """One .points.ply file for each mesh."""

    file_format = "ply"
    stores_uint16 = False
    outputs = frozenset({"normal"})

    def encode(self, view: StoredDepth) -> np.ndarray:
        pixels, camera, kind = view.pixels, view.camera, view.metadata.kind
        assert camera is not None
        row, column = np.nonzero(np.isfinite(pixels))
        table = np.empty(len(row), _dtype(normals=False))
        points = points_from_depth(pixels, camera, kind)[row, column]
        for name, values in zip(("x", "y", "z"), points.T, strict=True):
            table[name] = values
        table["depth"] = pixels[row, column]
        table["view"], table["row"], table["column"] = 0, row, column
        return table

    def contents(self, encoded: np.ndarray) -> Iterable[bytes]:
        return (encoded.tobytes(),)

    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        return out / f"{name}{SUFFIX}"

    @contextmanager
    def _mesh(self, out: Path, name: str, description: dict[str, Any]) -> Iterator[MeshWriter]:
        with new_file(self.place(out, name)) as file:
            yield _PlyWriter(file, description)

    def find(self, out: Path, name: str) -> StoredMesh | None:
        path = self.place(out, name)
        return PlyMesh(name, path) if os.path.lexists(path) else None

    def remove(self, out: Path, name: str) -> None:
        self.place(out, name).unlink(missing_ok=True)

    def open(self, out: Path) -> list[StoredMesh]:
        names = sorted(names_with_suffix(out, SUFFIX))
        return [PlyMesh(name, self.place(out, name)) for name in names]


class _PlyWriter(MeshWriter):
    """Collects all points, because the header holds their number, and then writes them."""

    def __init__(self, file: BinaryIO, description: dict[str, Any]) -> None:
        super().__init__(description)
        self._file = file
        self._has_normals = "outputs" in description
        self._tables: list[np.ndarray] = []

    def _add(self, file: str, encoded: Any) -> None:
        seen, files = parts_of(encoded)
        table = np.empty(len(seen), _dtype(self._has_normals))
        for name in seen.dtype.names:
            table[name] = seen[name]
        table["view"] = len(self._tables)
        for content in files.values():
            image = decode_output("normal", content)
            normals = image[seen["row"], seen["column"]]
            for name, values in zip(NORMALS, normals.T, strict=True):
                table[name] = values
        self._tables.append(table)

    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        n_points = sum(map(len, self._tables))
        self._file.write(_header(description, n_points, self._has_normals))
        for table in self._tables:
            self._file.write(table.tobytes())


class PlyMesh(StoredMesh):
    """The mesh of one file; its views are images made from the points."""

    def _description(self) -> dict[str, Any]:
        with open(self.place, "rb") as file:
            pieces = [line[len(COMMENT) : -1] for line in _header_lines(file) if COMMENT in line]
        return parsed_description(b"".join(pieces))

    @cached_property
    def _table(self) -> np.ndarray:
        with open(self.place, "rb") as file, as_value_error("damaged PLY file"):
            lines = list(_header_lines(file))
            (count,) = (int(line.split()[2]) for line in lines if line.startswith(b"element"))
            dtype = _dtype(normals=any(line.split()[-1:] == [b"nx"] for line in lines))
            content = file.read()
            if len(content) != count * dtype.itemsize:
                raise ValueError(f"its header says {count} points, but {len(content)} bytes follow")
        return np.frombuffer(content, dtype)

    def _image(self, view: int, names: Sequence[str], miss: float) -> np.ndarray:
        """Make an image of n properties of the points of a view: (height, width, n) float32."""
        seen = self._table[self._table["view"] == view]
        image = np.full((self.cameras.height, self.cameras.width, len(names)), miss, np.float32)
        with as_value_error("damaged PLY file"):
            for channel, name in enumerate(names):
                image[seen["row"], seen["column"], channel] = seen[name]
        return image

    def _depth(self, view: int) -> np.ndarray:
        return checked_floats(self._image(view, ("depth",), np.inf)[..., 0])

    def contents(self, view: int) -> Iterable[bytes]:
        seen = self._table[self._table["view"] == view]
        # As `encode` made it: with 0 for the view, and without normals.
        table = np.zeros(len(seen), _dtype(normals=False))
        for name in (*FLOATS, "row", "column"):
            table[name] = seen[name]
        return (table.tobytes(),)

    def content(self, file: str) -> bytes:
        for view, entry in enumerate(self.metadata["views"]):
            if entry["outputs"]["normal"]["file"] == file:
                return npy(self._image(view, NORMALS, 0.0))
        raise ValueError(f"it has no {file}")


def _dtype(normals: bool) -> np.dtype:
    floats = (*FLOATS, *NORMALS) if normals else FLOATS
    return np.dtype([(name, "<f4") for name in floats] + [(name, "<i4") for name in WHOLE])


def _header(description: dict[str, Any], n_points: int, normals: bool) -> bytes:
    text = json.dumps(description).encode()
    kinds = {np.dtype("<f4"): b"float", np.dtype("<i4"): b"int"}
    dtype = _dtype(normals)
    assert dtype.names is not None
    lines = [
        b"ply",
        b"format binary_little_endian 1.0",
        *(COMMENT + text[start : start + PIECE] for start in range(0, len(text), PIECE)),
        b"element vertex %d" % n_points,
        *(b"property %b %b" % (kinds[dtype[name]], name.encode()) for name in dtype.names),
        b"end_header",
    ]
    return b"\n".join(lines) + b"\n"


def _header_lines(file: Any) -> list[bytes]:
    """The lines of a PLY header."""
    lines = [file.readline()]
    if lines[0] != b"ply\n":
        raise ValueError("it is not a PLY file written by raydepth")
    while lines[-1] != b"end_header\n":
        line = file.readline()
        if not line:
            raise ValueError("its header is truncated")
        lines.append(line)
    return lines
