"""Build the binary tree of a hierarchy on several threads.

1. Nodes of more than SUBTREE faces are split level by level. All threads share the work on a
   level, in pieces of PIECE faces: each piece is binned by itself, the bins are merged, and each
   piece moves its faces to the place that follows from the counts of the pieces before it (sah.py).
2. The remaining nodes are the roots of subtrees. One thread builds each subtree, into its own part
   of the arrays (subtree.py). A last pass closes the gaps between these parts.

SUBTREE and PIECE are fixed, and bins merge to the same bits in any order. So the tree does not
depend on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raydepth.accel.sah import (
    BIN_FLOATS,
    CENTROIDS,
    MAX_BINS,
    N_BINS,
    RECORD,
    cheapest_border,
    fill_bins,
    may_split,
    merge_bins,
    partition,
    scale_bins,
)
from raydepth.accel.subtree import MAX_DEPTH, build_subtree, place_subtree
from raydepth.simd.jit import jit
from raydepth.simd.vectors import pointer, stack_float32
from raydepth.system import aligned, parallel

# The number of references that one thread handles at a time. Two buffers of this size fit into the
# second-level cache.
SUBTREE = 1 << 14
PIECE = 1 << 14


class Tree(NamedTuple):
    """A binary tree: arrays in the layout at the top of bvh.py, and its depth."""

    nodes: np.ndarray
    slot_face: np.ndarray
    depth: int


@jit
def _bin_piece(references, begin, end, box, size, bins, counts):
    """Fill the bins of a piece of a node of `size` references, if the node can be split."""
    # The scale is that of the whole node, so that the bins of its pieces can be merged.
    binning = stack_float32(8)
    n_bins = scale_bins(pointer(box), size, binning)
    if n_bins > 0:
        fill_bins(pointer(references), begin, end, binning, n_bins, pointer(bins), pointer(counts))


@jit
def _move_piece(source, target, begin, end, box, size, axis, border, left, right, sides):
    """Call `partition` for a piece of a node."""
    binning = stack_float32(8)
    scale_bins(pointer(box), size, binning)
    partition(
        pointer(source), pointer(target), begin, end, binning, axis, border, left, right,
        pointer(sides),
    )  # fmt: skip


@jit
def _choose_split(bins, counts, box, size, sides):
    """Return the axis (-1 if there is no border) and bin of a node's best border; fill `sides`.

    The boxes of the two sides go to the first half of each record of `sides`.
    """
    binning = stack_float32(8)
    n_bins = scale_bins(pointer(box), size, binning)
    axis, border = cheapest_border(pointer(bins), pointer(counts), binning, n_bins, size)
    if axis >= 0:
        first = axis * MAX_BINS
        for side in range(2):
            low = first + border * side
            high = first + (border if side == 0 else n_bins)
            merge_bins(pointer(bins), pointer(counts), low, high, pointer(sides), RECORD * side)
    return axis, border


class _Node(NamedTuple):
    """A node that waits to be split.

    Its references are `begin` to `end` of one of the two buffers. The root has level 0. `parent`
    is the node that points to it (-1 for the root), `side` is the side of `parent` that does, and
    `box` is the record of the node that waits (sah.py).
    """

    begin: int
    end: int
    buffer: int
    level: int
    parent: int
    side: int
    box: np.ndarray

    def pieces(self) -> list[tuple[int, int]]:
        return [(at, min(at + PIECE, self.end)) for at in range(self.begin, self.end, PIECE)]


class _Move(NamedTuple):
    """The move of a piece of a node: references left of the border go to `left` and on.

    The others go to `right` and on.
    """

    node: _Node
    begin: int
    end: int
    axis: int
    border: int
    left: int
    right: int


def _split_level(
    references: np.ndarray, waiting: list[_Node], upper: list[np.ndarray], threads: int
) -> tuple[list[_Node], list[_Node]]:
    """Split the nodes of one level; return their children and the nodes that cannot be split."""
    bins, counts = _bin_pieces(references, waiting, threads)
    moves: list[_Move] = []
    families = []
    left_out = []
    after = 0
    for node in waiting:
        mine = slice(after, after + len(node.pieces()))
        after = mine.stop
        sides, its_moves = _plan(node, bins[mine], counts[mine])
        if its_moves:
            families.append((node, sides, slice(len(moves), len(moves) + len(its_moves))))
            moves += its_moves
        else:
            left_out.append(node)
    centroids = _move_pieces(references, moves, threads)

    children = []
    for node, sides, mine in families:
        # Bins know the box of each side, but not of its centroids: those come from the moves.
        sides[:, CENTROIDS:] = np.minimum.reduce(centroids[mine])
        # The right side of the first piece begins where the left side of the whole node ends.
        middle = moves[mine.start].right
        index = _link(upper, node, sides)
        for side, (begin, end) in enumerate([(node.begin, middle), (middle, node.end)]):
            children.append(
                _Node(begin, end, 1 - node.buffer, node.level + 1, index, side, sides[side])
            )
    return children, left_out


def _bin_pieces(
    references: np.ndarray, waiting: list[_Node], threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bins of all pieces of all nodes, and the number of references in each bin."""
    pieces = [(node, *piece) for node in waiting for piece in node.pieces()]
    bins = aligned.empty((len(pieces), BIN_FLOATS), np.float32)
    # A bin that is not used must not change the minimum over pieces.
    bins[:] = np.inf
    counts = np.zeros((len(pieces), N_BINS), np.int32)

    def fill(task: int) -> None:
        node, begin, end = pieces[task]
        source, size = references[node.buffer], node.end - node.begin
        _bin_piece(source, begin, end, node.box, size, bins[task], counts[task])

    parallel.for_each(fill, len(pieces), threads)
    return bins, counts


