"""From the face of each pixel of an affine view to all outputs: eight pixels at a time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from raydepth import kernels, surface
from raydepth.camera import Cameras
from raydepth.coverage import Coverage
from raydepth.outputs import KINDS, OUTPUTS
from raydepth.resolver import DESCRIBED, Resolver
from raydepth.wanted import Wanted

# Bytes that no cache keeps until they are read again.
BEYOND_CACHES = 1 << 25

FURTHER = ("disparity", "point", "point_camera")


class AffineResolver(Resolver):
    """A `Resolver` of views whose rays are affine in the pixel.

    Parameters
    ----------
    basis, projection : (n_views, 6, 3), (n_views, 14) float64
        See `rendering.local_ray_basis` and `rendering.projections`.
    coverage : Coverage or None
        "coverage" needs it.
    """

    def __init__(
        self,
        bvh: Any,
        cameras: Cameras,
        wanted: Wanted,
        basis: np.ndarray,
        projection: np.ndarray,
        coverage: Coverage | None,
    ) -> None:
        super().__init__(bvh, cameras, wanted)
        self._basis, self._projection, self._coverage = basis, projection, coverage
        # Depths from the pass that describes, where there is one.
        self._resolves_further = wanted.asks(*FURTHER)
        self._resolves = self._resolves_further or (not self._describes and wanted.asks(*KINDS))
        # What is not asked for has no elements, but a type, so that kernels are few.
        self._absent = _absent(wanted.dtype)
        arrays = [array for name, array in self.arrays.items() if name in DESCRIBED]
        self._stream = (
            sum(array.nbytes for array in arrays) > BEYOND_CACHES
            and cameras.width % surface.LANES == 0
            and all(array.ctypes.data % 32 == 0 for array in arrays)
        )

    def fill(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """Fill rows of a view, whose `triangle_id` (height, width) is known there."""
        if self._resolves:
            z, ray = self._absent["z"], self._absent["ray"]
            if not self._describes:
                z, ray = self._of("z", view), self._of("ray", view)
            further = None
            if self._resolves_further:
                further = tuple(self._of(name, view) for name in FURTHER)
            self._resolve(view, rows, triangle_id, z, ray, further)
        if self._describes:
            bvh = self._bvh
            surface.describe(
                (bvh.vertices, bvh.faces), self._basis[view],
                self._projection[view], self._frames[view], bvh.scale, *rows, triangle_id,
                self._wanted.miss, self._tables, tuple(self._of(name, view) for name in KINDS),
                tuple(self._of(name, view) for name in DESCRIBED), self._stream,
            )  # fmt: skip
        self._fill_from_ids(view, rows, triangle_id)
        if "hits" in self.arrays or "thickness" in self.arrays:
            self._fill_layers(view, rows, triangle_id)
        if self._coverage is not None:
            self._coverage.fill(view, rows, self.arrays["coverage"][view, slice(*rows)])

    def _of(self, name: str, view: int) -> np.ndarray:
        return self.arrays[name][view] if name in self.arrays else self._absent[name]

    def _resolve(
        self,
        view: int,
        rows: tuple[int, int],
        triangle_id: np.ndarray,
        z: np.ndarray,
        ray: np.ndarray,
        further: tuple[np.ndarray, ...] | None = None,
    ) -> None:
        kernels.resolve(
            self._bvh.vertices, self._bvh.faces, self._basis[view], self._projection[view],
            self._frames[view], self._bvh.scale, *rows, triangle_id, self._wanted.miss,
            z, ray, further,
        )  # fmt: skip

    def _fill_layers(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """The first hits and the last: their faces, and then their depths like any other's."""
        height, width = triangle_id.shape
        n_rows = rows[1] - rows[0]
        origins, directions = self._rays(view, rows, width)
        first, last, _, _ = self._crossings(
            view, origins, directions, triangle_id[slice(*rows)].reshape(-1)
        )
        part = slice(*rows)
        # Of a view's size, of which only these rows are touched.
        seen = np.empty((height, width), np.int32)
        if "hits" in self.arrays:
            for hit in range(self._wanted.n_hits):
                seen[part] = first[:, hit].reshape(n_rows, width)
                self._resolve(view, rows, seen, self._absent["z"], self.arrays["hits"][view, hit])
        if "thickness" in self.arrays:
            near, far = np.empty((2, height, width))
            no_z = _absent(far.dtype)["z"]
            self._resolve(view, rows, triangle_id, no_z, near)
            seen[part] = last.reshape(n_rows, width)
            self._resolve(view, rows, seen, no_z, far)
            missed = triangle_id[part] < 0
            self._put_thickness(view, part, near[part], far[part], missed)

    def _rays(self, view: int, rows: tuple[int, int], width: int) -> tuple[np.ndarray, np.ndarray]:
        """The rays of some rows in the local frame, as `kernels.pixel_ray` gives them."""
        basis = self._basis[view]
        x = (np.arange(width) + 0.5)[None, :, None]
        y = (np.arange(*rows) + 0.5)[:, None, None]
        origins, directions = (
            (basis[first] + x * basis[first + 1] + y * basis[first + 2]).reshape(-1, 3)
            for first in (0, 3)
        )
        return origins, directions


@cache
def _absent(dtype: np.dtype) -> dict[str, np.ndarray]:
    """Arrays without elements, for outputs that are not asked for."""
    absent = {}
    for name in (*KINDS, *FURTHER, *DESCRIBED):
        channels = OUTPUTS[name].channels
        shape = (0, 0) if channels == 1 else (0, 0, channels)
        absent[name] = np.empty(shape, np.int8 if name == "facing" else dtype)
    return absent
