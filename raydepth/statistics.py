"""What a depth map holds, in one pass over its pixels: range, hits, 16-bit values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

MAX_VALUE = 65535


class Statistics(NamedTuple):
    """Of one depth map.

    Attributes
    ----------
    n_hits : int
    nearest, farthest : float or None
        In units; None without hits.
    n_unfit : int
        How many depths do not fit 16 bits.
    """

    n_hits: int
    nearest: float | None
    farthest: float | None
    n_unfit: int


def statistics(depth: np.ndarray, scale: float | None, values: np.ndarray) -> Statistics:
    """Look at every pixel once.

    Parameters
    ----------
    depth : (height, width) float32
        +inf is a miss.
    scale : float or None
        Values per unit of a 16-bit form.
    values : (height, width) uint16
        With a scale it is filled with `round(depth * scale)`, halves to even, and 0 for a miss or
        what does not fit; else it may be empty.
    """
    n_hits, nearest, farthest, n_unfit = _measure(
        depth.reshape(-1), 0.0 if scale is None else scale, values.reshape(-1)
    )
    if n_hits == 0:
        return Statistics(0, None, None, 0)
    return Statistics(n_hits, float(nearest), float(farthest), n_unfit)


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(depth, scale, values):
    n_hits = 0
    n_unfit = 0
    nearest = np.float32(np.inf)
    farthest = np.float32(-np.inf)
    for i in range(depth.shape[0]):
        here = depth[i]
        hit = here < np.float32(np.inf)
        n_hits += hit
        nearest = min(nearest, here)
        farthest = max(farthest, here if hit else np.float32(-np.inf))
    if scale > 0.0:
        for i in range(depth.shape[0]):
            hit = depth[i] < np.float32(np.inf)
            value = np.rint(np.float64(depth[i]) * scale) if hit else 0.0
            fits = (value >= 1.0) & (value <= 65535.0)
            n_unfit += hit & (not fits)
            values[i] = np.uint16(value if fits else 0.0)
    return n_hits, nearest, farthest, n_unfit
