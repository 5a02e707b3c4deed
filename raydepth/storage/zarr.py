"""A Zarr hierarchy (version 3) with a group for each mesh.

    OUT/depth.zarr/zarr.json               the root
    OUT/depth.zarr/bunny/zarr.json         the mesh's group; attribute "raydepth": the description
    OUT/depth.zarr/bunny/depth/zarr.json   array (n_views, height, width) uint16; attributes kind,
                                           values_per_unit, miss
    OUT/depth.zarr/bunny/depth/c.0.0.0     all its views: one shard, one chunk per view
    OUT/depth.zarr/bunny/normal/ ...       an array for each extra output, with the numbers as
                                           `render` gives them

    group = zarr.open_group("OUT/depth.zarr")["bunny"]
    z = group["depth"][7] / group.attrs["raydepth"]["values_per_unit"]  # 0 is a miss

So a mesh takes three files, and two more for each extra output, however many views it has. This
module writes the files itself, after "Zarr core specification, version 3" (2024) and its sharding
codec (ZEP 2). So the bytes do not depend on the version of the package zarr, and views can be
encoded on any thread. The package zarr reads the files. There is no contact sheet, because files
that are not Zarr's own disturb a Zarr hierarchy.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.codecs.formats import as_value_error
from raydepth.codecs.uint16 import checked_scale, decode_uint16
from raydepth.export import StoredDepth
from raydepth.outputs.table import OUTPUTS, shape_of
from raydepth.storage.base import MeshWriter, Store, StoredMesh
from raydepth.storage.description import checked_description
from raydepth.storage.output_files import parts_of
from raydepth.system.atomic_files import write_whole
from raydepth.system.atomic_folders import removed, whole_folder
from raydepth.system.optional_packages import needed

ROOT = "depth.zarr"
NODE_FILE = "zarr.json"
ARRAY = "depth"
ATTRIBUTE = "raydepth"
PACKAGE = ("zarr", "zarr")
# Zstandard at level 1 after a shuffle of bytes: depth is a third larger than as PNG; encoding it is
# as fast.
BLOSC: dict[str, Any] = {"cname": "zstd", "clevel": 1, "shuffle": "shuffle"}


class ZarrStore(Store):
    """A Zarr group for each mesh."""

    file_format = "zarr"
    stores_uint16 = True
    package = PACKAGE
    description_file = "attributes"

    def encode(self, view: StoredDepth) -> bytes:
        return _chunk(view.pixels)

    def output_file(self, view_file: str, name: str) -> str:
        return name

    def describe_outputs(self, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "dtype": _dtype(name).name,
                "mapping": "as it is",
                "miss": {"miss": "inf"}.get(OUTPUTS[name].miss, OUTPUTS[name].miss),
            }
            for name in names
        }

    def encode_output(self, name: str, values: np.ndarray) -> bytes:
        return _chunk(values.astype(_dtype(name), copy=False))

    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        return out / ROOT / name

    @contextmanager
    def _mesh(self, out: Path, name: str, description: dict[str, Any]) -> Iterator[MeshWriter]:
        with whole_folder(self.place(out, name), last=NODE_FILE) as aside, ExitStack() as stack:
            shards = {
                array: stack.enter_context(_Shard(aside / array, _shape(description, array)))
                for array in (ARRAY, *description.get("outputs", {}))
            }
            yield _ZarrWriter(out / ROOT, name, description, aside, shards, stack)

    def find(self, out: Path, name: str) -> StoredMesh | None:
        place = self.place(out, name)
        return ZarrMesh(name, place) if os.path.lexists(place) else None

    def remove(self, out: Path, name: str) -> None:
        removed(self.place(out, name))

    def open(self, out: Path) -> list[StoredMesh]:
        root = out / ROOT
        names = sorted(_arrays(root, "")) if root.is_dir() else []
        return [ZarrMesh(name, root / name) for name in names]


class _ZarrWriter(MeshWriter):
    """Writes the group of a mesh into a folder; closing `stack` closes `shards`."""

    def __init__(
        self,
        root: Path,
        name: str,
        description: dict[str, Any],
        folder: Path,
        shards: dict[str, _Shard],
        stack: ExitStack,
    ) -> None:
        super().__init__(description)
        self._root, self._name, self._folder = root, name, folder
        self._shards, self._stack = shards, stack

    def _add(self, file: str, encoded: Any) -> None:
        depth, others = parts_of(encoded)
        for name, chunk in {ARRAY: depth, **others}.items():
            self._shards[name].add(chunk)

    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        self._stack.close()
        for name, shard in self._shards.items():
            node = _array_node(description, name, shard.shape)
            (self._folder / name / NODE_FILE).write_bytes(_json(node))
        _write_groups(self._root, self._name)
        group = _group_node({ATTRIBUTE: description})
        (self._folder / NODE_FILE).write_bytes(_json(group))


class ZarrMesh(StoredMesh):
    """A group of a Zarr hierarchy."""

    def _description(self) -> dict[str, Any]:
        with as_value_error(f"its {NODE_FILE} is damaged"):
            attributes = json.loads((self.place / NODE_FILE).read_bytes())["attributes"]
            return checked_description(attributes[ATTRIBUTE])

    def contents(self, view: int) -> Iterable[bytes]:
        return (self.output_content(ARRAY, view),)

    def output_content(self, name: str, view: int) -> bytes:
        shard = self.place / name / _shard_file(len(_shape(self.metadata, name)))
        with open(shard, "rb") as file, as_value_error("damaged Zarr chunk"):
            # After the chunks come their offsets and sizes, and then a checksum.
            file.seek(-(16 * len(self) + 4), os.SEEK_END)
            start, size = np.frombuffer(file.read(16 * len(self)), "<u8").reshape(-1, 2)[view]
            file.seek(int(start))
            return file.read(int(size))

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        """The arrays that have been opened, by name."""
        return {}

    def _values(self, name: str, view: int, dtype: np.dtype) -> np.ndarray:
        """Read one view of an array."""
        n_axes = len(_shape(self.metadata, name))
        if name not in self._arrays:
            shard = self.place / name / _shard_file(n_axes)
            if not shard.exists():
                # Zarr reads a missing file as zeros, and zeros would be misses.
                raise FileNotFoundError(f"{shard} does not exist")
            zarr = needed(*PACKAGE)
            with as_value_error("damaged Zarr array"):
                array = zarr.open_array(self.place / name, mode="r")
                if array.ndim != n_axes or array.dtype != dtype or array.shape[0] != len(self):
                    raise ValueError(
                        f"it is {array.dtype} of shape {array.shape}; "
                        f"expected {dtype} of {len(self)} views"
                    )
            self._arrays[name] = array
        with as_value_error("damaged Zarr chunk"):
            return self._arrays[name][view]

    def _depth(self, view: int) -> np.ndarray:
        scale = checked_scale(self.metadata["values_per_unit"])
        return decode_uint16(self._values(ARRAY, view, np.dtype(np.uint16)), scale)

    def _output(self, name: str, view: int, file: str) -> np.ndarray:
        return self._values(name, view, _dtype(name))


class _Shard:
    """A context in which the one file of an array is written, chunk by chunk."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        folder.mkdir()
        self._file = open(folder / _shard_file(len(shape)), "xb")  # noqa: SIM115
        self._places: list[tuple[int, int]] = []

    def __enter__(self) -> _Shard:
        return self

    def add(self, chunk: bytes) -> None:
        """Write the chunk of the next view."""
        self._places.append((self._file.tell(), len(chunk)))
        self._file.write(chunk)

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.write(_with_checksum(np.array(self._places, dtype="<u8").tobytes()))


