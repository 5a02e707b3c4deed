"""The kernel that finds the range of a depth map."""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit

# Positive floats compare like their bits, and minima of integers compile to vector instructions.
INFINITY = np.int32(0x7F800000)


@jit
def depth_range(depth):
    """Count the hits, and find the nearest and the farthest of them, in one pass.

    Parameters
    ----------
    depth : (n,) float32
        In units, > 0; +inf is a miss.

    Returns
    -------
    n_hits : int
    nearest, farthest : float32
        In units; +inf and 0 if there are no hits.
    """
    bits = depth.view(np.int32)
    # The count is as wide as a depth; the number of pixels of an image fits.
    n_hits, nearest, farthest = np.uint32(0), INFINITY, np.int32(0)
    for i in range(bits.size):
        here = bits[i]
        is_hit = here < INFINITY
        n_hits = np.uint32(n_hits + np.uint32(is_hit))
        nearest = min(nearest, here)
        farthest = max(farthest, here if is_hit else np.int32(0))
    ends = np.array([nearest, farthest]).view(np.float32)
    return int(n_hits), ends[0], ends[1]
