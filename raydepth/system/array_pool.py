"""Arrays whose memory is used again after the last reference to it is gone.

Memory that is new to a process costs a page fault for every 4 KiB, and the system takes large
freed pieces back at once. For the image arrays of many small renders, that can cost as much as the
rays. Pinned memory costs even more. So some freed pieces are kept here for the next array of about
their size.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from raydepth.system import aligned

# Most bytes of unused pieces that are kept in total, and of one piece.
KEPT = 1 << 29
LARGEST = 1 << 27
# Smaller pieces cost too little to be worth keeping.
LEAST = 1 << 14


class ArrayPool:
    """A pool of memory of one kind; memory returns to it with the last reference to an array.

    Parameters
    ----------
    make : callable
        Takes a number of bytes; returns new memory, (n_bytes,) uint8, or raises MemoryError.
    kept : int
        Most bytes of unused memory to keep.
    lent : float
        Most bytes of pool memory in use. Beyond that, and if `make` raises MemoryError, arrays have
        ordinary memory.
    least : int
        Bytes of the smallest piece.
    """

    def __init__(
        self,
        make: Callable[[int], np.ndarray],
        *,
        kept: int = KEPT,
        lent: float = math.inf,
        least: int = LEAST,
    ) -> None:
        self._make = make
        self._kept, self._lent, self._least = kept, lent, least
        self._free: dict[int, list[np.ndarray]] = {}
        self._n_free = self._n_lent = 0
        # Reentrant, because finalizers may run in the middle of `empty`, in the same thread.
        self._lock = threading.RLock()

    @property
    def free_bytes(self) -> int:
        """Bytes of unused memory that is kept."""
        return self._n_free

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Allocate like `np.empty`, in memory of the pool if possible."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        piece = self._take(self._size(n_bytes))
        if piece is None:
            return np.empty(shape, dtype)
        # Every view of the result refers to this object; it dies with the last of them.
        owner: Any = (ctypes.c_char * n_bytes).from_address(piece.ctypes.data)
        weakref.finalize(owner, self._give_back, piece).atexit = False
        return np.ndarray(shape, dtype, buffer=owner)

    def _size(self, n_bytes: int) -> int:
        """Round up to a power of two or the middle between two: few sizes, so pieces fit again."""
        size = self._least
        while size < n_bytes:
            size *= 2
        return size * 3 // 4 if size > self._least and size * 3 // 4 >= n_bytes else size

    def _take(self, size: int) -> np.ndarray | None:
        with self._lock:
            if self._n_lent + size > self._lent:
                return None
            self._n_lent += size
            pieces = self._free.get(size)
            if pieces:
                self._n_free -= size
                return pieces.pop()
        try:
            return self._make(size)
        except BaseException as error:
            with self._lock:
                self._n_lent -= size
            if isinstance(error, MemoryError):
                return None
            raise

    def _give_back(self, piece: np.ndarray) -> None:
        with self._lock:
            size = piece.nbytes
            self._n_lent -= size
            if size > self._kept:
                return
            # Pieces of the size that was kept first make room.
            while self._n_free + size > self._kept:
                oldest = next(iter(self._free))
                pieces = self._free.pop(oldest)
                pieces.pop(0)
                self._n_free -= oldest
                if pieces:
                    self._free[oldest] = pieces
            self._free.setdefault(size, []).append(piece)
            self._n_free += size


def _new_memory(n_bytes: int) -> np.ndarray:
    return aligned.empty((n_bytes,), np.uint8)


_images = ArrayPool(_new_memory)


def empty(shape: tuple[int, ...], dtype: np.dtype | type[np.generic]) -> np.ndarray:
    """Allocate like `np.empty`, aligned to a cache line. Memory of medium size is used again."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not LEAST <= n_bytes <= LARGEST:
        return aligned.empty(shape, np.dtype(dtype).type)
    return _images.empty(shape, dtype)
