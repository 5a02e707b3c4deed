"""Meshes and cameras in, depth out: choose the device, find the visible faces, resolve depth."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from raydepth import bvh as bvh_module
from raydepth import parallel, rays, recycling, tiles
from raydepth.affine_resolver import AffineResolver
from raydepth.bvh import Bvh
from raydepth.camera import Cameras
from raydepth.cameras import fisheye_intrinsics, ring
from raydepth.coverage import Coverage, See, share_of_samples, with_samples
from raydepth.cuda.build import DeviceMesh
from raydepth.errors import DeviceError, DeviceMemoryError, one_line
from raydepth.memory import available_memory
from raydepth.mesh import Mesh
from raydepth.outputs import KINDS, ON_DEVICE, checked_hits, checked_outputs
from raydepth.ray_by_ray import TASK_PIXELS, render_ray_by_ray
from raydepth.ray_resolver import RayResolver
from raydepth.rendered import Rendering
from raydepth.wanted import Wanted, bytes_needed, check_available, on_the_host

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")
DESTINATIONS = ("host", "device")

# Rays that a thread lets a device cast at once, of cameras whose rays are not affine in the pixel.
# It takes about 100 bytes of the device's memory for each, so there are only so many threads.
DEVICE_RAYS, DEVICE_THREADS = 1 << 18, 8

# Views of which bands are rendered by turns, for each thread.
VIEWS_PER_THREAD = 4

# Bytes of results for which nobody asks how much memory there is.
SMALL = 1 << 26

# A hierarchy lives as long as the mesh it was built for.
_built: weakref.WeakKeyDictionary[Mesh, Bvh] = weakref.WeakKeyDictionary()


def build_bvh(mesh: Mesh, *, threads: int | None = None) -> Bvh:
    """The mesh's bounding volume hierarchy; built once, kept as long as the mesh."""
    bvh = _built.get(mesh)
    if bvh is None:
        bvh = _built[mesh] = bvh_module.build(mesh.vertices, mesh.faces, threads=threads)
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
    outputs: str | Sequence[str] | None = None,
    hits: int = 4,
    device: str = "auto",
    miss: float = np.inf,
    dtype: Any = np.float32,
    threads: int | None = None,
    to: str = "host",
) -> Rendering:
    """Cast one ray through the centre of every pixel and return exact depth, or more.

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
    outputs : sequence of str, optional
        In place of `kind`: depth and whatever else is to be known of each pixel, from one pass.
        Names, shapes, types and misses are in `outputs.OUTPUTS` and docs/outputs.md.
    hits : int
        How many hits of each ray the output "hits" holds, 1 to 64.
    device : "auto", "cpu" or "cuda"
        "auto" takes CUDA where it can be used and, tried once in a process, gives the CPU's bits (a
        warning says so if it does not), and where the mesh fits the device; else the CPU. The
        result says which it took. "cuda" never falls back.
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
    names = checked_outputs(kind, outputs)
    cameras.check_kinds(names)
    n_hits = checked_hits(hits)
    if to not in DESTINATIONS:
        raise ValueError(f"to is {to!r}; expected one of {', '.join(DESTINATIONS)}")
    if isinstance(mesh, DeviceMesh) and device == "auto":
        device = "cuda"
    is_auto, device = device == "auto", chosen_device(device)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    n_threads = parallel.checked_threads(threads)

    further = on_the_host(names)
    if isinstance(mesh, DeviceMesh):
        if device != "cuda":
            raise ValueError("the mesh is on the CUDA device; expected device='cuda' or 'auto'")
        if further:
            raise ValueError(
                f"{further[0]} is asked for of a DeviceMesh; expected outputs among "
                f"{', '.join(ON_DEVICE)}, or a Mesh"
            )
        bvh: Bvh | DeviceMesh = mesh
    else:
        bvh = hierarchy_of(mesh)
        check_available(mesh, names)
    if to == "device" and device != "cuda":
        raise ValueError("to is 'device', but the CPU renders; expected device='cuda' with it")
    if to == "device" and further:
        raise ValueError(
            f"to is 'device' and {further[0]} is computed on the host; expected outputs among "
            f"{', '.join(ON_DEVICE)}, or to='host'"
        )
    if to == "device":
        return _render_to_device(bvh, cameras, names, dtype, float(miss))
    n_bytes = bytes_needed(names, cameras, dtype, n_hits)
    too_large = (
        f"{cameras} need {n_bytes / 2**30:.1f} GiB; render fewer views at a time, or smaller ones"
    )
    # Asked for more than there is, the system may say yes, and end the process when it is used.
    if n_bytes > SMALL and n_bytes > available_memory():
        raise MemoryError(too_large)
    scene = mesh if isinstance(mesh, Mesh) else None
    job = _Job(bvh, Wanted(names, dtype, float(miss), n_hits, scene), device, n_threads)
    try:
        (triangle_id, arrays), device = where_it_fits(
            lambda device: _rendered(job._replace(device=device), cameras), device, is_auto
        )
    except DeviceMemoryError:
        raise
    except MemoryError:
        raise MemoryError(too_large) from None
    return Rendering(triangle_id, names, float(miss), device, cameras, arrays)


class _Job(NamedTuple):
    """A rendering whose arguments are checked."""

    bvh: Any
    wanted: Wanted
    device: str
    n_threads: int


# Faces, (n_views, height, width), and the other outputs by name.
_Images = tuple[np.ndarray, dict[str, np.ndarray]]


def _rendered(job: _Job, cameras: Cameras) -> _Images:
    if not cameras.is_affine:
        return _render_ray_by_ray(job, cameras)
    return _render_affine(job, cameras)


def _render_affine(job: _Job, cameras: Cameras) -> _Images:
    """Tiles of pixels at a time."""
    if job.device == "cuda":
        return _render_on_cuda(job, cameras)
    bvh, basis = job.bvh, local_ray_basis(job.bvh, cameras)
    projection = projections(basis, cameras.model)
    triangle_id = recycling.empty((len(cameras), cameras.height, cameras.width), np.int32)
    see = _seer(bvh, cameras, projection)
    coverage = _coverage(job, cameras, basis, projection)
    resolver = AffineResolver(bvh, cameras, job.wanted, basis, projection, coverage)

    def render_band(view: int, rows: tuple[int, int]) -> None:
        see(view, basis[view], projection[view], rows, triangle_id[view])
        resolver.fill(view, rows, triangle_id[view])

    _for_bands(render_band, cameras, job.n_threads)
    return triangle_id, resolver.arrays


def _seer(bvh: Bvh, cameras: Cameras, projection: np.ndarray) -> See:
    """What finds the visible faces in some rows of an affine view, within the camera's limits."""
    near, far = (limit * bvh.scale for limit in cameras.limits())
    nearest, farthest = z_ranges(bvh, projection)
    # Where the mesh reaches from before a camera's plane to behind it, the tile kernel is slow, by
    # up to a thousand times: what crosses the plane is imaged everywhere. Single rays find the
    # same faces.
    among = (nearest <= 0.0) & (farthest > 0.0)
    limited = (near > nearest) | (far < farthest)
    scene = *bvh.wide, bvh.vertices, bvh.faces

    def see(
        view: int,
        basis: np.ndarray,
        projection: np.ndarray,
        rows: tuple[int, int],
        triangle_id: np.ndarray,
    ) -> None:
        within = basis, *rows, near[view], far[view], triangle_id
        if among[view]:
            rays.visibility(*scene, *within)
        else:
            find_visible(bvh, basis, projection, rows, triangle_id)
            if limited[view]:
                rays.limit(*scene, *within)

    return see