def _dtype(name: str) -> np.dtype:
    """The stored dtype of an extra output."""
    kept = OUTPUTS[name].dtype
    return np.dtype("float32" if kept == "float" else kept)


def _shape(description: dict[str, Any], name: str) -> tuple[int, ...]:
    """The shape of an array; its first axis is the views."""
    camera = description["views"][0]["camera"]
    size = len(description["views"]), camera["height"], camera["width"]
    if name == ARRAY:
        return size
    return shape_of(name, *size, description.get("hits", 1))


def _shard_file(n_axes: int) -> str:
    return "c" + n_axes * ".0"


def _chunk(pixels: np.ndarray) -> bytes:
    """Compress one view of an array."""
    blosc = needed("numcodecs.blosc", PACKAGE[1])
    # One block, because threads would write several blocks in the order in which they finish.
    compressed = blosc.compress(
        np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")),
        BLOSC["cname"].encode(),
        BLOSC["clevel"],
        blosc.SHUFFLE,
        blocksize=pixels.nbytes,
    )
    return _with_checksum(bytes(compressed))


def _with_checksum(data: bytes) -> bytes:
    """Return data with its CRC-32C at the end, as the codec of that name expects it."""
    crc32c = needed("google_crc32c", PACKAGE[1])
    return data + int(crc32c.value(data)).to_bytes(4, "little")


def _array_node(description: dict[str, Any], name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    dtype = np.dtype(np.uint16) if name == ARRAY else _dtype(name)
    chunk_shape = [1, *shape[1:]]
    n_bytes = math.prod(chunk_shape) * dtype.itemsize
    little_endian = {"name": "bytes", "configuration": {"endian": "little"}}
    numbers = little_endian if dtype.itemsize > 1 else {"name": "bytes"}
    blosc = BLOSC | {"typesize": dtype.itemsize, "blocksize": n_bytes}
    sharding = {
        "chunk_shape": chunk_shape,
        "codecs": [numbers, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}],
        "index_codecs": [little_endian, {"name": "crc32c"}],
        "index_location": "end",
    }
    if name == ARRAY:
        attributes = {key: description[key] for key in ("kind", "values_per_unit", "miss")}
    else:
        attributes = description["outputs"][name]
    axes = ["view", "row", "column"]
    if name == "hits":
        axes.insert(1, "hit")
    elif len(shape) == 4:
        axes.append("channel")
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": False if dtype.kind == "b" else 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": axes,
        "attributes": attributes,
    }


def _group_node(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _json(node: dict[str, Any]) -> bytes:
    return json.dumps(node, indent=1).encode()


def _write_groups(root: Path, name: str) -> None:
    """Write the groups above a mesh; every process writes the same bytes."""
    above = [*Path(name).parents][::-1]  # "." first
    for folder in (root / path for path in above):
        if not (folder / NODE_FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole({folder / NODE_FILE: _json(_group_node({}))})


def _arrays(root: Path, above: str) -> Iterator[str]:
    """Yield the names of the groups below `root` that hold an array of depth."""
    with os.scandir(root / above) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            name = f"{above}/{entry.name}" if above else entry.name
            if os.path.exists(os.path.join(entry.path, ARRAY, NODE_FILE)):
                yield name
            else:
                yield from _arrays(root, name)
