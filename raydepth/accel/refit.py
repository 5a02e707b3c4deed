"""Fit the boxes of a binary tree to vertices that moved; the tree's topology is kept."""

from __future__ import annotations

import numpy as np

from raydepth.accel.local_frame import AHEAD, Prepared
from raydepth.accel.nodes import (
    CHILD,
    HIGH,
    LOW,
    count_of,
    first_of,
    high_of,
    is_inner,
    low_of,
    set_link,
)
from raydepth.simd.jit import jit
from raydepth.simd.vectors import least, load, pointer, prefetch, splat, store
from raydepth.system import aligned, parallel

f4 = np.float32

# Nodes that one thread handles at a time.
PIECE = 1 << 13


def fit_boxes(nodes: np.ndarray, slot_face: np.ndarray, mesh: Prepared, threads: int) -> np.ndarray:
    """Return the nodes (layout in bvh.py) with boxes that fit `mesh`."""
    fitted = aligned.empty(nodes.shape, np.float32)
    fitted[:] = nodes
    links = fitted.view(np.int32)

    def fit(task: int) -> None:
        begin = task * PIECE
        _fit_leaves(fitted, links, begin, begin + PIECE, slot_face, mesh.vertex_boxes, mesh.corners)

    parallel.for_each(fit, -(-len(nodes) // PIECE), threads)
    _fit_inner(fitted, links)
    return fitted


def check_absent(slot_face: np.ndarray, mesh: Prepared) -> None:
    """Raise ValueError if a face that is in no leaf could now be seen.

    `build` leaves out faces without area and faces that coincide with one of lower index.
    """
    absent = np.zeros(len(mesh.corners), bool)
    absent[mesh.references.view(np.int32)[0, : mesh.n_live, 3]] = True
    absent[slot_face] = False
    if not absent.any():
        return

    def place(face: int) -> bytes:
        return mesh.vertices[mesh.corners[face]].tobytes()

    # An absent face that still coincides with one of lower index is not seen: at equal distances
    # the lower index is hit.
    lowest: dict[bytes, int] = {}
    for face in np.sort(slot_face).tolist():
        lowest.setdefault(place(face), face)
    for face in np.flatnonzero(absent).tolist():
        if lowest.get(place(face), face) >= face:
            raise ValueError(
                f"face {face} had no area or coincided with another when the hierarchy was built, "
                "and no longer does; build the hierarchy anew"
            )


@jit
def _fit_leaves(nodes, links, begin, end, slot_face, vertex_boxes, corners):
    row, link, box = pointer(nodes), pointer(links), pointer(vertex_boxes)
    face_of, corner_of = pointer(slot_face), pointer(corners)
    last = slot_face.shape[0] - 1
    for child in range(2 * begin, min(2 * end, 2 * nodes.shape[0])):
        first, count = np.int64(first_of(link, child)), count_of(link, child)
        if count == 0:
            continue
        whole = splat(f4(np.inf), 8)
        for slot in range(first, first + count):
            # Faces and vertices may be in any order, so those of later slots are prefetched.
            prefetch(corner_of, 3 * np.int64(face_of[min(slot + 2 * AHEAD, last)]))
            soon = 3 * np.int64(face_of[min(slot + AHEAD, last)])
            at = 3 * np.int64(face_of[slot])
            for corner in range(3):
                prefetch(box, 8 * np.int64(corner_of[soon + corner]))
                whole = least(whole, load(box, 8 * np.int64(corner_of[at + corner]), 8))
        _put(row, link, child, whole)


@jit
def _put(row, link, child, box):
    """Store the box of a child; its link and count are kept."""
    # The stores of whole vectors overwrite the link and the count, so these are set again.
    first, count = first_of(link, child), count_of(link, child)
    high = CHILD * child + HIGH
    store(row, CHILD * child, box)
    store(row, high, f4(0.0) - load(row, high, 4))
    set_link(link, child, first, count)


@jit
def _fit_inner(nodes, links):
    row, link = pointer(nodes), pointer(links)
    # Children come after their parents: from the back, the boxes below are complete.
    for child in range(2 * nodes.shape[0] - 1, -1, -1):
        if not is_inner(link, child):
            continue
        below = 2 * np.int64(first_of(link, child))
        for axis in range(3):
            low, other = low_of(row, below, axis), low_of(row, below + 1, axis)
            row[CHILD * child + LOW + axis] = low if low < other else other
            high, other = high_of(row, below, axis), high_of(row, below + 1, axis)
            row[CHILD * child + HIGH + axis] = high if high > other else other
