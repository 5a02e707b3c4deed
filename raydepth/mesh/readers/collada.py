"""COLLADA (.dae): triangles and polygons of the visual scene, placed by their nodes.

Specification: Khronos Group, "COLLADA 1.4.1" and "1.5.0". Coordinates stay in the file's own unit
and axes (`<unit>` and `<up_axis>` are not applied). Skinned geometry stands in its bind pose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, Instance, Notes, check_indices, flatten
from raydepth.mesh.readers.polygons import triangulate
from raydepth.mesh.readers.text import numbers

Element = ElementTree.Element

# Real files nest library nodes a few levels deep; a longer chain is circular.
DEEPEST = 64
# Nested nodes multiply: a small file can ask for more instances than fit in any memory.
MOST_INSTANCES = 1_000_000

SKIPPED = {"lines": "line", "linestrips": "line strip"}
TRANSFORMS = ("matrix", "translate", "rotate", "scale", "lookat", "skew")


class Geometry(NamedTuple):
    """The primitives of a geometry, joined."""

    vertices: np.ndarray  # (n_vertices, 3) float64
    faces: np.ndarray  # (n_faces, 3) int64
    uv: np.ndarray | None = None  # (n_uv, 2) float64
    uv_faces: np.ndarray | None = None  # (n_faces, 3) int64


def read(data: bytes, path: Path, uv: bool = False) -> Contents:
    """Read the triangles of a COLLADA scene, and their first set of texture coordinates if `uv`.

    Raises
    ------
    MeshError
        If the XML is truncated, a referenced element is missing, or the scene holds no triangles.
    """
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise MeshError(f"truncated or not COLLADA: its XML does not parse ({error})") from None
    if _tag(root) != "COLLADA":
        raise MeshError(f"expected COLLADA, got XML with the root element <{_tag(root)}>")
    return _Document(root, uv).contents()


class _Document:
    """A parsed file with its elements by id, each geometry read once."""

    def __init__(self, root: Element, uv: bool) -> None:
        self.root = root
        self.wants_uv = uv
        self.by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
        self.geometries: dict[str, Geometry] = {}
        self.notes = Notes()
        self.n_nodes = 0

    def contents(self) -> Contents:
        """Flatten the visual scene that the file instantiates."""
        scene = self.root.find("{*}scene/{*}instance_visual_scene")
        if scene is None:
            raise MeshError("nothing renderable: the file instantiates no visual scene")
        instances = [
            instance
            for node in self.target(scene, "url").findall("{*}node")
            for instance in self.instances(node, np.eye(4), depth=0)
        ]
        return flatten(instances, self.notes)

    def target(self, element: Element, attribute: str) -> Element:
        """Return the element that a reference within the document names."""
        reference = element.get(attribute, "")
        if not reference.startswith("#") or reference[1:] not in self.by_id:
            raise MeshError(f"<{_tag(element)}> refers to {reference!r}, which is not in the file")
        return self.by_id[reference[1:]]

    def instances(self, node: Element, matrix: np.ndarray, depth: int) -> Iterator[Instance]:
        """Yield the geometries of a node and of the nodes below it."""
        self.n_nodes += 1
        if depth > DEEPEST or self.n_nodes > MOST_INSTANCES:
            raise MeshError("a node contains itself, or nodes nest too deeply")
        for child in node:
            if _tag(child) in TRANSFORMS:
                matrix = matrix @ _transform(child)
        for child in node:
            tag = _tag(child)
            if tag == "node":
                yield from self.instances(child, matrix, depth + 1)
            elif tag == "instance_node":
                yield from self.instances(self.target(child, "url"), matrix, depth + 1)
            elif tag == "instance_geometry":
                yield from self.instance(self.target(child, "url"), matrix, node)
            elif tag == "instance_controller":
                yield from self.controlled(self.target(child, "url"), matrix, node)

    def instance(self, geometry: Element, matrix: np.ndarray, node: Element) -> Iterator[Instance]:
        """Yield one geometry, if it has triangles."""
        key = geometry.get("id", "")
        if key not in self.geometries:
            self.geometries[key] = self.geometry(geometry)
        vertices, faces, uv, uv_faces = self.geometries[key]
        if len(faces):
            name = node.get("name") or node.get("id") or geometry.get("name") or key
            # The matrix is part of it, as a node that is instantiated twice stands at two places.
            place = id(node), matrix.tobytes()
            yield Instance(key, vertices, faces, matrix, name, place, uv, uv_faces)

    def controlled(
        self, controller: Element, matrix: np.ndarray, node: Element
    ) -> Iterator[Instance]:
        """Yield the geometry that a skin or a morph deforms, as it is before the deformation."""
        skin, morph = controller.find("{*}skin"), controller.find("{*}morph")
        deformer = skin if skin is not None else morph
        if deformer is None:
            raise MeshError("a controller is neither a skin nor a morph")
        self.notes["skinned or morphed geometry", "shown in its bind pose"] += 1
        bind = deformer.find("{*}bind_shape_matrix")
        if bind is not None:
            matrix = matrix @ _floats(bind).reshape(4, 4)
        source = self.target(deformer, "source")
        if _tag(source) == "controller":
            raise MeshError("a controller acts on another controller, which is not read")
        yield from self.instance(source, matrix, node)

    def geometry(self, geometry: Element) -> Geometry:
        """Read all primitives of a geometry."""
        vertices, faces, first = [], [], 0
        # The first row, NaN, is for corners without texture coordinates.
        uv, uv_faces, n_uv = [np.full((1, 2), np.nan)], [], 1
        for primitive in geometry.findall("{*}mesh/*"):
            tag = _tag(primitive)
            if tag in SKIPPED:
                self.notes[f"{SKIPPED[tag]} primitive", "skipped"] += 1
                continue
            read_polygons = PRIMITIVES.get(tag)
            if read_polygons is None:
                continue
            rows, sizes = read_polygons(primitive, _inputs(primitive))
            points, position = self.positions(primitive)
            corners = rows[:, position]
            check_indices(corners, len(points))
            # Triangulate corners, not vertices: corners have their own texture coordinates.
            triangles, notes = triangulate(points[corners], np.arange(len(corners)), sizes)
            self.notes += notes
            vertices.append(points)
            faces.append(corners[triangles] + first)
            first += len(points)
            coordinates, column = self.texture_coordinates(primitive)
            uv_faces.append(np.zeros_like(triangles))
            if coordinates is not None:
                places = rows[:, column]
                if places.size and not 0 <= places.min() <= places.max() < len(coordinates):
                    raise MeshError(
                        f"a face uses texture coordinates {places.max()} (counted from 0); there "
                        f"are {len(coordinates)}"
                    )
                uv_faces[-1] = places[triangles] + n_uv
                uv.append(coordinates)
                n_uv += len(coordinates)
        if not faces:
            return Geometry(np.empty((0, 3)), np.empty((0, 3), dtype=np.int64))
        found = Geometry(np.concatenate(vertices), np.concatenate(faces))
        if n_uv == 1:
            return found
        return found._replace(uv=np.concatenate(uv), uv_faces=np.concatenate(uv_faces))

    def texture_coordinates(self, primitive: Element) -> tuple[np.ndarray | None, int]:
        """Return the lowest set, (n, 2) float64, or None without one, and its index column."""
        inputs = [i for i in primitive.findall("{*}input") if i.get("semantic") == "TEXCOORD"]
        if not inputs or not self.wants_uv:
            return None, 0
        first = min(inputs, key=lambda entry: int(entry.get("set", 0)))
        return self.source(self.target(first, "source"), 2), int(first.get("offset", 0))

    def positions(self, primitive: Element) -> tuple[np.ndarray, int]:
        """Return the positions that a primitive uses, (n, 3), and their index column."""
        for entry in primitive.findall("{*}input"):
            if entry.get("semantic") != "VERTEX":
                continue
            for source in self.target(entry, "source").findall("{*}input"):
                if source.get("semantic") == "POSITION":
                    return self.source(self.target(source, "source")), int(entry.get("offset", 0))
        raise MeshError(f"<{_tag(primitive)}> names no vertex positions")

    def source(self, source: Element, n_columns: int = 3) -> np.ndarray:
        """Read a source through its accessor, (n, n_columns) float64: X, Y, Z, or S, T."""
        accessor = source.find("{*}technique_common/{*}accessor")
        if accessor is None:
            raise MeshError(f"the source {source.get('id')!r} has no accessor")
        array = self.target(accessor, "source")
        values = _floats(array)
        if len(values) != int(array.get("count", len(values))):
            raise MeshError(
                f"{array.get('id')!r} has {len(values)} values; expected {array.get('count')}"
            )
        count, stride = int(accessor.get("count", 0)), int(accessor.get("stride", 1))
        offset = int(accessor.get("offset", 0))
        # A parameter without a name marks a column to skip.
        named = [i for i, p in enumerate(accessor.findall("{*}param")) if p.get("name")]
        columns = named or list(range(n_columns))
        if n_columns == 2:
            columns = columns[:2]  # without P
        fits = len(columns) == n_columns and max(columns) < stride
        if not fits or not 0 <= offset <= offset + count * stride <= len(values):
            what = "positions" if n_columns == 3 else "texture coordinates"
            raise MeshError(f"the source {source.get('id')!r} does not hold {count} {what}")
        return values[offset : offset + count * stride].reshape(count, stride)[:, columns]


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _floats(element: Element | None) -> np.ndarray:
    return numbers((element.text or "").encode() if element is not None else b"")


def _ints(element: Element | None) -> np.ndarray:
    text = (element.text or "").encode() if element is not None else b""
    return numbers(text, np.int64)


def _inputs(primitive: Element) -> int:
    """Count the index columns of a primitive."""
    offsets = [int(entry.get("offset", 0)) for entry in primitive.findall("{*}input")]
    return max(offsets, default=0) + 1


# Each of these functions returns the index rows of all corners, (n_corners, n_inputs), and the
# number of corners of each polygon, (n_polygons,).


def _triangles(primitive: Element, n_inputs: int) -> tuple[np.ndarray, np.ndarray]:
    rows = _ints(primitive.find("{*}p")).reshape(-1, n_inputs)
    _check_count(primitive, len(rows), 3 * int(primitive.get("count", 0)))
    return rows, np.full(len(rows) // 3, 3)


def _polylist(primitive: Element, n_inputs: int) -> tuple[np.ndarray, np.ndarray]:
    rows = _ints(primitive.find("{*}p")).reshape(-1, n_inputs)
    sizes = _ints(primitive.find("{*}vcount"))
    if sizes.size and sizes.min() < 0:
        raise MeshError("a polygon has a negative number of corners")
    _check_count(primitive, len(sizes), int(primitive.get("count", 0)))
    _check_count(primitive, len(rows), int(sizes.sum()))
    return rows, sizes


def _polygons(primitive: Element, n_inputs: int) -> tuple[np.ndarray, np.ndarray]:
    if primitive.find("{*}ph") is not None:
        raise MeshError("polygons with holes are not read")
    outlines = [_ints(p).reshape(-1, n_inputs) for p in primitive.findall("{*}p")]
    _check_count(primitive, len(outlines), int(primitive.get("count", 0)))
    return np.concatenate([np.empty((0, n_inputs), np.int64), *outlines]), _lengths(outlines)


def _fans(primitive: Element, n_inputs: int) -> tuple[np.ndarray, np.ndarray]:
    runs = [_ints(p).reshape(-1, n_inputs) for p in primitive.findall("{*}p")]
    triangles = [run[[0, i, i + 1]] for run in runs for i in range(1, len(run) - 1)]
    return np.concatenate([np.empty((0, n_inputs), np.int64), *triangles]), _lengths(triangles)


def _strips(primitive: Element, n_inputs: int) -> tuple[np.ndarray, np.ndarray]:
    runs = [_ints(p).reshape(-1, n_inputs) for p in primitive.findall("{*}p")]
    triangles = [run[i : i + 3] for run in runs for i in range(len(run) - 2)]
    return np.concatenate([np.empty((0, n_inputs), np.int64), *triangles]), _lengths(triangles)


PRIMITIVES = {
    "triangles": _triangles,
    "polylist": _polylist,
    "polygons": _polygons,
    "trifans": _fans,
    "tristrips": _strips,
}


def _lengths(pieces: list[np.ndarray]) -> np.ndarray:
    return np.array(list(map(len, pieces)), dtype=np.int64)


def _check_count(primitive: Element, found: int, declared: int) -> None:
    if found != declared:
        raise MeshError(f"<{_tag(primitive)}> declares {declared}, but holds {found}")


def _transform(element: Element) -> np.ndarray:
    """Return the (4, 4) matrix of one transformation element."""
    values, matrix = _floats(element), np.eye(4)
    match _tag(element), len(values):
        case "matrix", 16:
            matrix = values.reshape(4, 4)
        case "translate", 3:
            matrix[:3, 3] = values
        case "scale", 3:
            matrix[:3, :3] = np.diag(values)
        case "rotate", 4:
            matrix[:3, :3] = _rotation(values[:3], np.radians(values[3]))
        case tag, n:
            raise MeshError(f"<{tag}> with {n} numbers is not read")
    return matrix


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return a (3, 3) rotation; angle in radians, axis of any length (O. Rodrigues, 1840)."""
    length = np.linalg.norm(axis)
    if length == 0:
        return np.eye(3)
    x, y, z = axis / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
