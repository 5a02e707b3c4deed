"""Other ways to find visible faces on a CUDA device, for benchmarks/gpu.py to try.

raydepth ships one kernel (raydepth/cuda/device_code/trace.py). Each candidate here is either a
second instance of that module with one part replaced, so that all else is the same, or a different
walk. A candidate has `prepare(flat, basis)`, which gives the node arrays of each view, and
`find(jobs, job, block, thread)`.

| name      | what is different                                                              |
| --------- | ------------------------------------------------------------------------------ |
| shipped   | nothing                                                                        |
| slabs     | boxes as minimum and maximum, two products an axis, ordered by min and max     |
| floats    | centre and half extent, but minimum and maximum of two floats, not of integers |
| stackless | nodes of one box in depth-first order, near child first for the view, each     |
|           | with the node to go on with if it is missed; no stack, no order by distance    |
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from raydepth.cuda.device_code import beams, exact, threads, trace
from raydepth.cuda.device_code.intrinsics import (
    as_float,
    as_int,
    fma,
    load_float4,
    opaque,
    store_int32,
)
from raydepth.cuda.device_code.jobs import BEAMS, FACES, NODES, TRIANGLE_ID, TRIANGLES, VERTICES
from raydepth.cuda.device_code.layout import COUNT_BITS
from raydepth.cuda.resident import Flat

f4 = np.float32


class Candidate(NamedTuple):
    """A candidate; `prepare(flat, basis)` gives the nodes of each view, or one array for all."""

    prepare: Callable[[Flat, np.ndarray], list[np.ndarray]]
    find: Callable[..., None]


def another_trace(name: str, **exchanged: Any) -> ModuleType:
    """Load a second instance of trace.py in which the given functions replace its own."""
    spec = importlib.util.spec_from_file_location(f"gpu_candidate_{name}", trace.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for key, value in exchanged.items():
        assert hasattr(module, key), key
        setattr(module, key, value)
    return module


def finder(nearest_face: Callable) -> Callable[..., None]:
    """Return a function like `threads.find_visible` that uses the given walk."""

    @register_jitable
    def find(jobs, job, block, thread):
        column, row, pixel = threads.pixel_of(jobs, job, block, thread)
        beam = threads.beam_of(block, thread)
        kind = beams.kind_of(exact.address_in(jobs, job, BEAMS), beam)
        if pixel < 0 or kind == beams.FLOAT64:
            return
        face = trace.NO_FACE
        if kind == beams.FLOAT32:
            face = nearest_face(jobs, job, beam, np.int32(thread & 31), column, row)
        store_int32(exact.address_in(jobs, job, TRIANGLE_ID), pixel, face)

    return find


def kernel_of(cuda: Any, find: Callable[..., None]) -> Callable[..., None]:
    """Return a kernel whose threads call `find`, as in raydepth/cuda/device_code/kernels.py."""

    def kernel(table):
        job = np.int64(cuda.blockIdx.y)
        find(table, job, np.int32(cuda.blockIdx.x), np.int32(cuda.threadIdx.x))

    return kernel


def shared_nodes(flat: Flat, basis: np.ndarray) -> list[np.ndarray]:
    return [flat.nodes]


# -- slabs --------------------------------------------------------------------------------------


@register_jitable
def _enter_slabs(lx, ly, lz, hx, hy, hz, ix, iy, iz, nx, ny, nz, best):
    ax, bx = fma(lx, ix, nx), fma(hx, ix, nx)
    ay, by = fma(ly, iy, ny), fma(hy, iy, ny)
    az, bz = fma(lz, iz, nz), fma(hz, iz, nz)
    enters = max(max(min(ax, bx), min(ay, by)), max(min(az, bz), f4(0.0)))
    leaves = min(min(max(ax, bx), max(ay, by)), min(max(az, bz), as_float(best)))
    return as_int(enters), as_int(leaves)


def _as_slabs(flat: Flat, basis: np.ndarray) -> list[np.ndarray]:
    nodes = flat.nodes.copy()
    centre, half = flat.nodes[::2, :3], flat.nodes[1::2, :3]
    nodes[::2, :3], nodes[1::2, :3] = centre - half, centre + half
    return [nodes]


# -- floats -------------------------------------------------------------------------------------


@register_jitable
def _enter_floats(cx, cy, cz, hx, hy, hz, ix, iy, iz, nx, ny, nz, best):
    ax, ay, az = abs(ix), abs(iy), abs(iz)
    tx, ty, tz = fma(cx, ix, nx), fma(cy, iy, ny), fma(cz, iz, nz)
    enters = max(max(fma(-hx, ax, tx), fma(-hy, ay, ty)), max(fma(-hz, az, tz), f4(0.0)))
    leaves = min(min(fma(hx, ax, tx), fma(hy, ay, ty)), min(fma(hz, az, tz), as_float(best)))
    return as_int(enters), as_int(leaves)


# -- stackless ----------------------------------------------------------------------------------


def _in_order(flat: Flat, basis: np.ndarray) -> list[np.ndarray]:
    """Return for each view rows 2i (centre, next node if missed) and 2i + 1 (half, leaf or 0)."""
    views = []
    for origin, across, _, direction, _, _ in basis:
        # From a perspective camera to the middle of the mesh; orthographic rays are parallel.
        towards = direction if across.any() else -origin
        views.append(_linear(flat.nodes, flat.nodes.view(np.int32), towards))
    return views


@njit
def _linear(nodes, links, towards):
    n_children = len(nodes) // 2
    out = np.zeros((2 * n_children, 4), np.float32)
    out_links = out.view(np.int32)
    # Children still to visit, the last one first; -1 - i closes the subtree of entry i.
    stack = np.empty(4 * 256, np.int64)
    top = 0
    n = 0
    for side in range(2):
        stack[top] = _ordered(nodes, 0, 1 - side, towards)
        top += 1
    while top > 0:
        top -= 1
        child = stack[top]
        if child < 0:
            out_links[2 * (-1 - child), 3] = n
            continue
        out[2 * n, :3] = nodes[2 * child, :3]
        out[2 * n + 1, :3] = nodes[2 * child + 1, :3]
        link = links[2 * child, 3]
        stack[top] = -1 - n
        top += 1
        if link < 0:
            out_links[2 * n + 1, 3] = ~link
        else:
            for side in range(2):
                stack[top] = _ordered(nodes, link, 1 - side, towards)
                top += 1
        n += 1
    return out[: 2 * n].copy()


@njit
def _ordered(nodes, node, place, towards):
    """Return the child of a node that comes at this place (0 or 1) in the order along `towards`."""
    gap = 0.0
    for axis in range(3):
        gap += (nodes[4 * node + 2, axis] - nodes[4 * node, axis]) * towards[axis]
    first = 0 if gap >= 0.0 else 1
    return 2 * node + (first if place == 0 else 1 - first)


@register_jitable
def _nearest_face_stackless(jobs, job, beam, lane, column, row):
    """Find the nearest face over the linear order; as in trace.py, float64 is outside the loop."""
    nodes = exact.address_in(jobs, job, NODES)
    triangles = exact.address_in(jobs, job, TRIANGLES)
    _, _, _, skip = load_float4(nodes, np.int64(0))
    # The node after the second of the root's children is the end of the list.
    _, _, _, n = load_float4(nodes, 2 * np.int64(as_int(skip)))
    n_nodes = as_int(n)
    best = trace.NO_FACE
    best_near = best_far = f4(np.inf)
    node = slot = end = np.int32(0)
    while True:
        p, q, r, (ix, iy, iz), (nx, ny, nz), slack, least, behind = beams.ray(
            exact.address_in(jobs, job, BEAMS), beam, opaque(lane)
        )
        (px, py, pz, pc), (qx, qy, qz, qc), (rx, ry, rz, rc) = p, q, r
        doubt = trace.NO_FACE
        while True:
            while slot < end:
                at = 3 * np.int64(slot)
                x0, y0, z0, number = load_float4(triangles, at)
                x1, y1, z1, _ = load_float4(triangles, at + 1)
                x2, y2, z2, _ = load_float4(triangles, at + 2)
                slot = np.int32(slot + 1)
                sheared = trace.sheared
                verdict, u, v, w, bound = trace.judge(
                    sheared(x0, y0, z0, px, py, pz, pc), sheared(x0, y0, z0, qx, qy, qz, qc),
                    sheared(x1, y1, z1, px, py, pz, pc), sheared(x1, y1, z1, qx, qy, qz, qc),
                    sheared(x2, y2, z2, px, py, pz, pc), sheared(x2, y2, z2, qx, qy, qz, qc),
                    slack, least,
                )  # fmt: skip
                if verdict == trace.MISSED:
                    continue
                doubt = as_int(number)
                if verdict == trace.MET:
                    near, far, known = trace.distance_range(
                        u, v, w, bound,
                        sheared(x0, y0, z0, rx, ry, rz, rc),
                        sheared(x1, y1, z1, rx, ry, rz, rc),
                        sheared(x2, y2, z2, rx, ry, rz, rc),
                    )  # fmt: skip
                    if known and far < best_near and near > behind:
                        best, best_near, best_far = doubt, near, far
                        doubt = trace.NO_FACE
                    elif known and (near > best_far or far < behind):
                        doubt = trace.NO_FACE
                if doubt >= 0:
                    break
            if doubt >= 0:
                break
            while node < n_nodes:
                cx, cy, cz, later = load_float4(nodes, 2 * np.int64(node))
                hx, hy, hz, leaf = load_float4(nodes, 2 * np.int64(node) + 1)
                enters, leaves = trace.enter(
                    cx, cy, cz, hx, hy, hz, ix, iy, iz, nx, ny, nz, as_int(best_far)
                )
                meets_box = enters <= leaves
                code = as_int(leaf)
                node = np.int32(node + 1) if meets_box else as_int(later)
                if meets_box and code != 0:
                    slot = np.int32(code >> COUNT_BITS)
                    end = np.int32(slot + (code & trace.COUNT_MASK))
                    break
            if slot >= end:
                break
        if doubt < 0:
            return best
        ox, oy, oz, dx, dy, dz = exact.pixel_ray(jobs, job, opaque(column), row)
        vertices = exact.address_in(jobs, job, VERTICES)
        faces = exact.address_in(jobs, job, FACES)
        t = exact.hit_distance(vertices, faces, np.int64(doubt), ox, oy, oz, dx, dy, dz)
        if t < np.inf:
            t_best = np.inf
            if best >= 0:
                t_best = exact.hit_distance(vertices, faces, np.int64(best), ox, oy, oz, dx, dy, dz)
            if t < t_best or (t == t_best and doubt < best):
                best = doubt
                axis, start = beams.start_of(exact.address_in(jobs, job, BEAMS), beam)
                distance = f4((t - start) * abs(exact.pick(axis, dx, dy, dz)))
                best_near, best_far = distance - trace.ROUNDED, distance + trace.ROUNDED


CANDIDATES = {
    "shipped": Candidate(shared_nodes, threads.find_visible),
    "slabs": Candidate(_as_slabs, finder(another_trace("slabs", enter=_enter_slabs).nearest_face)),
    "floats": Candidate(
        shared_nodes, finder(another_trace("floats", enter=_enter_floats).nearest_face)
    ),
    "stackless": Candidate(_in_order, finder(_nearest_face_stackless)),
}
