"""Render meshes and views on a device: each kernel is launched once per chunk, and chunks overlap.

The meshes of one chunk are packed and uploaded while another renders and a third is downloaded
(ring.py). Memory on the device is at most N_SLOTS times the budgets below, and a quarter more for
buffers to grow, unless one mesh or one view needs more by itself. Pinned memory is N_SLOTS times
MESH_BUDGET plus the memory of results (pinned.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from raydepth.cuda.chunks import MAX_JOBS, Piece, Request, chunks
from raydepth.cuda.device import ALIGNMENT, aligned
from raydepth.cuda.device_code import exact, jobs
from raydepth.cuda.device_code.threads import beam_bytes, launches
from raydepth.cuda.resident import Flat, Resident, flat_bytes
from raydepth.cuda.ring import GROWTH, N_SLOTS, Ring, Slot
from raydepth.outputs.request import RenderRequest
from raydepth.system.array_pool import ArrayPool
from raydepth.trace.view_frame import ViewFrames

# Bytes of a chunk's meshes and of its outputs: small enough that a batch has several chunks to
# overlap, large enough that launches cost little compared with their work.
MESH_BUDGET = 1 << 26
OUTPUT_BUDGET = 1 << 24
# The ring takes at most this part of the device's free memory.
SHARE = 0.8

DTYPES = {
    np.dtype(np.float32): exact.FLOAT32,
    np.dtype(np.float64): exact.FLOAT64,
    np.dtype(np.uint16): exact.UINT16,
}
WORD_OF_KIND = {"z": jobs.Z, "ray": jobs.RAY}


@dataclass(eq=False)
class Views:
    """The views to render of one mesh, and their results.

    Attributes
    ----------
    mesh : Flat or Resident
    scale : of the mesh's local frame
    frames : ViewFrames
    size : (width, height)
    triangle_id : (n_views, height, width) int32
    depths : by kind, (n_views, height, width) of the batch's dtype
    misfits : set if a depth does not fit 16 bits
    """

    mesh: Flat | Resident
    scale: float
    frames: ViewFrames
    size: tuple[int, int]
    triangle_id: np.ndarray | None = None
    depths: dict[str, np.ndarray] = field(default_factory=dict)
    misfits: bool = False


def fill_jobs(
    rows: np.ndarray, piece: Piece, addresses: tuple[int, int, int, int], batch: RenderRequest
) -> None:
    """Fill the job table's rows of one piece, except for the addresses of outputs."""
    views: Views = piece.request.payload
    frames, some = views.frames, slice(piece.first, piece.last)
    jobs.fill_views(
        rows,
        addresses,
        frames.basis[some],
        frames.projection[some],
        views.size,
        (frames.near[some], frames.far[some]),
        scale=views.scale,
        miss=batch.miss,
        values_per_unit=batch.values_per_unit or 0.0,
    )


def launch(
    device: Any, table: int, n_jobs: int, size: tuple[int, int], dtype: Any, stream: Any
) -> None:
    """Launch visibility, then resolve, for all rows of a job table on the device."""
    code = np.int32(DTYPES[np.dtype(dtype)])
    for kernel, n_blocks in launches(size).items():
        extra = (code,) if kernel == "resolve" else ()
        device.launch(kernel, n_blocks, n_jobs, (np.uint64(table), *extra), stream)


