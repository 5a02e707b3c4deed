"""Arrays that begin at a cache line and have a spare cache line after their end."""

from __future__ import annotations

import math

import numpy as np

CACHE_LINE = 64


def empty(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Allocate like `np.empty`, so that rows of 32 or 64 bytes lie in one cache line each.

    One cache line after the end may be read, too (see `interleaved.load_columns`).
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + 2 * CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    return memory[begin : begin + n_bytes].view(dtype).reshape(shape)
