"""The kernel that finds the range of a depth map."""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit

# Positive floats are in the order of their bits, and minima of integers become vectors.
INFINITY = np.int32(0x7F800000)


@jit
def depth_range(depth):
    """Hits, and the nearest and farthest of them, in one pass.

    Parameters
    ----------
    depth : (n,) float32
        > 0; +inf is a miss.

    Returns
    -------
    n_hits : int
    nearest, farthest : float32
        +inf and 0 without hits.
    """
    bits = depth.view(np.int32)
    # As wide as a depth; the pixels of an image fit.
    n_hits, nearest, farthest = np.uint32(0), INFINITY, np.int32(0)
    for i in range(bits.size):
        here = bits[i]
        is_hit = here < INFINITY
        n_hits = np.uint32(n_hits + np.uint32(is_hit))
        nearest = min(nearest, here)
        farthest = max(farthest, here if is_hit else np.int32(0))
    ends = np.array([nearest, farthest]).view(np.float32)
    return int(n_hits), ends[0], ends[1]
