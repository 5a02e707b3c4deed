"""Where to split a node of the hierarchy: the surface-area heuristic (SAH) over bins.

Wald, "On fast Construction of SAH-based Bounding Volume Hierarchies", 2007; the number of bins
after the number of faces as in Embree (Wald et al., "Embree: A Kernel Framework for Efficient CPU
Ray Tracing", 2014).

What is binned and moved is a *reference* to a face, 8 float32 or one 32-byte vector:

    lane   0-2           3                         4-6            7
           box, minimum  index of the face, int32  -box, maximum  0

With the maximum negated one `least` grows a box, that of a face as that of a bin, and box plus box
gives extents. Bounds of centroids (of twice the centroids, in fact) are kept in the same form. The
*record* of a node is both, 16 float32: its box, then the box of its centroids; lanes 3 and 7 have
no meaning there.

All arrays are pointers (vectors.py). Two buffers take turns: references move from one to the other,
keeping their order.
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit
from raydepth.simd.vectors import least, load, select, splat, stack_float32, store

f4 = np.float32

MAX_BINS = 16
# A node of at most so many faces is a leaf, as the tile kernel takes eight at once. For single rays
# the smaller tree makes up for the tests that smaller leaves would save.
MAX_LEAF = 8
# Centroids closer together than this (in the local frame) cannot be told apart by binning.
MIN_EXTENT = f4(1e-30)
# Places in a record, and its size.
BOX, CENTROIDS, RECORD = 0, 8, 16
# Sizes of scratch memory: the bins of three axes, how many references are in each, two records.
N_BINS = 3 * MAX_BINS
BIN_FLOATS = 8 * N_BINS
SIDES = 2 * RECORD


@jit
def _reset(boxes, count):
    for i in range(count):
        store(boxes, 8 * i, splat(f4(np.inf), 8))


@jit
def half_area(box):
    x, y, z = box[0] + box[4], box[1] + box[5], box[2] + box[6]
    return x * y + y * z + z * x


@jit
def scale_bins(box, size, binning):
    """How `size` references are binned; return the number of bins, 0 if they cannot be told apart.

    `binning`: the least centroid in lanes 0-2, bins per length in lanes 4-6 (0: not this axis).
    """
    n_bins = min(MAX_BINS, 4 + size // 16)
    binning[3] = binning[7] = f4(0.0)
    splittable = False
    for axis in range(3):
        extent = -box[CENTROIDS + 4 + axis] - box[CENTROIDS + axis]
        binning[axis] = box[CENTROIDS + axis]
        binning[4 + axis] = f4(0.0)
        if extent > MIN_EXTENT:
            # A little less, so that the last centroid stays in the last bin.
            binning[4 + axis] = f4(n_bins * 0.999999) / extent
            splittable = True
    return n_bins if splittable else 0


@jit
def _bin_of(references, at, binning, axis):
    centroid = references[at + axis] - references[at + 4 + axis]
    return np.int64((centroid - binning[axis]) * binning[4 + axis])


@jit
def _put_into_bins(references, at, binning, bins, counts):

    box = load(references, at, 8)
    for axis in range(3):
        i = axis * MAX_BINS + _bin_of(references, at, binning, axis)
        store(bins, 8 * i, least(load(bins, 8 * i, 8), box))
        counts[i] += 1


@jit
def fill_bins(references, begin, end, binning, n_bins, bins, counts):
    """The box and the number of references in each bin of each axis."""
    for axis in range(3):
        for i in range(axis * MAX_BINS, axis * MAX_BINS + n_bins):
            store(bins, 8 * i, splat(f4(np.inf), 8))
            counts[i] = 0
    # From the front and from the middle in turn: neighbours often fall into the same bin, which
    # then has to wait for the one before.
    half = (end - begin) // 2
    for row in range(begin, begin + half):
        _put_into_bins(references, 8 * row, binning, bins, counts)
        _put_into_bins(references, 8 * (row + half), binning, bins, counts)
    if begin + 2 * half < end:
        _put_into_bins(references, 8 * (end - 1), binning, bins, counts)


@jit
def cheapest_border(bins, counts, binning, n_bins, size):
    """Axis and bin of the best border; the axis is -1 if there is none."""
    grown = stack_float32(8)
    right_cost = stack_float32(MAX_BINS)
    best_cost = f4(np.inf)
    best_axis = -1
    best_border = 0
    for axis in range(3):
        if binning[4 + axis] == f4(0.0):
            continue
        first = axis * MAX_BINS
        _reset(grown, 1)
        n_right = 0
        for border in range(n_bins - 1, 0, -1):
            n_right += counts[first + border]
            store(grown, 0, least(load(grown, 0, 8), load(bins, 8 * (first + border), 8)))
            right_cost[border] = half_area(grown) * f4(n_right)
        _reset(grown, 1)
        n_left = 0
        for border in range(1, n_bins):
            n_left += counts[first + border - 1]
            store(grown, 0, least(load(grown, 0, 8), load(bins, 8 * (first + border - 1), 8)))
            cost = half_area(grown) * f4(n_left) + right_cost[border]
            # NaN (an empty side: inf * 0) compares false.
            if 0 < n_left < size and cost < best_cost:
                best_cost = cost
                best_axis = axis
                best_border = border
    return best_axis, best_border


@jit
def merge_bins(bins, counts, first, last, boxes, at):
    """Put the box of these bins to `boxes[at]` and on; return the number of references in them."""
    whole = splat(f4(np.inf), 8)
    count = 0
    for i in range(first, last):
        whole = least(whole, load(bins, 8 * i, 8))
        count += counts[i]
    store(boxes, at, whole)
    return count


@jit
def partition(source, target, begin, end, binning, axis, border, left, right, sides):
    """Move references to `left` and on or to `right` and on; the boxes of both sides' centroids."""
    inf = f4(np.inf)
    left_low, left_high = splat(inf, 4), splat(inf, 4)
    right_low, right_high = splat(inf, 4), splat(inf, 4)
    for at in range(8 * begin, 8 * end, 8):
        side = 0 if _bin_of(source, at, binning, axis) < border else 1
        store(target, 8 * (left if side == 0 else right), load(source, at, 8))
        left += 1 - side
        right += side
        centroid = load(source, at, 4) - load(source, at + 4, 4)
        is_left = splat(side, 4) < 1
        left_low = least(left_low, select(is_left, centroid, inf))
        right_low = least(right_low, select(is_left, inf, centroid))
        centroid = f4(0.0) - centroid
        left_high = least(left_high, select(is_left, centroid, inf))
        right_high = least(right_high, select(is_left, inf, centroid))
    store(sides, CENTROIDS, left_low)
    store(sides, CENTROIDS + 4, left_high)
    store(sides, RECORD + CENTROIDS, right_low)
    store(sides, RECORD + CENTROIDS + 4, right_high)


