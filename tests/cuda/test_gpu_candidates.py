"""What benchmarks/gpu.py tries beside the shipped kernel finds the same faces; run on the CPU."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import shapes
from numba import njit

import raydepth as rd
from benchmarks.gpu_candidates import CANDIDATES
from raydepth.cuda.device_code import jobs, threads
from raydepth.cuda.device_code.layout import COUNT_BITS
from raydepth.cuda.resident import flat_arrays
from raydepth.rendering.frames import frames_of
from raydepth.rendering.hierarchies import build_bvh


@njit(error_model="numpy")
def _set_up_beams(table, job, n_blocks):
    for block in range(n_blocks):
        for thread in range(threads.THREADS):
            threads.set_up_beam(table, job, np.int32(block), np.int32(thread))


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("name", [name for name in CANDIDATES if name != "shipped"])
def test_a_candidate_finds_what_the_cpu_finds(name, model):
    candidate = CANDIDATES[name]
    find = candidate.find

    @njit(error_model="numpy")
    def run(table, job, n_blocks):
        for block in range(n_blocks):
            for thread in range(threads.THREADS):
                find(table, job, np.int32(block), np.int32(thread))

    for vertices, faces in (shapes.soup(5), shapes.icosphere(), shapes.square()):
        mesh = rd.Mesh(vertices, faces)
        options = {"ortho_width": 1.4} if model == "orthographic" else {}
        cameras = rd.cameras.fibonacci(2, size=(70, 50), **options)
        bvh = build_bvh(mesh)
        flat = flat_arrays(bvh)
        frames = frames_of(cameras, bvh)
        rows, _ = jobs.table(2)
        found = np.full((2, 50, 70), -7, np.int32)
        addresses = tuple(array.ctypes.data for array in flat)
        jobs.fill_views(
            rows, addresses, frames.basis, frames.projection, (70, 50), scale=1.0, miss=0.0
        )
        jobs.fill_outputs(rows, jobs.TRIANGLE_ID, found.ctypes.data, found[0].nbytes)
        n_bytes = threads.beam_bytes((70, 50))
        records = np.empty(2 * n_bytes + 16, np.uint8)
        jobs.fill_outputs(rows, jobs.BEAMS, -(-records.ctypes.data // 16) * 16, n_bytes)
        nodes = candidate.prepare(flat, frames.basis)
        for view in range(2):
            _set_up_beams(np.uint64(rows.ctypes.data), view, threads.blocks_of((70, 50)))
            rows[view, jobs.NODES] = nodes[view % len(nodes)].ctypes.data
            run(np.uint64(rows.ctypes.data), view, threads.blocks_of((70, 50)))
        expected = rd.render(mesh, cameras, device="cpu").triangle_id
        assert (expected >= 0).any()
        np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="no numba-cuda")
def test_the_wide_tree_has_every_leaf_once():
    from benchmarks.gpu_wide import collapse

    bvh = build_bvh(rd.Mesh(*shapes.icosphere(levels=4)))
    wide = collapse(flat_arrays(bvh).nodes)
    links = wide.view(np.int32)[:, 6]
    used = np.isfinite(wide[:, 3])
    slots = []
    for link in links[used & (links < 0)]:
        slots += range(~link >> COUNT_BITS, (~link >> COUNT_BITS) + (~link & 15))
    assert sorted(slots) == list(range(len(bvh.slot_face)))
    inner = links[used & (links >= 0)]
    assert sorted(inner) == list(range(1, len(wide)))
    assert used.sum(axis=1).mean() > 8
