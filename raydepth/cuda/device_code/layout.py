"""A hierarchy as the kernels read it: the binary tree of bvh.py in 16-byte rows.

| array     | row        | columns 0-2        | column 3 (int32 bits)                            |
| --------- | ---------- | ------------------ | ------------------------------------------------ |
| nodes     | 4i, 4i+2   | child 0, 1: centre | inner: node; leaf: ~(first slot << 4 \\| count) |
|           | 4i+1, 4i+3 | ... half extent    | the same                                         |
| triangles | 3s         | slot s: vertex 0   | the face's index                                 |
|           | 3s+1, 3s+2 | vertices 1 and 2   | 0                                                |

Both are (n, 4) float32, in the local frame. Vertices are in the order of `Bvh.faces`. If the tree
is one leaf, its second child is that leaf once more: a ray that tests it twice gets the same
result.
"""

from __future__ import annotations

import numpy as np

from raydepth.accel.nodes import count_of, first_of, high_of, is_inner, low_of
from raydepth.accel.sah import MAX_LEAF
from raydepth.bvh import Bvh
from raydepth.simd.jit import jit
from raydepth.simd.vectors import pointer

f4 = np.float32

COUNT_BITS = 4
assert MAX_LEAF < 1 << COUNT_BITS
MAX_SLOTS = 1 << (31 - COUNT_BITS)

# Nodes that a ray may have to come back to: one per level. The device's own builder (lbvh.py) makes
# up to 63 levels from codes and 32 from indices.
STACK = 97

# The most that the float32 box test (trace.enter) may be off by, with u = 2^-24, coordinates up to
# 1, origins up to 3.5 and distances up to 4.5: origin 10.5u; direction 3u * 1.25 / 0.75 of a
# distance, 22.5u; origin times reciprocal 3.5u; two sums 4.5u each; the reciprocal's own 4u of a
# distance, 18u. Together 63.5u. Computed and true distances along the ray differ by 2.3u of
# themselves, since |g_k| is 1 in the middle of a beam. Where a face that is met ends the box test,
# that moves the ray by another 17u. The rest is for centre and extent.
PAD = f4(2.0**-17.5)


def flatten(bvh: Bvh) -> tuple[np.ndarray, np.ndarray]:
    """Make the arrays `nodes` and `triangles` of a hierarchy."""
    n_slots = len(bvh.slot_face)
    if n_slots >= MAX_SLOTS:
        raise ValueError(
            f"the mesh has {n_slots} faces; a CUDA device takes at most {MAX_SLOTS - 1}"
        )
    nodes = np.empty((4 * len(bvh.nodes), 4), np.float32)
    triangles = np.zeros((3 * n_slots, 4), np.float32)
    _flatten_nodes(bvh.nodes, bvh.nodes.view(np.int32), nodes, nodes.view(np.int32))
    _flatten_faces(bvh.slot_face, bvh.vertices, bvh.faces, triangles, triangles.view(np.int32))
    return nodes, triangles


@jit
def _flatten_nodes(nodes, links, out, out_links):
    box, link, to, to_link = pointer(nodes), pointer(links), pointer(out), pointer(out_links)
    for child in range(2 * nodes.shape[0]):
        # The empty side of a tree of one leaf becomes that leaf.
        whose = child
        if count_of(link, child) == 0 and not is_inner(link, child):
            whose = child - 1
        first, count = first_of(link, whose), count_of(link, whose)
        for axis in range(3):
            low, high = low_of(box, whose, axis), high_of(box, whose, axis)
            centre = f4(0.5) * (low + high)
            to[8 * child + axis] = centre
            to[8 * child + 4 + axis] = max(high - centre, centre - low) + PAD
        to_link[8 * child + 3] = ~(first << COUNT_BITS | count) if count > 0 else first
        to_link[8 * child + 7] = to_link[8 * child + 3]


@jit
def _flatten_faces(slot_face, vertices, faces, out, out_links):
    vertex, corner_of, to, to_link = (
        pointer(vertices), pointer(faces), pointer(out), pointer(out_links)
    )  # fmt: skip
    for slot in range(slot_face.shape[0]):
        face = np.int64(slot_face[slot])
        for corner in range(3):
            at = 3 * np.int64(corner_of[3 * face + corner])
            for axis in range(3):
                to[12 * slot + 4 * corner + axis] = f4(vertex[at + axis])
        to_link[12 * slot + 3] = face
