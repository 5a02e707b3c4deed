"""The device's part of `raydepth.render`, `render_many` and `cast_rays`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

from raydepth.bvh import Bvh
from raydepth.cuda import batch as batches
from raydepth.cuda.arrays import DeviceArray
from raydepth.cuda.batch import Views
from raydepth.cuda.build import DeviceMesh
from raydepth.cuda.chunks import MAX_JOBS, Piece
from raydepth.cuda.device import aligned, allocated, device
from raydepth.cuda.device_code import jobs
from raydepth.cuda.device_code.threads import THREADS, beam_bytes
from raydepth.cuda.resident import Resident, Residents
from raydepth.cuda.ring import Ring, Slot
from raydepth.outputs.request import RenderRequest

# Single rays that one launch casts: enough to fill a device, few enough that launches overlap.
RAYS = 1 << 19


@functools.cache
def _ring() -> Ring:
    return Ring(device())


@functools.cache
def _residents() -> Residents:
    return Residents(device())


def resident(bvh: Bvh | DeviceMesh) -> Resident:
    """Return the hierarchy on the device.

    It is uploaded once and kept as long as the hierarchy lives and there is room.
    """
    return bvh.resident if isinstance(bvh, DeviceMesh) else _residents().of(bvh)


def render_to_host(views: Views, request: RenderRequest) -> Views:
    """Render one mesh; return `views` with `triangle_id` and `depths` filled, in main memory."""
    (filled,) = batches.run(_ring(), request, [views])
    return filled


def render_batch(views: Iterator[Views], request: RenderRequest) -> Iterator[Views]:
    """Render many meshes, in order; the results are in main memory."""
    return batches.run(_ring(), request, views)


def render_to_device(
    views: Views, request: RenderRequest
) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    """Render one mesh that is on the device; return triangle_id and depths by kind, left there.

    Raises
    ------
    MemoryError
        If the results do not fit there.
    """
    assert isinstance(views.mesh, Resident)
    gpu, size, n_views = device(), views.size, len(views.frames.basis)
    shape = (n_views, size[1], size[0])
    n_pixels = math.prod(shape)
    triangle_id = allocated(gpu, 4 * n_pixels)
    depths = {kind: allocated(gpu, request.dtype.itemsize * n_pixels) for kind in request.kinds}
    rows, _ = jobs.table(n_views)
    piece = Piece(batches.request(views, request), 0, n_views)
    batches.fill_jobs(rows, piece, views.mesh.addresses, request)
    jobs.fill_outputs(rows, jobs.TRIANGLE_ID, triangle_id.address, 4 * size[0] * size[1])
    for kind, buffer in depths.items():
        n_bytes = request.dtype.itemsize * size[0] * size[1]
        jobs.fill_outputs(rows, batches.WORD_OF_KIND[kind], buffer.address, n_bytes)

    def start(slot: Slot, some: np.ndarray) -> Callable[[], None]:
        slot.reserve(some.nbytes, beam_bytes(size) * len(some))
        jobs.fill_outputs(some, jobs.BEAMS, slot.output.address, beam_bytes(size))
        slot.staging[: some.nbytes] = some.reshape(-1).view(np.uint8)
        slot.upload(some.nbytes)
        batches.launch(gpu, slot.input.address, len(some), size, request.dtype, slot.stream)
        return lambda: None

    # As many views at a time as have beams that fit the budget of a chunk's outputs.
    at_a_time = max(1, min(MAX_JOBS, batches.OUTPUT_BUDGET // beam_bytes(size)))
    parts = (rows[first : first + at_a_time] for first in range(0, n_views, at_a_time))
    for _ in _ring().overlap(functools.partial(start, some=part) for part in parts):
        pass
    return (
        DeviceArray(gpu, triangle_id, 0, shape, np.int32),
        {kind: DeviceArray(gpu, b, 0, shape, request.dtype) for kind, b in depths.items()},
    )


def cast_rays(
    bvh: Bvh | DeviceMesh, origins: np.ndarray, directions: np.ndarray, t_min: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run `rays.cast` on the device: (n_rays, 3) float64 rays, and t_min, in the local frame.

    Returns
    -------
    distance : (n_rays,) float64, in lengths of the directions; +inf = miss
    triangle_id : (n_rays,) int32; -1 = miss
    barycentric : (n_rays, 3) float64; NaN = miss
    """
    ring, mesh, n_rays = _ring(), resident(bvh), len(origins)
    distance = ring.pool.empty((n_rays,), np.float64)
    triangle_id = ring.pool.empty((n_rays,), np.int32)
    barycentric = ring.pool.empty((n_rays, 3), np.float64)
    rows, numbers = jobs.table(1)
    numbers[0, jobs.NEAR] = t_min
    row = rows[0]
    row[jobs.NODES : jobs.FACES + 1] = mesh.addresses

    def start(slot: Slot, first: int) -> Callable[[], None]:
        some = slice(first, first + RAYS)
        given = {jobs.ORIGINS: origins[some], jobs.DIRECTIONS: directions[some]}
        found = {
            jobs.DISTANCE: distance[some],
            jobs.TRIANGLE_ID: triangle_id[some],
            jobs.BARYCENTRIC: barycentric[some],
        }
        n_input = sum(aligned(array.nbytes) for array in (row, *given.values()))
        slot.reserve(n_input, sum(aligned(array.nbytes) for array in found.values()))
        mine = slot.staging[: row.nbytes].view(np.int64)
        mine[:] = row
        at = aligned(row.nbytes)
        mine[jobs.SIZE] = len(given[jobs.ORIGINS])
        for word, array in given.items():
            slot.staging[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
            mine[word] = slot.input.address + at
            at += aligned(array.nbytes)
        at = 0
        for word, array in found.items():
            mine[word] = slot.output.address + at
            at += aligned(array.nbytes)
        slot.upload(n_input)
        n_blocks = -(-len(given[jobs.ORIGINS]) // THREADS)
        ring.device.launch("cast_rays", n_blocks, 1, (np.uint64(slot.input.address),), slot.stream)
        for word, array in found.items():
            slot.download(array, int(mine[word]) - slot.output.address)
        return lambda: None

    for _ in ring.overlap(functools.partial(start, first=f) for f in range(0, n_rays, RAYS)):
        pass
    return distance, triangle_id, barycentric
