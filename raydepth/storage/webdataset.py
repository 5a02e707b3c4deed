"""Tar shards that the package webdataset reads, each with many meshes.

    OUT/shard-000000.tar
        __raydepth__/index.json           where everything is: names, offsets, sizes
        bunny/000.png                     a 16-bit PNG, as `export` writes it
        bunny/000.json                    the same metadata as in the PNG
        bunny/000.normal.npy              extra outputs, see `output_files`
        ...
        __raydepth__/bunny/views.json     the description
        __raydepth__/bunny/preview.png    the contact sheet

A sample is one view; its key is "bunny/000". webdataset skips names in double underscores and reads
a shard from front to back. raydepth reads any view directly, through the index. Time stamps, owners
and order are fixed, so that the same input gives the same bytes.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from raydepth.codecs.formats import FORMATS, as_value_error
from raydepth.export import StoredDepth, decode_depth
from raydepth.storage.base import (
    BeginMesh,
    MeshWriter,
    Store,
    StoredMesh,
    check_agreement,
    new_file,
)
from raydepth.storage.description import description_text, parsed_description
from raydepth.storage.output_files import parts_of

FORMAT_NAME = "raydepth-shard"
FORMAT_VERSION = 1
HIDDEN = "__raydepth__"
INDEX_FILE = f"{HIDDEN}/index.json"
BLOCK = 512
END = bytes(2 * BLOCK)

# The offset and the size of a member's content, in bytes. In the index, offsets count from the end
# of the index; `_moved` makes them count from the beginning of the shard.
Extent = tuple[int, int]


class TarStore(Store):
    """Tar files, each with the meshes of one unit."""

    file_format = "webdataset"
    stores_uint16 = True
    suffix = ".png"
    meshes_per_unit = 100

    def encode(self, view: StoredDepth) -> tuple[bytes, bytes]:
        return FORMATS[".png"].encode(view.pixels, view.text)[""], view.text.encode()

    def contents(self, encoded: tuple[bytes, bytes]) -> Iterable[bytes]:
        return encoded

    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        return out / f"shard-{index:06}.tar"

    @contextmanager
    def unit(self, out: Path, *, index: int = 0) -> Iterator[BeginMesh]:
        shard = _Shard()
        yield partial(_begun, shard)
        with new_file(self.place(out, "", index=index)) as file:
            shard.write(file)

    def find(self, out: Path, name: str) -> StoredMesh | None:
        return next((mesh for mesh in _meshes(out) if mesh.name == name), None)

    def remove(self, out: Path, name: str) -> None:
        mesh = self.find(out, name)
        if mesh is not None:
            mesh.place.unlink()

    def open(self, out: Path) -> list[StoredMesh]:
        meshes: dict[str, StoredMesh] = {}
        for mesh in _meshes(out):
            if mesh.name in meshes:
                raise ValueError(
                    f"{mesh.place} and {meshes[mesh.name].place.name} both hold {mesh.name}"
                )
            meshes[mesh.name] = mesh
        return [meshes[name] for name in sorted(meshes)]


class _Shard:
    """The members of a shard, kept in memory because the index of all of them is written first."""

    def __init__(self) -> None:
        self._members: list[tuple[str, bytes]] = []
        self._end = 0
        self.entries: list[dict[str, Any]] = []

    def add(self, name: str, content: bytes) -> Extent:
        """Add a member, and return its place in the shard."""
        self._members.append((name, content))
        start = self._end + len(_header(name, len(content)))
        self._end = start + _padded(len(content))
        return start, len(content)

    def write(self, file: BinaryIO) -> None:
        """Write the whole shard."""
        index = {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "size": self._end,
            "meshes": self.entries,
        }
        for name, content in [(INDEX_FILE, json.dumps(index).encode()), *self._members]:
            file.write(_header(name, len(content)))
            file.write(content)
            file.write(bytes(_padded(len(content)) - len(content)))
        file.write(END)


class _TarWriter(MeshWriter):
    """Adds a mesh's members to a shard."""

    def __init__(self, shard: _Shard, name: str, description: dict[str, Any]) -> None:
        super().__init__(description)
        self._shard, self._name = shard, name
        self._entry: dict[str, Any] = {"name": name, "views": [], "metadata": []}

    def _add(self, file: str, encoded: Any) -> None:
        (image, metadata), others = parts_of(encoded)
        beside = f"{self._name}/{file.removesuffix(TarStore.suffix)}.json"
        self._entry["views"].append(self._shard.add(f"{self._name}/{file}", image))
        self._entry["metadata"].append(self._shard.add(beside, metadata))
        for name, content in others.items():
            outputs = self._entry.setdefault("outputs", {})
            outputs[name] = self._shard.add(f"{self._name}/{name}", content)

    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        above = f"{HIDDEN}/{self._name}"
        text = description_text(description).encode()
        self._entry["description"] = self._shard.add(f"{above}/views.json", text)
        if preview is not None:
            self._shard.add(f"{above}/preview.png", preview)
        self._shard.entries.append(self._entry)


