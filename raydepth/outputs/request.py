"""A checked render request, the memory that it needs, and the check that a mesh can fill it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.kinds import KINDS
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.table import ON_DEVICE, OUTPUTS, checked_hits, checked_outputs, shape_of
from raydepth.system import array_pool, parallel

# Faces, (n_views, height, width), and the other outputs by name.
Images = tuple[np.ndarray, dict[str, np.ndarray]]


class RenderRequest(NamedTuple):
    """A render request: outputs, their types and the processors to use. The same for all meshes.

    Attributes
    ----------
    outputs : tuple of str
        Names in `table.OUTPUTS`, in the order asked for.
    dtype : numpy.dtype
        The dtype of float outputs; uint16 if `values_per_unit` is given.
    miss : float
        The depth of a pixel that sees nothing.
    n_hits : int
        The number of hits in the output "hits".
    n_threads : int
    values_per_unit : float or None
        The scale of depth as 16-bit values; None for depth in units.
    """

    outputs: tuple[str, ...]
    dtype: np.dtype = np.dtype(np.float32)
    miss: float = math.inf
    n_hits: int = 4
    n_threads: int = 1
    values_per_unit: float | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of depth among the outputs."""
        return tuple(name for name in self.outputs if name in KINDS)

    @property
    def on_the_host(self) -> tuple[str, ...]:
        """The outputs that a device leaves to the host."""
        return tuple(name for name in self.outputs if name not in ON_DEVICE)

    def asks(self, *names: str) -> bool:
        """Return whether one of the names is among the outputs."""
        return any(name in self.outputs for name in names)


def checked_request(
    kind: str | Sequence[str],
    outputs: Any = None,
    *,
    hits: int = 4,
    miss: float = math.inf,
    dtype: Any = np.float32,
    threads: int | None = None,
) -> RenderRequest:
    """Check the arguments of `render` and similar functions, and return them as a request.

    Raises
    ------
    ValueError
        An argument is not valid; the message says what was expected.
    """
    names, n_hits = checked_outputs(kind, outputs), checked_hits(hits)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    return RenderRequest(names, dtype, float(miss), n_hits, parallel.checked_threads(threads))


def empty_arrays(request: RenderRequest, cameras: Cameras) -> dict[str, np.ndarray]:
    """Return an array for each output except "triangle_id", not initialised."""
    size = len(cameras), cameras.height, cameras.width
    arrays = {}
    for name in request.outputs:
        if name != "triangle_id":
            kept = OUTPUTS[name].dtype
            dtype = request.dtype if kept == "float" else np.dtype(kept)
            arrays[name] = array_pool.empty(shape_of(name, *size, request.n_hits), dtype)
    return arrays


def bytes_needed(request: RenderRequest, cameras: Cameras) -> int:
    """Return the size in bytes of all arrays, `triangle_id` included."""
    total = 0
    for name in {*request.outputs, "triangle_id"}:
        kept = OUTPUTS[name].dtype
        item = request.dtype.itemsize if kept == "float" else np.dtype(kept).itemsize
        shape = shape_of(name, len(cameras), cameras.height, cameras.width, request.n_hits)
        total += item * math.prod(shape)
    return total


def check_available(mesh: object, names: tuple[str, ...]) -> None:
    """Raise ValueError for an output that needs data which the mesh or hierarchy lacks."""
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
