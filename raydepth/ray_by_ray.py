"""Views whose rays are not affine in the pixel: every ray is computed and cast by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from raydepth import parallel
from raydepth.camera import Cameras, turned
from raydepth.lenses.lens import Lens

# Pixels whose directions are kept at once, for all views that share a lens: 24 bytes each.
BAND_PIXELS = 1 << 20
# Pixels of a task, whole rows; not by the number of threads, on which no bit may depend.
TASK_PIXELS = 1 << 13

# Distances, in lengths of the directions, faces and barycentric weights of rays (n_rays, 3) that
# begin at one point, in the local frame; nearer than `t_min` nothing is hit.
Cast = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray, np.ndarray]]


class RowsOfRays(NamedTuple):
    """What was found out about the rays of some rows of a view."""

    in_camera: np.ndarray  # (n_rays, 3) directions in the camera's frame
    in_world: np.ndarray  # the same in the world's
    distance: np.ndarray  # (n_rays,) in lengths of the directions, local frame; +inf = miss
    barycentric: np.ndarray  # (n_rays, 3), corners in the hierarchy's order


# Takes a view, its rows from and to, and their rays; `triangle_id` is filled by then.
Fill = Callable[[int, tuple[int, int], RowsOfRays], None]


def render_ray_by_ray(
    cameras: Cameras,
    cast: Cast,
    centre: np.ndarray,
    scale: float,
    triangle_id: np.ndarray,
    fill: Fill,
    *,
    n_threads: int,
    task_pixels: int = TASK_PIXELS,
) -> None:
    """Fill `triangle_id` of all views, and `fill` the rest.

    Directions are computed once for all views that share a lens, a band of rows at a time, so
    memory beside the results is bounded.

    Parameters
    ----------
    cast : callable
        Called from many threads.
    centre : (3,) float64, and `scale`
        Of the local frame.
    triangle_id : (n_views, height, width) int32
    fill : callable
        Called from many threads.
    task_pixels : int
        As many as are cast at once, or a row.
    """
    rows_of_band = max(1, BAND_PIXELS // cameras.width)
    rows_of_task = max(1, task_pixels // cameras.width)
    origins = (cameras.centres - centre) * scale
    near, far = (limit * scale for limit in cameras.limits())

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
    """Image coordinates of the pixels of rows, (n_rows, width, 2)."""
    x, y = np.arange(width) + 0.5, np.arange(top + rows.start, top + rows.stop) + 0.5
    return np.stack(np.meshgrid(x, y), axis=-1)
