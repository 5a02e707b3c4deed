"""Fisheye lenses: the angle from the axis becomes a distance in the image."""

from __future__ import annotations

import math

import numpy as np

from raydepth.camera.lenses.increasing import first_root, solve_increasing
from raydepth.camera.lenses.lens import Lens


class Fisheye(Lens):
    """A lens that images a point at the angle theta from the axis at r(theta) from the centre.

    Without distortion r = theta (equidistant). With four parameters
    r = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8), as in OpenCV's fisheye.
    The intrinsics map r (x, y) / |(x, y)| to pixels.

    Source: Kannala, Brandt, "A generic camera model and calibration method for conventional,
    wide-angle, and fish-eye lenses", 2006.

    Attributes
    ----------
    end : float
        The field is theta < end, in radians. It ends where r stops growing, at pi at most.
    """

    def __init__(
        self, intrinsics: np.ndarray, distortion: np.ndarray | None, size: tuple[int, int]
    ) -> None:
        super().__init__(intrinsics, size)
        self._k = np.zeros(4) if distortion is None else distortion
        slope = np.array([1.0, 3.0, 5.0, 7.0, 9.0]) * [1.0, *self._k]
        self.end = min(math.pi, math.sqrt(first_root(slope)))

    def project(self, points: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(points, -1, 0)
        from_axis = np.hypot(x, y)
        theta = np.arctan2(from_axis, z)
        somewhere = (from_axis > 0.0) | (z > 0.0)
        theta = np.where((theta < self.end) & somewhere, theta, np.nan)
        # On the axis both distances are 0, so any divisor will do.
        scale = self._radius(theta) / np.where(from_axis > 0.0, from_axis, 1.0)
        return self._image(scale * x, scale * y)

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        a, b = self._plane(pixels)
        radius = np.hypot(a, b)
        inside = radius < self._radius(np.array(self.end))
        theta = np.zeros_like(radius)
        theta[inside] = solve_increasing(self._radius, self._slope, radius[inside], self.end)
        scale = np.sin(theta) / np.where(radius > 0.0, radius, 1.0)
        directions = np.stack([scale * a, scale * b, np.cos(theta)], axis=-1)
        directions[~inside] = 0.0
        return directions

    def _radius(self, theta: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4 = self._k
        t = theta * theta
        return theta * (1.0 + t * (k1 + t * (k2 + t * (k3 + t * k4))))

    def _slope(self, theta: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4 = self._k
        t = theta * theta
        return 1.0 + t * (3.0 * k1 + t * (5.0 * k2 + t * (7.0 * k3 + t * (9.0 * k4))))
