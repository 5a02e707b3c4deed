"""Meshes and cameras in, depth out: choose the device, find the visible faces, resolve depth."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raydepth import bvh as bvh_module
from raydepth import kernels, parallel, rays, recycling, tiles
from raydepth.bvh import Bvh
from raydepth.camera import Cameras
from raydepth.cuda.build import DeviceMesh
from raydepth.errors import DeviceError
from raydepth.export import KINDS
from raydepth.memory import available_memory
from raydepth.mesh import Mesh
from raydepth.ray_by_ray import render_ray_by_ray

DEVICES = ("auto", "cpu", "cuda")
DESTINATIONS = ("host", "device")

# Rays that a device casts at once, of cameras whose rays are not affine in the pixel.
DEVICE_RAYS = 1 << 20

# A hierarchy lives as long as the mesh it was built for.
_built: weakref.WeakKeyDictionary[Mesh, Bvh] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Rendering:
    """What `render` returns.

    Attributes
    ----------
    triangle_id : (n_views, height, width) int32
        The face each pixel sees, an index into the mesh's faces; -1 = miss. It and the depths are
        NumPy arrays, or `raydepth.cuda.arrays.DeviceArray` where they were asked to stay there.
    kinds : tuple of str
        The kinds of depth that were asked for.
    miss : float
        The depth of a pixel that sees nothing.
    device : str
        The device that rendered: "cpu" or "cuda".
    cameras : Cameras
    """

    triangle_id: Any
    kinds: tuple[str, ...]
    miss: float
    device: str
    cameras: Cameras
    _depths: dict[str, Any] = field(repr=False)

    @property
    def depth(self) -> Any:
        """(n_views, height, width) depth of the one kind that was asked for, in units."""
        if len(self.kinds) != 1:
            raise ValueError("both kinds of depth were rendered; use z_depth or ray_depth")
        return self._depths[self.kinds[0]]

    @property
    def z_depth(self) -> Any:
        """(n_views, height, width) distance along the camera's z axis, in units."""
        return self._of_kind("z")

    @property
    def ray_depth(self) -> Any:
        """(n_views, height, width) distance from the camera's centre, in units."""
        return self._of_kind("ray")

    def _of_kind(self, kind: str) -> Any:
        if kind not in self._depths:
            raise ValueError(f"{kind} depth was not rendered; ask for it: kind=('z', 'ray')")
        return self._depths[kind]


def build_bvh(mesh: Mesh) -> Bvh:
    """The mesh's bounding volume hierarchy; built once, kept as long as the mesh."""
    bvh = _built.get(mesh)
    if bvh is None:
        bvh = _built[mesh] = bvh_module.build(mesh.vertices, mesh.faces)
    return bvh


def hierarchy_of(mesh: Mesh | Bvh) -> Bvh:
    """The hierarchy itself, or the one built for a mesh."""
    if isinstance(mesh, Bvh):
        return mesh
    if isinstance(mesh, Mesh):
        return build_bvh(mesh)
    raise TypeError(
        f"mesh is a {type(mesh).__name__}; expected a raydepth.Mesh, for example from "
        "raydepth.load_mesh or raydepth.Mesh.from_trimesh"
    )


def render(
    mesh: Mesh | Bvh | DeviceMesh,
    cameras: Cameras,
    *,
    kind: str | Sequence[str] = "z",
    device: str = "auto",
    miss: float = np.inf,
    dtype: Any = np.float32,
    threads: int | None = None,
    to: str = "host",
) -> Rendering:
    """Cast one ray through the centre of every pixel and return exact depth.

    Both sides of a face are seen. Depth is the float64 intersection of the ray with the face,
    rounded once to `dtype`. The same input gives the same bits, whatever the number of threads.

    Parameters
    ----------
    mesh : Mesh, Bvh or DeviceMesh
    cameras : Cameras
    kind : "z", "ray" or both
        "z" is the distance along the camera's z axis, "ray" the Euclidean distance from the
        camera's centre. Orthographic rays start on the camera's plane: both kinds are equal.
        Fisheye, equirectangular and cubemap views have no z depth. `("z", "ray")` gives both from
        one pass.
    device : "auto", "cpu" or "cuda"
        "auto" takes the CPU, and CUDA once that path has been checked on a device; the result says
        which. "cuda" never falls back.
    miss : float
        The depth of a pixel that sees nothing.
    dtype : numpy.float32 or numpy.float64
    threads : int, optional
        Processors to use; all of them if not given.
    to : "host" or "device"
        Where the results go. "device" leaves them in the memory of a CUDA device, as arrays that
        Torch and CuPy take without a copy (`__cuda_array_interface__`, DLPack).

    Returns
    -------
    Rendering

    Raises
    ------
    TypeError, ValueError
        An argument is not what was expected.
    DeviceError
        The device cannot be used here, or fails.
    MemoryError
        The results do not fit into memory.
    """
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    kinds = checked_kinds(kind)
    cameras.check_kinds(kinds)
    if to not in DESTINATIONS:
        raise ValueError(f"to is {to!r}; expected one of {', '.join(DESTINATIONS)}")
    if isinstance(mesh, DeviceMesh) and device == "auto":
        device = "cuda"
    device = chosen_device(device)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    n_threads = parallel.checked_threads(threads)

    if isinstance(mesh, DeviceMesh):
        if device != "cuda":
            raise ValueError("the mesh is on the CUDA device; expected device='cuda' or 'auto'")
        return _render_on_cuda(mesh, cameras, kinds, dtype, float(miss), to)
    bvh = hierarchy_of(mesh)
    if device == "cuda":
        return _render_on_cuda(bvh, cameras, kinds, dtype, float(miss), to)
    if to == "device":
        raise ValueError("to is 'device', but the CPU renders; expected device='cuda' with it")
    triangle_id, depths = _empty_results(cameras, kinds, dtype)
    if cameras.is_affine:
        _render_affine(bvh, cameras, triangle_id, depths, dtype, float(miss), n_threads)
    else:

        def cast(
            origin: np.ndarray, directions: np.ndarray, t_min: float
        ) -> tuple[np.ndarray, np.ndarray]:
            n_rays = len(directions)
            distance, face = np.empty(n_rays), np.empty(n_rays, np.int32)
            origins = np.broadcast_to(origin, (n_rays, 3)).copy()
            rays.cast(
                bvh.nodes, bvh.nodes.view(np.int32), bvh.slot_face, bvh.vertices, bvh.faces,
                origins, directions, 0, n_rays, distance, face, np.empty((n_rays, 3)), t_min,
            )  # fmt: skip
            return distance, face

        render_ray_by_ray(
            cameras, cast, bvh.centre, bvh.scale, triangle_id, depths,
            miss=float(miss), n_threads=n_threads,
        )  # fmt: skip
    return Rendering(triangle_id, kinds, float(miss), device, cameras, depths)


