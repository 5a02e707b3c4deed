"""PLY, the Stanford polygon format: ASCII, and binary in both byte orders.

The header declares elements (vertex, face, ...), each a table whose columns are scalars or lists.
ASCII bodies are first converted to binary with float64 values, so that one reader serves all files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, Texture, check_indices
from raydepth.mesh.readers.polygons import triangulate
from raydepth.mesh.readers.text import numbers, shown

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}

END_OF_HEADER = re.compile(rb"[\r\n]end_header[ \t]*(\r\n|\n|\r)")


class Property(NamedTuple):
    """One column of an element."""

    name: str
    dtype: np.dtype
    count_dtype: np.dtype | None  # of a list's length; None for a scalar


class Element(NamedTuple):
    """One table of the file."""

    name: str
    n_rows: int
    properties: list[Property]


class Lists(NamedTuple):
    """A column of lists: all values, and the number of values in each row."""

    values: np.ndarray
    sizes: np.ndarray


Columns = dict[str, "np.ndarray | Lists"]


# Names of texture coordinates as columns of the vertices.
UV_NAMES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))


def read(data: bytes, path: Path, uv: bool = False) -> Contents:
    """Read the vertices and faces of a PLY file, and its texture coordinates if `uv`.

    Texture coordinates are columns of the vertices or, as written by MeshLab, a list `texcoord` of
    each face.

    Raises
    ------
    MeshError
        If the header is malformed, the body is shorter or longer than the header declares, or the
        file has no faces (point clouds, triangle strips).
    """
    is_ascii, elements, start = _header(data)
    n_rows = {element.name: element.n_rows for element in elements}
    if not is_ascii:
        return _contents(_tables(data, start, elements), n_rows, uv)
    text = data[start:]
    try:
        return _contents(_tables(numbers(text).tobytes(), 0, elements), n_rows, uv)
    except MeshError:
        # Some writers, such as early versions of MeshLab, put more values into a line than their
        # header declares.
        lines = [line for line in text.splitlines() if line and not line.isspace()]
        if len(lines) != sum(n_rows.values()):
            raise
    trimmed, n_trimmed = _trimmed(lines, elements)
    contents = _contents(_tables(trimmed.tobytes(), 0, elements), n_rows, uv)
    contents.notes["line", "of more values than the header declares cut short"] = n_trimmed
    return contents


def _tables(body: bytes, offset: int, elements: list[Element]) -> dict[str, Columns]:
    """Read all elements from `offset` on; they must fill the rest of the body."""
    tables = {}
    for element in elements:
        tables[element.name], offset = _table(body, offset, element)
    if body[offset:].strip():
        raise MeshError("data follows after the last row that the header declares")
    return tables


def _trimmed(lines: list[bytes], elements: list[Element]) -> tuple[np.ndarray, int]:
    """Cut each line of an ASCII body to its declared values; also return how many were cut."""
    kept, n_trimmed, line = [], 0, iter(lines)
    for element in elements:
        for _ in range(element.n_rows):
            values = numbers(next(line))
            n_used = 0
            for prop in element.properties:
                is_list = prop.count_dtype is not None
                n_used += 1 + (_list_length(values[n_used:]) if is_list else 0)
            if n_used > len(values):
                raise MeshError(f"truncated: a row of {element.name!r} has {len(values)} values")
            kept.append(values[:n_used])
            n_trimmed += n_used < len(values)
    return np.concatenate(kept), n_trimmed


def _contents(tables: dict[str, Columns], n_rows: dict[str, int], uv: bool) -> Contents:
    vertex = tables.get("vertex", {})
    if not {"x", "y", "z"} <= vertex.keys():
        raise MeshError("the header declares no vertices with x, y and z")
    vertices = np.column_stack([np.asarray(vertex[axis], np.float64) for axis in "xyz"])
    if not n_rows.get("face"):
        what = "triangle strips are not read" if n_rows.get("tristrips") else "a point cloud"
        raise MeshError(f"nothing renderable: {what} ({len(vertices)} vertices, no faces)")
    polygons = _polygons(tables["face"])
    corners = polygons.values.astype(np.int64)
    if not np.array_equal(corners, polygons.values):
        raise MeshError("a face index is not an integer")
    sizes = polygons.sizes.astype(np.int64)
    texcoord = tables["face"].get("texcoord")
    texture = None
    if uv and isinstance(texcoord, Lists) and np.array_equal(texcoord.sizes, 2 * sizes):
        # Make each corner a vertex of its own: corners have their own texture coordinates.
        check_indices(corners, len(vertices))
        places, notes = triangulate(vertices[corners], np.arange(len(corners)), sizes)
        texture = Texture(texcoord.values.astype(np.float64).reshape(-1, 2), places)
        faces = corners[places]
    else:
        faces, notes = triangulate(vertices, corners, sizes)
    names = next((pair for pair in UV_NAMES if set(pair) <= vertex.keys()), None)
    if uv and texture is None and names:
        columns = [np.asarray(vertex[name], np.float64) for name in names]
        texture = Texture(np.column_stack(columns), faces)
    if n_rows.get("edge"):
        notes["edge", "skipped"] = n_rows["edge"]
    return Contents(vertices, faces, notes, texture=texture)


def _polygons(face: Columns) -> Lists:
    lists = {name: column for name, column in face.items() if isinstance(column, Lists)}
    for name in ("vertex_indices", "vertex_index"):
        if name in lists:
            return lists[name]
    if len(lists) != 1:
        raise MeshError("the header declares no list vertex_indices for its faces")
    return next(iter(lists.values()))


def _header(data: bytes) -> tuple[bool, list[Element], int]:
    """Parse the header; return whether it is ASCII, its elements, and the offset of the body."""
    end = END_OF_HEADER.search(data)
    if not data.startswith(b"ply") or end is None:
        raise MeshError("expected a PLY header from 'ply' to 'end_header'; truncated or not PLY")
    encoding = order = ""
    elements: list[Element] = []
    for line in data[: end.start()].splitlines()[1:]:
        match line.decode("ascii", "replace").split():
            case ["format", word, "1.0"] if word in BYTE_ORDERS:
                encoding, order = word, BYTE_ORDERS[word]
            case ["element", name, n_rows] if n_rows.isdecimal():
                elements.append(Element(name, int(n_rows), []))
            case ["property", "list", count_type, kind, name] if elements and encoding:
                dtypes = [_dtype(word, encoding, order) for word in (kind, count_type)]
                elements[-1].properties.append(Property(name, *dtypes))
            case ["property", kind, name] if elements and encoding:
                dtype = _dtype(kind, encoding, order)
                elements[-1].properties.append(Property(name, dtype, None))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise MeshError(f"unexpected line in the header: {shown(line)}")
    if not encoding:
        raise MeshError("the header declares no format")
    return encoding == "ascii", elements, end.end()


def _dtype(word: str, encoding: str, order: str) -> np.dtype:
    if word not in TYPES:
        raise MeshError(f"unknown property type {word!r} in the header")
    return np.dtype("=f8" if encoding == "ascii" else order + TYPES[word])


def _table(body: bytes, offset: int, element: Element) -> tuple[Columns, int]:
    """Read one element's columns from `offset` on; also return the offset after it."""
    size = len(body)
    least = sum((p.count_dtype or p.dtype).itemsize for p in element.properties)
    if element.n_rows * least > size - offset:
        raise MeshError(
            f"truncated: the header declares {element.n_rows} rows of {element.name!r}, "
            f"but the file holds at most {(size - offset) // least}"
        )
    if element.n_rows == 0 or least == 0:
        return {}, offset
    uniform = _uniform_rows(body, offset, element)
    return uniform or _walk_rows(body, offset, element)