def _begun(
    shard: _Shard, name: str, description: dict[str, Any]
) -> AbstractContextManager[MeshWriter]:
    return nullcontext(_TarWriter(shard, name, description))


class TarMesh(StoredMesh):
    """A mesh in a tar shard."""

    def __init__(
        self,
        name: str,
        place: Path,
        description: Extent,
        views: list[Extent],
        beside: list[Extent],
        outputs: dict[str, Extent],
    ) -> None:
        super().__init__(name, place)
        self._where, self._views, self._beside = description, views, beside
        self._outputs = outputs

    def _description(self) -> dict[str, Any]:
        description = parsed_description(_content(self.place, self._where))
        if not len(description["views"]) == len(self._views) == len(self._beside):
            raise ValueError(
                f"its index has {len(self._views)} views of {self.name}; "
                "expected those of its description"
            )
        return description

    def contents(self, view: int) -> Iterable[bytes]:
        return [_content(self.place, extents[view]) for extents in (self._views, self._beside)]

    def content(self, file: str) -> bytes:
        if file not in self._outputs:
            raise ValueError(f"its index has no {file} of {self.name}")
        return _content(self.place, self._outputs[file])

    def _depth(self, view: int) -> np.ndarray:
        self.metadata  # noqa: B018 - checks that the index has this view
        image = decode_depth(".png", {"": _content(self.place, self._views[view])})
        check_agreement(image, self.metadata)
        return image.depth


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # its time and its owner are 0
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _meshes(out: Path) -> Iterator[TarMesh]:
    """Yield the meshes of all shards; read only the indexes."""
    for place in sorted(out.glob("shard-*.tar")):
        try:
            yield from _indexed(place)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error


def _indexed(place: Path) -> Iterator[TarMesh]:
    with open(place, "rb") as file, as_value_error("damaged or not a tar shard of raydepth"):
        with tarfile.open(fileobj=file, mode="r:") as archive:
            first = archive.next()
            if first is None or first.name != INDEX_FILE:
                raise ValueError(f"it does not begin with {INDEX_FILE}")
            file.seek(first.offset_data)
            contents = json.loads(file.read(first.size))
            start = first.offset_data + _padded(first.size)
        version = (contents["format"], contents["format_version"])
        if version != (FORMAT_NAME, FORMAT_VERSION):
            raise ValueError(f"its index says {version}; expected {FORMAT_NAME, FORMAT_VERSION}")
        if os.path.getsize(place) != start + contents["size"] + len(END):
            raise ValueError("it is truncated, or bytes were added to it")
        found = [
            TarMesh(
                entry["name"],
                place,
                _moved(entry["description"], start),
                [_moved(extent, start) for extent in entry["views"]],
                [_moved(extent, start) for extent in entry["metadata"]],
                {name: _moved(extent, start) for name, extent in entry.get("outputs", {}).items()},
            )
            for entry in contents["meshes"]
        ]
    yield from found


def _moved(extent: Sequence[int], start: int) -> Extent:
    offset, size = extent
    if not (offset >= 0 and size >= 0):
        raise ValueError(f"its index holds the extent {extent}; expected two numbers from 0")
    return start + offset, size


def _content(place: Path, extent: Extent) -> bytes:
    offset, size = extent
    with open(place, "rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise ValueError("truncated tar file")
    return content
