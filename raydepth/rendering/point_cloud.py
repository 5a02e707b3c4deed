"""Point clouds of the surface points that a rendering's pixels see, and their PLY files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from raydepth.system.atomic_files import write_whole
from raydepth.version import __version__


class PointCloud(NamedTuple):
    """Points of the surface, in the order of views, rows and columns.

    Attributes
    ----------
    points : (n_points, 3) float64
        In world coordinates, in units.
    normals : (n_points, 3) float64 or None
        Unit normals of the faces, oriented by their winding.
    view : (n_points,) int32
        The view that sees each point.
    pixel : (n_points, 2) int32
        Row and column of the pixel that sees each point.
    """

    points: np.ndarray
    normals: np.ndarray | None
    view: np.ndarray
    pixel: np.ndarray

    def write_ply(self, path: str | os.PathLike[str], *, dtype: Any = np.float32) -> None:
        """Write a binary PLY file, complete or not at all; see `ply_bytes`.

        Raises
        ------
        ValueError
            If `path` does not end in .ply, or `dtype` is neither float32 nor float64.
        OSError
            If the file cannot be written.
        """
        if Path(path).suffix.lower() != ".ply":
            raise ValueError(f"{path}: expected a name that ends in .ply")
        write_whole({Path(path): ply_bytes(self, dtype=dtype)})


def ply_bytes(cloud: PointCloud, *, dtype: Any = np.float32) -> bytes:
    """Return a binary little-endian PLY file with one element, "vertex".

    Its properties are x y z, in world coordinates, in units; nx ny nz if there are normals; and int
    view row column, the pixel that sees the point. The same cloud gives the same bytes.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    fields = ["x", "y", "z"] + ([] if cloud.normals is None else ["nx", "ny", "nz"])
    number = "<f4" if dtype == np.float32 else "<f8"
    whole = ["view", "row", "column"]
    table = np.empty(
        len(cloud.points), [(name, number) for name in fields] + [(name, "<i4") for name in whole]
    )
    columns = [cloud.points] + ([] if cloud.normals is None else [cloud.normals])
    for name, values in zip(fields, np.concatenate(columns, axis=1).T, strict=True):
        table[name] = values
    for name, values in zip(whole, (cloud.view, *cloud.pixel.T), strict=True):
        table[name] = values
    word = "float" if dtype == np.float32 else "double"
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment raydepth {__version__}, world coordinates",
        f"element vertex {len(table)}",
        *(f"property {word} {name}" for name in fields),
        *(f"property int {name}" for name in whole),
        "end_header",
    ]
    return ("\n".join(header) + "\n").encode("ascii") + table.tobytes()
