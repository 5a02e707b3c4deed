"""Split a node of the hierarchy by the surface-area heuristic (SAH) over bins.

Source: Wald, "On fast Construction of SAH-based Bounding Volume Hierarchies", 2007. The number of
bins depends on the number of faces as in Embree (Wald et al., "Embree: A Kernel Framework for
Efficient CPU Ray Tracing", 2014).

The builder bins and moves *references* to faces. A reference is 8 float32, one 32-byte vector:

    lane   0-2           3                         4-6            7
           box, minimum  index of the face, int32  -box, maximum  0

The maximum is negated so that one `least` grows any box, that of a face or of a bin, and so that
the two halves of a box add up to its extents, negated. Bounds of centroids (in fact, of twice the
centroids) have the same form. The *record* of a node is 16 float32: its box, then the box of its
centroids. In a record lanes 3 and 7 have no meaning.

All arrays are pointers (vectors.py). There are two buffers: a split moves references from one to
the other and keeps their order.
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.jit import jit
from raydepth.simd.vectors import least, load, select, splat, stack_float32, store

f4 = np.float32

MAX_BINS = 16
# A node of at most this many faces is a leaf, because the tile kernel tests eight at once. Smaller
# leaves would save tests for single rays, but the smaller tree makes up for that.
MAX_LEAF = 8
# Centroids closer together than this (in the local frame) cannot be told apart by binning.
MIN_EXTENT = f4(1e-30)
# Offsets in a record, and its size.
BOX, CENTROIDS, RECORD = 0, 8, 16
# Sizes of scratch memory: a count for each bin of three axes, the bins themselves, two records.
N_BINS = 3 * MAX_BINS
BIN_FLOATS = 8 * N_BINS
SIDES = 2 * RECORD


@jit
def _reset(boxes, count):
    for i in range(count):
        store(boxes, 8 * i, splat(f4(np.inf), 8))


@jit
def half_area(box):
    # Both extents in a product are negated, so the signs cancel.
    x, y, z = box[0] + box[4], box[1] + box[5], box[2] + box[6]
    return x * y + y * z + z * x


@jit
def scale_bins(box, size, binning):
    """Choose how to bin `size` references; return the number of bins.

    Returns 0 if the references cannot be told apart. Fills `binning`: the least centroid in lanes
    0-2, bins per length in lanes 4-6 (0: do not split along this axis).
    """
    n_bins = min(MAX_BINS, 4 + size // 16)
    binning[3] = binning[7] = f4(0.0)
    splittable = False
    for axis in range(3):
        extent = -box[CENTROIDS + 4 + axis] - box[CENTROIDS + axis]
        binning[axis] = box[CENTROIDS + axis]
        binning[4 + axis] = f4(0.0)
        if extent > MIN_EXTENT:
            # A little less than n_bins, so that the greatest centroid falls into the last bin.
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
    """Fill in the box of each bin of each axis, and the number of references in it."""
    for axis in range(3):
        for i in range(axis * MAX_BINS, axis * MAX_BINS + n_bins):
            store(bins, 8 * i, splat(f4(np.inf), 8))
            counts[i] = 0
    # Take references from the front and from the middle in turn: neighbours often fall into the
    # same bin, and then the second update has to wait for the first.
    half = (end - begin) // 2
    for row in range(begin, begin + half):
        _put_into_bins(references, 8 * row, binning, bins, counts)
        _put_into_bins(references, 8 * (row + half), binning, bins, counts)
    if begin + 2 * half < end:
        _put_into_bins(references, 8 * (end - 1), binning, bins, counts)


@jit
def cheapest_border(bins, counts, binning, n_bins, size):
    """Return the axis and the bin of the best border; the axis is -1 if there is none."""
    grown = stack_float32(8)
    right_cost = stack_float32(MAX_BINS)
    best_cost = f4(np.inf)
    best_axis = -1
    best_border = 0
    for axis in range(3):
        if binning[4 + axis] == f4(0.0):
            continue
        first = axis * MAX_BINS
        # A sweep from the right finds what lies right of each border, a second one from the left
        # adds what lies left of it: so each bin is merged twice, not once per border.
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
            # An empty side costs NaN (inf * 0), which compares false.
            if 0 < n_left < size and cost < best_cost:
                best_cost = cost
                best_axis = axis
                best_border = border
    return best_axis, best_border


@jit
def merge_bins(bins, counts, first, last, boxes, at):
    """Store the box of some bins at `boxes[at]` and on; return the number of their references."""
    whole = splat(f4(np.inf), 8)
    count = 0
    for i in range(first, last):
        whole = least(whole, load(bins, 8 * i, 8))
        count += counts[i]
    store(boxes, at, whole)
    return count


@jit
def partition(source, target, begin, end, binning, axis, border, left, right, sides):
    """Move references left of the border to `left` and on, the others to `right` and on.

    Stores the boxes of both sides' centroids in the second half of each record of `sides`.
    """
    inf = f4(np.inf)
    left_low, left_high = splat(inf, 4), splat(inf, 4)
    right_low, right_high = splat(inf, 4), splat(inf, 4)
    for at in range(8 * begin, 8 * end, 8):
        side = 0 if _bin_of(source, at, binning, axis) < border else 1
        store(target, 8 * (left if side == 0 else right), load(source, at, 8))
        left += 1 - side
        right += side
        # Both sides' boxes grow without a branch: the side that does not get the
        # reference sees +inf.
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
    """True if the path still fits when every split below this one is in halves.

    Only then may the heuristic choose an uneven split.
    """
    balanced_levels = 0
    while (MAX_LEAF << balanced_levels) < size:
        balanced_levels += 1
    return level + balanced_levels + 1 < max_depth


@jit
def split_by_sah(source, target, first, last, n_bins, binning, bins, counts, sides):
    """Split a node at its cheapest border; return where its right side begins.

    Returns -1 if there is no border.
    """
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
    """Store the box of references, then that of their centroids, at `boxes[at]` and on."""
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
