"""Access to the fields of nodes and leaves: the only place that knows the offset of each number.

The tables at the top of bvh.py (the binary tree) and wide.py (the eight-wide tree) say what the
fields mean. `box`, `nodes` and `leaves` are pointers to float32; `links` and `faces` are pointers
to the same memory as int32. A child of the binary tree has the number `2 * node + side`.
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit
from raydepth.simd.vectors import load

# The binary tree: the size of a child (a node has two) in 32-bit numbers, and offsets in it.
CHILD = 8
LOW, FIRST, HIGH, COUNT = 0, 3, 4, 7

# The eight-wide tree: the sizes of a node and of a leaf in 32-bit numbers, and offsets in them.
WIDTH = 8
NODE, LEAF = 8 * WIDTH, 10 * WIDTH
HALF, LINKS = 3 * WIDTH, 6 * WIDTH
CORNER, FACES = 3 * WIDTH, 9 * WIDTH


@jit(forceinline=True)
def first_of(links, child):
    """The index of an inner child's node, or that of a leaf's first slot."""
    return links[CHILD * child + FIRST]


@jit(forceinline=True)
def count_of(links, child):
    """The number of a leaf's slots; 0 for an inner child and for the empty side of a small tree."""
    return links[CHILD * child + COUNT]


@jit(forceinline=True)
def set_link(links, child, first, count):
    """Set the numbers that `first_of` and `count_of` return."""
    links[CHILD * child + FIRST] = first
    links[CHILD * child + COUNT] = count


@jit(forceinline=True)
def is_inner(links, child):
    """True if a child is an inner node. Only the empty side of a small tree links to the root."""
    return count_of(links, child) == 0 and first_of(links, child) > 0


@jit(forceinline=True)
def low_of(box, child, axis):
    """The minimum of a child's box along an axis."""
    return box[CHILD * child + LOW + axis]


@jit(forceinline=True)
def high_of(box, child, axis):
    """The maximum of a child's box along an axis."""
    return box[CHILD * child + HIGH + axis]


@jit(forceinline=True)
def link_to_leaf(leaf, count):
    """The link to an eight-wide leaf of `count` faces. A link to a node is the node's index."""
    return ~np.int32(WIDTH * leaf + count - 1)


@jit(forceinline=True)
def leaf_of(link):
    """The index of the leaf that a negative link leads to."""
    return ~link // WIDTH


@jit(forceinline=True)
def lanes_in_use(link):
    """The lanes that hold distinct faces in the leaf of a negative link, as low bits."""
    return (2 << (~link % WIDTH)) - 1


@jit(forceinline=True)
def centres(nodes, node):
    """The centres of a node's eight children: a vector each of x, y and z."""
    at = NODE * node
    return (
        load(nodes, at, WIDTH),
        load(nodes, at + WIDTH, WIDTH),
        load(nodes, at + 2 * WIDTH, WIDTH),
    )


@jit(forceinline=True)
def half_extents(nodes, node):
    """Half the extents of a node's eight children along x, y and z; -inf for unused children."""
    at = NODE * node + HALF
    return (
        load(nodes, at, WIDTH),
        load(nodes, at + WIDTH, WIDTH),
        load(nodes, at + 2 * WIDTH, WIDTH),
    )


@jit(forceinline=True)
def coordinates(leaves, leaf, corner, axis):
    """One coordinate of one corner of each of a leaf's eight faces, as a vector."""
    return load(leaves, LEAF * leaf + CORNER * corner + WIDTH * axis, WIDTH)


@jit(forceinline=True)
def link_at(links, node, lane):
    """The link to a child of an eight-wide node."""
    return np.int64(links[NODE * node + LINKS + lane])


@jit(forceinline=True)
def face_at(faces, leaf, lane):
    """The index, in the user's mesh, of a face of a leaf."""
    return np.int64(faces[LEAF * leaf + FACES + lane])
