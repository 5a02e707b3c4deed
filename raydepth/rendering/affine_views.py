"""Render perspective and orthographic views on the CPU: tiles of pixels at a time, on threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.coverage import Coverage, See
from raydepth.outputs.request import Images, RenderRequest
from raydepth.outputs.resolve_affine import AffineResolver
from raydepth.rendering.frames import frames_of
from raydepth.system import array_pool, parallel
from raydepth.trace import rays, tiles
from raydepth.trace.view_frame import ViewFrames, z_ranges

# Views per thread whose bands are rendered in turn.
VIEWS_PER_THREAD = 4


def render_affine(bvh: Bvh, mesh: Mesh | None, cameras: Cameras, request: RenderRequest) -> Images:
    """Render all views: find the faces of a band of rows, then fill its outputs."""
    frames = frames_of(cameras, bvh)
    triangle_id = array_pool.empty((len(cameras), cameras.height, cameras.width), np.int32)
    see = _seer(bvh, frames)
    coverage = coverage_of(bvh, cameras, request, frames)
    resolver = AffineResolver(bvh, mesh, cameras, request, frames, coverage)

    def render_band(view: int, rows: tuple[int, int]) -> None:
        see(view, frames.basis[view], frames.projection[view], rows, triangle_id[view])
        resolver.fill(view, rows, triangle_id[view])

    for_bands(render_band, cameras, request.n_threads)
    return triangle_id, resolver.arrays


def _seer(bvh: Bvh, frames: ViewFrames) -> See:
    """Make the function that finds the faces in rows of a view, within the camera's limits."""
    nearest, farthest = z_ranges(*bvh.box, frames.projection)
    # If the mesh lies on both sides of a camera's plane, the tile kernel is up to a thousand times
    # slower, because a face that crosses the plane is imaged everywhere. Single rays find the same
    # faces.
    among = (nearest <= 0.0) & (farthest > 0.0)
    limited = (frames.near > nearest) | (frames.far < farthest)
    scene = *bvh.wide, bvh.vertices, bvh.faces

    def see(
        view: int,
        basis: np.ndarray,
        projection: np.ndarray,
        rows: tuple[int, int],
        triangle_id: np.ndarray,
    ) -> None:
        within = basis, *rows, frames.near[view], frames.far[view], triangle_id
        if among[view]:
            rays.visibility(*scene, *within)
        else:
            find_visible(bvh, basis, projection, rows, triangle_id)
            if limited[view]:
                rays.limit(*scene, *within)

    return see


def coverage_of(
    bvh: Bvh, cameras: Cameras, request: RenderRequest, frames: ViewFrames
) -> Coverage | None:
    """Return the filler of "coverage", or None if it is not requested."""
    if not request.asks("coverage"):
        return None
    nearest, farthest = z_ranges(*bvh.box, frames.projection)
    nearest[(frames.near > nearest) | (frames.far < farthest)] = 0.0
    return Coverage(bvh, cameras, frames, _seer(bvh, frames), nearest)


def for_bands(
    work: Callable[[int, tuple[int, int]], None], cameras: Cameras, n_threads: int
) -> None:
    """Call `work` with each view and some of its rows, on threads, until all rows are done."""
    height, rows = cameras.height, rows_per_task(cameras, n_threads)
    # A few views at a time, because a view's contours are kept until all its bands are done. Bands
    # go from the middle outwards, where there is less to see, so that threads end together.
    at_a_time = VIEWS_PER_THREAD * n_threads
    bands = sorted(range(0, height, rows), key=lambda first: abs(2 * first + rows - height))
    tasks = [
        (view, (band, min(band + rows, height)))
        for first in range(0, len(cameras), at_a_time)
        for band in bands
        for view in range(first, min(first + at_a_time, len(cameras)))
    ]
    parallel.for_each(lambda number: work(*tasks[number]), len(tasks), n_threads)


def find_visible(
    bvh: Bvh,
    basis: np.ndarray,
    projection: np.ndarray,
    rows: tuple[int, int],
    triangle_id: np.ndarray,
) -> np.ndarray:
    """Fill rows of one view's `triangle_id`; return the counts of work in `tiles.WORK`."""
    work = np.zeros(len(tiles.WORK), np.int64)
    tiles.visibility(
        *bvh.wide, bvh.vertices, bvh.faces, basis, projection, *rows, triangle_id, work
    )
    return work


def rows_per_task(cameras: Cameras, threads: int) -> int:
    """Return the number of rows that one task renders: whole tiles, many tasks, none too small."""
    if threads == 1:
        return cameras.height
    pixels = cameras.width * cameras.height
    per_task = max(len(cameras) * pixels // (16 * threads), 1 << 14)
    n_bands = -(-pixels // per_task)
    return -(-cameras.height // (n_bands * tiles.TILE)) * tiles.TILE