def _empty_results(
    cameras: Cameras, kinds: tuple[str, ...], dtype: np.dtype
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Memory for `triangle_id` and each kind of depth; MemoryError says how much it would take."""
    shape = (len(cameras), cameras.height, cameras.width)
    n_bytes = math.prod(shape) * (4 + dtype.itemsize * len(kinds))
    too_large = (
        f"{cameras} need {n_bytes / 2**30:.1f} GiB; render fewer views at a time, or smaller ones"
    )
    # Asked for more than there is, the system may say yes, and end the process when it is used.
    if n_bytes > available_memory():
        raise MemoryError(too_large)
    try:
        triangle_id = recycling.empty(shape, np.int32)
        return triangle_id, {name: recycling.empty(shape, dtype) for name in kinds}
    except MemoryError:
        raise MemoryError(too_large) from None


def _render_affine(
    bvh: Bvh,
    cameras: Cameras,
    triangle_id: np.ndarray,
    depths: dict[str, np.ndarray],
    dtype: np.dtype,
    miss: float,
    n_threads: int,
) -> None:
    not_asked = np.empty((0, 0), dtype)
    basis = local_ray_basis(bvh, cameras)
    projection = projections(basis, cameras.model)
    near, far = (limit * bvh.scale for limit in cameras.limits())
    nearest, farthest = z_ranges(bvh, projection)
    # Where the mesh reaches from before a camera's plane to behind it, the tile kernel is slow, by
    # up to a thousand times: what crosses the plane is imaged everywhere. Single rays find the
    # same faces.
    among = (nearest <= 0.0) & (farthest > 0.0)
    limited = (near > nearest) | (far < farthest)
    binary = bvh.nodes, bvh.nodes.view(np.int32), bvh.slot_face, bvh.vertices, bvh.faces
    band = rows_per_task(cameras, n_threads)
    bands = range(0, cameras.height, band)

    def render_band(task: int) -> None:
        view, first = divmod(task, len(bands))
        rows = bands[first], min(bands[first] + band, cameras.height)
        job = basis[view], *rows, near[view], far[view], triangle_id[view]
        if among[view]:
            rays.visibility(*binary, *job)
        else:
            find_visible(bvh, basis[view], projection[view], rows, triangle_id[view])
            if limited[view]:
                rays.limit(*binary, *job)
        outputs = [depths[name][view] if name in depths else not_asked for name in KINDS]
        kernels.resolve(
            bvh.vertices, bvh.faces, basis[view], projection[view], bvh.scale, *rows,
            triangle_id[view], miss, *outputs,
        )  # fmt: skip

    parallel.for_each(render_band, len(cameras) * len(bands), n_threads)


def _render_on_cuda(
    bvh: Bvh | DeviceMesh,
    cameras: Cameras,
    kinds: tuple[str, ...],
    dtype: np.dtype,
    miss: float,
    to: str,
) -> Rendering:
    from raydepth.cuda import images
    from raydepth.cuda.batch import BatchOptions

    check_for_cuda(cameras)
    if not cameras.is_affine:
        if to == "device":
            raise ValueError(
                f"to is 'device', but {cameras.in_words} views come to main memory; "
                "expected to='host'"
            )
        return _cast_on_cuda(bvh, cameras, kinds, dtype, miss)
    basis = local_ray_basis(bvh, cameras)
    projection = projections(basis, cameras.model)
    size = cameras.width, cameras.height
    options = BatchOptions(kinds, dtype, miss)
    if to == "device":
        on_device = images.render_to_device(bvh, basis, projection, size, options)
        return Rendering(on_device[0], kinds, miss, "cuda", cameras, on_device[1])
    views = images.render_to_host(bvh, basis, projection, size, options)
    return Rendering(views.triangle_id, kinds, miss, "cuda", cameras, views.depths)


def _cast_on_cuda(
    bvh: Bvh | DeviceMesh, cameras: Cameras, kinds: tuple[str, ...], dtype: np.dtype, miss: float
) -> Rendering:
    from raydepth.cuda import images

    def cast(
        origin: np.ndarray, directions: np.ndarray, t_min: float
    ) -> tuple[np.ndarray, np.ndarray]:
        origins = np.broadcast_to(origin, directions.shape).copy()
        return images.cast_rays(bvh, origins, directions)[:2]

    triangle_id, depths = _empty_results(cameras, kinds, dtype)
    render_ray_by_ray(
        cameras, cast, bvh.centre, bvh.scale, triangle_id, depths,
        miss=miss, n_threads=1, task_pixels=DEVICE_RAYS,
    )  # fmt: skip
    return Rendering(triangle_id, kinds, miss, "cuda", cameras, depths)


def check_for_cuda(cameras: Cameras) -> None:
    """ValueError for what only the CPU renders."""
    if cameras.has_limits:
        raise ValueError("cameras have near or far limits, which CUDA does not know; use the CPU")


def local_ray_basis(bvh: Bvh | DeviceMesh, cameras: Cameras) -> np.ndarray:
    """`Cameras.ray_basis` with the origins in the hierarchy's local frame.

    Directions stay as they are, so a distance along the ray in world units is the local one
    divided by the frame's scale, a power of two.
    """
    basis = cameras.ray_basis()
    basis[:, 0] -= bvh.centre
    basis[:, :3] *= bvh.scale
    return basis


def projections(basis: np.ndarray, model: str) -> np.ndarray:
    """What takes points to image coordinates: the inverse of `basis`, (n_views, 14) float64.

    Three rows of four take a point p in the local frame to X, Y and its distance S along the ray;
    the image coordinates are X / S and Y / S for a perspective camera, X and Y for an orthographic
    one. Then 1 for perspective or 0, and the constant that makes a nearness of an orthographic
    distance, nearness = constant - distance. An orthographic camera far away has its S measured
    from a plane that is nearer, yet in front of the mesh, so that float32 can tell distances apart.
    """
    perspective = model == "perspective"
    axes = [4, 5, 3] if perspective else [1, 2, 3]
    inverse = np.linalg.inv(np.swapaxes(basis[:, axes], 1, 2))
    result = np.zeros((len(basis), 14))
    rows = result[:, :12].reshape(-1, 3, 4)
    rows[:, :, :3] = inverse
    rows[:, :, 3] = -np.einsum("nij,nj->ni", inverse, basis[:, 0])
    result[:, 12] = perspective
    # The mesh lies within sqrt(3) of the local origin, whose distance is rows[:, 2, 3].
    result[:, 13] = rows[:, 2, 3] + 4.0
    if not perspective:
        np.minimum(rows[:, 2, 3], 4.0, out=rows[:, 2, 3])
    return result


def find_visible(
    bvh: Bvh,
    basis: np.ndarray,
    projection: np.ndarray,
    rows: tuple[int, int],
    triangle_id: np.ndarray,
) -> np.ndarray:
    """Fill rows of one view's `triangle_id`; returns the work done, counts of `tiles.WORK`."""
    work = np.zeros(len(tiles.WORK), np.int64)
    tiles.visibility(
        *bvh.wide, bvh.vertices, bvh.faces, basis, projection, *rows, triangle_id, work
    )
    return work


def z_ranges(bvh: Bvh, projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest z of the mesh's box in each view, (n_views,), in local units."""
    low = np.minimum(bvh.nodes[0, 0, :3], bvh.nodes[0, 2, :3]).astype(np.float64)
    high = np.maximum(bvh.nodes[0, 1, :3], bvh.nodes[0, 3, :3]).astype(np.float64)
    along, offset = projection[:, 8:11], projection[:, 13] - 4.0  # see projections
    nearest = np.minimum(along * low, along * high).sum(axis=1) + offset
    return nearest, np.maximum(along * low, along * high).sum(axis=1) + offset


def rows_per_task(cameras: Cameras, threads: int) -> int:
    """Rows of a view that one task renders: whole tiles, many tasks, but none too small."""
    if threads == 1:
        return cameras.height
    pixels = len(cameras) * cameras.width * cameras.height
    per_task = max(pixels // (16 * threads), 1 << 13)
    return max(1, per_task // (cameras.width * tiles.TILE)) * tiles.TILE


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
    # The CUDA path has not run on a device yet: who wants it asks for it.
    if device != "cuda":
        return "cpu"
    from raydepth.cuda.device import why_unusable

    if reason := why_unusable():
        raise DeviceError(f"device 'cuda': {reason}")
    return device
