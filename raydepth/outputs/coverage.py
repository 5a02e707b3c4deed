"""The covered share of each pixel: the share of its SAMPLES x SAMPLES rays that meet something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras
from raydepth.outputs import contours, scanlines
from raydepth.outputs.scanlines import FIELD_BIAS, SAMPLES, SEGMENT
from raydepth.outputs.vertex_tables import tables_of
from raydepth.system import array_pool
from raydepth.trace import rays
from raydepth.trace.view_frame import PERSPECTIVE, ViewFrames

# Takes a view's index, its basis and projection, its first row and the end of the rows, and fills
# their `triangle_id`.
See = Callable[[int, np.ndarray, np.ndarray, tuple[int, int], np.ndarray], None]

# The rounding of image coordinates, relative to the numbers they are computed from, is far below
# this.
ROUNDING = 2.0**-44
# In samples: contours are not used if vertices may be off by more than this.
MOST_SLACK = 2.0**-16
# A crossing of a contour and a row of samples costs about as much as rays for this many samples.
SAMPLES_PER_CROSSING = 4


class _Contours(NamedTuple):
    """The contours of a view; `segments` is None where rays are better."""

    segments: np.ndarray | None  # (n, SEGMENT), see scanlines.py
    entries: np.ndarray  # as `scanlines.sort` fills them
    begins: np.ndarray  # as `scanlines.project` fills them
    some_near: bool  # a segment has an end on a row of samples
    rows_left: int  # rows of the view that are not filled yet


class Coverage:
    """The coverage of some views, filled some rows at a time.

    Contours give the covered share of a pixel, see contours.py and scanlines.py. Rays decide where
    contours are not certain, or where they cost more. The results equal those of a ray for every
    sample.

    Parameters
    ----------
    bvh : Bvh
    cameras : Cameras
        Affine cameras.
    frames : ViewFrames
    see : See
        A function that finds the visible faces in rows of a view.
    nearest : (n_views,) float64
        The least z of the mesh in each view, in local units; 0 where the mesh is not wholly in
        front of the camera and within its limits.
    """

    def __init__(
        self,
        bvh: Bvh,
        cameras: Cameras,
        frames: ViewFrames,
        see: See,
        nearest: np.ndarray,
    ) -> None:
        basis, projection = frames.basis, frames.projection
        self._bvh, self._size = bvh, (cameras.height, cameras.width)
        self._basis, self._projection, self._see = basis, projection, see
        self._images = sample_images(projection)
        self._eyes = eyes(basis, self._images)
        self._slacks = slacks(basis, self._images, nearest, self._size)
        by_contours = (nearest > 0.0) & (self._slacks[:, 0] <= MOST_SLACK)
        self._by_contours = by_contours
        # Made here, so that this work is not left to the first of many threads.
        self._edges = tables_of(bvh).edges if by_contours.any() else None
        # Found by the thread that needs them first, and kept until all rows of the view are filled.
        self._contours: dict[int, _Contours] = {}
        self._locks = [threading.Lock() for _ in range(len(cameras))]

    def fill(self, view: int, rows: tuple[int, int], coverage: np.ndarray) -> None:
        """Fill `coverage` (n_rows, width) float with some rows of a view."""
        with self._locks[view]:
            found = self._contours.get(view)
            if found is None:
                found = self._contours[view] = self._found(view)
        if found.segments is None:
            self._leave(view, len(coverage))
            self._fill_from_rays(view, rows[0], coverage)
            return
        unsure = np.zeros(coverage.shape, np.bool_)
        some_unsure = scanlines.cover(
            found.segments, found.begins, found.entries, found.some_near, rows[0],
            coverage, unsure,
        )  # fmt: skip
        self._leave(view, len(coverage))
        if some_unsure:
            bvh = self._bvh
            rays.cover(
                *bvh.wide, bvh.vertices, bvh.faces, samples_basis(self._basis[view], rows[0]),
                SAMPLES, unsure, coverage,
            )  # fmt: skip

    def _leave(self, view: int, n_rows: int) -> None:
        """Count `n_rows` rows of a view as filled; after the last one, drop the view's contours."""
        with self._locks[view]:
            found = self._contours.pop(view)
            rows_left = found.rows_left - n_rows
            if rows_left > 0:
                self._contours[view] = found._replace(rows_left=rows_left)

    def _found(self, view: int) -> _Contours:
        height, width = self._size
        nothing = np.empty(0)
        none = _Contours(None, nothing, nothing, False, height)
        edges = self._edges
        if edges is None or not self._by_contours[view]:
            return none
        vertices = self._bvh.vertices
        n_sides = len(edges.steps)
        capacity = 2 * n_sides + len(edges.other_ends) + edges.corners.size
        # Memory for three int32 for each edge, and for the sides; an int64 holds two int32 or eight
        # sides.
        scratch = array_pool.empty((2 * capacity + n_sides,), np.int64)
        integers = scratch.view(np.int32)
        ends = integers[: 2 * capacity].reshape(-1, 2)
        changes = integers[2 * capacity : 3 * capacity]
        sides = scratch[2 * capacity :].view(np.int8)
        n = contours.find(edges, vertices, self._eyes[view], sides, ends, changes)
        segments = array_pool.empty((n, SEGMENT), np.float64)
        slack, relative_slack = self._slacks[view]
        rows, begins = np.empty((n, 2), np.int32), np.empty(height + 1, np.int64)
        n_crossings, n_near, most = scanlines.project(
            vertices, ends, changes, self._images[view], slack, relative_slack, segments, rows,
            begins,
        )  # fmt: skip
        too_many = SAMPLES_PER_CROSSING * n_crossings >= SAMPLES**2 * height * width
        if too_many or most >= FIELD_BIAS:
            return none
        entries = np.empty(begins[-1], np.int32)
        scanlines.sort(rows, begins, entries)
        return _Contours(segments, entries, begins, n_near > 0, height)

    def _fill_from_rays(self, view: int, first_row: int, coverage: np.ndarray) -> None:
        """Fill `coverage` by a ray for every sample."""
        basis = samples_basis(self._basis[view], first_row)
        n_rows, width = (SAMPLES * side for side in coverage.shape)
        projection = self._projection[view].copy()
        x, y, along = projection[:PERSPECTIVE].reshape(3, 4)
        y -= first_row * (along if projection[PERSPECTIVE] else np.array([0.0, 0.0, 0.0, 1.0]))
        x *= SAMPLES
        y *= SAMPLES
        seen = np.empty((n_rows, width), np.int32)
        self._see(view, basis, projection, (0, n_rows), seen)
        share_of_samples(seen, coverage)


