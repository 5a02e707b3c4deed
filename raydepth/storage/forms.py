"""All forms of storage for a data set, by the names that `--format` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raydepth.codecs.formats import EXR_PACKAGE
from raydepth.storage.base import Store, StoredMesh
from raydepth.storage.folder import FolderStore
from raydepth.storage.layouts import LAYOUTS
from raydepth.storage.npz import NpzStore
from raydepth.storage.ply import PlyStore
from raydepth.storage.webdataset import TarStore
from raydepth.storage.zarr import ZarrStore
from raydepth.system.optional_packages import needed

STORES: dict[str, Store] = {
    "png16": FolderStore("png16", ".png", stores_uint16=True),
    "npy": FolderStore("npy", ".npy"),
    "tiff": FolderStore("tiff", ".tiff"),
    "exr": FolderStore("exr", ".exr", package=EXR_PACKAGE),
    "npz": NpzStore(),
    "ply": PlyStore(),
    "zarr": ZarrStore(),
    "webdataset": TarStore(),
    **{
        name: FolderStore(name, ".png", stores_uint16=True, layout=layout)
        for name, layout in LAYOUTS.items()
    },
}

__all__ = [
    "LAYOUTS",
    "STORES",
    "Store",
    "StoredMesh",
    "located",
    "scale_or_default",
    "store_of",
]


def store_of(file_format: str) -> Store:
    """Return the store of a form of storage.

    Raises
    ------
    ValueError
        There is no form of that name.
    MissingPackageError
        The form needs a package that is not installed.
    """
    try:
        store = STORES[file_format]
    except (KeyError, TypeError):
        raise ValueError(
            f"format is {file_format!r}; expected one of {', '.join(STORES)}"
        ) from None
    if store.package is not None:
        needed(*store.package)
    return store


def scale_or_default(values_per_unit: float | None, file_format: str) -> float:
    """Return the given scale, or the default of the form of storage if it is None."""
    return store_of(file_format).values_per_unit if values_per_unit is None else values_per_unit


def located(out: Path, name: str) -> tuple[Path, dict[str, Any]] | None:
    """Find a finished mesh in any form: its place and its description; None if there is none.

    Raises
    ------
    FileExistsError
        Something else is in its place.
    """
    foreign = None
    for store in {type(store): store for store in STORES.values()}.values():
        mesh = store.find(out, name)
        if mesh is None:
            continue
        try:
            description = store.found(out, name)
        except FileExistsError as error:
            foreign = foreign or error
        else:
            assert description is not None
            return mesh.place, description
    if foreign is not None:
        raise foreign
    return None
