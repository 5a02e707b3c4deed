"""Arrays whose memory is used again once nobody refers to it.

Memory that is new to a process costs a page fault for every 4 KiB, and the system takes large
freed pieces back at once: for the image arrays of many small renders that can cost as much as the
rays. So a few pieces wait here for the next array of the same size.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections import deque
from typing import Any

import numpy as np

from raydepth.system import aligned

# Pieces that wait, at most, and the largest piece that does: a bound on what is held, 512 MiB.
WAITING = 4
LARGEST = 1 << 27

# Every operation on it is atomic: pieces come back from whatever thread drops the last reference.
_waiting: deque[np.ndarray] = deque(maxlen=WAITING)


def empty(shape: tuple[int, ...], dtype: np.dtype | type[np.generic]) -> np.ndarray:
    """Like `np.empty`; begins at a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    if not 0 < n_bytes <= LARGEST:
        return aligned.empty(shape, dtype.type)
    memory = _found(n_bytes)
    if memory is None:
        memory = aligned.empty((n_bytes,), np.uint8)
    # All views of the array refer to `owner`, which is what tells when the last one is gone.
    owner: Any = (ctypes.c_char * n_bytes).from_buffer(memory.data)
    weakref.finalize(owner, _waiting.append, memory).atexit = False
    return np.ndarray(shape, dtype, buffer=owner)


def _found(n_bytes: int) -> np.ndarray | None:
    for _ in range(WAITING):
        try:
            memory = _waiting.popleft()
        except IndexError:
            return None
        if memory.nbytes == n_bytes:
            return memory
        _waiting.append(memory)
    return None