def sample_images(projection: np.ndarray) -> np.ndarray:
    """Return the matrices that map points to X, Y, S: (n_views, 3, 4).

    A point is seen at the coordinates X / S and Y / S, in samples.
    """
    images = projection[:, :PERSPECTIVE].reshape(-1, 3, 4).copy()
    images[projection[:, PERSPECTIVE] == 0.0, 2] = 0.0, 0.0, 0.0, 1.0
    images[:, :2] *= SAMPLES
    return images


def eyes(basis: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the eye of each view, (n_views, 4), as `contours.find` takes it."""
    result = np.zeros((len(basis), 4))
    handedness = np.linalg.det(images[:, :, :3])
    perspective = handedness != 0.0
    result[:, :3] = np.cross(images[:, 0, :3], images[:, 1, :3])
    result[:, :3] /= np.abs(result).max(axis=1, keepdims=True)
    sign = -np.sign(handedness[perspective, None])
    result[perspective] = sign * np.column_stack((basis[perspective, 0], sign**2))
    return result


def slacks(
    basis: np.ndarray, images: np.ndarray, nearest: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Return bounds on the error of projected vertices: (n_views, 2).

    The first is a number of samples, the second is relative to the vertices' image coordinates.
    Coordinates in the local frame are at most 2. The magnitudes of all numbers that are multiplied
    and added bound the rounding of the sums, and that of the inverse that made `images` from
    `basis`.
    """
    height, width = size
    steps = np.array([1.0, width, height])
    origin, along = (np.einsum("i,nij->nj", steps, np.abs(basis[:, at : at + 3])) for at in (0, 3))
    reach = (2.0 + origin).max(axis=1, keepdims=True)
    farthest = reach * (1.0 + along / along.max(axis=1, keepdims=True))
    x, y, s = np.einsum("nij,nj->in", np.abs(images[:, :, :3]), farthest)
    # How much larger things look at the distance `nearest` than at the distance 1. With parallel
    # rays, all things look equally large.
    with np.errstate(divide="ignore"):
        larger = np.where(s > 0.0, 1.0 / nearest, 1.0)
    slack = ROUNDING * np.maximum(x, y) * larger * (1.0 + reach[:, 0] * larger)
    return np.column_stack((slack, ROUNDING * (1.0 + s * larger)))


def samples_basis(basis: np.ndarray, first_row: int) -> np.ndarray:
    """Return a view's ray basis for samples, whose rows count from the pixel row `first_row`."""
    basis = basis.copy()
    for first in (0, 3):
        basis[first] += first_row * basis[first + 2]
        basis[first + 1 : first + 3] /= SAMPLES
    return basis


def with_samples(cameras: Cameras) -> Cameras:
    """Return the same views with SAMPLES x SAMPLES pixels in place of each pixel."""
    intrinsics = cameras.intrinsics.copy()
    intrinsics[:, :2] *= SAMPLES
    size = SAMPLES * cameras.width, SAMPLES * cameras.height
    return Cameras(
        intrinsics,
        cameras.world_from_camera,
        size,
        model=cameras.model,
        distortion=cameras.distortion,
        near=cameras.near,
        far=cameras.far,
    )


def share_of_samples(seen: np.ndarray, coverage: np.ndarray) -> None:
    """Fill `coverage` (height, width) from the faces of its pixels' samples."""
    height, width = coverage.shape
    blocks = (seen >= 0).reshape(height, SAMPLES, width, SAMPLES)
    coverage[:] = blocks.mean(axis=(1, 3))
