"""Meshes on the device: their upload, and how long they stay."""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

import numpy as np

from raydepth.bvh import Bvh
from raydepth.cuda.device import Buffer, aligned, allocated
from raydepth.cuda.device_code.layout import flatten

# Meshes that are not being rendered take at most this part of the device's memory that is free at
# first.
SHARE = 0.5


class Flat(NamedTuple):
    """A mesh as the kernels read it (layout.py), in main memory."""

    nodes: np.ndarray
    triangles: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray


class Resident(NamedTuple):
    """A mesh that stays on the device."""

    addresses: tuple[int, int, int, int]
    buffer: Buffer


def flat_arrays(bvh: Bvh) -> Flat:
    return Flat(*flatten(bvh), np.ascontiguousarray(bvh.vertices), np.ascontiguousarray(bvh.faces))


def flat_bytes(flat: Flat) -> int:
    return sum(aligned(array.nbytes) for array in flat)


def make_resident(device: Any, flat: Flat) -> Resident:
    """Upload a mesh, and wait until that is done."""
    buffer = allocated(device, flat_bytes(flat))
    stream = device.stream()
    offset, addresses = 0, []
    for array in flat:
        addresses.append(buffer.address + offset)
        device.upload(buffer, offset, array, stream)
        offset += aligned(array.nbytes)
    device.wait(stream)
    return Resident((addresses[0], addresses[1], addresses[2], addresses[3]), buffer)


class Residents:
    """A store of meshes on the device, each kept while its hierarchy lives and there is room.

    When room is needed, the least recently used meshes go first.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._budget = int(device.free_bytes() * SHARE)
        # The least recently used first.
        self._found: weakref.WeakKeyDictionary[Bvh, Resident] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        device.keepers.append(self._release)

    def of(self, bvh: Bvh) -> Resident:
        """Return the hierarchy on the device; upload it if it is not there."""
        with self._lock:
            found = self._found.pop(bvh, None)
            if found is None:
                flat = flat_arrays(bvh)
                self._make_room(flat_bytes(flat))
                found = make_resident(self._device, flat)
            self._found[bvh] = found
        return found

    def _release(self) -> None:
        with self._lock:
            self._found.clear()

    def _make_room(self, n_bytes: int) -> None:
        there = list(self._found.items())
        held = sum(resident.buffer.n_bytes for _, resident in there)
        for bvh, resident in there:
            if held + n_bytes <= self._budget:
                return
            held -= resident.buffer.n_bytes
            del self._found[bvh]
