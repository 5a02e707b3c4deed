"""A Zarr hierarchy (version 3) with a group for each mesh.

    OUT/depth.zarr/zarr.json               the root
    OUT/depth.zarr/bunny/zarr.json         the mesh's group; attribute "raydepth": the description
    OUT/depth.zarr/bunny/depth/zarr.json   array (n_views, height, width) uint16; attributes kind,
                                           values_per_unit, miss
    OUT/depth.zarr/bunny/depth/c.0.0.0     all its views: one shard, one chunk a view

    group = zarr.open_group("OUT/depth.zarr")["bunny"]
    z = group["depth"][7] / group.attrs["raydepth"]["values_per_unit"]  # 0 is a miss

So a mesh takes three files however many views it has. The files are written here, after "Zarr core
specification, version 3" (2024) and its sharding codec (ZEP 2), because the bytes then do not
depend on the version of the package zarr, and views can be encoded on any thread; they are read by
that package. There is no contact sheet: other files than its own disturb a Zarr hierarchy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.containers import as_value_error
from raydepth.export import StoredDepth, checked_scale, decode_uint16
from raydepth.files import write_whole
from raydepth.folders import removed, whole_folder
from raydepth.packages import needed
from raydepth.stores.description import checked_description
from raydepth.stores.store import MeshViews, Store, StoredMesh

ROOT = "depth.zarr"
NODE_FILE = "zarr.json"
ARRAY = "depth"
CHUNKS = "c.0.0.0"
ATTRIBUTE = "raydepth"
PACKAGE = ("zarr", "zarr")
# Zstandard at level 1 after a shuffle of bytes: a third larger than PNG, and as fast.
BLOSC: dict[str, Any] = {"cname": "zstd", "clevel": 1, "shuffle": "shuffle", "typesize": 2}


class ZarrStore(Store):
    """A Zarr group for each mesh."""

    file_format = "zarr"
    stores_uint16 = True
    package = PACKAGE
    description_file = "attributes"
    outputs = frozenset()

    def encode(self, view: StoredDepth) -> bytes:
        pixels = view.pixels
        blosc = needed("numcodecs.blosc", PACKAGE[1])
        # One block, because threads would write several in the order in which they finish.
        compressed = blosc.compress(
            pixels.astype("<u2", copy=False),
            BLOSC["cname"].encode(),
            BLOSC["clevel"],
            blosc.SHUFFLE,
            blocksize=pixels.nbytes,
        )
        return _with_checksum(bytes(compressed))

    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        return out / ROOT / name

    def write(self, out: Path, meshes: Sequence[MeshViews], *, index: int = 0) -> None:
        for mesh in meshes:
            with whole_folder(self.place(out, mesh.name), last=NODE_FILE) as aside:
                (aside / ARRAY).mkdir()
                description = mesh.description
                with open(aside / ARRAY / CHUNKS, "xb") as file:
                    places = []
                    for _, chunk in zip(description["views"], mesh.views, strict=True):
                        places.append((file.tell(), len(chunk)))
                        file.write(chunk)
                    file.write(_with_checksum(np.array(places, dtype="<u8").tobytes()))
                (aside / ARRAY / NODE_FILE).write_bytes(_json(_array_node(description)))
                _write_groups(out / ROOT, mesh.name)
                (aside / NODE_FILE).write_bytes(_json(_group_node({ATTRIBUTE: description})))

    def find(self, out: Path, name: str) -> StoredMesh | None:
        place = self.place(out, name)
        return ZarrMesh(name, place) if os.path.lexists(place) else None

    def remove(self, out: Path, name: str) -> None:
        removed(self.place(out, name))

    def open(self, out: Path) -> list[StoredMesh]:
        root = out / ROOT
        names = sorted(_arrays(root, "")) if root.is_dir() else []
        return [ZarrMesh(name, root / name) for name in names]


class ZarrMesh(StoredMesh):
    """A group of a Zarr hierarchy."""

    def _description(self) -> dict[str, Any]:
        with as_value_error(f"its {NODE_FILE} is damaged"):
            attributes = json.loads((self.place / NODE_FILE).read_bytes())["attributes"]
            return checked_description(attributes[ATTRIBUTE])

    def contents(self, view: int) -> Iterable[bytes]:
        with open(self.place / ARRAY / CHUNKS, "rb") as file, as_value_error("damaged Zarr chunk"):
            # Behind the chunks their places stand, and a checksum.
            file.seek(-(16 * len(self) + 4), os.SEEK_END)
            start, size = np.frombuffer(file.read(16 * len(self)), "<u8").reshape(-1, 2)[view]
            file.seek(int(start))
            return (file.read(int(size)),)

    @cached_property
    def _array(self) -> Any:
        zarr = needed(*PACKAGE)
        with as_value_error("damaged Zarr array"):
            array = zarr.open_array(self.place / ARRAY, mode="r")
            if array.ndim != 3 or array.dtype != np.uint16 or array.shape[0] != len(self):
                raise ValueError(
                    f"it is {array.dtype} of shape {array.shape}; "
                    f"expected uint16 of {len(self)} views"
                )
            return array

    def _depth(self, view: int) -> np.ndarray:
        scale = checked_scale(self.metadata["values_per_unit"])
        if not (self.place / ARRAY / CHUNKS).exists():
            # Zarr takes what is missing for zeros, and zeros would be misses.
            raise FileNotFoundError(f"{self.place / ARRAY / CHUNKS} does not exist")
        array = self._array
        with as_value_error("damaged Zarr chunk"):
            values = array[view]
        return decode_uint16(values, scale)


def _with_checksum(data: bytes) -> bytes:
    """Data and its CRC-32C, as the codec of that name wants it."""
    crc32c = needed("google_crc32c", PACKAGE[1])
    return data + int(crc32c.value(data)).to_bytes(4, "little")


def _array_node(description: dict[str, Any]) -> dict[str, Any]:
    camera = description["views"][0]["camera"]
    height, width = camera["height"], camera["width"]
    shape = [len(description["views"]), height, width]
    little_endian = {"name": "bytes", "configuration": {"endian": "little"}}
    blosc = {"name": "blosc", "configuration": {**BLOSC, "blocksize": 2 * height * width}}
    sharding = {
        "chunk_shape": [1, height, width],
        "codecs": [little_endian, blosc, {"name": "crc32c"}],
        "index_codecs": [little_endian, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["view", "row", "column"],
        "attributes": {key: description[key] for key in ("kind", "values_per_unit", "miss")},
    }


def _group_node(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _json(node: dict[str, Any]) -> bytes:
    return json.dumps(node, indent=1).encode()


def _write_groups(root: Path, name: str) -> None:
    """The groups above a mesh, which are the same whoever writes them."""
    above = [*Path(name).parents][::-1]  # "." first
    for folder in (root / path for path in above):
        if not (folder / NODE_FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole({folder / NODE_FILE: _json(_group_node({}))})


def _arrays(root: Path, above: str) -> Iterator[str]:
    """Names of the groups below `root` that hold an array of depth."""
    with os.scandir(root / above) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            name = f"{above}/{entry.name}" if above else entry.name
            if os.path.exists(os.path.join(entry.path, ARRAY, NODE_FILE)):
                yield name
            else:
                yield from _arrays(root, name)
