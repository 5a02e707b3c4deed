"""Build the bounding volume hierarchy (BVH): a binary tree over triangles in flat arrays.

Binned surface-area-heuristic build (Wald, "On fast Construction of SAH-based Bounding Volume
Hierarchies", 2007), iterative. Everything lives in the mesh's *local frame*: the centre of the
bounds subtracted in float64, then scaled by a power of two so that coordinates are at most about 1.
Both keep full precision for meshes far from the origin, tiny or huge.

Node layout, 64 bytes, `nodes[i]` is (4, 4) float32; the last column holds int32 bit patterns.
A node holds the boxes of its two children:

    row  columns 0-2           column 3 (int32)
    0    child 0 box, minimum  child 0: inner: index of its node;  leaf: index of its first slot
    1    child 0 box, maximum  child 0: inner: 0;                  leaf: number of slots, >= 1
    2    child 1 box, minimum  child 1: as above
    3    child 1 box, maximum  child 1: as above

Boxes are rounded outwards from float64. Node 0 is the root. A tree of one leaf has one node whose
second child has an empty box (minimum +inf, maximum -inf), which no ray meets.

A *slot* is a place in leaf order: `slot_face[slot]` is the face's index in the mesh as the user
gave it. The vertices of a face stand in lexicographic order of their coordinates, so that faces
that coincide give the same bits whatever their winding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from raydepth.wide import Wide, collapse

N_BINS = 16
MAX_LEAF = 4
# Cost of visiting an inner node, in units of one triangle test.
TRAVERSAL_COST = 1.0
# No path from the root is longer than this, so a kernel's stack of this size never overflows.
MAX_DEPTH = 64
# Centroids closer together than this (in the local frame) cannot be told apart by binning.
MIN_EXTENT = np.float32(1e-30)


@dataclass(frozen=True, eq=False)
class Bvh:
    """A mesh ready for ray casting. Made by `build`; flat arrays, see the top of this file.

    Attributes
    ----------
    nodes : (n_nodes, 4, 4) float32
    slot_face : (n_slots,) int32
    wide : Wide
        The same tree for the tile kernel; see wide.py.
    vertices : (n_vertices, 3) float64
        In the local frame: `(world - centre) * scale`.
    faces : (n_faces, 3) int32
        Vertex indices of every face, by the user's index, in lexicographic order of coordinates.
    centre : (3,) float64
    scale : float
        A power of two.
    depth : int
        The number of inner nodes on the longest path from the root.
    """

    nodes: np.ndarray
    slot_face: np.ndarray
    wide: Wide
    vertices: np.ndarray
    faces: np.ndarray
    centre: np.ndarray
    scale: float
    depth: int

    def __repr__(self) -> str:
        return f"Bvh({len(self.faces)} faces, {len(self.nodes)} nodes, depth {self.depth})"


def build(vertices: np.ndarray, faces: np.ndarray) -> Bvh:
    """Build the hierarchy of a checked mesh. The same input gives the same tree.

    Zero-area faces are left out (no ray hits them), as are all but the first of faces that
    coincide where they pile up beyond one leaf.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64, finite
    faces : (n_faces, 3) int32, every index valid, at least one face of non-zero area
    """
    centre, scale = local_frame(vertices, faces)
    # Adding 0 turns -0 into 0: the same place, the same bits.
    local = np.ascontiguousarray((vertices - centre) * scale + 0.0)
    boxes, sorted_faces, slot_face = _prepare(local, faces)
    bounds, first, count, n_nodes, depth = _build_tree(
        boxes, local.view(np.uint64), sorted_faces, slot_face
    )
    tree = bounds[:n_nodes], first[:n_nodes], count[:n_nodes]
    return Bvh(
        nodes=_flatten(*tree),
        slot_face=slot_face,
        wide=collapse(*tree, local, sorted_faces, slot_face),
        vertices=local,
        faces=sorted_faces,
        centre=centre,
        scale=scale,
        depth=int(depth),
    )


def local_frame(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, float]:
    """The centre of the faces' bounds, and the power of two that brings them to size 1."""
    low, high = _used_bounds(vertices, faces)
    centre = low + (high - low) * 0.5
    half = float((high - low).max()) * 0.5
    return centre, math.ldexp(1.0, -math.frexp(half)[1])


