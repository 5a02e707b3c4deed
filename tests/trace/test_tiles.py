"""How much the tile kernel works: deterministic counts, so that a lost optimisation is seen.

A count may go down, then lower the limit; it must not go up unnoticed. What the kernel finds is
tested in test_raycast.py and test_render.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth.mesh.shapes import torus_knot
from raydepth.rendering.affine_views import find_visible
from raydepth.rendering.frames import frames_of
from raydepth.trace import tiles

SIZE = 128


def knot():
    mesh = torus_knot()
    return mesh.vertices, mesh.faces


# Counts per 16x16 tile, as stored; a change of LLVM may move them by a little.
SCENES = {
    "coarse": (lambda: shapes.icosphere(levels=3), (9.25, 9.91, 22.94, 0.88)),
    "fine": (lambda: shapes.icosphere(levels=6), (70.36, 114.21, 376.56, 3.69)),
    "soup": (lambda: shapes.soup(1, n=5000, size=0.03), (44.14, 49.04, 81.04, 1.88)),
    # Its leaves wait for their data.
    "large": (lambda: shapes.icosphere(levels=7), (214.42, 316.59, 484.96, 12.09)),
    "knot": (knot, (68.94, 96.96, 292.0, 1.78)),
}


def work_per_tile(vertices, faces, size: int = SIZE) -> np.ndarray:
    """Mean counts of `tiles.WORK` over the tiles of four views."""
    bvh = rd.build_bvh(rd.Mesh(vertices, faces))
    cameras = rd.cameras.fibonacci(4, size=size)
    frames = frames_of(cameras, bvh)
    triangle_id = np.empty((size, size), np.int32)
    work = [
        find_visible(bvh, frames.basis[view], frames.projection[view], (0, size), triangle_id)
        for view in range(len(cameras))
    ]
    return np.sum(work, axis=0) / (len(cameras) * (size / tiles.TILE) ** 2)


@pytest.mark.parametrize("name", SCENES)
def test_work_per_tile(name):
    make, stored = SCENES[name]
    work = work_per_tile(*make())
    assert (work <= np.array(stored) * 1.05).all(), f"{name}: {work.round(2).tolist()}"
    assert (work >= np.array(stored) * 0.8).all(), f"{name}: lower the stored {work.tolist()}"


def test_float32_spares_most_exact_tests():
    _, _, n_faces, n_exact = work_per_tile(*knot(), size=256)
    assert n_exact < 0.02 * n_faces


def test_work_grows_slower_than_the_mesh():
    """Sixteen times the faces, at a fixed image whose pixels are much larger than they are."""
    coarse = work_per_tile(*shapes.icosphere(levels=5), size=16)[:2].sum()
    fine = work_per_tile(*shapes.icosphere(levels=7), size=16)[:2].sum()
    assert fine < 3 * coarse
