"""Lenses whose rays are affine in the pixel."""

from __future__ import annotations

import numpy as np

from raydepth.camera.lenses.lens import Lens


class Perspective(Lens):
    """A pinhole: the intrinsics map `(x / z, y / z)` to pixels. The field is z > 0."""

    def project(self, points: np.ndarray) -> np.ndarray:
        z = np.where(points[..., 2] > 0.0, points[..., 2], np.nan)
        return self._image(points[..., 0] / z, points[..., 1] / z)

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        x, y = self._plane(pixels)
        return np.stack([x, y, np.ones_like(x)], axis=-1)


class Orthographic(Lens):
    """Parallel rays: the intrinsics map `(x, y)` to pixels. The field is z > 0."""

    def project(self, points: np.ndarray) -> np.ndarray:
        seen = np.where(points[..., 2] > 0.0, 0.0, np.nan)
        return self._image(points[..., 0] + seen, points[..., 1] + seen)

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        return np.broadcast_to([0.0, 0.0, 1.0], (*pixels.shape[:-1], 3)).copy()
