"""Compute all outputs of affine views from the face of each pixel, eight pixels at a time."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.kinds import KINDS
from raydepth.mesh.mesh import Mesh
from raydepth.outputs import depth, lanes, surface
from raydepth.outputs.coverage import Coverage
from raydepth.outputs.depth import Depths, Points
from raydepth.outputs.request import RenderRequest
from raydepth.outputs.resolver import Resolver
from raydepth.outputs.surface import Described
from raydepth.outputs.table import OUTPUTS
from raydepth.trace.view_frame import ViewFrames

T = TypeVar("T", Depths, Points, Described)

# Outputs of more than this many bytes do not stay in any cache until they are read again.
BEYOND_CACHES = 1 << 25


class AffineResolver(Resolver):
    """A `Resolver` for views whose rays are affine in the pixel.

    Parameters
    ----------
    coverage : Coverage or None
        Fills the output "coverage", if that is requested.
    """

    def __init__(
        self,
        bvh: Any,
        mesh: Mesh | None,
        cameras: Cameras,
        request: RenderRequest,
        frames: ViewFrames,
        coverage: Coverage | None,
    ) -> None:
        super().__init__(bvh, mesh, cameras, request, frames)
        self._coverage = coverage
        # If `surface.describe` runs, it fills the depths, too.
        self._resolves_points = request.asks(*Points._fields)
        self._resolves = self._resolves_points or (not self._describes and request.asks(*KINDS))
        # Outputs that are not requested have no elements. They do have a dtype, so that few kernels
        # are compiled.
        self._absent = _absent(request.dtype)
        arrays = [array for name, array in self.arrays.items() if name in Described._fields]
        self._stream = (
            sum(array.nbytes for array in arrays) > BEYOND_CACHES
            and cameras.width % lanes.LANES == 0
            and all(array.ctypes.data % 32 == 0 for array in arrays)
        )

    def fill(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """Fill rows of a view from its `triangle_id` (height, width), which is known there."""
        depths = self._slots(Depths, view)
        if self._resolves:
            points = self._slots(Points, view) if self._resolves_points else None
            here = self._no_depths if self._describes else depths
            self._resolve(view, rows, triangle_id, here, points)
        if self._describes:
            bvh, frames = self._bvh, self._frames
            surface.describe(
                (bvh.vertices, bvh.faces), frames.basis[view], frames.projection[view],
                frames.frame[view], bvh.scale, *rows, triangle_id, self._request.miss,
                self._tables, depths, self._slots(Described, view), self._stream,
            )  # fmt: skip
        self._fill_from_ids(view, rows, triangle_id)
        if "hits" in self.arrays or "thickness" in self.arrays:
            self._fill_layers(view, rows, triangle_id)
        if self._coverage is not None:
            self._coverage.fill(view, rows, self.arrays["coverage"][view, slice(*rows)])

    def _slots(self, slots: type[T], view: int) -> T:
        """Return one view's arrays in a NamedTuple; empty ones for outputs not requested."""
        arrays = (
            self.arrays[name][view] if name in self.arrays else self._absent[name]
            for name in slots._fields
        )
        return slots(*arrays)

    @property
    def _no_depths(self) -> Depths:
        return Depths(self._absent["z"], self._absent["ray"])

    def _resolve(
        self,
        view: int,
        rows: tuple[int, int],
        triangle_id: np.ndarray,
        depths: Depths,
        points: Points | None = None,
    ) -> None:
        frames = self._frames
        depth.resolve(
            self._bvh.vertices, self._bvh.faces, frames.basis[view], frames.projection[view],
            frames.frame[view], self._bvh.scale, *rows, triangle_id, self._request.miss,
            depths, points,
        )  # fmt: skip

    def _fill_layers(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """Fill hits and thickness: find the faces of first and last hits, then resolve depths."""
        height, width = triangle_id.shape
        n_rows = rows[1] - rows[0]
        origins, directions = self._rays(view, rows, width)
        first, last, _, _ = self._crossings(
            view, origins, directions, triangle_id[slice(*rows)].reshape(-1)
        )
        part = slice(*rows)
        # As large as a view, but only these rows are touched.
        seen = np.empty((height, width), np.int32)
        if "hits" in self.arrays:
            for hit in range(self._request.n_hits):
                seen[part] = first[:, hit].reshape(n_rows, width)
                to = self._no_depths._replace(ray=self.arrays["hits"][view, hit])
                self._resolve(view, rows, seen, to)
        if "thickness" in self.arrays:
            near, far = np.empty((2, height, width))
            no_z = _absent(far.dtype)["z"]
            self._resolve(view, rows, triangle_id, Depths(no_z, near))
            seen[part] = last.reshape(n_rows, width)
            self._resolve(view, rows, seen, Depths(no_z, far))
            missed = triangle_id[part] < 0
            self._put_thickness(view, part, near[part], far[part], missed)

    def _rays(self, view: int, rows: tuple[int, int], width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rays of some rows in the local frame, as `kernels.pixel_ray` gives them."""
        basis = self._frames.basis[view]
        x = (np.arange(width) + 0.5)[None, :, None]
        y = (np.arange(*rows) + 0.5)[:, None, None]
        origins, directions = (
            (basis[first] + x * basis[first + 1] + y * basis[first + 2]).reshape(-1, 3)
            for first in (0, 3)
        )
        return origins, directions


@cache
def _absent(dtype: np.dtype) -> dict[str, np.ndarray]:
    """Return arrays without elements, for outputs that are not requested."""
    absent = {}
    for name in (*Depths._fields, *Points._fields, *Described._fields):
        channels = OUTPUTS[name].channels
        shape = (0, 0) if channels == 1 else (0, 0, channels)
        absent[name] = np.empty(shape, np.int8 if name == "facing" else dtype)
    return absent
