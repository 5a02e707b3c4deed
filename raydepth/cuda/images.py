"""What `raydepth.render` and `render_many` ask of the device."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Iterator

import numpy as np

from raydepth.bvh import Bvh
from raydepth.cuda import batch as batches
from raydepth.cuda import jobs
from raydepth.cuda.arrays import DeviceArray
from raydepth.cuda.batch import BatchOptions, Resident, Views, flat_arrays
from raydepth.cuda.build import DeviceMesh
from raydepth.cuda.chunks import MAX_JOBS, Piece
from raydepth.cuda.device import device
from raydepth.cuda.pinned import PinnedPool
from raydepth.cuda.threads import THREADS, beam_bytes

# Meshes on the device, as long as their hierarchies live.
_resident: weakref.WeakKeyDictionary[Bvh, Resident] = weakref.WeakKeyDictionary()


@functools.cache
def _pool() -> PinnedPool:
    return PinnedPool(device())


def resident(bvh: Bvh | DeviceMesh) -> Resident:
    """The hierarchy on the device; uploaded once, kept as long as the hierarchy."""
    if isinstance(bvh, DeviceMesh):
        return bvh.resident
    found = _resident.get(bvh)
    if found is None:
        found = _resident[bvh] = batches.make_resident(device(), flat_arrays(bvh))
    return found


def render_to_host(views: Views, options: BatchOptions) -> Views:
    """One mesh; the results are in main memory, in `triangle_id` and `depths` of what returns."""
    (filled,) = batches.run(device(), options, [views], _pool())
    return filled


def render_batch(views: Iterator[Views], options: BatchOptions) -> Iterator[Views]:
    """Many meshes, in order; the results are in main memory."""
    return batches.run(device(), options, views, _pool())


def render_to_device(
    views: Views, options: BatchOptions
) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    """One mesh, that is there; the results stay on the device: triangle_id and depths by kind.

    Raises
    ------
    MemoryError
        They do not fit there.
    """
    gpu, size = device(), views.size
    shape = (len(views.basis), size[1], size[0])
    n_pixels = math.prod(shape)
    triangle_id = gpu.empty(4 * n_pixels)
    depths = {kind: gpu.empty(options.dtype.itemsize * n_pixels) for kind in options.kinds}

    piece = Piece(batches.request(views, options), 0, len(views.basis))
    rows, _ = jobs.table(len(views.basis))
    batches.fill_jobs(rows, piece, views.mesh.addresses, options)
    jobs.fill_outputs(rows, jobs.TRIANGLE_ID, triangle_id.address, 4 * size[0] * size[1])
    for kind, buffer in depths.items():
        n_bytes = options.dtype.itemsize * size[0] * size[1]
        jobs.fill_outputs(rows, batches.WORD_OF_KIND[kind], buffer.address, n_bytes)
    beams = gpu.empty(beam_bytes(size) * len(rows))
    jobs.fill_outputs(rows, jobs.BEAMS, beams.address, beam_bytes(size))
    stream = gpu.stream()
    table = gpu.empty(rows.nbytes)
    gpu.upload(table, 0, rows, stream)
    for first in range(0, len(rows), MAX_JOBS):
        n_jobs = min(MAX_JOBS, len(rows) - first)
        address = table.address + first * rows[0].nbytes
        batches.launch(gpu, address, n_jobs, size, options.dtype, stream)
    gpu.wait(gpu.record(stream))
    return (
        DeviceArray(gpu, triangle_id, 0, shape, np.int32),
        {kind: DeviceArray(gpu, b, 0, shape, options.dtype) for kind, b in depths.items()},
    )


def cast_rays(
    bvh: Bvh | DeviceMesh, origins: np.ndarray, directions: np.ndarray, t_min: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`rays.cast` on the device, for (n_rays, 3) float64 rays, and t_min, in the local frame.

    Returns
    -------
    distance : (n_rays,) float64
    triangle_id : (n_rays,) int32
    barycentric : (n_rays, 3) float64
    """
    gpu = device()
    mesh = resident(bvh)
    n_rays = len(origins)
    distance, triangle_id = np.empty(n_rays), np.empty(n_rays, np.int32)
    barycentric = np.empty((n_rays, 3))
    stream = gpu.stream()
    rows, numbers = jobs.table(1)
    numbers[0, jobs.NEAR] = t_min
    rows[0, jobs.NODES : jobs.FACES + 1] = mesh.addresses
    rows[0, jobs.SIZE] = n_rays
    buffers = {}
    for word, array in (
        (jobs.ORIGINS, origins), (jobs.DIRECTIONS, directions), (jobs.DISTANCE, distance),
        (jobs.TRIANGLE_ID, triangle_id), (jobs.BARYCENTRIC, barycentric),
    ):  # fmt: skip
        buffers[word] = gpu.empty(array.nbytes)
        rows[0, word] = buffers[word].address
    gpu.upload(buffers[jobs.ORIGINS], 0, origins, stream)
    gpu.upload(buffers[jobs.DIRECTIONS], 0, directions, stream)
    table = gpu.empty(rows.nbytes)
    gpu.upload(table, 0, rows, stream)
    n_blocks = -(-n_rays // THREADS)
    gpu.launch("cast_rays", n_blocks, 1, (np.uint64(table.address),), stream)
    gpu.download(distance, buffers[jobs.DISTANCE], 0, stream)
    gpu.download(triangle_id, buffers[jobs.TRIANGLE_ID], 0, stream)
    gpu.download(barycentric, buffers[jobs.BARYCENTRIC], 0, stream)
    gpu.wait(gpu.record(stream))
    return distance, triangle_id, barycentric
