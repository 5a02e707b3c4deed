"""Render meshes and views on a device: one launch a chunk, several chunks under way.

Each chunk has a slot of a ring, with buffers, a stream, and a pinned staging buffer of its own. So
the meshes of one chunk are packed and uploaded while another renders and a third is downloaded.

Memory on the device is at most N_SLOTS times the budgets below, unless one mesh or one view needs
more by itself; pinned memory N_SLOTS times MESH_BUDGET and what results hold (pinned.py).
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from raydepth.bvh import Bvh
from raydepth.cuda import exact, jobs
from raydepth.cuda.chunks import MAX_JOBS, Piece, Request, chunks
from raydepth.cuda.device import Buffer
from raydepth.cuda.layout import flatten
from raydepth.cuda.pinned import PinnedPool
from raydepth.cuda.threads import beam_bytes, launches

N_SLOTS = 3
# Bytes of a chunk's meshes and of its outputs. Small enough that a batch overlaps with itself,
# large enough that launches cost little beside what they do.
MESH_BUDGET = 1 << 26
OUTPUT_BUDGET = 1 << 26
# Of the device's free memory the ring takes at most this part.
SHARE = 0.8
ALIGNMENT = 256

DTYPES = {
    np.dtype(np.float32): exact.FLOAT32,
    np.dtype(np.float64): exact.FLOAT64,
    np.dtype(np.uint16): exact.UINT16,
}
WORD_OF_KIND = {"z": jobs.Z, "ray": jobs.RAY}


class Flat(NamedTuple):
    """A mesh as the kernels read it (layout.py), in main memory or on the device."""

    nodes: Any
    triangles: Any
    vertices: Any
    faces: Any


@dataclass(eq=False)
class Views:
    """What to render of one mesh, and where the result goes.

    Attributes
    ----------
    mesh : Flat of arrays, or `Resident`
    scale : of the mesh's local frame
    basis : (n_views, 6, 3) float64, in the local frame
    projection : (n_views, 14) float64
    size : (width, height)
    limits : near and far, (n_views,) float64 each, in units of the local frame
    triangle_id : (n_views, height, width) int32
    depths : by kind the same of the batch's type
    misfits : set if a depth does not fit 16 bits
    """

    mesh: Any
    scale: float
    basis: np.ndarray
    projection: np.ndarray
    size: tuple[int, int]
    limits: tuple[np.ndarray, np.ndarray]
    triangle_id: np.ndarray | None = None
    depths: dict[str, np.ndarray] = field(default_factory=dict)
    misfits: bool = False


class Resident(NamedTuple):
    """A mesh that stays on the device."""

    addresses: tuple[int, int, int, int]
    buffer: Buffer


def flat_arrays(bvh: Bvh) -> Flat:
    return Flat(*flatten(bvh), np.ascontiguousarray(bvh.vertices), np.ascontiguousarray(bvh.faces))


def make_resident(device: Any, flat: Flat) -> Resident:
    """Upload a mesh."""
    buffer = device.empty(flat_bytes(flat))
    stream = device.stream()
    offset, addresses = 0, []
    for array in flat:
        addresses.append(buffer.address + offset)
        device.upload(buffer, offset, array, stream)
        offset += _aligned(array.nbytes)
    device.wait(device.record(stream))
    return Resident((addresses[0], addresses[1], addresses[2], addresses[3]), buffer)


def flat_bytes(flat: Flat) -> int:
    return sum(_aligned(array.nbytes) for array in flat)


def fill_jobs(
    rows: np.ndarray, piece: Piece, addresses: tuple[int, int, int, int], batch: BatchOptions
) -> None:
    """The job table's rows of one piece, but for where outputs go."""
    views: Views = piece.request.payload
    jobs.fill_views(
        rows,
        addresses,
        views.basis[piece.first : piece.last],
        views.projection[piece.first : piece.last],
        views.size,
        (views.limits[0][piece.first : piece.last], views.limits[1][piece.first : piece.last]),
        scale=views.scale,
        miss=batch.miss,
        values_per_unit=batch.values_per_unit,
    )


class BatchOptions(NamedTuple):
    """What all views of a batch share; `values_per_unit` is for uint16."""

    kinds: tuple[str, ...]
    dtype: np.dtype
    miss: float
    values_per_unit: float = 0.0


def launch(
    device: Any, table: int, n_jobs: int, size: tuple[int, int], dtype: Any, stream: Any
) -> None:
    """Visibility, then resolve, of all rows of a job table on the device."""
    code = np.int32(DTYPES[np.dtype(dtype)])
    for kernel, n_blocks in launches(size).items():
        extra = (code,) if kernel == "resolve" else ()
        device.launch(kernel, n_blocks, n_jobs, (np.uint64(table), *extra), stream)


