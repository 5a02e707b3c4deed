"""The eight-wide layout of a hierarchy, for the tile kernel and for single rays.

The binary tree is collapsed from the top down. Of the children that a node has so far, the one of
the largest surface is replaced by its own two, until there are eight (Wald, Benthin, Boulos,
"Getting Rid of Packets: Efficient SIMD Single-Ray Traversal using Multi-branching BVHs", 2008).
The leaves are those of the binary tree.

| array  | shape             | row  | dtype   | meaning                                            |
| ------ | ----------------- | ---- | ------- | -------------------------------------------------- |
| nodes  | (n_nodes, 8, 8)   | 0-2  | float32 | eight children's centres x, y, z                   |
|        |                   | 3-5  | float32 | half extents x, y, z; of unused children -inf      |
|        |                   | 6    | int32   | inner: index of the child's node; leaf:            |
|        |                   |      |         | ~(8 * index of the leaf + number of faces - 1)     |
|        |                   | 7    |         | unused: a node is four cache lines                 |
| leaves | (n_leaves, 10, 8) | 0-8  | float32 | x, y, z of vertices 0, 1, 2 of eight faces (local) |
|        |                   | 9    | int32   | index of the face as the user gave it              |

Eight children or faces lie side by side for one vector operation. Unused lanes of a leaf repeat
its last face. Node 0 is the root; parents come before their children.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raydepth.accel.nodes import (
    CORNER,
    FACES,
    HALF,
    LEAF,
    LINKS,
    NODE,
    WIDTH,
    count_of,
    first_of,
    high_of,
    is_inner,
    link_to_leaf,
    low_of,
)
from raydepth.accel.subtree import MAX_DEPTH
from raydepth.simd.jit import jit
from raydepth.simd.vectors import integers, pointer, prefetch
from raydepth.system import aligned, parallel

f4 = np.float32

# Leaves or nodes that one thread fills at a time.
PIECE = 1 << 12

# The centre and the half extent of float32 bounds have one rounding each, of at most 2^-24 relative
# to the box's corners, which are at most 1 in the local frame. The tile kernel's own bound on
# rounding errors (tiles.py) starts from the centres, so nothing else is added here.
GROWTH = f4(1.0 + 2.0**-21)
MARGIN = f4(2.0**-23)


class Wide(NamedTuple):
    """The two arrays of the table at the top of this file."""

    nodes: np.ndarray
    leaves: np.ndarray


def collapse(
    nodes: np.ndarray, slot_face: np.ndarray, vertices: np.ndarray, faces: np.ndarray, threads: int
) -> Wide:
    """Collapse the binary tree (layout in bvh.py) of a mesh in its local frame."""
    n = len(nodes)
    children = np.empty((n, WIDTH), np.int32)
    links = np.empty((n, WIDTH), np.int32)
    leaf_slots = np.empty((n + 1, 2), np.int32)
    n_nodes, n_leaves = _choose_children(nodes, nodes.view(np.int32), children, links, leaf_slots)
    children, leaf_slots = children[:n_nodes], leaf_slots[:n_leaves]
    wide_nodes = aligned.empty((n_nodes, NODE // WIDTH, WIDTH), np.float32)
    leaves = aligned.empty((n_leaves, LEAF // WIDTH, WIDTH), np.float32)

    def fill(task: int) -> None:
        at = task * PIECE
        _fill_nodes(nodes, children, links, at, at + PIECE, wide_nodes)
        _fill_leaves(leaf_slots, at, at + PIECE, vertices, faces, slot_face, leaves)

    parallel.for_each(fill, -(-max(n_nodes, n_leaves) // PIECE), threads)
    return Wide(wide_nodes, leaves)


@jit
def _half_area(nodes, child):
    node, row = child >> 1, 2 * (child & 1)
    x = nodes[node, row + 1, 0] - nodes[node, row, 0]
    y = nodes[node, row + 1, 1] - nodes[node, row, 1]
    z = nodes[node, row + 1, 2] - nodes[node, row, 2]
    return x * y + y * z + z * x


@jit
def _choose_children(nodes, links, children, wide_links, leaf_slots):
    """Fill in each wide node's children and the links to them, and each wide leaf's slots.

    A child is `2 * node + side` of the binary tree, -1 for none. A leaf's slots are given by the
    first one and their number. Returns the number of wide nodes, at most that of binary nodes, and
    the number of wide leaves, at most one more.
    """
    link = pointer(links)
    chosen = np.empty(WIDTH, np.int64)
    areas = np.empty(WIDTH, np.float32)
    # Wide nodes to be filled and the binary nodes that they start from. Last in, first out, so
    # that nodes close to each other in the binary tree are close in memory, too. At most all but
    # one child of each level wait.
    waiting = np.empty((WIDTH * MAX_DEPTH, 2), np.int32)
    waiting[0, 0] = 0
    waiting[0, 1] = 0
    n_waiting = 1
    n_nodes = 1
    n_leaves = 0
    while n_waiting > 0:
        n_waiting -= 1
        wide, node = waiting[n_waiting, 0], np.int64(waiting[n_waiting, 1])
        # `opened` is the place of the child to replace by its two; at first, where to put the
        # first of the node's own two.
        opened = 0
        n_chosen = 1
        while opened >= 0:
            for side in range(2):
                at = opened if side == 0 else n_chosen
                child = 2 * node + side
                chosen[at] = child
                # An area below 0 is never the largest: leaves, and the empty side of a tree of one
                # leaf, are not opened.
                areas[at] = _half_area(nodes, child) if is_inner(link, child) else f4(-1.0)
            n_chosen += 1
            opened = -1
            largest = f4(-0.5)
            if n_chosen < WIDTH:
                for i in range(n_chosen):
                    if areas[i] > largest:
                        largest = areas[i]
                        opened = i
            if opened >= 0:
                node = np.int64(first_of(link, chosen[opened]))
        for i in range(WIDTH):
            children[wide, i] = -1
            wide_links[wide, i] = 0
            if i >= n_chosen:
                continue
            child = chosen[i]
            first, count = first_of(link, child), count_of(link, child)
            if count > 0:
                children[wide, i] = child
                wide_links[wide, i] = link_to_leaf(n_leaves, count)
                leaf_slots[n_leaves, 0] = first
                leaf_slots[n_leaves, 1] = count
                n_leaves += 1
            elif first > 0:
                children[wide, i] = child
                wide_links[wide, i] = n_nodes
                waiting[n_waiting, 0] = n_nodes
                waiting[n_waiting, 1] = first
                n_waiting += 1
                n_nodes += 1
    return n_nodes, n_leaves


@jit
def _fill_nodes(nodes, children, links, begin, end, wide_nodes):
    box, out = pointer(nodes), pointer(wide_nodes)
    out_links = integers(out)
    for wide in range(begin, min(end, children.shape[0])):
        for lane in range(WIDTH):
            child = np.int64(children[wide, lane])
            out_links[NODE * wide + LINKS + lane] = links[wide, lane]
            out[NODE * wide + LINKS + WIDTH + lane] = f4(0.0)
            for axis in range(3):
                to = NODE * wide + WIDTH * axis + lane
                if child < 0:
                    out[to] = f4(0.0)
                    out[to + HALF] = f4(-np.inf)
                else:
                    low, high = low_of(box, child, axis), high_of(box, child, axis)
                    centre = f4(0.5) * (low + high)
                    half = max(high - centre, centre - low)
                    out[to] = centre
                    out[to + HALF] = half * GROWTH + MARGIN


@jit
def _fill_leaves(leaf_slots, begin, end, vertices, faces, slot_face, leaves):
    vertex, corner_of, face_of = pointer(vertices), pointer(faces), pointer(slot_face)
    out = pointer(leaves)
    out_faces = integers(out)
    last = leaf_slots.shape[0] - 1
    for leaf in range(begin, min(end, last + 1)):
        # Prefetch for later leaves: the vertices of one that comes soon, and the vertex indices of
        # one that comes later.
        soon, later = min(leaf + 2, last), min(leaf + 6, last)
        for slot in range(leaf_slots[soon, 0], leaf_slots[soon, 0] + leaf_slots[soon, 1]):
            for corner in range(3):
                prefetch(vertex, 3 * np.int64(corner_of[3 * np.int64(face_of[slot]) + corner]))
        for slot in range(leaf_slots[later, 0], leaf_slots[later, 0] + leaf_slots[later, 1]):
            prefetch(corner_of, 3 * np.int64(face_of[slot]))
        first, count = np.int64(leaf_slots[leaf, 0]), np.int64(leaf_slots[leaf, 1])
        for lane in range(WIDTH):
            face = np.int64(face_of[first + (lane if lane < count else count - 1)])
            out_faces[LEAF * leaf + FACES + lane] = np.int32(face)
            for corner in range(3):
                at = 3 * np.int64(corner_of[3 * face + corner])
                to = LEAF * leaf + CORNER * corner + lane
                for axis in range(3):
                    out[to + WIDTH * axis] = f4(vertex[at + axis])
