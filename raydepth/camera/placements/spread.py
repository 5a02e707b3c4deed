"""Directions spread over the sphere: by low-discrepancy sequences, and at random."""

from __future__ import annotations

import math

import numpy as np

from raydepth.camera.placements.frames import checked_band, checked_count, checked_seed, from_height

GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))


def fibonacci(n: int) -> np.ndarray:
    """Spherical Fibonacci lattice: n nearly evenly spread directions, from top to bottom, no poles.

    Source: Swinbank and Purser, "Fibonacci grids: a novel approach to global modelling", 2006.
    """
    i = np.arange(checked_count(n))
    return from_height(1.0 - (2.0 * i + 1.0) / n, i * GOLDEN_ANGLE)


def hammersley(n: int) -> np.ndarray:
    """Hammersley points: n directions of low discrepancy, from top to bottom, none of them a pole.

    Direction i has the height 1 - (2 i + 1) / n. Its azimuth, in turns, is i with its binary digits
    mirrored at the binary point. Source: Wong, Luk and Heng, "Sampling with Hammersley and Halton
    points", 1997.
    """
    i = np.arange(checked_count(n))
    turns = np.zeros(n)
    digit = 0.5
    rest = i.copy()
    while rest.any():
        turns += digit * (rest & 1)
        rest >>= 1
        digit *= 0.5
    return from_height(1.0 - (2.0 * i + 1.0) / n, 2.0 * math.pi * turns)


def random(n: int, seed: int = 0, lowest: float = -90.0, highest: float = 90.0) -> np.ndarray:
    """n directions drawn uniformly from the sphere, or from its part between two elevations.

    The same seed gives the same directions. The height is uniform because equal slabs of a sphere
    have equal areas (Archimedes).
    """
    low, high = (math.sin(math.radians(edge)) for edge in checked_band(lowest, highest))
    u = np.random.Generator(np.random.PCG64(checked_seed(seed))).random((checked_count(n), 2))
    return from_height((high - low) * u[:, 0] + low, 2.0 * math.pi * u[:, 1])


def hemisphere(n: int, seed: int = 0) -> np.ndarray:
    """n directions drawn uniformly from the upper half of the sphere."""
    return random(n, seed, lowest=0.0)
