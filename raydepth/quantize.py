"""The kernel that makes 16-bit values of depth."""

from __future__ import annotations

import numba
import numpy as np

MAX_VALUE = 65535


@numba.njit(nogil=True, cache=True, error_model="numpy")
def quantize(depth: np.ndarray, scale: float, miss: float, values: np.ndarray) -> int:
    """`round(depth * scale)` in float64, halfway to even; 0 for a miss.

    One pass of a few vector instructions, where NumPy needs ten over temporary arrays.

    Parameters
    ----------
    depth : (n,) float32 or float64
    scale : float
    miss : float of depth's dtype
        May be NaN.
    values : (n,) uint16
        Written. What does not fit gets an arbitrary value.

    Returns
    -------
    int
        How many depths are no misses and become less than 1 or more than 65535, or are NaN.
    """
    n_unfit = np.uint32(0)
    miss_is_nan = miss != miss
    for i in range(depth.size):
        d = depth[i]
        missed = (d == miss) | (miss_is_nan & (d != d))
        value = np.rint(np.float64(d) * scale)
        value = 0.0 if missed else value
        fits = (value >= 1.0) & (value <= MAX_VALUE)
        n_unfit += np.uint32(1 - (fits | missed))
        values[i] = np.uint16(np.int32(value if fits else 0.0))
    return int(n_unfit)
