"""Functions that placements share: the up axis, heights and azimuths, checks of arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MAX_VIEWS = 1_000_000


def up_frame(up: str | Sequence[float] = "z") -> np.ndarray:
    """Return the (3, 3) rotation whose columns are the axes of azimuth 0, of azimuth 90, and up.

    `up` is "x", "y" or "z", or a vector of three numbers. With a named axis, azimuth 0 is at the
    next axis in cyclic order: at +z for up "y", at +x for up "z".
    """
    if isinstance(up, str):
        if up not in ("x", "y", "z"):
            raise ValueError(f"up is {up!r}; expected 'x', 'y', 'z' or three numbers")
        axis = np.eye(3)["xyz".index(up)]
    else:
        axis = np.asarray(up, dtype=np.float64)
        if axis.shape != (3,) or not np.isfinite(axis).all() or not axis.any():
            raise ValueError(f"up is {up!r}; expected 'x', 'y', 'z' or three numbers, not all 0")
        axis = axis / np.abs(axis).max()
        axis = axis / np.linalg.norm(axis)
    azimuth_0 = np.eye(3)[(int(np.argmax(np.abs(axis))) + 1) % 3]
    azimuth_0 = azimuth_0 - axis * (axis @ azimuth_0)
    azimuth_0 = azimuth_0 / np.linalg.norm(azimuth_0)
    return np.stack([azimuth_0, np.cross(axis, azimuth_0), axis], axis=1)


def from_height(z: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Return unit directions from heights (-1 to 1) and azimuths (radians)."""
    across = np.sqrt(np.maximum(0.0, 1.0 - z * z))
    return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=1)


def from_elevation(elevation: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Return unit directions from elevations (degrees) and azimuths (radians); poles are exact."""
    radians = np.radians(elevation)
    across = np.where(np.abs(elevation) == 90.0, 0.0, np.cos(radians))
    return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), np.sin(radians)], axis=1)


def checked_count(n: int, what: str = "the number of views") -> int:
    if isinstance(n, bool) or int(n) != n or not 1 <= n <= MAX_VIEWS:
        raise ValueError(f"{what} is {n}; expected 1 to {MAX_VIEWS}, a whole number")
    return int(n)


def checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or int(seed) != seed or seed < 0:
        raise ValueError(f"seed is {seed}; expected a whole number from 0")
    return int(seed)


def checked_elevation(elevation: float, what: str = "elevation") -> float:
    if not (math.isfinite(elevation) and -90.0 <= elevation <= 90.0):
        raise ValueError(f"{what} is {elevation}; expected degrees from -90 to 90")
    return float(elevation)


def checked_band(lowest: float, highest: float) -> tuple[float, float]:
    """Return two elevations in degrees; the first must be below the second."""
    low, high = checked_elevation(lowest, "lowest"), checked_elevation(highest, "highest")
    if low >= high:
        raise ValueError(f"lowest is {lowest} and highest {highest}; expected lowest below highest")
    return low, high
