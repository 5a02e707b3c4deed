"""Meshes and cameras in, depth out: choose the device, find the visible faces, resolve depth."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raydepth import bvh as bvh_module
from raydepth import kernels, parallel
from raydepth.bvh import Bvh
from raydepth.cameras import Cameras
from raydepth.errors import DeviceError
from raydepth.mesh import Mesh

KINDS = ("z", "ray")
DEVICES = ("auto", "cpu", "cuda")

# A hierarchy lives as long as the mesh it was built for.
_built: weakref.WeakKeyDictionary[Mesh, Bvh] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Rendering:
    """What `render` returns.

    Attributes
    ----------
    triangle_id : (n_views, height, width) int32
        The face each pixel sees, an index into the mesh's faces; -1 = miss.
    kinds : tuple of str
        The kinds of depth that were asked for.
    miss : float
        The depth of a pixel that sees nothing.
    device : str
        The device that rendered: "cpu".
    cameras : Cameras
    """

    triangle_id: np.ndarray
    kinds: tuple[str, ...]
    miss: float
    device: str
    cameras: Cameras
    _depths: dict[str, np.ndarray] = field(repr=False)

    @property
    def depth(self) -> np.ndarray:
        """(n_views, height, width) depth of the one kind that was asked for, in units."""
        if len(self.kinds) != 1:
            raise ValueError("both kinds of depth were rendered; use z_depth or ray_depth")
        return self._depths[self.kinds[0]]

    @property
    def z_depth(self) -> np.ndarray:
        """(n_views, height, width) distance along the camera's z axis, in units."""
        return self._of_kind("z")

    @property
    def ray_depth(self) -> np.ndarray:
        """(n_views, height, width) distance from the camera's centre, in units."""
        return self._of_kind("ray")

    def _of_kind(self, kind: str) -> np.ndarray:
        if kind not in self._depths:
            raise ValueError(f"{kind} depth was not rendered; ask for it: kind=('z', 'ray')")
        return self._depths[kind]


def build_bvh(mesh: Mesh) -> Bvh:
    """The mesh's bounding volume hierarchy; built once, kept as long as the mesh."""
    bvh = _built.get(mesh)
    if bvh is None:
        bvh = _built[mesh] = bvh_module.build(mesh.vertices, mesh.faces)
    return bvh


def render(
    mesh: Mesh | Bvh,
    cameras: Cameras,
    *,
    kind: str | Sequence[str] = "z",
    device: str = "auto",
    miss: float = np.inf,
    dtype: Any = np.float32,
    threads: int | None = None,
) -> Rendering:
    """Cast one ray through the centre of every pixel and return exact depth.

    Both sides of a face are seen. Depth is the float64 intersection of the ray with the face,
    rounded once to `dtype`. The same input gives the same bits, whatever the number of threads.

    Parameters
    ----------
    mesh : Mesh or Bvh
    cameras : Cameras
    kind : "z", "ray" or both
        "z" is the distance along the camera's z axis, "ray" the Euclidean distance from the
        camera's centre. Orthographic rays start on the camera's plane: both kinds are equal.
        `("z", "ray")` gives both from one pass.
    device : "auto", "cpu" or "cuda"
        "auto" takes the best there is; "cuda" never falls back.
    miss : float
        The depth of a pixel that sees nothing.
    dtype : numpy.float32 or numpy.float64
    threads : int, optional
        Processors to use; all of them if not given.

    Returns
    -------
    Rendering

    Raises
    ------
    TypeError, ValueError
        An argument is not what was expected.
    DeviceError
        The device cannot be used here.
    """
    if not isinstance(mesh, (Mesh, Bvh)):
        raise TypeError(
            f"mesh is a {type(mesh).__name__}; expected a raydepth.Mesh, for example from "
            "raydepth.load_mesh or raydepth.Mesh.from_trimesh"
        )
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    kinds = checked_kinds(kind)
    device = chosen_device(device)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; expected a whole number from 1")

    bvh = mesh if isinstance(mesh, Bvh) else build_bvh(mesh)
    shape = (len(cameras), cameras.height, cameras.width)
    try:
        triangle_id = np.empty(shape, np.int32)
        depths = {name: np.empty(shape, dtype) for name in kinds}
    except MemoryError:
        gib = math.prod(shape) * (4 + dtype.itemsize * len(kinds)) / 2**30
        raise MemoryError(f"{cameras} need {gib:.1f} GiB; render fewer views at a time") from None
    not_asked = np.empty((0, 0), dtype)
    basis = local_ray_basis(bvh, cameras)
    links = bvh.nodes.view(np.int32)
    bands = range(0, cameras.height, kernels.TILE)

    def render_band(task: int) -> None:
        view, band = divmod(task, len(bands))
        rows = bands[band], min(bands[band] + kernels.TILE, cameras.height)
        kernels.visibility(
            bvh.nodes, links, bvh.slot_face, bvh.slot_vertices, bvh.vertices,
            basis[view], *rows, triangle_id[view],
        )  # fmt: skip
        kernels.resolve(
            bvh.vertices, bvh.faces, basis[view], bvh.scale, *rows, triangle_id[view],
            float(miss), *(depths[name][view] if name in depths else not_asked for name in KINDS),
        )  # fmt: skip

    parallel.for_each(render_band, len(cameras) * len(bands), threads or parallel.default_threads())
    return Rendering(triangle_id, kinds, float(miss), device, cameras, depths)


def local_ray_basis(bvh: Bvh, cameras: Cameras) -> np.ndarray:
    """`Cameras.ray_basis` with the origins in the hierarchy's local frame.

    Directions stay as they are, so a distance along the ray in world units is the local one
    divided by the frame's scale, a power of two.
    """
    basis = cameras.ray_basis()
    basis[:, 0] -= bvh.centre
    basis[:, :3] *= bvh.scale
    return basis


def checked_kinds(kind: str | Sequence[str]) -> tuple[str, ...]:
    """The asked-for kinds of depth, in the order asked for."""
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kind is {kind!r}; expected 'z', 'ray' or ('z', 'ray')")
    return kinds


def chosen_device(device: str) -> str:
    """The device that will render."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; expected one of {', '.join(DEVICES)}")
    if device == "cuda":
        raise DeviceError("device 'cuda': this version renders on the CPU only; use 'cpu'")
    return "cpu"
