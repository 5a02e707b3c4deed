"""The kernels. `blockIdx.y` is the row of the job table; the work of a thread is in threads.py.

Arguments are only addresses and numbers, because arrays cost too much time at a launch. This is the
one module that imports Numba's CUDA target; device.py imports it when a device is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

if not hasattr(np, "row_stack"):
    # numba-cuda 0.30 uses it when it compiles its first kernel; NumPy 2.5 has dropped it.
    np.row_stack = np.vstack  # noqa: NPY201
from numba import cuda
from numba.cuda import config, dispatcher, utils  # type: ignore[attr-defined]
from numba.cuda.cudadrv import nvvm
from numba.cuda.cudadrv.driver import driver

from raydepth.cuda.device_code import lbvh, threads
from raydepth.system.code_cache import CodeCache

__all__ = ["SIGNATURES", "compiled", "cuda", "driver", "nvvm"]

# Most registers per thread, so that many threads share a processor. A kernel that needs more keeps
# the rest in memory, but not in the loops over nodes and faces: see tests/cuda/test_cuda_ptx.py.
REGISTERS = {
    "set_up_beams": 168,
    "find_visible": 64,
    "find_visible_exactly": 104,
    "resolve": 80,
    "cast_rays": 96,
    "build_step": 80,
}

# A small image has low occupancy, which is not a mistake.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]


def set_up_beams(jobs):
    """Fill the beams of each job, which `find_visible` traces; one thread per beam.

    Parameters
    ----------
    jobs : uint64, address of the job table
    """
    job = np.int64(cuda.blockIdx.y)
    threads.set_up_beam(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def find_visible(jobs):
    """Fill the triangle_id of each job, except in beams that float32 cannot trace."""
    job = np.int64(cuda.blockIdx.y)
    threads.find_visible(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def find_visible_exactly(jobs):
    """Trace the other beams, in float64 throughout, and apply views' near and far limits."""
    job = np.int64(cuda.blockIdx.y)
    threads.find_visible_exactly(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def resolve(jobs, dtype):
    """Turn each job's triangle_id into the requested depths.

    Parameters
    ----------
    jobs : uint64, address of the job table
    dtype : int32, exact.FLOAT32, FLOAT64 or UINT16
    """
    job = np.int64(cuda.blockIdx.y)
    threads.resolve(jobs, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x), dtype)


def cast_rays(jobs):
    """Cast single rays of any origin and direction, as `rays.cast` does; row 0 of the table."""
    threads.cast_ray(jobs, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))


def build_step(build, step, n, a, b, c):
    """Run one step of the builder (lbvh.py) on n threads; a, b and c are its arguments."""
    i = np.int64(cuda.blockIdx.x) * threads.THREADS + np.int64(cuda.threadIdx.x)
    if i < n:
        lbvh.run_step(build, step, i, a, b, c)


# The kernels that are compiled, with the types of their arguments.
SIGNATURES = {
    set_up_beams: "void(uint64)",
    find_visible: "void(uint64)",
    find_visible_exactly: "void(uint64)",
    resolve: "void(uint64, int32)",
    cast_rays: "void(uint64)",
    build_step: "void(uint64, int32, int64, int64, int64, int64)",
}


def compiled(name: str) -> Any:
    """Return a kernel, compiled or from the disk cache, and bound to the current device."""
    function = globals()[name]
    dispatched: Any = cuda.jit(max_registers=REGISTERS[name])(function)  # type: ignore[call-arg]
    # Modelled on numba-cuda's CUDACache.
    dispatched._cache = CodeCache(function, lambda kernel: kernel._reduce_states(), _rebuilt)
    dispatched.compile(SIGNATURES[function])
    # Numba would load it at the first launch, which several threads may reach at once.
    for kernel in dispatched.overloads.values():
        kernel.bind()
    return dispatched


def _rebuilt(target_context: Any, states: dict[str, Any]) -> Any:
    with utils.numba_target_override():
        return dispatcher._Kernel._rebuild(**states)
