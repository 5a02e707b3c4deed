"""The base class of all lenses."""

from __future__ import annotations

import numpy as np


class Lens:
    """The intrinsics and the distortion of one view, without its pose in the world.

    Points, directions and rays are in the camera's frame: x right, y down, z forward. Pixels are
    image coordinates (x, y); the centre of the top left pixel is at (0.5, 0.5).

    `project` and `directions` are each other's inverse on the lens's field, where they are one to
    one. Outside the field `project` gives NaN and `directions` gives 0.
    """

    def __init__(self, intrinsics: np.ndarray, size: tuple[int, int]) -> None:
        self.intrinsics = intrinsics
        self.width, self.height = size

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the pixels (..., 2) float64 of points (..., 3)."""
        raise NotImplementedError

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        """Return the directions (..., 3) float64 of the rays of pixels (..., 2).

        Their z is 1 if the model has z depth; otherwise their length is 1.
        """
        raise NotImplementedError

    def _image(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Apply the intrinsics to coordinates `a`, `b`: return pixels (..., 2)."""
        (fx, skew, cx), (_, fy, cy), _ = self.intrinsics
        return np.stack([fx * a + skew * b + cx, fy * b + cy], axis=-1)

    def _plane(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates of pixels: the inverse of `_image`."""
        (fx, skew, cx), (_, fy, cy), _ = self.intrinsics
        b = (pixels[..., 1] - cy) / fy
        return (pixels[..., 0] - cx - skew * b) / fx, b