def _coverage(
    job: _Job, cameras: Cameras, basis: np.ndarray, projection: np.ndarray
) -> Coverage | None:
    """What fills "coverage" of affine views, if it is wanted."""
    if not job.wanted.asks("coverage"):
        return None
    near, far = (limit * job.bvh.scale for limit in cameras.limits())
    nearest, farthest = z_ranges(job.bvh, projection)
    nearest[(near > nearest) | (far < farthest)] = 0.0
    see = _seer(job.bvh, cameras, projection)
    return Coverage(job.bvh, cameras, basis, projection, see, nearest)


def _for_bands(
    work: Callable[[int, tuple[int, int]], None], cameras: Cameras, n_threads: int
) -> None:
    """Call `work` with each view and some of its rows, on threads, until all rows are done."""
    height, rows = cameras.height, rows_per_task(cameras, n_threads)
    # Some views at a time, because a view with all its bands has to be kept in mind; of these from
    # the middle outwards, where there is less to see, so that threads end together.
    at_a_time = VIEWS_PER_THREAD * n_threads
    bands = sorted(range(0, height, rows), key=lambda first: abs(2 * first + rows - height))
    tasks = [
        (view, (band, min(band + rows, height)))
        for first in range(0, len(cameras), at_a_time)
        for band in bands
        for view in range(first, min(first + at_a_time, len(cameras)))
    ]
    parallel.for_each(lambda number: work(*tasks[number]), len(tasks), n_threads)


