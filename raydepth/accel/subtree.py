"""Build a subtree of the hierarchy in one thread and one loop."""

from __future__ import annotations

import numpy as np

from raydepth.accel.nodes import CHILD, HIGH, LOW, count_of, first_of, set_link
from raydepth.accel.sah import (
    BIN_FLOATS,
    MAX_LEAF,
    N_BINS,
    RECORD,
    SIDES,
    may_split,
    measure,
    scale_bins,
    split_by_sah,
)
from raydepth.simd.jit import jit
from raydepth.simd.vectors import load, pointer, stack_float32, stack_int32, store

f4 = np.float32

# No path from the root is longer than this, so a kernel's stack of this size never overflows.
MAX_DEPTH = 64
# Offsets in a node that waits to be split, int32: the range of its references, the buffer (0 or 1)
# that holds them, its level (the root's is 0), the node that points to it and from which side.
BEGIN, END, BUFFER, LEVEL, PARENT, SIDE, N_INTEGERS = range(7)
# One node per level waits while its sibling is built.
WAITING_INTEGERS = (MAX_DEPTH + 2) * N_INTEGERS
WAITING_FLOATS = (MAX_DEPTH + 2) * RECORD


@jit
def _drop_coincident(references, face_of, begin, end, bits, corners):
    """Keep, of faces that coincide, the one of lowest index; return the end of those kept.

    The kept references move to the front. A hash table with linear probing, at most half full,
    holds their positions. `bits` are the bit patterns of the coordinates.
    """
    table_size = 2
    while table_size < 2 * (end - begin):
        table_size *= 2
    table = np.empty(table_size, np.int32)
    for at in range(table_size):
        table[at] = -1
    kept = begin
    for slot in range(begin, end):
        face = np.int64(face_of[8 * slot + 3])
        key = np.uint64(0)
        for corner in range(3):
            for axis in range(3):
                # Knuth's multiplicative hashing: the golden ratio's bits spread well upwards, and
                # the shift brings the upper bits back down, where `at` is taken from.
                key ^= bits[3 * np.int64(corners[3 * face + corner]) + axis]
                key *= np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(32)
        at = np.int64(key & np.uint64(table_size - 1))
        found = np.int64(table[at])
        while found >= 0 and not _coincide(bits, corners, face, np.int64(face_of[8 * found + 3])):
            at = (at + 1) & (table_size - 1)
            found = np.int64(table[at])
        if found < 0:
            table[at] = kept
            store(references, 8 * kept, load(references, 8 * slot, 8))
            kept += 1
        elif face < face_of[8 * found + 3]:
            store(references, 8 * found, load(references, 8 * slot, 8))
    return kept


@jit
def _coincide(bits, corners, face, other):
    for corner in range(3):
        for axis in range(3):
            x = bits[3 * np.int64(corners[3 * face + corner]) + axis]
            if x != bits[3 * np.int64(corners[3 * other + corner]) + axis]:
                return False
    return True