class _Slot:
    """One chunk at a time: its buffers, which grow as needed, and its stream."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._stream = device.stream()
        self._staging = np.empty(0, np.uint8)
        self._input: Buffer | None = None
        self._output: Buffer | None = None
        self._flag = device.pinned(4).view(np.int32)
        self._done: Any = None
        self._chunk: list[Piece] = []

    def start(self, chunk: list[Piece], batch: BatchOptions, pool: PinnedPool) -> None:
        """Pack, upload, render and download a chunk; returns before that is done."""
        n_jobs = sum(piece.last - piece.first for piece in chunk)
        table_bytes = _aligned(8 * jobs.WORDS * n_jobs)
        n_input = table_bytes + sum(piece.request.mesh_bytes for piece in chunk)
        n_output = ALIGNMENT + sum(
            (p.last - p.first) * p.request.view_bytes + ALIGNMENT * (2 + len(batch.kinds))
            for p in chunk
        )
        device, stream = self._device, self._stream
        if n_input > len(self._staging):
            self._staging = device.pinned(_grown(n_input))
        if self._input is None or n_input > self._input.n_bytes:
            self._input = None  # freed before the larger one is asked for
            self._input = device.empty(_grown(n_input))
        if self._output is None or n_output > self._output.n_bytes:
            self._output = None
            self._output = device.empty(_grown(n_output))

        rows = self._staging[: 8 * jobs.WORDS * n_jobs].view(np.int64).reshape(n_jobs, jobs.WORDS)
        rows[:] = 0
        rows[:, jobs.MISFIT] = self._output.address
        self._flag[0] = 0
        device.upload(self._output, 0, self._flag, stream)
        downloads: list[tuple[np.ndarray, int]] = []
        job, at_input, at_output = 0, table_bytes, ALIGNMENT
        for piece in chunk:
            views: Views = piece.request.payload
            mine = rows[job : job + piece.last - piece.first]
            addresses, at_input = self._pack(views.mesh, at_input)
            fill_jobs(mine, piece, addresses, batch)
            _allocate(views, batch, pool)
            assert views.triangle_id is not None
            outputs = [(jobs.TRIANGLE_ID, views.triangle_id)]
            outputs += [(WORD_OF_KIND[kind], views.depths[kind]) for kind in batch.kinds]
            for word, whole in outputs:
                part = whole[piece.first : piece.last]
                jobs.fill_outputs(mine, word, self._output.address + at_output, part[0].nbytes)
                downloads.append((part, at_output))
                at_output += _aligned(part.nbytes)
            n_bytes = beam_bytes(views.size)
            jobs.fill_outputs(mine, jobs.BEAMS, self._output.address + at_output, n_bytes)
            at_output += _aligned(n_bytes * len(mine))
            job += len(mine)

        device.upload(self._input, 0, self._staging[:at_input], stream)
        launch(device, self._input.address, n_jobs, chunk[0].request.size, batch.dtype, stream)
        for part, offset in downloads:
            device.download(part, self._output, offset, stream)
        device.download(self._flag, self._output, 0, stream)
        self._done = device.record(stream)
        self._chunk = chunk

    def _pack(self, mesh: Flat | Resident, at: int) -> tuple[tuple[int, int, int, int], int]:
        """Put a mesh into the staging buffer; its addresses on the device, and what is behind."""
        if isinstance(mesh, Resident):
            return mesh.addresses, at
        assert self._input is not None
        addresses = []
        for array in mesh:
            self._staging[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
            addresses.append(self._input.address + at)
            at += _aligned(array.nbytes)
        return (addresses[0], addresses[1], addresses[2], addresses[3]), at

    def finish(self) -> list[Piece]:
        """Wait for the chunk; its pieces are in the results then."""
        if self._done is None:
            return []
        self._device.wait(self._done)
        self._done = None
        if self._flag[0]:
            for piece in self._chunk:
                piece.request.payload.misfits = True
        chunk, self._chunk = self._chunk, []
        return chunk


def run(
    device: Any,
    batch: BatchOptions,
    views: Iterable[Views],
    pool: PinnedPool,
    *,
    mesh_budget: int = MESH_BUDGET,
    output_budget: int = OUTPUT_BUDGET,
    max_jobs: int = MAX_JOBS,
) -> Iterator[Views]:
    """Render a batch; gives each of `views` back, filled, in order.

    `views` is asked for the next when there is room for it. If `misfits` is set, a depth of this or
    of another mesh of the same chunk does not fit 16 bits.

    Raises
    ------
    MemoryError
        One mesh, or one view, needs more memory than the device has.
    DeviceError
        The device failed.
    """
    part = int(device.free_bytes() * SHARE) // (2 * N_SLOTS)
    budgets = min(mesh_budget, part), min(output_budget, part)
    slots = collections.deque(_Slot(device) for _ in range(N_SLOTS))

    def finished(slot: _Slot) -> Iterator[Views]:
        for piece in slot.finish():
            if piece.last == piece.request.n_views:
                yield piece.request.payload

    try:
        for chunk in chunks((request(v, batch) for v in views), *budgets, max_jobs):
            slot = slots.popleft()
            yield from finished(slot)
            slots.append(slot)
            slot.start(chunk, batch, pool)
        for slot in slots:
            yield from finished(slot)
    finally:
        # Whoever stops early must not free memory that a copy still goes to.
        for slot in slots:
            slot.finish()


def request(views: Views, batch: BatchOptions) -> Request:
    width, height = views.size
    return Request(
        mesh_bytes=0 if isinstance(views.mesh, Resident) else flat_bytes(views.mesh),
        n_views=len(views.basis),
        view_bytes=width * height * (4 + batch.dtype.itemsize * len(batch.kinds))
        + beam_bytes(views.size),
        size=views.size,
        payload=views,
    )


def _allocate(views: Views, batch: BatchOptions, pool: PinnedPool) -> None:
    """Where the results of one mesh go; once, though its views may come in several pieces."""
    if views.triangle_id is None:
        shape = (len(views.basis), views.size[1], views.size[0])
        views.triangle_id = pool.empty(shape, np.int32)
        views.depths = {kind: pool.empty(shape, batch.dtype) for kind in batch.kinds}


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _grown(n_bytes: int) -> int:
    """Somewhat more, so that buffers do not grow at every chunk."""
    return n_bytes + n_bytes // 4
