"""Directions on circles of latitude."""

from __future__ import annotations

import math

import numpy as np

from raydepth.camera.placements.frames import (
    checked_band,
    checked_count,
    checked_elevation,
    checked_seed,
    from_elevation,
)


def ring(n: int, elevation: float = 30.0) -> np.ndarray:
    """n directions at one elevation (degrees above the horizon), evenly spaced from azimuth 0."""
    azimuth = 2.0 * math.pi * np.arange(checked_count(n)) / n
    radians = math.radians(checked_elevation(elevation))
    across = 0.0 if abs(elevation) == 90.0 else math.cos(radians)
    return np.stack(
        [across * np.cos(azimuth), across * np.sin(azimuth), np.full(n, math.sin(radians))], axis=1
    )


def latlong(rows: int, columns: int, lowest: float = -90.0, highest: float = 90.0) -> np.ndarray:
    """A grid of latitudes and longitudes, row by row from the lowest, each from azimuth 0.

    The band of elevations is cut into equal slices. Each row is in the middle of one, so no row is
    at a pole.
    """
    rows, columns = checked_count(rows, "rows"), checked_count(columns, "columns")
    checked_count(rows * columns)
    low, high = checked_band(lowest, highest)
    elevation = low + (np.arange(rows) + 0.5) * ((high - low) / rows)
    azimuth = 2.0 * math.pi * np.arange(columns) / columns
    return from_elevation(np.repeat(elevation, columns), np.tile(azimuth, rows))


def mvcnn12() -> np.ndarray:
    """MVCNN's 12 views of upright shapes: every 30 degrees, 30 degrees above the horizon.

    Source: Su, Maji, Kalogerakis and Learned-Miller, "Multi-view convolutional neural networks for
    3D shape recognition", 2015. Its images begin at -y, as MATLAB's `view` does; azimuth=-90 turns
    the views there.
    """
    return ring(12, 30.0)


def r2n2(seed: int = 0) -> np.ndarray:
    """3D-R2N2's 24 views: azimuth drawn from the whole circle, elevation from 25 to 30 degrees.

    Source: Choy, Xu, Gwak, Chen and Savarese, "3D-R2N2", 2016. They drew other views for each
    shape; here the seed chooses them.
    """
    u = np.random.Generator(np.random.PCG64(checked_seed(seed))).random((24, 2))
    return from_elevation(25.0 + 5.0 * u[:, 0], 2.0 * math.pi * u[:, 1])
