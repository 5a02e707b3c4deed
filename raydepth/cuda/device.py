"""The one CUDA device that is used: how it is found, its memory, its kernels.

Code that uses a device (batch.py and above) knows only the methods of `Device`. The tests replace
it with a class that runs the same kernels on the CPU.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib.util
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from raydepth.cuda.device_code.threads import THREADS
from raydepth.errors import DeviceError, DeviceMemoryError, one_line

INSTALL = 'pip install "raydepth[cuda]"'
# Device memory of a process besides its meshes: its context, its kernels, the ring's slots.
PROCESS_BYTES = 1 << 30

# Arrays in one buffer begin at multiples of this, for whole memory transactions and any dtype.
ALIGNMENT = 256


def aligned(n_bytes: int) -> int:
    """Round a number of bytes up to a multiple of ALIGNMENT."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


class Buffer(NamedTuple):
    """Memory on the device, freed with the last reference to `owner`."""

    address: int
    n_bytes: int
    owner: Any


def why_unusable() -> str | None:
    """Return None if a CUDA device can be used here, else one line: what is missing, what to do."""
    reason, process = _looked_for()
    if reason is None and process != os.getpid():
        return "it was in use before this process was forked; start processes with 'spawn'"
    return reason


@functools.cache
def _looked_for() -> tuple[str | None, int]:
    """Return why there is no device, or None; and the id of this process.

    Forks of the process cannot use the device.
    """
    if importlib.util.find_spec("numba_cuda") is None:
        return f"Numba's CUDA target is not installed: {INSTALL}", os.getpid()
    try:
        found = _kernels()
        reason = None if found.cuda.is_available() else _why_unavailable(found)
    except Exception as error:  # a broken installation may raise anything
        reason = f"Numba's CUDA target cannot be loaded ({one_line(error)[:200]}): {INSTALL}"
    return reason, os.getpid()


def _why_unavailable(kernels: Any) -> str:
    error = kernels.cuda.cuda_error()
    if error is not None:
        return (
            f"no working CUDA driver was found ({one_line(error)[:200]}); install NVIDIA's driver"
        )
    if not kernels.nvvm.is_available():
        return f"the CUDA toolkit's compiler library libNVVM was not found: {INSTALL}"
    return "no CUDA device was found; nvidia-smi lists those that the driver sees"


@functools.cache
def _kernels() -> Any:
    """Import kernels.py, and with it Numba's CUDA target; only when a device is asked for."""
    from raydepth.cuda.device_code import kernels

    return kernels


def device() -> Device:
    """Return the device, which is set up at the first call.

    Raises
    ------
    DeviceError
        If no device can be used; one line says what is missing and what to do.
    """
    reason = why_unusable()
    if reason is not None:
        raise DeviceError(f"device 'cuda': {reason}")
    with _one_at_a_time:
        return _device()


_one_at_a_time = threading.Lock()


@functools.cache
def _device() -> Device:
    return Device()


def allocated(device: Device, n_bytes: int) -> Buffer:
    """Call `Device.empty`; if it fails, free memory that is only kept for later, and try again.

    Raises
    ------
    DeviceMemoryError
        If it fails again.
    """
    try:
        return device.empty(n_bytes)
    except DeviceMemoryError:
        for release in device.keepers:
            release()
        return device.empty(n_bytes)


