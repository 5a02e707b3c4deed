"""3MF, the 3D Manufacturing Format: the objects of the build list, each in its place.

Specification: 3MF Consortium, "3MF Core Specification" 1.3 and "Production Extension" 1.1 (objects
spread over several parts). Units are not applied: coordinates stay as written.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, Instance, Notes, flatten
from raydepth.mesh.readers.text import numbers

MODEL_RELATIONSHIP = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"

# Real files nest components a few levels deep; a longer chain is circular.
DEEPEST = 32
# Nested components multiply: a small file can ask for more instances than fit in any memory.
MOST_INSTANCES = 1_000_000

# An object is identified by the part that defines it and its id there.
Key = tuple[str, str]


def read(data: bytes, path: Path) -> Contents:
    """Read the triangles of a 3MF file.

    Raises
    ------
    MeshError
        If the archive is truncated or not 3MF, a part or object is missing, or the build list
        holds no triangles.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        raise MeshError("truncated or not 3MF: no complete ZIP archive") from None
    with archive:
        return _Package(archive).contents()


class _Package:
    """The parts of an archive, each parsed once."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.names = {name.lower(): name for name in archive.namelist()}
        self.parts: dict[str, tuple[dict[str, ElementTree.Element], list[ElementTree.Element]]] = {}
        self.meshes: dict[Key, tuple[np.ndarray, np.ndarray]] = {}
        self.n_instances = 0
        self.notes = Notes()

    def contents(self) -> Contents:
        """Flatten the build list of the root part."""
        root = self.root_part()
        instances: list[Instance] = []
        for item in self.part(root)[1]:
            key = (_path(item, root), item.get("objectid", ""))
            instances.extend(self.instances(key, _matrix(item), depth=0))
        return flatten(instances, self.notes)

    def root_part(self) -> str:
        """Find the part that the package names as its model."""
        for relationship in self.xml("_rels/.rels"):
            if relationship.get("Type") == MODEL_RELATIONSHIP:
                return relationship.get("Target", "").lstrip("/")
        raise MeshError("not 3MF: the archive names no 3D model")

    def xml(self, name: str) -> ElementTree.Element:
        """Parse one part."""
        if name.lower() not in self.names:
            raise MeshError(f"not 3MF or incomplete: {name} is missing in the archive")
        try:
            return ElementTree.fromstring(self.archive.read(self.names[name.lower()]))
        except (zipfile.BadZipFile, ElementTree.ParseError) as error:
            raise MeshError(f"{name} in the archive is damaged ({error})") from None

    def part(self, name: str) -> tuple[dict[str, ElementTree.Element], list[ElementTree.Element]]:
        """Return the objects of a part by id, and the items of its build list."""
        if name not in self.parts:
            model = self.xml(name)
            objects = {item.get("id", ""): item for item in model.findall("{*}resources/{*}object")}
            self.parts[name] = objects, model.findall("{*}build/{*}item")
        return self.parts[name]

    def instances(self, key: Key, matrix: np.ndarray, depth: int) -> Iterator[Instance]:
        """Yield the meshes of an object and of its components."""
        part, identity = key
        element = self.part(part)[0].get(identity)
        if element is None:
            raise MeshError(f"object {identity} is referred to, but not defined in {part}")
        self.n_instances += 1
        if self.n_instances > MOST_INSTANCES:
            raise MeshError(f"more than {MOST_INSTANCES} instances")
        mesh = element.find("{*}mesh")
        if mesh is not None:
            if mesh.find("{*}beamlattice") is not None:
                self.notes["beam lattice", "skipped"] += 1
            if key not in self.meshes:
                self.meshes[key] = _mesh(mesh)
            if len(self.meshes[key][1]):
                name = element.get("name") or f"object {identity}"
                yield Instance(key, *self.meshes[key], matrix, name)
        if depth == DEEPEST:
            raise MeshError(f"object {identity} contains itself, or components nest too deeply")
        for component in element.findall("{*}components/{*}component"):
            below = (_path(component, part), component.get("objectid", ""))
            yield from self.instances(below, matrix @ _matrix(component), depth + 1)


def _mesh(mesh: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, 3) float64 vertices and (m, 3) int64 faces of a mesh element."""
    vertices = _table(mesh.findall("{*}vertices/{*}vertex"), ("x", "y", "z"), np.float64)
    faces = _table(mesh.findall("{*}triangles/{*}triangle"), ("v1", "v2", "v3"), np.int64)
    return vertices, faces


def _table(
    elements: list[ElementTree.Element], names: tuple[str, str, str], dtype: type
) -> np.ndarray:
    """Read three attributes of every element, (n, 3)."""
    a, b, c = names
    try:
        text = " ".join([f"{e.attrib[a]} {e.attrib[b]} {e.attrib[c]}" for e in elements])
    except KeyError as error:
        raise MeshError(f"a vertex or triangle lacks its attribute {error}") from None
    return numbers(text.encode(), dtype).reshape(len(elements), 3)


def _path(element: ElementTree.Element, part: str) -> str:
    """Return the part that holds a referenced object: this one, unless a path is given."""
    for name, value in element.attrib.items():
        if name.endswith("}path"):
            return value.lstrip("/")
    return part


def _matrix(element: ElementTree.Element) -> np.ndarray:
    """Return the (4, 4) matrix of an item; 3MF writes it as 4 rows of 3, for row vectors."""
    matrix = np.eye(4)
    if "transform" in element.attrib:
        matrix[:3] = numbers(element.attrib["transform"].encode()).reshape(4, 3).T
    return matrix
