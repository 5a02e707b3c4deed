"""Panoramas: longitude and latitude as columns and rows."""

from __future__ import annotations

import numpy as np

from raydepth.camera.lenses.lens import Lens


class Equirectangular(Lens):
    """A panorama: the intrinsics map (longitude, latitude), in radians, to pixels.

    Longitude is 0 ahead and grows to the right, latitude is 0 ahead and grows downwards:
    a direction is (sin(lon) cos(lat), sin(lat), cos(lon) cos(lat)).

    The field is all latitudes between the poles, and one turn of longitudes about the middle of the
    image.
    """

    def __init__(self, intrinsics: np.ndarray, size: tuple[int, int]) -> None:
        super().__init__(intrinsics, size)
        middle, _ = self._plane(np.array([self.width / 2.0, self.height / 2.0]))
        self._first = float(middle) - np.pi  # the first longitude of the field

    def project(self, points: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(points, -1, 0)
        level = np.hypot(x, z)
        longitude = np.arctan2(x, z)
        longitude = longitude - 2.0 * np.pi * np.floor((longitude - self._first) / (2.0 * np.pi))
        latitude = np.arctan2(y, np.where(level > 0.0, level, np.nan))
        return self._image(longitude, latitude)

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        longitude, latitude = self._plane(pixels)
        turned = longitude - self._first
        inside = (np.abs(latitude) < 0.5 * np.pi) & (turned >= 0.0) & (turned < 2.0 * np.pi)
        level = np.cos(latitude)
        directions = np.stack(
            [np.sin(longitude) * level, np.sin(latitude), np.cos(longitude) * level], axis=-1
        )
        directions[~inside] = 0.0
        return directions
