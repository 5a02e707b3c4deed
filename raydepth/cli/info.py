"""The lines of text that `python -m raydepth info` prints about a file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.codecs.formats import FORMATS as DEPTH_SUFFIXES
from raydepth.export import read_depth
from raydepth.mesh.load import load_mesh

KINDS_IN_WORDS = {
    "z": "z, along the camera's axis",
    "ray": "ray, from the camera's centre",
}


def describe(path: Path) -> list[tuple[str, str]]:
    """Describe a depth file or a mesh file, told apart by the suffix.

    Returns
    -------
    list of (what, value)
        A pair of strings for each line.

    Raises
    ------
    ValueError, OSError
        The file is neither, or cannot be read; the message names it.
    """
    if path.suffix.lower() in DEPTH_SUFFIXES:
        return _describe_depth(path)
    return _describe_mesh(path)


def _describe_mesh(path: Path) -> list[tuple[str, str]]:
    mesh = load_mesh(path)
    low, high = mesh.bounds
    # The sphere normalisation scales by 0.5 / radius.
    radius = 0.5 / mesh.normalized("sphere").mesh_from_source[0, 0]
    return [
        ("mesh", mesh.name),
        ("faces", f"{len(mesh.faces):,}"),
        ("vertices", f"{len(mesh.vertices):,}"),
        ("bounds", f"{_place(low, radius)} to {_place(high, radius)} units"),
        ("size", f"{' x '.join(f'{side:.6g}' for side in high - low)} units"),
        ("centre", f"{_place(low + (high - low) / 2, radius)} units, of the bounds"),
        ("radius", f"{radius:.6g} units, from the centre to the farthest vertex"),
        ("loading", "; ".join(mesh.notes) or "as it is in the file"),
        ("sha256", f"{mesh.sha256} (vertices and faces)"),
    ]


def _describe_depth(path: Path) -> list[tuple[str, str]]:
    image = read_depth(path)
    height, width = image.depth.shape
    hits = image.depth[np.isfinite(image.depth)]
    scale, miss = f"1 per unit ({image.depth.dtype})", "inf"
    if image.values_per_unit is not None:
        scale, miss = f"{image.values_per_unit:.9g} values per unit (uint16)", "0"
    mesh = "not recorded"
    if image.mesh is not None:
        mesh = f"{image.mesh.get('name')}, normalisation {image.mesh.get('normalization')}"
    return [
        ("depth", KINDS_IN_WORDS[image.kind]),
        ("size", f"{width}x{height} pixels"),
        ("scale", scale),
        ("range", f"{hits.min():.6g} to {hits.max():.6g} units" if hits.size else "no hits"),
        ("hits", f"{hits.size:,} of {image.depth.size:,} pixels"),
        ("misses", f"{image.depth.size - hits.size:,}, stored as {miss}"),
        ("camera", "not recorded" if image.camera is None else _camera(image.camera)),
        ("mesh", mesh),
    ]


def _camera(camera: Cameras) -> str:
    k = camera.intrinsics[0]
    lens = f"fx {k[0, 0]:.6g}, fy {k[1, 1]:.6g}, cx {k[0, 2]:.6g}, cy {k[1, 2]:.6g} pixels"
    limits = "".join(
        f", {name} {limit[0]:.6g} units"
        for name, limit in (("near", camera.near), ("far", camera.far))
        if limit is not None
    )
    return f"{camera.in_words} at {_vector(camera.centres[0])}, {lens}{limits}"


def _place(point: np.ndarray, radius: float) -> str:
    """A point as text, to six digits of the mesh's size at any distance from the origin."""
    return _vector(np.round(point, 5 - math.floor(math.log10(radius))), digits=15)


def _vector(v: np.ndarray, digits: int = 6) -> str:
    return f"({', '.join(f'{x + 0.0:.{digits}g}' for x in v)})"