def start(
    slot: Slot, chunk: list[Piece], batch: RenderRequest, pool: ArrayPool
) -> Callable[[], list[Piece]]:
    """Start to pack, upload, render and download a chunk; return what to call when that is done.

    The slot's input holds a word that tells if a depth does not fit 16 bits, then the job table,
    then the meshes.
    """
    n_jobs = sum(piece.last - piece.first for piece in chunk)
    table_bytes = 8 * jobs.WORDS * n_jobs
    at_input = ALIGNMENT + aligned(table_bytes)
    n_output = sum((piece.last - piece.first) * piece.request.view_bytes for piece in chunk)
    slot.reserve(at_input + sum(piece.request.mesh_bytes for piece in chunk), n_output)
    misfit = slot.staging[:4].view(np.int32)
    misfit[0] = 0
    rows = slot.staging[ALIGNMENT : ALIGNMENT + table_bytes].view(np.int64)
    rows = rows.reshape(n_jobs, jobs.WORDS)
    rows[:] = 0
    rows[:, jobs.MISFIT] = slot.input.address
    downloads: list[tuple[np.ndarray, int]] = []
    job = at_output = 0
    for piece in chunk:
        views: Views = piece.request.payload
        mine = rows[job : job + piece.last - piece.first]
        addresses, at_input = _pack(slot, views.mesh, at_input)
        fill_jobs(mine, piece, addresses, batch)
        _allocate(views, batch, pool)
        assert views.triangle_id is not None
        outputs = [(jobs.TRIANGLE_ID, views.triangle_id)]
        outputs += [(WORD_OF_KIND[kind], views.depths[kind]) for kind in batch.kinds]
        for word, whole in outputs:
            part = whole[piece.first : piece.last]
            jobs.fill_outputs(mine, word, slot.output.address + at_output, part[0].nbytes)
            downloads.append((part, at_output))
            at_output += aligned(part.nbytes)
        n_bytes = beam_bytes(views.size)
        jobs.fill_outputs(mine, jobs.BEAMS, slot.output.address + at_output, n_bytes)
        at_output += aligned(n_bytes * len(mine))
        job += len(mine)

    slot.upload(at_input)
    table, size = slot.input.address + ALIGNMENT, chunk[0].request.size
    launch(slot.device, table, n_jobs, size, batch.dtype, slot.stream)
    for part, offset in downloads:
        slot.download(part, offset)
    if batch.dtype == np.uint16:
        slot.device.download(misfit, slot.input, 0, slot.stream)

    def collect() -> list[Piece]:
        if misfit[0]:
            for piece in chunk:
                piece.request.payload.misfits = True
        return chunk

    return collect


def _pack(slot: Slot, mesh: Flat | Resident, at: int) -> tuple[tuple[int, int, int, int], int]:
    """Copy a mesh to the staging buffer; return its device addresses and the offset after it."""
    if isinstance(mesh, Resident):
        return mesh.addresses, at
    addresses = []
    for array in mesh:
        slot.staging[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
        addresses.append(slot.input.address + at)
        at += aligned(array.nbytes)
    return (addresses[0], addresses[1], addresses[2], addresses[3]), at


def run(
    ring: Ring,
    batch: RenderRequest,
    views: Iterable[Views],
    *,
    mesh_budget: int = MESH_BUDGET,
    output_budget: int = OUTPUT_BUDGET,
    max_jobs: int = MAX_JOBS,
) -> Iterator[Views]:
    """Render a batch; yield each of `views`, filled, in order.

    The next of `views` is taken when there is room for it. If `misfits` is set, a depth of this or
    of another mesh of the same chunk does not fit 16 bits.

    Raises
    ------
    MemoryError
        If one mesh, or one view, needs more memory than the device has.
    DeviceError
        If the device failed.
    """
    free = ring.device.free_bytes() + ring.held_bytes
    part = int(free * SHARE / GROWTH) // (2 * N_SLOTS)
    budgets = min(mesh_budget, part), min(output_budget, part)
    cut = chunks((request(v, batch) for v in views), *budgets, max_jobs)
    steps = (partial(start, chunk=chunk, batch=batch, pool=ring.pool) for chunk in cut)
    with contextlib.closing(ring.overlap(steps)) as finished:
        for chunk in finished:
            for piece in chunk:
                if piece.last == piece.request.n_views:
                    yield piece.request.payload


def request(views: Views, batch: RenderRequest) -> Request:
    width, height = views.size
    outputs = width * height * (4 + batch.dtype.itemsize * len(batch.kinds))
    # The view's row of the table, and what rounding up to ALIGNMENT may add to each array.
    around = 8 * jobs.WORDS + ALIGNMENT * (3 + len(batch.kinds))
    return Request(
        mesh_bytes=0 if isinstance(views.mesh, Resident) else flat_bytes(views.mesh),
        n_views=len(views.frames.basis),
        view_bytes=outputs + beam_bytes(views.size) + around,
        size=views.size,
        payload=views,
    )


def _allocate(views: Views, batch: RenderRequest, pool: ArrayPool) -> None:
    """Allocate the results of one mesh, once, even if its views come in several pieces."""
    if views.triangle_id is None:
        shape = (len(views.frames.basis), views.size[1], views.size[0])
        views.triangle_id = pool.empty(shape, np.int32)
        views.depths = {kind: pool.empty(shape, batch.dtype) for kind in batch.kinds}
