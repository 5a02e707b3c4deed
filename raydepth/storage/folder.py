"""A folder for each mesh and a file for each view.

OUT/bunny/000.png ...   the views, as `export` writes them
OUT/bunny/views.json    the description
OUT/bunny/preview.png   the contact sheet

With a layout (see `layouts`) the views are in a folder of their own, with files for other programs
beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.codecs.formats import Parts, format_of
from raydepth.export import StoredDepth, read_depth
from raydepth.storage.base import (
    DEFAULT_SCALE,
    MeshWriter,
    Store,
    StoredMesh,
    check_agreement,
)
from raydepth.storage.description import description_text, output_files, parsed_description
from raydepth.storage.layouts import LAYOUT_FOLDER, Layout
from raydepth.storage.output_files import parts_of
from raydepth.system.atomic_files import write_new
from raydepth.system.atomic_folders import removed, whole_folder

VIEWS_FILE = "views.json"
PREVIEW_FILE = "preview.png"
ZARR_FILE = "zarr.json"  # marks a folder of the form zarr, which holds no folders of this form


@dataclass(frozen=True)
class FolderStore(Store):
    """A folder for each mesh; `suffix` is the format of its files, `layout` sets their places."""

    file_format: str
    suffix: str
    stores_uint16: bool = False
    package: tuple[str, str] | None = None
    layout: Layout | None = None
    description_file = VIEWS_FILE

    @property
    def values_per_unit(self) -> float:
        return DEFAULT_SCALE if self.layout is None else self.layout.values_per_unit

    def check(self, cameras: Cameras, kind: str, values_per_unit: float) -> None:
        if self.layout is not None:
            self.layout.check(cameras, kind, values_per_unit)

    def file_of(self, view: int, n_views: int) -> str:
        if self.layout is not None:
            return self.layout.file_of(view)
        return super().file_of(view, n_views)

    def encode(self, view: StoredDepth) -> Parts:
        return format_of(self.suffix).encode(view.pixels, view.text)

    def contents(self, encoded: Parts) -> Iterable[bytes]:
        return encoded.values()

    def place(self, out: Path, name: str, *, index: int = 0) -> Path:
        return out / name

    @contextmanager
    def _mesh(self, out: Path, name: str, description: dict[str, Any]) -> Iterator[MeshWriter]:
        with whole_folder(out / name, last=VIEWS_FILE) as aside:
            if self.layout is not None:
                (aside / self.layout.folder).mkdir()
            yield _FolderWriter(aside, description, self.layout)

    def find(self, out: Path, name: str) -> StoredMesh | None:
        folder = out / name
        return FolderMesh(name, folder) if os.path.lexists(folder) else None

    def is_whole(self, out: Path, name: str) -> bool:
        description = self.found(out, name)
        if description is None:
            return False
        # Files may have been deleted since the folder was written.
        files = {view["file"] for view in description["views"]} | set(output_files(description))
        there = set(os.listdir(out / name))
        if self.layout is not None:
            files.update(self.layout.beside)
            inside = self.layout.folder
            if inside in there:
                there.update(f"{inside}/{file}" for file in os.listdir(out / name / inside))
        return files <= there

    def remove(self, out: Path, name: str) -> None:
        removed(out / name)

    def open(self, out: Path) -> list[StoredMesh]:
        places = sorted(_folders_with_views(out, ""))
        return [FolderMesh(name, out / name) for name in places]


class _FolderWriter(MeshWriter):
    """Writes files into an empty folder."""

    def __init__(self, folder: Path, description: dict[str, Any], layout: Layout | None) -> None:
        super().__init__(description)
        self._folder, self._layout = folder, layout

    def _add(self, file: str, encoded: Any) -> None:
        parts, others = parts_of(encoded)
        for name, content in others.items():
            write_new(f"{self._folder}/{name}", content)
        for addition, content in parts.items():
            write_new(f"{self._folder}/{file}{addition}", content)

    def _finish(self, description: dict[str, Any], preview: bytes | None) -> None:
        if preview is not None:
            write_new(f"{self._folder}/{PREVIEW_FILE}", preview)
        if self._layout is not None:
            for name, text in self._layout.files(description).items():
                write_new(f"{self._folder}/{name}", text.encode())
        write_new(f"{self._folder}/{VIEWS_FILE}", description_text(description).encode())


class FolderMesh(StoredMesh):
    """A folder of views in any of the formats of `export`."""

    def _description(self) -> dict[str, Any]:
        return parsed_description((self.place / VIEWS_FILE).read_bytes())

    def contents(self, view: int) -> Iterable[bytes]:
        path = self._path(self.metadata["views"][view]["file"])
        sidecar = format_of(path.suffix).sidecar
        beside = [Path(f"{path}{sidecar}").read_bytes()] if sidecar else []
        return [*beside, path.read_bytes()]

    def content(self, file: str) -> bytes:
        return self._path(file).read_bytes()

    def _depth(self, view: int) -> np.ndarray:
        image = read_depth(self._path(self.metadata["views"][view]["file"]))
        check_agreement(image, self.metadata)
        return image.depth

    def _path(self, name: object) -> Path:
        """The path of a file of this mesh; checked, as others may have edited the description."""
        if not isinstance(name, str) or name not in (
            os.path.basename(name),
            f"{LAYOUT_FOLDER}/{os.path.basename(name)}",
        ):
            raise ValueError(f"its file is {name!r}; expected a file in its folder")
        return self.place / name


def _folders_with_views(out: Path, above: str) -> Iterator[str]:
    """Yield the names of folders below `out` with views.json; skip hidden, unfinished ones."""
    with os.scandir(out / above) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            name = f"{above}/{entry.name}" if above else entry.name
            if os.path.exists(os.path.join(entry.path, VIEWS_FILE)):
                yield name
            elif not os.path.exists(os.path.join(entry.path, ZARR_FILE)):
                # A mesh with several states has a folder for each, inside a folder of its own.
                yield from _folders_with_views(out, name)
