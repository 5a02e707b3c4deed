"""Changes to any placement: turned, jittered, repeated at several radii and rolls."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raydepth.camera.placements.frames import MAX_VIEWS, checked_seed

# Keeps the random numbers of jitter apart from those of a placement with the same seed.
_JITTER = 1


def turned(directions: np.ndarray, azimuth: float) -> np.ndarray:
    """Turn directions by `azimuth` degrees around the up axis; 0 leaves them as they are."""
    if not math.isfinite(azimuth):
        raise ValueError(f"azimuth is {azimuth}; expected degrees")
    if azimuth == 0.0:
        return directions
    radians = math.radians(azimuth)
    cosine, sine = math.cos(radians), math.sin(radians)
    return directions @ np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def jittered(directions: np.ndarray, degrees: float, seed: int) -> np.ndarray:
    """Move each direction at random, uniformly within a cap of `degrees` around it."""
    if not (math.isfinite(degrees) and 0.0 < degrees <= 180.0):
        raise ValueError(f"jitter is {degrees}; expected degrees above 0, up to 180")
    source = np.random.SeedSequence(checked_seed(seed), spawn_key=(_JITTER,))
    u = np.random.Generator(np.random.PCG64(source)).random((len(directions), 2))
    # 1 - cosine of the angle: it is uniform, because a cap's area is proportional to it, and it
    # keeps its digits for small angles.
    versine = u[:, 0] * 2.0 * math.sin(math.radians(degrees) / 2.0) ** 2
    sine = np.sqrt(versine * (2.0 - versine))
    # Two axes across each direction. The axis of its smallest coordinate is never along it.
    across = np.cross(directions, np.eye(3)[np.argmin(np.abs(directions), axis=1)])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(directions, across)
    angle = 2.0 * math.pi * u[:, 1]
    sideways = across * np.cos(angle)[:, None] + other * np.sin(angle)[:, None]
    moved = directions * (1.0 - versine)[:, None] + sideways * sine[:, None]
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def checked_rolls(rolls: int | Sequence[float]) -> np.ndarray:
    """Return the rolls in degrees; a whole number means that many, evenly around the full turn."""
    if isinstance(rolls, (int, np.integer)) and not isinstance(rolls, bool):
        if not 1 <= rolls <= MAX_VIEWS:
            raise ValueError(f"rolls is {rolls}; expected 1 to {MAX_VIEWS}, or a list of degrees")
        return np.arange(rolls) * (360.0 / rolls)
    degrees = np.array(rolls, dtype=np.float64)
    if degrees.ndim != 1 or not len(degrees) or not np.isfinite(degrees).all():
        raise ValueError(f"rolls is {rolls!r}; expected a whole number, or a list of degrees")
    return degrees


def checked_radii(radii: float | Sequence[float]) -> np.ndarray:
    """Return the distance of each shell from the origin, in units."""
    distances = np.atleast_1d(np.array(radii, dtype=np.float64))
    if distances.ndim != 1 or not len(distances):
        raise ValueError(f"radii is {radii!r}; expected units above 0")
    bad = ~(np.isfinite(distances) & (distances > 0.0))
    if bad.any():
        raise ValueError(f"radius is {distances[bad][0]:g}; expected units above 0")
    return distances
