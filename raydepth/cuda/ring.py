"""Pieces of work that overlap on a device: one is uploaded, one runs, one is downloaded.

Each piece has a slot of its own: a stream, buffers on the device and pinned memory to upload from.
Making a slot takes longer than most renderings, so slots are used again.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import numpy as np

from raydepth.cuda.device import Buffer, allocated
from raydepth.cuda.pinned import pinned_pool

N_SLOTS = 3
# A buffer that grows becomes larger than needed by this factor.
GROWTH = 1.25
# Most bytes on the device that unused slots keep.
KEPT = 1 << 29

T = TypeVar("T")


class Slot:
    """A stream, and buffers that grow as needed, for one piece of work at a time.

    Attributes
    ----------
    staging : (n,) uint8, pinned; `upload` copies its beginning to `input`
    input, output : Buffer, at least as large as was reserved
    """

    input: Buffer
    output: Buffer

    def __init__(self, device: Any) -> None:
        self.device = device
        self.stream = device.stream()
        self.staging = np.empty(0, np.uint8)
        self.input = self.output = Buffer(0, 0, None)

    @property
    def n_bytes(self) -> int:
        """Bytes of the device's memory that the slot holds."""
        return self.input.n_bytes + self.output.n_bytes

    def reserve(self, n_input: int, n_output: int) -> None:
        """Grow the buffers to at least these numbers of bytes."""
        if n_input > len(self.staging):
            self.staging = self.device.pinned(_grown(n_input))
        if n_input > self.input.n_bytes:
            self.input = Buffer(0, 0, None)  # freed before the larger one is allocated
            self.input = allocated(self.device, _grown(n_input))
        if n_output > self.output.n_bytes:
            self.output = Buffer(0, 0, None)
            self.output = allocated(self.device, _grown(n_output))

    def upload(self, n_bytes: int) -> None:
        self.device.upload(self.input, 0, self.staging[:n_bytes], self.stream)

    def download(self, host: np.ndarray, offset: int) -> None:
        """Fill `host` from `output`, beginning at `offset`."""
        self.device.download(host, self.output, offset, self.stream)

    def wait(self) -> None:
        """Wait until all work of the slot is done."""
        self.device.wait(self.stream)


class Ring:
    """The slots of one device, and the pinned memory for results. Many threads may use it."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.pool = pinned_pool(device)
        self._free: list[Slot] = []
        self._work: dict[int, Any] = {}
        # Reentrant, because garbage collection may close an unfinished generator at any place, in
        # any thread.
        self._lock = threading.RLock()
        device.keepers.append(self._release)

    @property
    def held_bytes(self) -> int:
        """Bytes of the device's memory that unused slots hold."""
        with self._lock:
            return sum(slot.n_bytes for slot in self._free)

    def overlap(
        self, steps: Iterable[Callable[[Slot], Callable[[], T]]]
    ) -> Generator[T, None, None]:
        """Do pieces of work, at most N_SLOTS at a time.

        Parameters
        ----------
        steps : iterable of callables
            Each is taken, and called with a slot, when a slot is free. It starts the work without
            waiting, and returns a function to call when the work is done.

        Yields
        ------
        The results of these functions, in order.
        """
        under_way: collections.deque[Slot] = collections.deque()
        collecting: collections.deque[Callable[[], T]] = collections.deque()
        # A second reference, because the memory that a garbage generator refers to may be reused
        # before the generator is closed.
        self._work[id(under_way)] = under_way, collecting

        def finished() -> T:
            under_way[0].wait()
            result = collecting.popleft()()
            self._give_back(under_way.popleft())
            return result

        try:
            for step in steps:
                if len(under_way) == N_SLOTS:
                    yield finished()
                under_way.append(self._taken())
                collecting.append(step(under_way[-1]))
            while under_way:
                yield finished()
        finally:
            # If the caller stops early, memory that a copy still goes to must not be freed.
            while under_way:
                under_way[0].wait()
                self._give_back(under_way.popleft())
            del self._work[id(under_way)]

    def _taken(self) -> Slot:
        with self._lock:
            if self._free:
                return self._free.pop()
        return Slot(self.device)

    def _release(self) -> None:
        with self._lock:
            self._free.clear()

    def _give_back(self, slot: Slot) -> None:
        with self._lock:
            if sum(free.n_bytes for free in self._free) + slot.n_bytes <= KEPT:
                self._free.append(slot)


def _grown(n_bytes: int) -> int:
    """Add a margin, so that buffers do not grow with every piece of work."""
    return int(n_bytes * GROWTH)
