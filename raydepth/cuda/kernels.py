"""The kernels. `blockIdx.y` is the row of the job table, what a thread does is in threads.py.

Arguments are addresses and numbers only: arrays cost too much time at a launch. Importing this
module imports Numba's CUDA target; `device.py` does that when a device is asked for.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from raydepth.cuda import lbvh, threads


def set_up_beams(jobs):
    """Fill the beams of each job, from which `find_visible` traces; a thread a beam.

    Parameters
    ----------
    jobs : uint64, address of the job table
    """
    job = np.int64(cuda.blockIdx.y)
    threads.set_up_beam(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def find_visible(jobs):
    """Fill the triangle_id of each job, but for beams that float32 cannot trace."""
    job = np.int64(cuda.blockIdx.y)
    threads.find_visible(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def find_visible_exactly(jobs):
    """`find_visible` for the other beams, in float64 throughout; and views' near and far limits."""
    job = np.int64(cuda.blockIdx.y)
    threads.find_visible_exactly(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def resolve(jobs, dtype):
    """Turn each job's triangle_id into the depths that are asked for.

    Parameters
    ----------
    jobs : uint64, address of the job table
    dtype : int32, exact.FLOAT32, FLOAT64 or UINT16
    """
    job = np.int64(cuda.blockIdx.y)
    threads.resolve(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x), dtype)


def cast_rays(jobs):
    """Single rays of any origin and direction: `rays.cast` on the device, row 0 of the table."""
    threads.cast_ray(jobs, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def build_step(build, step, n, a, b, c):
    """One step of the builder (lbvh.py) for n threads; a, b and c are its arguments."""
    i = np.int64(cuda.blockIdx.x) * threads.THREADS + np.int64(cuda.threadIdx.x)
    if i < n:
        lbvh.run_step(build, step, i, a, b, c)


# What is compiled, with the types of the arguments.
SIGNATURES = {
    set_up_beams: "void(uint64)",
    find_visible: "void(uint64)",
    find_visible_exactly: "void(uint64)",
    resolve: "void(uint64, int32)",
    cast_rays: "void(uint64)",
    build_step: "void(uint64, int32, int64, int64, int64, int64)",
}