@njit(cache=True, nogil=True, error_model="numpy")
def _used_bounds(vertices, faces):
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for face in range(faces.shape[0]):
        for corner in range(3):
            for axis in range(3):
                x = vertices[faces[face, corner], axis]
                if x < low[axis]:
                    low[axis] = x
                if x > high[axis]:
                    high[axis] = x
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _before(vertices, i, j):
    """Whether vertex i comes before vertex j in lexicographic order of coordinates."""
    for axis in range(3):
        if vertices[i, axis] != vertices[j, axis]:
            return vertices[i, axis] < vertices[j, axis]
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _sorted_corners(vertices, i, j, k):
    """The three vertex indices in lexicographic order of their coordinates."""
    if _before(vertices, j, i):
        i, j = j, i
    if _before(vertices, k, j):
        j, k = k, j
        if _before(vertices, j, i):
            i, j = j, i
    return i, j, k


@njit(cache=True, nogil=True, error_model="numpy")
def _round_down(x):
    y = np.float32(x)
    return np.nextafter(y, np.float32(-np.inf)) if np.float64(y) > x else y


@njit(cache=True, nogil=True, error_model="numpy")
def _round_up(x):
    y = np.float32(x)
    return np.nextafter(y, np.float32(np.inf)) if np.float64(y) < x else y


@njit(cache=True, nogil=True, error_model="numpy")
def _prepare(vertices, faces):
    """Float32 boxes rounded outwards, sorted corners, and the faces that have an area."""
    n_faces = faces.shape[0]
    boxes = np.empty((n_faces, 6), np.float32)
    sorted_faces = np.empty((n_faces, 3), np.int32)
    live = np.empty(n_faces, np.int32)
    n_live = 0
    for face in range(n_faces):
        i, j, k = _sorted_corners(vertices, faces[face, 0], faces[face, 1], faces[face, 2])
        sorted_faces[face, 0] = i
        sorted_faces[face, 1] = j
        sorted_faces[face, 2] = k
        for axis in range(3):
            a, b, c = vertices[i, axis], vertices[j, axis], vertices[k, axis]
            boxes[face, axis] = _round_down(min(min(a, b), c))
            boxes[face, 3 + axis] = _round_up(max(max(a, b), c))
        if _has_area(vertices, i, j, k):
            live[n_live] = face
            n_live += 1
    return boxes, sorted_faces, live[:n_live].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def _has_area(vertices, i, j, k):
    """Whether the cross product of two edges is non-zero."""
    ux = vertices[j, 0] - vertices[i, 0]
    uy = vertices[j, 1] - vertices[i, 1]
    uz = vertices[j, 2] - vertices[i, 2]
    vx = vertices[k, 0] - vertices[i, 0]
    vy = vertices[k, 1] - vertices[i, 1]
    vz = vertices[k, 2] - vertices[i, 2]
    return uy * vz != uz * vy or uz * vx != ux * vz or ux * vy != uy * vx


@njit(cache=True, nogil=True, error_model="numpy")
def _half_area(box, at):
    x = box[at + 3] - box[at]
    y = box[at + 4] - box[at + 1]
    z = box[at + 5] - box[at + 2]
    return x * y + y * z + z * x


@njit(cache=True, nogil=True, error_model="numpy")
def _grow(box, at, other, other_at):
    for axis in range(3):
        if other[other_at + axis] < box[at + axis]:
            box[at + axis] = other[other_at + axis]
        if other[other_at + 3 + axis] > box[at + 3 + axis]:
            box[at + 3 + axis] = other[other_at + 3 + axis]


@njit(cache=True, nogil=True, error_model="numpy")
def _reset(box, at):
    for axis in range(3):
        box[at + axis] = np.float32(np.inf)
        box[at + 3 + axis] = np.float32(-np.inf)


