"""One .npz file for each mesh.

    OUT/bunny.npz   000, 001 ...   (height, width) float32, in units, +inf is a miss
                    000.normal, 000.hit.png ...   extra outputs, see `output_files`
                    raydepth       the description, one string
                    preview.png    the contact sheet

`numpy.load` reads it, one view at a time: `numpy.load("bunny.npz")["007"]`.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.codecs.formats import as_value_error, npy
from raydepth.codecs.zip import Member, ZipWriter, stored_content
from raydepth.export import StoredDepth, checked_floats
from raydepth.storage.base import MeshWriter, Store, StoredMesh, names_with_suffix, new_file
from raydepth.storage.description import parsed_description
from raydepth.storage.output_files import parts_of

DESCRIPTION = "raydepth"
PREVIEW_FILE = "preview.png"
DAMAGED = "damaged or not a .npz file of views"


class NpzStore(Store):
    """One .npz file for each mesh."""

    file_format = "npz"
    stores_uint16 = False

    def encode(self, view: StoredDepth) -> Member:
        return Member.deflated(npy(view.pixels))

    def contents(self, encoded: Member) -> Iterable[bytes]:
        return (encoded.content,)

    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        return out / f"{name}.npz"

    @contextmanager
    def _mesh(self, out: Path, name: str, description: dict[str, Any]) -> Iterator[MeshWriter]:
        with new_file(self.place(out, name)) as file:
            yield _NpzWriter(ZipWriter(file), description)

    def find(self, out: Path, name: str) -> StoredMesh | None:
        path = self.place(out, name)
        return NpzMesh(name, path) if os.path.lexists(path) else None

    def remove(self, out: Path, name: str) -> None:
        self.place(out, name).unlink(missing_ok=True)

    def open(self, out: Path) -> list[StoredMesh]:
        names = sorted(names_with_suffix(out, ".npz"))
        return [NpzMesh(name, self.place(out, name)) for name in names]


class _NpzWriter(MeshWriter):
    """Writes a mesh as the members of an archive."""

    def __init__(self, archive: ZipWriter, description: dict[str, Any]) -> None:
        super().__init__(description)
        self._archive = archive

    def _add(self, file: str, encoded: Any) -> None:
        member, others = parts_of(encoded)
        self._archive.add(f"{file}.npy", member)
        for name, content in others.items():
            is_array = name.endswith(".npy")
            self._archive.add(
                name, Member.deflated(content) if is_array else Member.stored(content)
            )

    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        if preview is not None:
            self._archive.add(PREVIEW_FILE, Member.stored(preview))
        text = np.array(json.dumps(description))
        self._archive.add(f"{DESCRIPTION}.npy", Member.deflated(npy(text)))
        self._archive.finish()


class NpzMesh(StoredMesh):
    """The views of one .npz file."""

    def _description(self) -> dict[str, Any]:
        return parsed_description(str(_array(self.place, DESCRIPTION)))

    def contents(self, view: int) -> Iterable[bytes]:
        file = self.metadata["views"][view]["file"]
        with open(self.place, "rb") as archive, as_value_error(DAMAGED):
            return (stored_content(archive, f"{file}.npy"),)

    def content(self, file: str) -> bytes:
        with open(self.place, "rb") as archive, as_value_error(DAMAGED):
            return zipfile.ZipFile(archive).read(file)

    def _depth(self, view: int) -> np.ndarray:
        file = self.metadata["views"][view]["file"]
        return checked_floats(_array(self.place, file))


def _array(path: Path, name: str) -> np.ndarray:
    # Opened before `as_value_error`, because a missing file is not a damaged one.
    with open(path, "rb") as file, as_value_error(DAMAGED):
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it is a .npy file")
        return archive[name]
