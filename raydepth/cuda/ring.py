"""Pieces of work that overlap on a device: one is uploaded, one runs, one is downloaded.

Each has a slot of its own, with a stream, buffers on the device and pinned memory to upload from.
Making these takes longer than most renderings, so a slot is used again by whoever comes next.
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
# A buffer that grows becomes so much larger than it must.
GROWTH = 1.25
# Slots that nobody uses keep at most so many bytes on the device.
KEPT = 1 << 29

T = TypeVar("T")


class Slot:
    """One piece of work at a time: buffers, which grow as needed, and a stream.

    Attributes
    ----------
    staging : (n,) uint8, pinned; `upload` copies its beginning to `input`
    input, output : Buffer, as large as was asked for, or larger
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
        """What it holds of the device's memory."""
        return self.input.n_bytes + self.output.n_bytes

    def reserve(self, n_input: int, n_output: int) -> None:
        """Let there be room for so many bytes."""
        if n_input > len(self.staging):
            self.staging = self.device.pinned(_grown(n_input))
        if n_input > self.input.n_bytes:
            self.input = Buffer(0, 0, None)  # freed before the larger one is asked for
            self.input = allocated(self.device, _grown(n_input))
        if n_output > self.output.n_bytes:
            self.output = Buffer(0, 0, None)
            self.output = allocated(self.device, _grown(n_output))

    def upload(self, n_bytes: int) -> None:
        self.device.upload(self.input, 0, self.staging[:n_bytes], self.stream)

    def download(self, host: np.ndarray, offset: int) -> None:
        """Fill `host` from what lies at `offset` in `output`."""
        self.device.download(host, self.output, offset, self.stream)

    def wait(self) -> None:
        """Until all that the slot was given is done."""
        self.device.wait(self.stream)


class Ring:
    """The slots of one device, and the pinned memory that results come to. For many threads."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.pool = pinned_pool(device)
        self._free: list[Slot] = []
        self._work: dict[int, Any] = {}
        # Collecting garbage ends generators that nobody finished, at any place, in any thread.
        self._lock = threading.RLock()
        device.keepers.append(self._release)

    @property
    def held_bytes(self) -> int:
        """What slots that nobody uses hold of the device's memory."""
        with self._lock:
            return sum(slot.n_bytes for slot in self._free)

    def overlap(
        self, steps: Iterable[Callable[[Slot], Callable[[], T]]]
    ) -> Generator[T, None, None]:
        """Do pieces of work, at most N_SLOTS at a time.

        Parameters
        ----------
        steps : of callables
            Each is asked for, and called with a slot, when there is one. It says what is to be
            done, without waiting, and returns what to call when that is done.

        Yields
        ------
        What these return, in order.
        """
        under_way: collections.deque[Slot] = collections.deque()
        collecting: collections.deque[Callable[[], T]] = collections.deque()
        # Also referred to from here: the memory of a generator that is garbage may be given away
        # before the generator is ended.
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
            # Whoever stops early must not free memory that a copy still goes to.
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
    """Somewhat more, so that buffers do not grow at every piece of work."""
    return int(n_bytes * GROWTH)