@njit(cache=True, nogil=True, error_model="numpy")
def _build_tree(boxes, bits, sorted_faces, order):
    """The comfortable build tree; reorders `order` into leaf order in place.

    Node i is a leaf if `count[i] > 0`, of slots `first[i]` onwards; else its children are nodes
    `first[i]` and `first[i] + 1`. `bits` are the vertices' bit patterns, (n_vertices, 3) uint64.
    Returns bounds (n, 6) float32, first, count, n_nodes, depth.
    """
    n = order.shape[0]
    bounds = np.empty((2 * n, 6), np.float32)
    first = np.empty(2 * n, np.int32)
    count = np.empty(2 * n, np.int32)
    flat_boxes = boxes.reshape(-1)
    flat_bounds = bounds.reshape(-1)

    bin_box = np.empty(3 * N_BINS * 6, np.float32)
    bin_count = np.empty(3 * N_BINS, np.int32)
    right_cost = np.empty(N_BINS, np.float32)
    scratch = np.empty(6, np.float32)
    centroid_low = np.empty(3, np.float32)
    to_bin = np.empty(3, np.float32)

    # One entry per node still to be split; siblings wait while one side goes down.
    waiting = np.empty((MAX_DEPTH + 1, 2), np.int32)
    waiting[0, 0] = 0
    waiting[0, 1] = 0
    n_waiting = 1
    n_nodes = 1
    first[0] = 0
    count[0] = n
    deepest = 0

    while n_waiting > 0:
        n_waiting -= 1
        node = waiting[n_waiting, 0]
        level = waiting[n_waiting, 1]
        begin = first[node]
        size = count[node]
        end = begin + size

        # Bounds of the node's boxes and of their centroids.
        at = 6 * node
        _reset(flat_bounds, at)
        _reset(scratch, 0)
        for slot in range(begin, end):
            box_at = 6 * order[slot]
            _grow(flat_bounds, at, flat_boxes, box_at)
            for axis in range(3):
                c = flat_boxes[box_at + axis] + flat_boxes[box_at + 3 + axis]
                if c < scratch[axis]:
                    scratch[axis] = c
                if c > scratch[3 + axis]:
                    scratch[3 + axis] = c
        if size == 1:
            continue

        splittable = False
        for axis in range(3):
            extent = scratch[3 + axis] - scratch[axis]
            centroid_low[axis] = scratch[axis]
            to_bin[axis] = np.float32(0.0)
            if extent > MIN_EXTENT:
                # A little less than N_BINS, so that the last centroid stays in the last bin.
                to_bin[axis] = np.float32(N_BINS * 0.999999) / extent
                splittable = True

        # The path below a node of this size must fit even if every further split is in halves.
        balanced_levels = 0
        while (MAX_LEAF << balanced_levels) < size:
            balanced_levels += 1
        middle = -1
        if splittable and level + balanced_levels + 1 < MAX_DEPTH:
            middle = _split_by_sah(
                flat_boxes, flat_bounds, at, order, begin, end,
                centroid_low, to_bin, bin_box, bin_count, right_cost, scratch,
            )  # fmt: skip
        if middle < 0 and size > MAX_LEAF:
            size = _drop_coincident(bits, sorted_faces, order, begin, end)
            end = begin + size
            count[node] = size
            middle = begin + size // 2
        if middle < 0 or (size <= MAX_LEAF and not splittable):
            continue

        left = n_nodes
        n_nodes += 2
        first[left] = begin
        count[left] = middle - begin
        first[left + 1] = middle
        count[left + 1] = end - middle
        first[node] = left
        count[node] = 0
        deepest = max(deepest, level + 1)
        # The smaller side waits on top: the stack never holds more than one entry per level.
        for child in range(2):
            waiting[n_waiting, 0] = left + child
            waiting[n_waiting, 1] = level + 1
            n_waiting += 1
    return bounds, first, count, n_nodes, max(deepest, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _split_by_sah(
    boxes, bounds, at, order, begin, end,
    centroid_low, to_bin, bin_box, bin_count, right_cost, scratch,
):  # fmt: skip
    """Partition `order[begin:end]` at the cheapest bin border; -1 if a leaf is cheaper."""
    size = end - begin
    for b in range(3 * N_BINS):
        _reset(bin_box, 6 * b)
        bin_count[b] = 0
    for slot in range(begin, end):
        box_at = 6 * order[slot]
        for axis in range(3):
            c = boxes[box_at + axis] + boxes[box_at + 3 + axis]
            b = axis * N_BINS + int((c - centroid_low[axis]) * to_bin[axis])
            bin_count[b] += 1
            _grow(bin_box, 6 * b, boxes, box_at)

    best_cost = np.float32(np.inf)
    best_axis = -1
    best_border = 0
    for axis in range(3):
        if to_bin[axis] == np.float32(0.0):
            continue
        _reset(scratch, 0)
        n_right = 0
        for b in range(N_BINS - 1, 0, -1):
            n_right += bin_count[axis * N_BINS + b]
            _grow(scratch, 0, bin_box, 6 * (axis * N_BINS + b))
            right_cost[b] = _half_area(scratch, 0) * np.float32(n_right)
        _reset(scratch, 0)
        n_left = 0
        for b in range(1, N_BINS):
            n_left += bin_count[axis * N_BINS + b - 1]
            _grow(scratch, 0, bin_box, 6 * (axis * N_BINS + b - 1))
            cost = _half_area(scratch, 0) * np.float32(n_left) + right_cost[b]
            # NaN (an empty side: inf - inf) compares false.
            if 0 < n_left < size and cost < best_cost:
                best_cost = cost
                best_axis = axis
                best_border = b
    leaf_cost = _half_area(bounds, at) * (np.float32(size) - np.float32(TRAVERSAL_COST))
    if best_axis < 0 or (size <= MAX_LEAF and best_cost >= leaf_cost):
        return -1

    middle = begin
    for slot in range(begin, end):
        face = order[slot]
        c = boxes[6 * face + best_axis] + boxes[6 * face + 3 + best_axis]
        if int((c - centroid_low[best_axis]) * to_bin[best_axis]) < best_border:
            order[slot] = order[middle]
            order[middle] = face
            middle += 1
    return middle


@njit(cache=True, nogil=True, error_model="numpy")
def _drop_coincident(bits, sorted_faces, order, begin, end):
    """Keep the lowest of faces that coincide in `order[begin:end]`; return how many are kept.

    A hash table with linear probing, at most half full, of positions in the kept part of `order`.
    """
    table_size = 2
    while table_size < 2 * (end - begin):
        table_size *= 2
    table = np.full(table_size, np.int32(-1))
    kept = begin
    for slot in range(begin, end):
        face = order[slot]
        key = np.uint64(0)
        for corner in range(3):
            for axis in range(3):
                # Knuth's multiplicative hashing; the golden ratio's bits spread well upwards.
                key ^= bits[sorted_faces[face, corner], axis]
                key *= np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(32)
        at = np.int64(key & np.uint64(table_size - 1))
        while table[at] >= 0 and not _coincide(bits, sorted_faces, face, order[table[at]]):
            at = (at + 1) & (table_size - 1)
        if table[at] < 0:
            table[at] = kept
            order[kept] = face
            kept += 1
        elif face < order[table[at]]:
            order[table[at]] = face
    return kept - begin


@njit(cache=True, nogil=True, error_model="numpy")
def _coincide(bits, sorted_faces, face, other):
    for corner in range(3):
        for axis in range(3):
            x = bits[sorted_faces[face, corner], axis]
            if x != bits[sorted_faces[other, corner], axis]:
                return False
    return True


def _flatten(bounds: np.ndarray, first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Build tree to the layout at the top of this file; inner nodes keep their relative order."""
    nodes = np.zeros((max(len(first) // 2, 1), 4, 4), np.float32)
    _fill_nodes(bounds, first, count, nodes, nodes.view(np.int32))
    return nodes


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_nodes(bounds, first, count, nodes, links):
    n = first.shape[0]
    if n == 1:
        for axis in range(3):
            nodes[0, 0, axis] = bounds[0, axis]
            nodes[0, 1, axis] = bounds[0, 3 + axis]
            nodes[0, 2, axis] = np.float32(np.inf)
            nodes[0, 3, axis] = np.float32(-np.inf)
        links[0, 1, 3] = count[0]
        return
    flat_index = np.empty(n, np.int32)
    n_inner = 0
    for node in range(n):
        if count[node] == 0:
            flat_index[node] = n_inner
            n_inner += 1
    for node in range(n):
        if count[node] > 0:
            continue
        at = flat_index[node]
        for side in range(2):
            child = first[node] + side
            for axis in range(3):
                nodes[at, 2 * side, axis] = bounds[child, axis]
                nodes[at, 2 * side + 1, axis] = bounds[child, 3 + axis]
            links[at, 2 * side, 3] = first[child] if count[child] > 0 else flat_index[child]
            links[at, 2 * side + 1, 3] = count[child]
