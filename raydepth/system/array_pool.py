"""Arrays whose memory is used again once nobody refers to it.

Memory that is new to a process costs a page fault for every 4 KiB, and the system takes large
freed pieces back at once: for the image arrays of many small renders that can cost as much as the
rays. Pinned memory costs more still. So some pieces wait here for the next array of about their
size.
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

# Bytes of pieces that wait, in all, and of the largest piece that does.
KEPT = 1 << 29
LARGEST = 1 << 27
# Smaller pieces cost too little to keep.
LEAST = 1 << 14


class ArrayPool:
    """Arrays in memory of some kind that goes back to the pool with the last reference to it.

    Parameters
    ----------
    make : callable
        Takes a number of bytes; gives new memory, (n_bytes,) uint8, or raises MemoryError.
    kept : int
        Bytes of unused memory to keep at most.
    lent : float
        Bytes of memory in use, at most; beyond that, and where `make` fails, arrays are ordinary.
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
        # Finalizers may run in the middle of `empty`, in the same thread.
        self._lock = threading.RLock()

    @property
    def free_bytes(self) -> int:
        """Bytes of memory that waits."""
        return self._n_free

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Like `np.empty`."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        piece = self._take(self._size(n_bytes))
        if piece is None:
            return np.empty(shape, dtype)
        # Every view of the result refers to this object; it dies with the last of them.
        owner: Any = (ctypes.c_char * n_bytes).from_address(piece.ctypes.data)
        weakref.finalize(owner, self._give_back, piece).atexit = False
        return np.ndarray(shape, dtype, buffer=owner)

    def _size(self, n_bytes: int) -> int:
        """The size of a piece: few sizes fit again, powers of two and the middles between them."""
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
            # Sizes that have waited longest make room.
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
    """Like `np.empty`; begins at a cache line. Memory of middle size is used again."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not LEAST <= n_bytes <= LARGEST:
        return aligned.empty(shape, np.dtype(dtype).type)
    return _images.empty(shape, dtype)
