"""The kernel that finds the range of a depth map."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def depth_range(depth):
    """Hits, and the nearest and farthest of them, in one pass.

    Parameters
    ----------
    depth : (n,) float32
        +inf is a miss.

    Returns
    -------
    n_hits : int
    nearest, farthest : float32
        +inf and -inf without hits.
    """
    n_hits = 0
    nearest = np.float32(np.inf)
    farthest = np.float32(-np.inf)
    for i in range(depth.size):
        here = depth[i]
        hit = here < np.float32(np.inf)
        n_hits += hit
        nearest = min(nearest, here)
        farthest = max(farthest, here if hit else np.float32(-np.inf))
    return n_hits, nearest, farthest