def _render_on_cuda(job: _Job, cameras: Cameras) -> _Images:
    """Faces and depths from the device; all else on the host, from the faces."""
    from raydepth.cuda import images
    from raydepth.cuda.batch import BatchOptions

    wanted = job.wanted
    options = BatchOptions(wanted.kinds, wanted.dtype, wanted.miss)
    given = views_for_cuda(images.resident(job.bvh), job.bvh, cameras)
    views = images.render_to_host(given, options)
    triangle_id, arrays = views.triangle_id, dict(views.depths)
    assert triangle_id is not None
    further = on_the_host(wanted.names)
    if further:
        wanted = wanted._replace(names=further)
        where = views.basis, views.projection
        coverage = _coverage(job, cameras, *where)
        resolver = AffineResolver(job.bvh, cameras, wanted, *where, coverage)
        _for_bands(
            lambda view, rows: resolver.fill(view, rows, triangle_id[view]),
            cameras,
            job.n_threads,
        )
        arrays |= resolver.arrays
    return triangle_id, arrays


def _render_to_device(
    bvh: Bvh | DeviceMesh, cameras: Cameras, names: tuple[str, ...], dtype: np.dtype, miss: float
) -> Rendering:
    from raydepth.cuda import images
    from raydepth.cuda.batch import BatchOptions

    if not cameras.is_affine:
        raise ValueError(
            f"to is 'device', but {cameras.in_words} views come to main memory; expected to='host'"
        )
    kinds = tuple(name for name in names if name in KINDS)
    options = BatchOptions(kinds, dtype, miss)
    views = views_for_cuda(images.resident(bvh), bvh, cameras)
    triangle_id, arrays = images.render_to_device(views, options)
    return Rendering(triangle_id, names, miss, "cuda", cameras, arrays)