def _plan(node: _Node, bins: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, list[_Move]]:
    """Choose a node's split by the bins of its pieces; return the boxes of its sides and the moves.

    There are no moves if there is no border to split at.
    """
    sides = np.empty((2, RECORD), np.float32)
    axis, border = _choose_split(
        np.minimum.reduce(bins), counts.sum(0, np.int32), node.box, node.end - node.begin, sides
    )
    if axis < 0:
        return sides, []
    n_left = counts[:, MAX_BINS * axis : MAX_BINS * axis + border].sum(1).tolist()
    left, right = node.begin, node.begin + sum(n_left)
    # The counts give each piece its own places on both sides, so threads need no lock to move, and
    # references keep their order.
    moves = []
    for (begin, end), n in zip(node.pieces(), n_left, strict=True):
        moves.append(_Move(node, begin, end, axis, border, left, right))
        left += n
        right += end - begin - n
    return sides, moves


def _move_pieces(references: np.ndarray, moves: list[_Move], threads: int) -> np.ndarray:
    """Make the moves; return, for each, the boxes of the centroids on both sides."""
    sides = np.empty((len(moves), 2, RECORD), np.float32)

    def move(task: int) -> None:
        node, begin, end, axis, border, left, right = moves[task]
        source, target = references[node.buffer], references[1 - node.buffer]
        size = node.end - node.begin
        _move_piece(
            source, target, begin, end, node.box, size, axis, border, left, right, sides[task]
        )

    parallel.for_each(move, len(moves), threads)
    return sides[:, :, CENTROIDS:]


def _link(upper: list[np.ndarray], node: _Node, sides: np.ndarray) -> int:
    """Append an inner node with the boxes of its children, link its parent to it, return its index.

    The links to its children are set later.
    """
    rows = np.zeros((4, 4), np.float32)
    # A record holds the maximum of a box negated.
    rows[0::2, :3] = sides[:, 0:3]
    rows[1::2, :3] = 0.0 - sides[:, 4:7]
    index = len(upper)
    upper.append(rows)
    if node.parent >= 0:
        upper[node.parent].view(np.int32)[2 * node.side, 3] = index
    return index


def _split_large(
    references: np.ndarray, root: _Node, threads: int
) -> tuple[list[np.ndarray], list[_Node]]:
    """Split nodes until none is large; return the inner nodes and the roots of the subtrees."""
    upper: list[np.ndarray] = []
    roots = []
    waiting = [root]
    while waiting:
        large = []
        for node in waiting:
            size = node.end - node.begin
            if size > SUBTREE and may_split(node.level, size, MAX_DEPTH):
                large.append(node)
            else:
                roots.append(node)
        waiting, left_out = _split_level(references, large, upper, threads) if large else ([], [])
        roots += left_out
    # Subtrees in the order of their references give slots in leaf order.
    return upper, sorted(roots, key=lambda node: node.begin)


