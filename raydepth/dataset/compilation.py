"""Compile everything at once, and say so: it is what a new user waits for, once."""

from __future__ import annotations

import numpy as np

from raydepth.accel.builder import SUBTREE
from raydepth.cameras import ring
from raydepth.codecs.png import encode_png
from raydepth.codecs.uint16 import encode_uint16
from raydepth.dataset.depth_range import depth_range
from raydepth.mesh.mesh import Mesh
from raydepth.rendering.api import render


def compile_kernels(device: str = "auto") -> None:
    """Compile whatever a rendering on a device and its files need, or load it from the disk cache.

    So that no later step's time holds a compilation.
    """
    # A strip of more faces than one thread makes a subtree of, so that all of the builder is used.
    i = np.arange(SUBTREE + 3)
    strip = np.column_stack((i, i % 2, np.zeros_like(i)))
    mesh = Mesh(strip, np.column_stack((i[:-2], i[1:-1], i[2:])))
    # From outside of it, as most cameras are: among the faces another kernel looks. On one thread,
    # so that this process can be forked.
    render(mesh.normalized("sphere"), ring(1, size=1), device=device, threads=1)
    depth_range(np.ones(1, dtype=np.float32))
    encode_png(encode_uint16(np.ones((1, 1), dtype=np.float32)))
