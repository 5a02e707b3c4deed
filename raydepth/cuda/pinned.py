"""Results in pinned memory, which the device fills without a detour.

Pinning is slow, so memory that a result no longer needs is kept for the next one. It is also taken
from everybody else on the machine, so whoever keeps many results gets ordinary memory for them.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from typing import Any

import numpy as np

# Memory of results that are gone, kept for new ones, and of results that are not: at most so many
# bytes each.
KEPT = 1 << 30
LENT = 1 << 31
LEAST = 1 << 16


class PinnedPool:
    """Arrays in pinned memory that go back to the pool with their last reference.

    Parameters
    ----------
    device : what has `pinned(n_bytes)`
    kept : bytes of unused memory to keep at most
    lent : bytes of memory in use, at most
    """

    def __init__(self, device: Any, kept: int = KEPT, lent: int = LENT) -> None:
        self._device = device
        self._kept, self._lent = kept, lent
        self._free: dict[int, list[np.ndarray]] = {}
        self._n_free = self._n_lent = 0
        # Finalizers may run in the middle of `empty`, in the same thread.
        self._lock = threading.RLock()

    @property
    def free_bytes(self) -> int:
        return self._n_free

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Like `np.empty`; in ordinary memory if no more can be pinned."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        # Few sizes, so that blocks fit again: powers of two and the middles between them.
        size = LEAST
        while size < n_bytes:
            size *= 2
        if size > LEAST and size * 3 // 4 >= n_bytes:
            size = size * 3 // 4
        block = self._take(size)
        if block is None:
            return np.empty(shape, dtype)
        # Every view of the result refers to this object; it dies with the last of them.
        owner = (ctypes.c_uint8 * n_bytes).from_address(block.ctypes.data)
        weakref.finalize(owner, self._give_back, block)
        return np.frombuffer(owner, dtype).reshape(shape)

    def _take(self, size: int) -> np.ndarray | None:
        with self._lock:
            if self._n_lent + size > self._lent:
                return None
            self._n_lent += size
            blocks = self._free.get(size)
            if blocks:
                self._n_free -= size
                return blocks.pop()
        try:
            return self._device.pinned(size)
        except BaseException as error:
            with self._lock:
                self._n_lent -= size
            if isinstance(error, MemoryError):
                return None
            raise

    def _give_back(self, block: np.ndarray) -> None:
        with self._lock:
            self._n_lent -= block.nbytes
            if self._n_free + block.nbytes <= self._kept:
                self._free.setdefault(block.nbytes, []).append(block)
                self._n_free += block.nbytes