def room_for_processes() -> tuple[int, int]:
    """Return the number of processes that may render on the device, and the bytes for their meshes.

    Half of the free memory is for the processes, the other half for their meshes.
    """
    half = device().free_bytes() // 2
    return max(1, half // PROCESS_BYTES), half


class _Owner:
    """An owner of memory on the device: the memory is freed after it."""


@contextlib.contextmanager
def _as_ours(what: str) -> Iterator[None]:
    """Turn errors of Numba and the driver into DeviceMemoryError and DeviceError."""
    try:
        yield
    except Exception as error:
        # Numba raises a RuntimeError if another library's context is in its way.
        library = type(error).__module__.partition(".")[0]
        if library not in ("numba", "numba_cuda", "cuda") and type(error) is not RuntimeError:
            raise
        reason = one_line(error)[:200]
        if "OUT_OF_MEMORY" in reason:
            raise DeviceMemoryError(
                f"the CUDA device is out of memory ({what}); render fewer views at a time, or on "
                "the CPU"
            ) from None
        raise DeviceError(
            f"the CUDA device {what}: {reason}; if it was lost, start a new process"
        ) from None


class Device:
    """A CUDA device: memory, copies and launches, all errors checked.

    Calls that take a stream return at once, except `wait`; work of one stream is done in order. The
    device is the one that is current where it is first asked for, which is CUDA's first unless the
    program has chosen another. It stays the same for all threads.

    Attributes
    ----------
    name : str
    number : int
        CUDA's number of the device.
    compute_capability : (major, minor)
    keepers : list of callables
        Each frees memory that it only keeps for later.
    """

    def __init__(self) -> None:
        self._cuda = _kernels().cuda
        self._compiled: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.keepers: list[Callable[[], None]] = []
        self.number = 0
        self._thread = threading.local()
        # Memory without references: freed by a thread that has a context.
        self._dropped: collections.deque[Any] = collections.deque()
        with _as_ours("cannot be set up"):
            # A copy by the driver takes a tenth of the time of a copy by Numba's arrays.
            self._driver = _kernels().driver
            current = self._cuda.get_current_device()
            self.number = int(current.id)
            self._context = int(self._cuda.current_context().handle)
            name = current.name
            self.name = name.decode() if isinstance(name, bytes) else str(name)
            self.compute_capability: tuple[int, int] = tuple(current.compute_capability)

    def __repr__(self) -> str:
        return f"Device({self.name!r})"

    @contextlib.contextmanager
    def _checked(self, what: str) -> Iterator[None]:
        """Make this device the thread's current one, and turn its errors into raydepth's."""
        with _as_ours(what):
            if not hasattr(self._thread, "has_context"):
                # Numba's objects may be freed in any thread, which then needs a context, too.
                if int(self._driver.cuCtxGetCurrent()) == 0:
                    self._cuda.select_device(self.number)
                self._thread.has_context = True
            if int(self._driver.cuCtxGetCurrent()) == self._context:
                yield
                return
            with self._cuda.gpus[self.number]:
                yield

    def free_bytes(self) -> int:
        with self._checked("cannot report its free memory"):
            self._dropped.clear()
            return int(self._cuda.current_context().get_memory_info().free)

    def empty(self, n_bytes: int) -> Buffer:
        """Allocate memory on the device, not initialised; its address is a multiple of 256."""
        with self._checked(f"cannot allocate {n_bytes:,} bytes"):
            self._dropped.clear()
            array = self._cuda.device_array(max(n_bytes, 1), np.uint8)
        owner = _Owner()
        weakref.finalize(owner, self._dropped.append, array).atexit = False
        return Buffer(array.__cuda_array_interface__["data"][0], n_bytes, owner)

    def pinned(self, n_bytes: int) -> np.ndarray:
        """Allocate pinned main memory, (n_bytes,) uint8: copies need no buffer in between."""
        with self._checked(f"cannot pin {n_bytes:,} bytes"):
            return self._cuda.pinned_array(max(n_bytes, 1), np.uint8)[:n_bytes]

    def stream(self) -> Any:
        with self._checked("cannot make a stream"):
            return self._cuda.stream()

    def upload(self, buffer: Buffer, offset: int, host: np.ndarray, stream: Any) -> None:
        """Copy contiguous `host` to the buffer."""
        assert host.flags.c_contiguous
        assert offset + host.nbytes <= buffer.n_bytes
        if host.nbytes:
            with self._checked("failed during an upload"):
                self._driver.cuMemcpyHtoDAsync(
                    buffer.address + offset, host.ctypes.data, host.nbytes, stream.handle
                )

    def download(self, host: np.ndarray, buffer: Buffer, offset: int, stream: Any) -> None:
        """Fill contiguous `host` from the buffer."""
        assert host.flags.c_contiguous
        assert offset + host.nbytes <= buffer.n_bytes
        if host.nbytes:
            with self._checked("failed during a download"):
                self._driver.cuMemcpyDtoHAsync(
                    host.ctypes.data, buffer.address + offset, host.nbytes, stream.handle
                )

    def launch(
        self, kernel: str, n_blocks: int, n_jobs: int, arguments: tuple[Any, ...], stream: Any
    ) -> None:
        """Launch a kernel of kernels.py with (n_blocks, n_jobs) blocks."""
        if n_blocks == 0 or n_jobs == 0:
            return
        compiled = self._kernel(kernel)
        with self._checked(f"cannot run {kernel}"):
            compiled[(n_blocks, n_jobs), THREADS, stream](*arguments)

    def wait(self, stream: Any) -> None:
        """Wait until all work of the stream is done."""
        with self._checked("failed"):
            stream.synchronize()

    def _kernel(self, name: str) -> Any:
        with self._lock:
            if name not in self._compiled:
                with self._checked(f"cannot compile {name}"):
                    self._compiled[name] = _kernels().compiled(name)
        return self._compiled[name]
