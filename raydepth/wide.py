"""The eight-wide layout of a hierarchy: what the tile kernel walks.

The binary build tree is collapsed top down: of a node's children so far, the one of the largest
surface is replaced by its two, until there are eight (Wald, Benthin, Boulos, "Getting Rid of
Packets: Efficient SIMD Single-Ray Traversal using Multi-branching BVHs", 2008). A subtree of at
most eight slots becomes one leaf.

| array      | shape            | dtype   | meaning                                               |
| ---------- | ---------------- | ------- | ----------------------------------------------------- |
| boxes      | (n_nodes, 6, 8)  | float32 | eight children's centres x, y, z, half extents x, y,  |
|            |                  |         | z; unused children have half extents of -inf          |
| links      | (n_nodes, 8)     | int32   | inner: index of the child's node;                     |
|            |                  |         | leaf: ~(8 * index of the leaf + number of faces - 1)  |
| corners    | (n_leaves, 9, 8) | float32 | x, y, z of vertex 0, 1, 2 of eight faces, local frame |
| leaf_faces | (n_leaves, 8)    | int32   | index of the face as the user gave it                 |

Eight children or faces lie side by side for one vector operation. Unused lanes of a leaf repeat
its last face. Node 0 is the root.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

WIDTH = 8

# A centre and a half extent of float32 bounds carry one rounding each of at most 2^-24 relative
# to the box's corners, which are at most 1 in the local frame; the tile kernel's own bound on
# rounding errors (tiles.py) starts from centres, so this is all that is added here.
GROWTH = np.float32(1.0 + 2.0**-21)
MARGIN = np.float32(2.0**-23)


class Wide(NamedTuple):
    """The arrays of the table above."""

    boxes: np.ndarray
    links: np.ndarray
    corners: np.ndarray
    leaf_faces: np.ndarray


def collapse(
    bounds: np.ndarray,
    first: np.ndarray,
    count: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    slot_face: np.ndarray,
) -> Wide:
    """Collapse the build tree (`bvh._build_tree`) of a mesh in its local frame."""
    children, links, leaf_nodes = _choose_children(bounds, first, count)
    boxes = np.empty((len(children), 6, WIDTH), np.float32)
    _fill_boxes(bounds, children, boxes)
    corners = np.empty((len(leaf_nodes), 9, WIDTH), np.float32)
    leaf_faces = np.empty((len(leaf_nodes), WIDTH), np.int32)
    _fill_leaves(leaf_nodes, first, count, vertices, faces, slot_face, corners, leaf_faces)
    return Wide(boxes, links, corners, leaf_faces)


@njit(cache=True, nogil=True, error_model="numpy")
def _choose_children(bounds, first, count):
    """For each wide node the build nodes of its children (-1 = none) and the links to them."""
    n = first.shape[0]
    # Children stand behind their parents, so that one pass backwards counts all slots below.
    below = np.empty(n, np.int32)
    for node in range(n - 1, -1, -1):
        if count[node] > 0:
            below[node] = count[node]
        else:
            below[node] = below[first[node]] + below[first[node] + 1]

    # Every wide inner node takes one build node with more than eight slots below; and the root.
    capacity = 1
    for node in range(n):
        if below[node] > WIDTH:
            capacity += 1
    children = np.full((capacity, WIDTH), np.int32(-1))
    links = np.zeros((capacity, WIDTH), np.int32)
    origin = np.empty(capacity, np.int32)
    leaf_nodes = np.empty(n, np.int32)
    origin[0] = 0
    n_nodes = 1
    n_leaves = 0
    wide = 0
    chosen = np.empty(WIDTH, np.int32)
    while wide < n_nodes:
        chosen[0] = origin[wide]
        n_chosen = 1
        while n_chosen < WIDTH:
            largest = -1
            largest_area = np.float32(-1.0)
            for i in range(n_chosen):
                node = chosen[i]
                if below[node] > WIDTH:
                    x = bounds[node, 3] - bounds[node, 0]
                    y = bounds[node, 4] - bounds[node, 1]
                    z = bounds[node, 5] - bounds[node, 2]
                    area = x * y + y * z + z * x
                    if area > largest_area:
                        largest_area = area
                        largest = i
            if largest < 0:
                break
            opened = chosen[largest]
            chosen[largest] = first[opened]
            chosen[n_chosen] = first[opened] + 1
            n_chosen += 1
        for i in range(n_chosen):
            node = chosen[i]
            children[wide, i] = node
            if below[node] > WIDTH:
                links[wide, i] = n_nodes
                origin[n_nodes] = node
                n_nodes += 1
            else:
                links[wide, i] = ~np.int32(WIDTH * n_leaves + below[node] - 1)
                leaf_nodes[n_leaves] = node
                n_leaves += 1
        wide += 1
    return children[:n_nodes].copy(), links[:n_nodes].copy(), leaf_nodes[:n_leaves].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_boxes(bounds, children, boxes):
    for wide in range(children.shape[0]):
        for i in range(WIDTH):
            node = children[wide, i]
            for axis in range(3):
                if node < 0:
                    boxes[wide, axis, i] = np.float32(0.0)
                    boxes[wide, 3 + axis, i] = np.float32(-np.inf)
                else:
                    low = bounds[node, axis]
                    high = bounds[node, 3 + axis]
                    centre = np.float32(0.5) * (low + high)
                    half = max(high - centre, centre - low)
                    boxes[wide, axis, i] = centre
                    boxes[wide, 3 + axis, i] = half * GROWTH + MARGIN


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_leaves(leaf_nodes, first, count, vertices, faces, slot_face, corners, leaf_faces):
    waiting = np.empty(2 * WIDTH, np.int32)
    for leaf in range(leaf_nodes.shape[0]):
        waiting[0] = leaf_nodes[leaf]
        n_waiting = 1
        lane = 0
        while n_waiting > 0:
            n_waiting -= 1
            node = waiting[n_waiting]
            if count[node] == 0:
                waiting[n_waiting] = first[node] + 1
                waiting[n_waiting + 1] = first[node]
                n_waiting += 2
                continue
            for slot in range(first[node], first[node] + count[node]):
                face = slot_face[slot]
                leaf_faces[leaf, lane] = face
                for corner in range(3):
                    for axis in range(3):
                        x = np.float32(vertices[faces[face, corner], axis])
                        corners[leaf, 3 * corner + axis, lane] = x
                lane += 1
        for spare in range(lane, WIDTH):
            leaf_faces[leaf, spare] = leaf_faces[leaf, lane - 1]
            for row in range(9):
                corners[leaf, row, spare] = corners[leaf, row, lane - 1]