def _uniform_rows(body: bytes, offset: int, element: Element) -> tuple[Columns, int] | None:
    """Read all rows at once if every list is as long as in the first row; else return None."""
    first, _ = _walk_rows(body, offset, element._replace(n_rows=1))
    fields: list[tuple] = []
    for i, prop in enumerate(element.properties):
        column = first[prop.name]
        if isinstance(column, Lists):
            fields.append((f"count {i}", prop.count_dtype))
            fields.append((f"value {i}", prop.dtype, (int(column.sizes[0]),)))
        else:
            fields.append((f"value {i}", prop.dtype))
    dtype = np.dtype(fields)
    if element.n_rows * dtype.itemsize > len(body) - offset:
        return None
    table = np.frombuffer(body, dtype=dtype, count=element.n_rows, offset=offset)
    columns: Columns = {}
    for i, prop in enumerate(element.properties):
        values = table[f"value {i}"]
        if prop.count_dtype is None:
            columns[prop.name] = values
            continue
        # If all counts at these places are equal, each row begins where assumed.
        sizes = table[f"count {i}"]
        if not np.all(sizes == values.shape[1]):
            return None
        columns[prop.name] = Lists(values.reshape(-1), sizes)
    return columns, offset + element.n_rows * dtype.itemsize


def _walk_rows(body: bytes, offset: int, element: Element) -> tuple[Columns, int]:
    """Read row by row, each list with its own length."""
    size = len(body)
    pieces: list[list[np.ndarray]] = [[] for _ in element.properties]
    for row in range(element.n_rows):
        for prop, found in zip(element.properties, pieces, strict=True):
            n_values = 1
            if prop.count_dtype is not None:
                if prop.count_dtype.itemsize > size - offset:
                    raise MeshError(f"truncated: the file ends at row {row} of {element.name!r}")
                n_values = _list_length(np.frombuffer(body, prop.count_dtype, 1, offset))
                offset += prop.count_dtype.itemsize
            if not 0 <= n_values * prop.dtype.itemsize <= size - offset:
                raise MeshError(f"truncated: the file ends within row {row} of {element.name!r}")
            found.append(np.frombuffer(body, prop.dtype, n_values, offset))
            offset += n_values * prop.dtype.itemsize
    columns: Columns = {}
    for prop, found in zip(element.properties, pieces, strict=True):
        values = np.concatenate(found)
        if prop.count_dtype is None:
            columns[prop.name] = values
        else:
            columns[prop.name] = Lists(values, np.array(list(map(len, found))))
    return columns, offset


def _list_length(values: np.ndarray) -> int:
    """Return the length of a list, which should be the first of `values`."""
    if not len(values) or not 0 <= values[0] <= 2**32 or values[0] != int(values[0]):
        raise MeshError(
            f"a list has length {values[:1]}; expected a whole number from 0 to 4294967296"
        )
    return int(values[0])