@jit
def build_subtree(
    buffer_0, buffer_1, begin, end, buffer, level, root_box, max_depth,
    bits, corners, nodes, links, slot_face, root_link,
):  # fmt: skip
    """Build the tree over references `begin` to `end`, into that range of `nodes` and `slot_face`.

    Node i of the subtree is `nodes[begin + i]`. A link to a node is such an i; a link to a slot is
    an index into the whole `slot_face`. `root_link` gets the link to the root and its count.
    Returns the number of nodes and of slots written, and the depth, counted from the root of the
    whole tree.
    """
    even, odd = pointer(buffer_0), pointer(buffer_1)
    even_faces, odd_faces = pointer(buffer_0.view(np.int32)), pointer(buffer_1.view(np.int32))
    node_rows, node_links = pointer(nodes), pointer(links)
    bins = stack_float32(BIN_FLOATS)
    counts = stack_int32(N_BINS)
    binning = stack_float32(8)
    box = stack_float32(RECORD)
    sides = stack_float32(SIDES)
    waiting = stack_int32(WAITING_INTEGERS)
    boxes = stack_float32(WAITING_FLOATS)

    waiting[BEGIN], waiting[END], waiting[BUFFER], waiting[LEVEL] = begin, end, buffer, level
    waiting[PARENT], waiting[SIDE] = -1, 0
    store(boxes, 0, load(pointer(root_box), 0, RECORD))
    n_waiting = 1
    n_nodes = 0
    next_slot = np.int64(begin)
    depth = level
    while n_waiting > 0:
        n_waiting -= 1
        at = N_INTEGERS * n_waiting
        first, last = np.int64(waiting[at + BEGIN]), np.int64(waiting[at + END])
        buffer, level = np.int64(waiting[at + BUFFER]), np.int64(waiting[at + LEVEL])
        parent, side = np.int64(waiting[at + PARENT]), np.int64(waiting[at + SIDE])
        store(box, 0, load(boxes, RECORD * n_waiting, RECORD))
        source, target = (even, odd) if buffer == 0 else (odd, even)
        face_of = even_faces if buffer == 0 else odd_faces

        middle = np.int64(-1)
        n_bins = 0
        if last - first > MAX_LEAF and may_split(level, last - first, max_depth):
            n_bins = scale_bins(box, last - first, binning)
        if n_bins > 0:
            middle = split_by_sah(source, target, first, last, n_bins, binning, bins, counts, sides)
        if middle >= 0:
            # The split moved the references to the other buffer.
            buffer = 1 - buffer
        elif last - first > MAX_LEAF:
            # No border tells the faces apart, or the path would get too long: drop coincident
            # faces, then split what remains in halves, in the order it is in.
            last = _drop_coincident(source, face_of, first, last, pointer(bits), pointer(corners))
            if last - first > MAX_LEAF:
                middle = (first + last) // 2
                for child in range(2):
                    low, high = (first, middle) if child == 0 else (middle, last)
                    measure(source, low, high, sides, RECORD * child)

        # The parent's link is set here, because only now it is known whether this node is a leaf.
        is_leaf = middle < 0
        if parent >= 0:
            child = 2 * (begin + parent) + side
            link, count = next_slot if is_leaf else n_nodes, last - first if is_leaf else 0
            set_link(node_links, child, link, count)
        else:
            root_link[0] = next_slot if is_leaf else n_nodes
            root_link[1] = last - first if is_leaf else 0
        if is_leaf:
            for slot in range(first, last):
                slot_face[next_slot] = face_of[8 * slot + 3]
                next_slot += 1
            continue
        for child in range(2):
            at = RECORD * child
            row = CHILD * (2 * (begin + n_nodes) + child)
            store(node_rows, row + LOW, load(sides, at, 4))
            store(node_rows, row + HIGH, f4(0.0) - load(sides, at + 4, 4))
        level += 1
        depth = max(depth, level)
        # The left side goes on top of the stack, so that slots are written from left to right.
        for child in range(1, -1, -1):
            at = N_INTEGERS * n_waiting
            waiting[at + BEGIN] = first if child == 0 else middle
            waiting[at + END] = middle if child == 0 else last
            waiting[at + BUFFER], waiting[at + LEVEL] = buffer, level
            waiting[at + PARENT], waiting[at + SIDE] = n_nodes, child
            store(boxes, RECORD * n_waiting, load(sides, RECORD * child, RECORD))
            n_waiting += 1
        n_nodes += 1
    return n_nodes, next_slot - begin, depth


@jit
def place_subtree(rows, links, begin, n_nodes, first_node, slot_shift, target, target_links):
    """Copy a subtree's nodes to their final place, and shift its links to match."""
    source, source_links = pointer(rows), pointer(links)
    out, out_links = pointer(target), pointer(target_links)
    for node in range(n_nodes):
        for side in range(2):
            child, to = 2 * (begin + node) + side, 2 * (first_node + node) + side
            store(out, CHILD * to, load(source, CHILD * child, CHILD))
            first, count = first_of(source_links, child), count_of(source_links, child)
            set_link(out_links, to, first + (slot_shift if count > 0 else first_node), count)
