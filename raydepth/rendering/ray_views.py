"""Render views whose rays are not affine in the pixel: each ray is computed and cast by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras, turned
from raydepth.camera.lenses.lens import Lens
from raydepth.cuda import api
from raydepth.kernels import LEAST
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.coverage import share_of_samples, with_samples
from raydepth.outputs.request import Images, RenderRequest
from raydepth.outputs.resolve_rays import RayResolver, RowsOfRays
from raydepth.rendering.frames import frames_of
from raydepth.system import array_pool, parallel
from raydepth.trace import rays
from raydepth.trace.view_frame import CENTRE, PLACE, ViewFrames

# Pixels whose directions are kept at once, for all views that share a lens: 24 bytes each.
BAND_PIXELS = 1 << 20
# Pixels of a task, in whole rows; the same for any number of threads, so that all bits are, too.
TASK_PIXELS = 1 << 13

# Rays that one thread casts on a device at once, and the most threads that do so. Each ray takes
# about 100 bytes of the device's memory, so the number of threads is limited.
DEVICE_RAYS, DEVICE_THREADS = 1 << 18, 8

# Takes the origin (3,) that rays share, their directions (n_rays, 3) and the least distance of a
# hit, in the local frame. Returns distances in lengths of the directions, faces and barycentric
# weights.
Cast = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray, np.ndarray]]

# Takes a view, its first row and the row after its last, and their rays. `triangle_id` is filled
# before the call.
Fill = Callable[[int, tuple[int, int], RowsOfRays], None]


def render_ray_by_ray(
    cameras: Cameras,
    cast: Cast,
    frames: ViewFrames,
    scale: float,
    triangle_id: np.ndarray,
    fill: Fill,
    *,
    n_threads: int,
    task_pixels: int = TASK_PIXELS,
) -> None:
    """Fill `triangle_id` of all views, and call `fill` for the other outputs.

    Directions are computed once for all views that share a lens, a band of rows at a time, so the
    memory that is needed besides the results is bounded.

    Parameters
    ----------
    cast : callable
        Called from many threads.
    frames : ViewFrames
    scale : float
        The scale of the local frame.
    triangle_id : (n_views, height, width) int32
    fill : callable
        Called from many threads.
    task_pixels : int
        The pixels that are cast at once, rounded down to whole rows, at least one row.
    """
    rows_of_band = max(1, BAND_PIXELS // cameras.width)
    rows_of_task = max(1, task_pixels // cameras.width)
    origins = frames.frame[:, PLACE:CENTRE] * scale
    near, far = np.maximum(frames.near, LEAST), frames.far

    for lens, views in cameras.lenses():
        for top in range(0, cameras.height, rows_of_band):
            bottom = min(top + rows_of_band, cameras.height)
            directions = np.empty((bottom - top, cameras.width, 3))
            parts = [
                slice(first, min(first + rows_of_task, bottom - top))
                for first in range(0, bottom - top, rows_of_task)
            ]

            def look(
                task: int, lens: Lens = lens, top: int = top,
                parts: list[slice] = parts, directions: np.ndarray = directions,
            ) -> None:  # fmt: skip
                rows = parts[task]
                directions[rows] = lens.directions(_centres(rows, top, cameras.width))

            def see(
                task: int, views: np.ndarray = views, top: int = top,
                parts: list[slice] = parts, directions: np.ndarray = directions,
            ) -> None:  # fmt: skip
                place, part = divmod(task, len(parts))
                view, rows = views[place], parts[part]
                in_world = turned(cameras.world_from_camera[view], directions[rows])
                in_world = in_world.reshape(-1, 3)
                distance, face, weights = cast(origins[view], in_world, near[view])
                seen = (face >= 0) & (distance <= far[view])
                span = top + rows.start, top + rows.stop
                where = view, slice(*span)
                triangle_id[where] = np.where(seen, face, -1).reshape(triangle_id[where].shape)
                in_camera = directions[rows].reshape(-1, 3)
                fill(int(view), span, RowsOfRays(in_camera, in_world, distance, weights))

            parallel.for_each(look, len(parts), n_threads)
            parallel.for_each(see, len(views) * len(parts), n_threads)


def _centres(rows: slice, top: int, width: int) -> np.ndarray:
    """Return the image coordinates of the centres of rows of pixels, (n_rows, width, 2)."""
    x, y = np.arange(width) + 0.5, np.arange(top + rows.start, top + rows.stop) + 0.5
    return np.stack(np.meshgrid(x, y), axis=-1)


def render_rays(
    bvh: Bvh, mesh: Mesh | None, cameras: Cameras, request: RenderRequest, device: str
) -> Images:
    """Render views of any camera model; `device` casts the rays."""
    frames = frames_of(cameras, bvh)
    triangle_id = array_pool.empty((len(cameras), cameras.height, cameras.width), np.int32)
    resolver = RayResolver(bvh, mesh, cameras, request, frames)
    on_cuda = device == "cuda"

    def cast(
        origin: np.ndarray, directions: np.ndarray, t_min: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n_rays = len(directions)
        origins = np.broadcast_to(origin, (n_rays, 3)).copy()
        if on_cuda:
            return api.cast_rays(bvh, origins, directions, t_min)
        distance, face = np.empty(n_rays), np.empty(n_rays, np.int32)
        weights = np.empty((n_rays, 3))
        rays.cast(
            *bvh.wide, bvh.vertices, bvh.faces, origins, directions,
            distance, face, weights, t_min,
        )  # fmt: skip
        return distance, face, weights

    render_ray_by_ray(
        cameras, cast, frames, bvh.scale, triangle_id,
        lambda view, rows, found: resolver.fill(view, rows, triangle_id[view], found),
        n_threads=min(request.n_threads, DEVICE_THREADS) if on_cuda else request.n_threads,
        task_pixels=DEVICE_RAYS if on_cuda else TASK_PIXELS,
    )  # fmt: skip
    if request.asks("coverage"):
        faces_only = request._replace(outputs=())
        for view in range(len(cameras)):
            seen, _ = render_rays(bvh, mesh, with_samples(cameras[view]), faces_only, device)
            share_of_samples(seen[0], resolver.arrays["coverage"][view])
    return triangle_id, resolver.arrays
