"""Access to the fields of nodes and leaves: the one place that knows where each number stands.

The tables at the top of bvh.py (the binary tree) and wide.py (the eight-wide one) say what the
fields mean. `box`, `nodes` and `leaves` are pointers to float32, `links` and `faces` pointers to
the same memory as int32. A child of the binary tree is numbered `2 * node + side`.
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit
from raydepth.simd.vectors import load

# The binary tree: numbers of a child, two to a node, and where they stand.
CHILD = 8
LOW, FIRST, HIGH, COUNT = 0, 3, 4, 7

# The eight-wide tree: numbers of a node and of a leaf, and where they stand.
WIDTH = 8
NODE, LEAF = 8 * WIDTH, 10 * WIDTH
HALF, LINKS = 3 * WIDTH, 6 * WIDTH
CORNER, FACES = 3 * WIDTH, 9 * WIDTH


@jit(forceinline=True)
def first_of(links, child):
    """The index of an inner child's node, or of a leaf's first slot."""
    return links[CHILD * child + FIRST]


@jit(forceinline=True)
def count_of(links, child):
    """The number of a leaf's slots; 0 for an inner child and for the empty side of a small tree."""
    return links[CHILD * child + COUNT]


@jit(forceinline=True)
def set_link(links, child, first, count):
    """Set what `first_of` and `count_of` give."""
    links[CHILD * child + FIRST] = first
    links[CHILD * child + COUNT] = count


@jit(forceinline=True)
def is_inner(links, child):
    """Whether a child has a node; nothing links to the root but an empty side."""
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
    """The link to an eight-wide leaf that holds so many faces; links to nodes are their indices."""
    return ~np.int32(WIDTH * leaf + count - 1)


@jit(forceinline=True)
def leaf_of(link):
    """The index of the leaf that a link below 0 leads to."""
    return ~link // WIDTH


@jit(forceinline=True)
def lanes_in_use(link):
    """The lanes of that leaf that hold a face of their own, as low bits."""
    return (2 << (~link % WIDTH)) - 1


@jit(forceinline=True)
def centres(nodes, node):
    """The centres of a node's eight children: vectors of x, y and z."""
    at = NODE * node
    return (
        load(nodes, at, WIDTH),
        load(nodes, at + WIDTH, WIDTH),
        load(nodes, at + 2 * WIDTH, WIDTH),
    )


@jit(forceinline=True)
def half_extents(nodes, node):
    """Half the extents of a node's eight children along x, y and z; -inf of unused ones."""
    at = NODE * node + HALF
    return (
        load(nodes, at, WIDTH),
        load(nodes, at + WIDTH, WIDTH),
        load(nodes, at + 2 * WIDTH, WIDTH),
    )


@jit(forceinline=True)
def coordinates(leaves, leaf, corner, axis):
    """One coordinate of a corner of the eight faces of a leaf: a vector."""
    return load(leaves, LEAF * leaf + CORNER * corner + WIDTH * axis, WIDTH)


@jit(forceinline=True)
def link_at(links, node, lane):
    """The link to a child of an eight-wide node."""
    return np.int64(links[NODE * node + LINKS + lane])


@jit(forceinline=True)
def face_at(faces, leaf, lane):
    """The index of a face of a leaf, as the user counts."""
    return np.int64(faces[LEAF * leaf + FACES + lane])