def build_tree(
    references: np.ndarray, n_references: int, box: np.ndarray, vertices: np.ndarray,
    corners: np.ndarray, threads: int,
) -> Tree:  # fmt: skip
    """Build the tree over faces.

    Parameters
    ----------
    references : (2, n, 8) float32
        The first rows of the first buffer hold the references to faces with an area. Both buffers
        are overwritten.
    n_references : int
        The number of those rows.
    box : (16,) float32
        The box of all references, then that of their centroids.
    vertices : (n_vertices, 3) float64
        In the local frame.
    corners : (n_faces, 3) int32
        Coincident faces have their vertices in the same order.
    threads : int

    Returns
    -------
    Tree
    """
    upper, roots = _split_large(references, _Node(0, n_references, 0, 0, -1, 0, box), threads)
    # A subtree of n references has at most n nodes and n slots. So each subtree can write
    # to the range that its references have, before its size is known.
    nodes = aligned.empty((n_references, 4, 4), np.float32)
    slot_face = np.empty(n_references, np.int32)
    links, bits = nodes.view(np.int32), vertices.view(np.uint64)
    root_links = np.zeros((len(roots), 2), np.int32)
    sizes = [(0, 0, 0)] * len(roots)

    def build(task: int) -> None:
        root = roots[task]
        sizes[task] = build_subtree(
            references[0], references[1], root.begin, root.end, root.buffer, root.level, root.box,
            MAX_DEPTH, bits, corners, nodes, links, slot_face, root_links[task],
        )  # fmt: skip

    parallel.for_each(build, len(roots), threads)
    return _join(upper, roots, sizes, root_links, nodes, slot_face, threads)


def _join(
    upper: list[np.ndarray], roots: list[_Node], sizes: list[tuple[int, int, int]],
    root_links: np.ndarray, nodes: np.ndarray, slot_face: np.ndarray, threads: int,
) -> Tree:  # fmt: skip
    """Join the upper nodes and the subtrees, in this order and without gaps."""
    n_nodes, n_slots, depths = np.array(sizes, np.int64).T
    first_node = len(upper) + np.cumsum(n_nodes) - n_nodes
    first_slot = np.cumsum(n_slots) - n_slots
    begins = np.array([root.begin for root in roots])
    joined = aligned.empty((max(len(upper) + n_nodes.sum(), 1), 4, 4), np.float32)
    links, joined_links = nodes.view(np.int32), joined.view(np.int32)

    def place(task: int) -> None:
        place_subtree(
            nodes, links, begins[task], n_nodes[task], first_node[task],
            first_slot[task] - begins[task], joined, joined_links,
        )  # fmt: skip

    parallel.for_each(place, len(roots), threads)
    # Subtrees that dropped coincident faces left gaps between the slots.
    if n_slots.sum() < len(slot_face):
        slot_face = np.concatenate(
            [slot_face[b : b + n] for b, n in zip(begins, n_slots, strict=True)]
        )
    for index, rows in enumerate(upper):
        joined[index] = rows
    for task, root in enumerate(roots):
        # A root's link counts nodes from the subtree's first one, but slots from the first of all
        # (subtree.py), so the two move by different amounts.
        link, count = root_links[task]
        shift = first_slot[task] - root.begin if count else first_node[task]
        if root.parent >= 0:
            joined_links[root.parent, 2 * root.side : 2 * root.side + 2, 3] = link + shift, count
        elif not len(nodes) or count:
            # The whole tree is one leaf or empty. It still has one node; its second side is empty.
            joined[0, :, :3] = [root.box[:3], 0.0 - root.box[4:7], [np.inf] * 3, [-np.inf] * 3]
            joined_links[0, :, 3] = link, count, 0, 0
    return Tree(joined, slot_face, max(int(depths.max()), 1))
