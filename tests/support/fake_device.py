"""A CUDA device's place taken by the CPU: the same work of each thread, in main memory.

It has `raydepth.cuda.device.Device`'s methods. Work is done when a stream is waited for, not
before: what forgets to wait gets garbage. Memory that is not owned any more is filled with garbage.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numba import njit

from raydepth.cuda.device import Buffer
from raydepth.cuda.device_code import lbvh, threads
from raydepth.errors import DeviceMemoryError

GARBAGE = 0xA5


def _run(kernel: Callable) -> Callable:
    """Every thread of a launch."""

    @njit(nogil=True, error_model="numpy")
    def run(jobs, n_blocks, n_jobs):
        for job in range(n_jobs):
            for block in range(n_blocks):
                for thread in range(threads.THREADS):
                    kernel(jobs, job, np.int32(block), np.int32(thread))

    return run


@njit(nogil=True, error_model="numpy")
def _resolve(jobs, n_blocks, n_jobs, dtype):
    for job in range(n_jobs):
        for block in range(n_blocks):
            for thread in range(threads.THREADS):
                threads.resolve(jobs, job, np.int32(block), np.int32(thread), dtype)


@njit(nogil=True, error_model="numpy")
def _cast_rays(jobs, n_blocks, n_jobs):
    for block in range(n_blocks):
        for thread in range(threads.THREADS):
            threads.cast_ray(jobs, np.int32(block), np.int32(thread))


@njit(nogil=True, error_model="numpy")
def _build_step(build, n_blocks, n_jobs, step, n, a, b, c):
    for i in range(n_blocks * threads.THREADS):
        if i < n:
            lbvh.run_step(build, step, i, a, b, c)


class Stream:
    def __init__(self) -> None:
        self.todo: list[Callable[[], None]] = []


def _owner_of(array: Any) -> Any:
    """Whose death frees the array's memory."""
    while getattr(array, "base", None) is not None:
        array = array.base.obj if isinstance(array.base, memoryview) else array.base
    return array


class FakeDevice:
    """Counts what it is asked for; `memory` bytes are all that it has."""

    name = "fake"
    number = 0
    dlpack_type = 1  # in main memory

    kernels: ClassVar = {
        "set_up_beams": _run(threads.set_up_beam),
        "find_visible": _run(threads.find_visible),
        "find_visible_exactly": _run(threads.find_visible_exactly),
        "resolve": _resolve,
        "cast_rays": _cast_rays,
        "build_step": _build_step,
    }

    def __init__(self, memory: int = 1 << 30, pinned: int = 1 << 30) -> None:
        self.memory, self.pinned_memory = memory, pinned
        self.used = self.most_used = self.used_pinned = 0
        self.launches: list[tuple[str, int, int]] = []
        self.keepers: list[Callable[[], None]] = []
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self.most_in_flight = 0
        self.made: list[str] = []

    def free_bytes(self) -> int:
        return self.memory - self.used

    def empty(self, n_bytes: int) -> Buffer:
        if self.used + n_bytes > self.memory:
            raise DeviceMemoryError(f"the CUDA device is out of memory: {n_bytes} bytes")
        self.made.append("buffer")
        self.used += n_bytes
        self.most_used = max(self.most_used, self.used)
        whole = np.full(n_bytes + 256, GARBAGE, np.uint8)
        skip = -whole.ctypes.data % 256
        array = whole[skip : skip + n_bytes]

        class Owner:
            memory = array

        owner = Owner()

        def free() -> None:
            self.used -= n_bytes
            array[:] = GARBAGE

        weakref.finalize(owner, free)
        return Buffer(array.ctypes.data, n_bytes, owner)

    def pinned(self, n_bytes: int) -> np.ndarray:
        if self.used_pinned + n_bytes > self.pinned_memory:
            raise MemoryError("cannot pin")
        self.made.append("pinned")
        self.used_pinned += n_bytes
        return np.full(n_bytes, GARBAGE, np.uint8)

    def stream(self) -> Stream:
        self.made.append("stream")
        stream = Stream()
        self.streams.add(stream)
        return stream

    def upload(self, buffer: Buffer, offset: int, host: np.ndarray, stream: Stream) -> None:
        part = host.reshape(-1).view(np.uint8)
        assert offset + part.nbytes <= buffer.n_bytes
        target = buffer.owner.memory[offset : offset + part.nbytes]
        self._put(stream, lambda: target.__setitem__(slice(None), part))

    def download(self, host: np.ndarray, buffer: Buffer, offset: int, stream: Stream) -> None:
        part = host.reshape(-1).view(np.uint8)
        assert np.shares_memory(part, host), "a copy would be filled"
        assert offset + part.nbytes <= buffer.n_bytes
        source = buffer.owner.memory[offset : offset + part.nbytes]
        # Nobody on a device keeps main memory alive for a copy.
        address, owner = part.ctypes.data, weakref.ref(_owner_of(host))
        del host, part

        def copy() -> None:
            assert owner() is not None, "memory is gone before the device has filled it"
            ctypes.memmove(address, source.ctypes.data, source.nbytes)

        self._put(stream, copy)

    def launch(
        self, kernel: str, n_blocks: int, n_jobs: int, arguments: tuple[Any, ...], stream: Stream
    ) -> None:
        self.launches.append((kernel, n_blocks, n_jobs))
        table, *rest = arguments
        run = self.kernels[kernel]
        self._put(stream, lambda: run(table, n_blocks, n_jobs, *rest))

    @property
    def in_flight(self) -> int:
        """Streams with something to do."""
        return sum(bool(stream.todo) for stream in list(self.streams))

    def _put(self, stream: Stream, step: Callable[[], None]) -> None:
        stream.todo.append(step)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def wait(self, stream: Stream) -> None:
        todo, stream.todo = stream.todo, []
        for step in todo:
            step()