@jit
def may_split(level, size, max_depth):
    """Whether the path below fits even if every further split is in halves."""
    balanced_levels = 0
    while (MAX_LEAF << balanced_levels) < size:
        balanced_levels += 1
    return level + balanced_levels + 1 < max_depth


@jit
def split_by_sah(source, target, first, last, n_bins, binning, bins, counts, sides):
    """Split a node at its cheapest border; return the middle, -1 if there is none."""
    fill_bins(source, first, last, binning, n_bins, bins, counts)
    axis, border = cheapest_border(bins, counts, binning, n_bins, last - first)
    if axis < 0:
        return np.int64(-1)
    start = axis * MAX_BINS
    middle = first
    for side in range(2):
        low = start + border * side
        high = start + (border if side == 0 else n_bins)
        n = merge_bins(bins, counts, low, high, sides, RECORD * side)
        middle += n * (1 - side)
    partition(source, target, first, last, binning, axis, border, first, middle, sides)
    return middle


@jit
def measure(references, begin, end, boxes, at):
    """Put the box of references and that of their centroids to `boxes[at]` and on."""
    whole = splat(f4(np.inf), 8)
    low, high = splat(f4(np.inf), 4), splat(f4(np.inf), 4)
    for row in range(8 * begin, 8 * end, 8):
        whole = least(whole, load(references, row, 8))
        centroid = load(references, row, 4) - load(references, row + 4, 4)
        low = least(low, centroid)
        high = least(high, f4(0.0) - centroid)
    store(boxes, at + BOX, whole)
    store(boxes, at + CENTROIDS, low)
    store(boxes, at + CENTROIDS + 4, high)
