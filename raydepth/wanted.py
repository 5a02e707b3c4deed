"""What is wanted of a rendering: which outputs, of what type, and whether that can be had."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from raydepth import recycling
from raydepth.camera import Cameras
from raydepth.mesh import Mesh
from raydepth.outputs import KINDS, ON_DEVICE, OUTPUTS, shape_of


class Wanted(NamedTuple):
    """What is wanted of a rendering."""

    names: tuple[str, ...]
    dtype: np.dtype
    miss: float
    n_hits: int
    mesh: Mesh | None  # what "uv" and "instance" come from

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of depth among the outputs."""
        return tuple(name for name in self.names if name in KINDS)

    def asks(self, *names: str) -> bool:
        """Whether one of them is wanted."""
        return any(name in self.names for name in names)


def empty_arrays(wanted: Wanted, cameras: Cameras) -> dict[str, np.ndarray]:
    """Memory for each output but "triangle_id"."""
    size = len(cameras), cameras.height, cameras.width
    arrays = {}
    for name in wanted.names:
        if name != "triangle_id":
            kept = OUTPUTS[name].dtype
            dtype = wanted.dtype if kept == "float" else np.dtype(kept)
            arrays[name] = recycling.empty(shape_of(name, *size, wanted.n_hits), dtype)
    return arrays


def bytes_needed(names: tuple[str, ...], cameras: Cameras, dtype: np.dtype, n_hits: int) -> int:
    """Of all arrays, and of triangle_id."""
    total = 0
    for name in {*names, "triangle_id"}:
        kept = OUTPUTS[name].dtype
        item = dtype.itemsize if kept == "float" else np.dtype(kept).itemsize
        shape = shape_of(name, len(cameras), cameras.height, cameras.width, n_hits)
        total += item * math.prod(shape)
    return total


def on_the_host(names: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs that no device gives by itself."""
    return tuple(name for name in names if name not in ON_DEVICE)


def check_available(mesh: object, names: tuple[str, ...]) -> None:
    """Raise ValueError for an output that needs what the mesh, or a hierarchy alone, lacks."""
    for name in ("instance", "uv"):
        if name in names and not isinstance(mesh, Mesh):
            raise ValueError(
                f"{name} is asked for, but the mesh is a {type(mesh).__name__}; expected a Mesh"
            )
    if "uv" in names and isinstance(mesh, Mesh) and mesh.texture is None:
        raise ValueError(
            f"uv is asked for, but {mesh.name} has no texture coordinates; expected a file that "
            "has them, loaded with uv=True"
        )
