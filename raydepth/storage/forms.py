"""Forms of storage for a data set: what `--format` names, one module a form."""

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
    """The store of that name.

    Raises
    ------
    ValueError
        There is none.
    MissingPackageError
        It needs a package that is not installed.
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
    """The scale that is given, or that of the form of storage."""
    return store_of(file_format).values_per_unit if values_per_unit is None else values_per_unit


def located(out: Path, name: str) -> tuple[Path, dict[str, Any]] | None:
    """Where a finished mesh is, in whatever form, and its description; None where there is none.

    Raises
    ------
    FileExistsError
        Its place is taken by something else.
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
