"""glTF 2.0 (.gltf with its buffers, .glb): every mesh of the default scene, placed by its nodes.

Specification: Khronos Group, "glTF 2.0", https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html.
Skins are applied in their rest pose and morph targets with their default weights; animations,
materials and images are not read.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, Instance, Notes, flatten, transform

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}

POINTS, LINES, TRIANGLES, STRIP, FAN = (0,), (1, 2, 3), 4, 5, 6

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
INSTANCING = "EXT_mesh_gpu_instancing"
# Prefixes of the required extensions that do not change where the triangles are.
HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "EXT_lights_",
            "KHR_animation_", "KHR_xmp", "KHR_mesh_quantization", DRACO, *MESHOPT)  # fmt: skip


def read(data: bytes, path: Path, uv: bool = False) -> Contents:
    """Read the triangles of a glTF file's default scene, and TEXCOORD_0 if `uv`.

    Parameters
    ----------
    data : bytes
        The .gltf or .glb file.
    path : Path
        The path of the file; external buffers are looked up relative to its folder.

    Raises
    ------
    MeshError
        If the file or a buffer is truncated or missing, is compressed and no decoder is available,
        needs an unknown extension, or holds no triangles.
    """
    document, binary_chunk = _unpack(data)
    _check_extensions(document)
    return _Document(document, binary_chunk, path.parent, uv).contents()


def _unpack(data: bytes) -> tuple[dict[str, Any], bytes | None]:
    """Split a file into its JSON and the binary chunk of a GLB."""
    chunk = None
    if data[:4] == b"glTF":
        if len(data) < 20:
            raise MeshError("truncated within the GLB header")
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2:
            raise MeshError(f"glTF version {version}; expected 2")
        if length > len(data):
            raise MeshError(f"truncated: the header declares {length} bytes, got {len(data)}")
        chunks = dict(reversed(list(_chunks(data[:length]))))  # the first of each type
        if b"JSON" not in chunks:
            raise MeshError("no JSON chunk in the GLB")
        data, chunk = chunks[b"JSON"], chunks.get(b"BIN\0")
    try:
        document = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MeshError(f"truncated or not glTF: its JSON does not parse ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("asset"), dict):
        raise MeshError("JSON, but not glTF: no 'asset' in it")
    version = str(document["asset"].get("version", "missing"))
    if not version.startswith("2."):
        raise MeshError(f"glTF version {version}; expected 2.0")
    return document, chunk


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 12
    while offset + 8 <= len(data):
        length, kind = struct.unpack_from("<I4s", data, offset)
        if offset + 8 + length > len(data):
            raise MeshError(f"truncated: a chunk of {length} bytes does not fit in the GLB")
        yield kind, data[offset + 8 : offset + 8 + length]
        offset += 8 + length


def _check_extensions(document: dict[str, Any]) -> None:
    unknown = [e for e in document.get("extensionsRequired", []) if not e.startswith(HARMLESS)]
    if any(INSTANCING in node.get("extensions", {}) for node in document.get("nodes", [])):
        unknown.append(INSTANCING)
    if unknown:
        raise MeshError(f"needs the glTF extension {unknown[0]}, which is not read")


class _Document:
    """A glTF document and its buffers; every index into it is checked when used."""

    def __init__(
        self, document: dict[str, Any], binary_chunk: bytes | None, folder: Path, uv: bool
    ) -> None:
        self.wants_uv = uv
        self.last_decoded: tuple[int, Any] | None = None
        self.document = document
        self.binary_chunk = binary_chunk
        self.folder = folder
        self.buffers: dict[int, bytes] = {}
        self.geometries: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self.notes = Notes()

    def item(self, kind: str, index: int) -> dict[str, Any]:
        """Look up one object of a top-level list."""
        items = self.document.get(kind, [])
        if not 0 <= index < len(items):
            raise MeshError(f"{kind}[{index}] is referred to, but there are {len(items)}")
        return items[index]

    def contents(self) -> Contents:
        """Flatten the default scene."""
        world_from_node = self.placements()
        instances = [
            instance
            for node, matrix in world_from_node.items()
            if "mesh" in self.item("nodes", node)
            for instance in self.instances(node, matrix, world_from_node)
        ]
        return flatten(instances, self.notes)

    def placements(self) -> dict[int, np.ndarray]:
        """Return the (4, 4) float64 world matrix of every node of the default scene."""
        nodes = self.document.get("nodes", [])
        if self.document.get("scenes"):
            roots = self.item("scenes", self.document.get("scene", 0)).get("nodes", [])
        else:
            children = {child for node in nodes for child in node.get("children", [])}
            roots = [i for i in range(len(nodes)) if i not in children]
        placed: dict[int, np.ndarray] = {}
        stack = [(root, np.eye(4)) for root in reversed(roots)]
        while stack:
            index, world_from_parent = stack.pop()
            if index in placed:
                raise MeshError(f"node {index} has two parents or is its own ancestor")
            node = self.item("nodes", index)
            placed[index] = world_from_parent @ _local_matrix(node)
            stack.extend((child, placed[index]) for child in reversed(node.get("children", [])))
        return placed

    def instances(
        self, index: int, matrix: np.ndarray, world_from_node: dict[int, np.ndarray]
    ) -> Iterator[Instance]:
        """Yield an instance for each primitive of triangles of a node's mesh."""
        node = self.item("nodes", index)
        mesh = self.item("meshes", node["mesh"])
        weights = node.get("weights", mesh.get("weights", []))
        for number, primitive in enumerate(mesh["primitives"]):
            mode = primitive.get("mode", TRIANGLES)
            if mode in POINTS or mode in LINES:
                self.notes[
                    "point primitive" if mode in POINTS else "line primitive", "skipped"
                ] += 1
                continue
            key = (node["mesh"], number)
            if key not in self.geometries:
                vertices, indices = self.geometry(primitive)
                self.geometries[key] = vertices, _triangles(indices, mode)
            vertices, faces = self.geometries[key]
            vertices = self.morphed(vertices, primitive, weights)
            world = matrix
            if "skin" in node and "JOINTS_0" in primitive["attributes"]:
                # The joints alone place a skinned mesh; its own node does not (section 3.7.3.3).
                vertices = self.skinned(vertices, primitive, node["skin"], world_from_node)
                world = np.eye(4)
            name = node.get("name") or mesh.get("name") or f"node {index}"
            uv = self.texture_coordinates(primitive, len(vertices)) if self.wants_uv else None
            yield Instance(key, vertices, faces, world, str(name), index, uv)

    def texture_coordinates(self, primitive: dict[str, Any], n_vertices: int) -> np.ndarray | None:
        """Return TEXCOORD_0, (n_vertices, 2) float64, or None if the primitive has none."""
        index = primitive["attributes"].get("TEXCOORD_0")
        if index is None:
            return None
        compressed = _extensions(primitive).get(DRACO)
        if compressed and "bufferView" not in self.item("accessors", index):
            uv = self.decoded(compressed).tex_coord
            if uv is None:
                return None
        else:
            uv = self.accessor(index, "VEC2")
        if len(uv) != n_vertices:
            raise MeshError(f"TEXCOORD_0 has {len(uv)} rows; expected {n_vertices}")
        return uv

    def geometry(self, primitive: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions, (n, 3) float64, and the vertex indices, (m,) int64."""
        position = primitive["attributes"]["POSITION"]
        compressed = primitive.get("extensions", {}).get(DRACO)
        if compressed and "bufferView" not in self.item("accessors", position):
            return self.draco(compressed, primitive)
        vertices = self.accessor(position, "VEC3")
        if "indices" not in primitive:
            return vertices, np.arange(len(vertices))
        return vertices, self.accessor(primitive["indices"], "SCALAR").astype(np.int64).ravel()

    def draco(
        self, extension: dict[str, Any], primitive: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode a primitive compressed with Draco, whose accessors have no data of their own."""
        decoded = self.decoded(extension)
        vertices = np.asarray(decoded.points, dtype=np.float64).reshape(-1, 3)
        indices = np.asarray(decoded.faces, dtype=np.int64).ravel()
        expected = self.item("accessors", primitive["attributes"]["POSITION"])["count"]
        if len(vertices) != expected or not len(indices):
            raise MeshError(f"Draco gave {len(vertices)} vertices; expected {expected}")
        return vertices, indices

    def decoded(self, extension: dict[str, Any]) -> Any:
        """Decode with DracoPy; keep the result, because texture coordinates are requested next."""
        if importlib.util.find_spec("DracoPy") is None:
            raise MeshError("compressed with Draco; reading it needs: pip install DracoPy")
        import DracoPy

        view = extension["bufferView"]
        if self.last_decoded is None or self.last_decoded[0] != view:
            self.last_decoded = view, DracoPy.decode(bytes(self.view(view)[0]))
        return self.last_decoded[1]

    def morphed(
        self, vertices: np.ndarray, primitive: dict[str, Any], weights: list[float]
    ) -> np.ndarray:
        """Add the morph targets with their default weights."""
        for weight, target in zip(weights, primitive.get("targets", []), strict=False):
            if weight and "POSITION" in target:
                vertices = vertices + weight * self.accessor(target["POSITION"], "VEC3")
        return vertices

    def skinned(
        self,
        vertices: np.ndarray,
        primitive: dict[str, Any],
        index: int,
        world_from_node: dict[int, np.ndarray],
    ) -> np.ndarray:
        """Transform vertices by the rest pose of the joints, into world coordinates."""
        skin = self.item("skins", index)
        joints = skin["joints"]
        if not set(joints) <= world_from_node.keys():
            raise MeshError(f"a joint of skin {index} is not in the scene")
        matrices = np.stack([world_from_node[joint] for joint in joints])
        if "inverseBindMatrices" in skin:
            inverse = self.accessor(skin["inverseBindMatrices"], "MAT4")
            matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
        moved = np.zeros_like(vertices)
        total = np.zeros((len(vertices), 1))
        attributes = primitive["attributes"]
        for group in range(sum(name.startswith("JOINTS_") for name in attributes)):
            which = self.accessor(attributes[f"JOINTS_{group}"], "VEC4").astype(np.int64)
            weights = self.accessor(attributes[f"WEIGHTS_{group}"], "VEC4")
            for joint in np.unique(which[weights > 0]):
                weight = np.where(which == joint, weights, 0).sum(axis=1, keepdims=True)
                moved += weight * transform(matrices[joint], vertices)
                total += weight
        return moved / np.where(total > 0, total, 1)

    def accessor(self, index: int, kind: str) -> np.ndarray:
        """Read an accessor, (count, width) float64, with its sparse values filled in."""
        accessor = self.item("accessors", index)
        dtype = np.dtype(COMPONENTS[accessor["componentType"]])
        count, width = accessor["count"], WIDTHS[kind]
        if accessor["type"] != kind:
            raise MeshError(f"accessor {index} is {accessor['type']}; expected {kind}")
        sparse = accessor.get("sparse")
        if "bufferView" in accessor:
            values = self.rows(accessor, dtype, count, width).astype(np.float64)
        elif sparse and count <= sum(b["byteLength"] for b in self.document["buffers"]):
            # A face needs a byte per index, so a count of more vertices than bytes is made up.
            values = np.zeros((count, width))
        else:
            raise MeshError(f"accessor {index} has no data of its own")
        if sparse:
            n_set = sparse["count"]
            index_type = np.dtype(COMPONENTS[sparse["indices"]["componentType"]])
            where = self.rows(sparse["indices"], index_type, n_set, 1)[:, 0]
            if n_set and where.max() >= count:
                raise MeshError(f"accessor {index} sets an element beyond its {count} elements")
            values[where] = self.rows(sparse["values"], dtype, n_set, width)
        if accessor.get("normalized") and dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def rows(self, place: dict[str, Any], dtype: np.dtype, count: int, width: int) -> np.ndarray:
        """Read `count` rows from a buffer view, (count, width), without copying."""
        view, stride = self.view(place["bufferView"])
        offset, row_bytes = place.get("byteOffset", 0), width * dtype.itemsize
        stride = stride or row_bytes
        if not (count >= 0 and offset >= 0 and stride >= row_bytes):
            raise MeshError("an accessor has a negative size or overlapping rows")
        if count and offset + (count - 1) * stride + row_bytes > len(view):
            raise MeshError(f"an accessor of {count} rows does not fit its {len(view)} bytes")
        strides = (stride, dtype.itemsize)
        return np.ndarray((count, width), dtype, view, offset if count else 0, strides)

    def view(self, index: int) -> tuple[memoryview, int]:
        """Return the bytes of a buffer view and its stride, which is 0 if rows are packed."""
        view = self.item("bufferViews", index)
        buffer = self.buffer(view["buffer"], compressed=any(map(_extensions(view).get, MESHOPT)))
        start, length = view.get("byteOffset", 0), view["byteLength"]
        if not 0 <= start <= start + length <= len(buffer):
            raise MeshError(f"truncated: buffer view {index} lies beyond its buffer's end")
        return memoryview(buffer)[start : start + length], view.get("byteStride", 0)

    def buffer(self, index: int, compressed: bool) -> bytes:
        """Return a buffer's bytes: the GLB's chunk, a data URI, or a file beside the document."""
        if index in self.buffers:
            return self.buffers[index]
        buffer = self.item("buffers", index)
        uri = buffer.get("uri")
        if uri is None:
            if compressed and (index > 0 or any(map(_extensions(buffer).get, MESHOPT))):
                raise MeshError("compressed with meshopt, which is not read; save it uncompressed")
            if index > 0 or self.binary_chunk is None:
                raise MeshError(f"the data of buffer {index} is missing")
            data = self.binary_chunk
        elif uri.startswith("data:"):
            data = base64.b64decode(uri.partition(",")[2], validate=True)
        else:
            data = self.external(uri)
        if len(data) < buffer["byteLength"]:
            raise MeshError(
                f"truncated: buffer {index} has {len(data)} bytes of {buffer['byteLength']}"
            )
        self.buffers[index] = data
        return data

    def external(self, uri: str) -> bytes:
        """Read a buffer from a file beside the document."""
        if "://" in uri:
            raise MeshError(f"the buffer {uri} is not a local file")
        try:
            return (self.folder / unquote(uri)).read_bytes()
        except OSError as error:
            raise MeshError(f"its buffer {uri} cannot be read ({error.strerror})") from None


def _extensions(item: dict[str, Any]) -> dict[str, Any]:
    return item.get("extensions", {})


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    """Return the (4, 4) matrix from a node to its parent: translation @ rotation @ scale."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(node.get("rotation", (0, 0, 0, 1))) * node.get("scale", (1, 1, 1))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _rotation(quaternion: list[float]) -> np.ndarray:
    """Convert a quaternion x, y, z, w of any length to a (3, 3) rotation."""
    x, y, z, w = np.array(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    """Return the (n, 3) triangles of an index list in one of the triangle modes."""
    if mode == TRIANGLES:
        if len(indices) % 3:
            raise MeshError(f"{len(indices)} indices do not make triangles")
        return indices.reshape(-1, 3)
    if mode == STRIP:
        # Every other triangle faces backwards, which is harmless: both sides are visible.
        return np.column_stack((indices[:-2], indices[1:-1], indices[2:]))
    if mode == FAN:
        return np.column_stack((np.full(len(indices[2:]), indices[0]), indices[1:-1], indices[2:]))
    raise MeshError(f"primitive mode {mode} is unknown to glTF")