def _render_ray_by_ray(job: _Job, cameras: Cameras) -> _Images:
    """Models whose rays are not affine in the pixel."""
    bvh = job.bvh
    triangle_id = recycling.empty((len(cameras), cameras.height, cameras.width), np.int32)
    coverage = "coverage" in job.wanted.names
    resolver = RayResolver(bvh, cameras, job.wanted)

    def cast(
        origin: np.ndarray, directions: np.ndarray, t_min: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n_rays = len(directions)
        origins = np.broadcast_to(origin, (n_rays, 3)).copy()
        if job.device == "cuda":
            from raydepth.cuda import images

            return images.cast_rays(bvh, origins, directions, t_min)
        distance, face = np.empty(n_rays), np.empty(n_rays, np.int32)
        weights = np.empty((n_rays, 3))
        rays.cast(
            bvh.wide.nodes, bvh.wide.leaves, bvh.vertices, bvh.faces, origins, directions,
            distance, face, weights, t_min,
        )  # fmt: skip
        return distance, face, weights

    n_threads, task_pixels = job.n_threads, TASK_PIXELS
    if job.device == "cuda":
        n_threads, task_pixels = min(n_threads, DEVICE_THREADS), DEVICE_RAYS
    render_ray_by_ray(
        cameras, cast, bvh.centre, bvh.scale, triangle_id,
        lambda view, rows, found: resolver.fill(view, rows, triangle_id[view], found),
        n_threads=n_threads, task_pixels=task_pixels,
    )  # fmt: skip
    if coverage:
        for view in range(len(cameras)):
            samples = _render_ray_by_ray(
                job._replace(wanted=job.wanted._replace(names=())), with_samples(cameras[view])
            )
            share_of_samples(samples[0][0], resolver.arrays["coverage"][view])
    return triangle_id, resolver.arrays


def views_for_cuda(mesh: Any, bvh: Bvh | DeviceMesh, cameras: Cameras) -> Any:
    """`cuda.batch.Views` of affine cameras; `mesh` is the hierarchy's `Flat` or `Resident`."""
    from raydepth.cuda.batch import Views

    basis = local_ray_basis(bvh, cameras)
    near, far = (limit * bvh.scale for limit in cameras.limits())
    size = cameras.width, cameras.height
    return Views(mesh, bvh.scale, basis, projections(basis, cameras.model), size, (near, far))


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
    pixels = cameras.width * cameras.height
    per_task = max(len(cameras) * pixels // (16 * threads), 1 << 14)
    n_bands = -(-pixels // per_task)
    return -(-cameras.height // (n_bands * tiles.TILE)) * tiles.TILE


def chosen_device(device: str) -> str:
    """The device that will render; "auto" is explained at `render`."""
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; expected one of {', '.join(DEVICES)}")
    if device == "cpu":
        return device
    from raydepth.cuda.device import why_unusable

    reason = why_unusable()
    if device == "auto":
        return "cuda" if reason is None and _cuda_is_right() else "cpu"
    if reason is not None:
        raise DeviceError(f"device 'cuda': {reason}")
    return device


def where_it_fits(work: Callable[[str], T], device: str, is_auto: bool) -> tuple[T, str]:
    """`work(device)`, on the CPU if it does not fit the one that "auto" chose; and where it was."""
    try:
        return work(device), device
    except DeviceMemoryError:
        if not is_auto:
            raise
    return work("cpu"), "cpu"


# What the first call found out; all threads wait for it.
_trial_lock = threading.Lock()
_trial: bool | None = None


def _cuda_is_right() -> bool:
    """Whether every kernel that renders gives the CPU's bits for a small scene; a warning if not.

    Nobody looks at what "auto" took; and the last compiler of the kernels is part of a driver.
    """
    global _trial
    with _trial_lock:
        if _trial is None:
            try:
                fault = _fault_of_cuda()
                _trial = fault is None
            except DeviceMemoryError as error:
                fault = str(error)  # which may be over with the next call
            except Exception as error:  # whatever is wrong, there is the CPU
                fault, _trial = one_line(error), False
            if fault is not None:
                warnings.warn(
                    f"device 'auto' is the CPU; CUDA failed a test: {fault}", stacklevel=4
                )
        return bool(_trial)


def _fault_of_cuda() -> str | None:
    """What CUDA gives other bits for than the CPU does, if anything."""
    from raydepth.cuda import images
    from raydepth.cuda.batch import BatchOptions
    from raydepth.export import encode_uint16

    corners = np.random.default_rng(0).uniform(-0.5, 0.5, (600, 3))
    mesh, cameras = Mesh(corners, np.arange(600).reshape(-1, 3)), ring(2, size=64)
    near = Cameras(cameras.intrinsics, cameras.world_from_camera, 64, near=1.3)
    fisheye = Cameras(fisheye_intrinsics(60.0, 64), near.world_from_camera, 64, model="fisheye")
    for what, seen, kinds, dtype in (
        ("depth", cameras, ("z", "ray"), np.float32),
        ("float64 depth within limits", near, ("z", "ray"), np.float64),
        ("single rays", fisheye, ("ray",), np.float32),
    ):
        ours, theirs = (
            render(mesh, seen, kind=kinds, dtype=dtype, device=device) for device in ("cpu", "cuda")
        )
        for name in ("triangle_id", *kinds):
            if n_wrong := np.count_nonzero(ours[name] != theirs[name]):
                return f"{n_wrong} of {ours[name].size} pixels of {what} are not the CPU's"
    depth = render(mesh, cameras, device="cpu").depth
    bvh = hierarchy_of(mesh)
    views = views_for_cuda(images.resident(bvh), bvh, cameras)
    scale = 10000.0
    found = images.render_to_host(views, BatchOptions(("z",), np.dtype(np.uint16), 0.0, scale))
    expected = [encode_uint16(view, scale) for view in depth]
    if n_wrong := np.count_nonzero(found.depths["z"] != expected):
        return f"{n_wrong} of {depth.size} pixels of 16 bits are not the CPU's"
    return None
