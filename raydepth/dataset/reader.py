"""Read a data set on disk, in any form of storage: `open_dataset`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from raydepth.dataset.manifest import (
    Entry,
    read_manifest,
)
from raydepth.dataset.settings import SETTINGS_FILE, read_settings
from raydepth.storage.base import StoredMesh
from raydepth.storage.forms import STORES


class DepthDataset(Sequence[StoredMesh]):
    """The finished meshes of a data set, sorted by name. Made by `open_dataset`.

    Attributes
    ----------
    out : Path
    """

    def __init__(self, out: Path, meshes: list[StoredMesh]) -> None:
        self.out = out
        self._meshes = meshes
        self._index = {mesh.name: i for i, mesh in enumerate(meshes)}

    @property
    def names(self) -> list[str]:
        """The names of the meshes, sorted."""
        return list(self._index)

    def __len__(self) -> int:
        return len(self._meshes)

    @overload
    def __getitem__(self, which: int | str) -> StoredMesh: ...

    @overload
    def __getitem__(self, which: slice) -> DepthDataset: ...

    def __getitem__(self, which: int | str | slice) -> StoredMesh | DepthDataset:
        """Return a mesh by its index or its name; for a slice, the data set of those meshes."""
        if isinstance(which, slice):
            return DepthDataset(self.out, self._meshes[which])
        if isinstance(which, str):
            if which not in self._index:
                raise KeyError(f"{self.out} has no mesh {which!r}")
            return self._meshes[self._index[which]]
        return self._meshes[which]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} meshes in {os.fspath(self.out)!r}>"


def open_dataset(out: str | os.PathLike[str]) -> DepthDataset:
    """Open the meshes that `python -m raydepth render` wrote into a folder, in any form.

    Pixels are read when a view is asked for; cameras and metadata when a mesh is asked for them.

    Parameters
    ----------
    out : path
        The folder given to `-o`.

    Returns
    -------
    DepthDataset
        A sequence of meshes. Each has `name`, `cameras`, `kind`, `metadata`, `len()` and
        `depth(i)`: (height, width) float32 in units, +inf where nothing was hit.

    Raises
    ------
    ValueError
        The folder holds no finished mesh, or meshes in several forms.
    FileNotFoundError
        There is no such folder.
    """
    folder = Path(out)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist; expected the folder of a data set")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected the folder of a data set")
    found = {}
    # One store per class is enough: one class reads all forms with a folder for each mesh.
    for store in {type(store): store for store in STORES.values()}.values():
        meshes = store.open(folder)
        if meshes:
            found[store.file_format] = meshes
    if not found:
        raise ValueError(f"{folder} holds no finished mesh of raydepth")
    if len(found) > 1:
        examples = (f"{meshes[0].place.name}" for meshes in found.values())
        raise ValueError(
            f"{folder} holds meshes in several forms ({', '.join(examples)}); expected one"
        )
    return DepthDataset(folder, next(iter(found.values())))


def dataset_entries(out: Path) -> tuple[dict[str, Any], list[Entry]]:
    """Read the settings and the meshes of a data set.

    Raises
    ------
    ValueError
        The folder does not hold a data set, or holds a damaged one.
    """
    settings = read_settings(out)
    if settings is None:
        raise ValueError(f"{out} holds no {SETTINGS_FILE}; expected the folder of a data set")
    return settings, read_manifest(out)
