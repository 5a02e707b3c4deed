"""The covered share of each pixel, computed from contour edges row by row.

See contours.py. Along a row of samples, the number of faces changes where contour edges cross it.
For each row of pixels, the edges that cross one of its four rows of samples are looked up, the
changes at their crossings are summed pixel by pixel, and the samples with a number above 0 are
counted. Source: Wylie, Romney, Evans, Erdahl, "Half-tone Perspective Drawings by Computer", 1967,
who make images from the edges of each row.

Image coordinates here are those of samples: sample (row, column) is at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

import numpy as np

from raydepth.simd.interleaved import EIGHT, load_columns
from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    as_int16,
    as_int64,
    bits,
    ceiling,
    count_bits,
    floor,
    last_of_fours,
    load,
    lowest_bit,
    magnitude,
    offset,
    pointer,
    prefetch,
    select,
    splat,
    stack_float64,
    stack_int32,
    stack_int64,
    store,
    truncate,
    vmax,
    vmin,
)

SHIFT = 2
SAMPLES = 1 << SHIFT  # along each side of a pixel
LAST = SAMPLES - 1
# The numbers of faces over the four samples of a pixel's row are four fields of one integer. They
# can be read one by one after a bias has made all of them positive. The integer's highest bit stays
# 0, because overflow has no meaning here.
FIELD = 16
FIELD_BIAS = (1 << 14) - 1
ONES = 0x0001_0001_0001_0001
BIASES = FIELD_BIAS * ONES
# The bits of the last sample in each of a pixel's four rows.
LAST_SAMPLES = 0x8888
# Flags that are tested together.
FLAGS = 64
# Columns of the array of segments: the two ends, dx / dy, the slack, the change, and whether an end
# lies on a row of samples. A segment fills a cache line.
X0, Y0, X1, Y1, SLOPE, SLACK, CHANGE, NEAR = range(8)
SEGMENT = 8
COLUMNS = SEGMENT * EIGHT
AHEAD = 8  # memory is prefetched this many segments before it is needed


@jit
def project(vertices, found, changes, image, slack, relative_slack, segments, rows, begins):
    """Project contour edges into the image, and find the rows of pixels that they cross.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    found, changes
        As `contours.find` fills them.
    image : (3, 4) float64
        Maps a vertex to X, Y, S; it is seen at X / S and Y / S.
    slack, relative_slack : float
        The most by which a projected vertex may be off: in samples, and relative to its image
        coordinates. The two add up.
    segments : (n, 8) float64
        Filled with the columns named above.
    rows : (n, 2) int32
        Filled with the first row of pixels in which a segment crosses a row of samples, and the row
        after the last one.
    begins : (height + 1,) int64
        Filled with the index at which each row of pixels begins in a list of all rows' segments.

    Returns
    -------
    n_crossings, n_near, most
        The number of crossings of edges and rows of samples, the number of edges with an end on a
        row of samples, and the largest sum of changes (absolute values) along a row of samples.
    """
    height = begins.shape[0] - 1
    n_rows = SAMPLES * height
    n_crossings = n_near = 0
    begins[:] = 0
    changes_of_rows = np.zeros(n_rows + 1, np.int64)
    n = segments.shape[0]
    to_image, vertex_at, end_at = pointer(image), pointer(vertices), pointer(found)
    columns = stack_float64(COLUMNS)
    edges, firsts, lasts = stack_int32(EIGHT), stack_int32(EIGHT), stack_int32(EIGHT)
    for begin in range(0, n, EIGHT):
        for lane in range(EIGHT):
            edges[lane] = min(begin + lane, n - 1)
            ahead = 2 * np.int64(min(begin + AHEAD + lane, n - 1))
            prefetch(vertex_at, 3 * np.int64(end_at[ahead]))
            prefetch(vertex_at, 3 * np.int64(end_at[ahead + 1]))
        start, end = load_columns(end_at, load(edges, 0, EIGHT), 2, 2)
        x0, y0 = _seen_at(to_image, load_columns(vertex_at, start, 3, 3))
        x1, y1 = _seen_at(to_image, load_columns(vertex_at, end, 3, 3))
        coordinates = magnitude(x0) + magnitude(y0) + magnitude(x1) + magnitude(y1)
        off = slack + relative_slack * coordinates
        # The edges that have an end on a row of samples.
        to_row0, to_row1 = magnitude(y0 - 0.5 - floor(y0)), magnitude(y1 - 0.5 - floor(y1))
        near = bits(vmin(to_row0, to_row1) <= off)
        # The first row of samples at or below the upper end, and at or below the lower one.
        first, last = ceiling(vmin(y0, y1) - 0.5), ceiling(vmax(y0, y1) - 0.5)
        store(firsts, 0, truncate(vmin(vmax(first, 0.0), float(n_rows))))
        store(lasts, 0, truncate(vmin(vmax(last, 0.0), float(n_rows))))
        store(columns, X0 * EIGHT, x0)
        store(columns, Y0 * EIGHT, y0)
        store(columns, X1 * EIGHT, x1)
        store(columns, Y1 * EIGHT, y1)
        store(columns, SLOPE * EIGHT, (x1 - x0) / (y1 - y0))
        store(columns, SLACK * EIGHT, off)
        for lane in range(min(EIGHT, n - begin)):
            edge = begin + lane
            for column in range(SLACK + 1):
                segments[edge, column] = columns[EIGHT * column + lane]
            change, is_near = np.int64(changes[edge]), (near >> lane) & 1
            segments[edge, CHANGE], segments[edge, NEAR] = change, is_near
            n_near += is_near
            upper, lower = np.int64(firsts[lane]), np.int64(lasts[lane])
            n_crossings += lower - upper
            changes_of_rows[upper] += abs(change)
            changes_of_rows[lower] -= abs(change)
            row = upper >> SHIFT
            behind = ((lower - 1) >> SHIFT) + 1 if lower > upper else row
            rows[edge, 0], rows[edge, 1] = row, behind
            begins[row] += 1
            begins[behind] -= 1
    here = most = 0
    for row in range(n_rows):
        here += changes_of_rows[row]
        most = max(most, here)
    here = total = 0
    for row in range(height + 1):
        here += begins[row]
        begins[row] = total
        total += here
    return n_crossings, n_near, most


@jit(forceinline=True)
def _seen_at(image, vertices):
    """Return the x and y at which eight vertices, three vectors, are seen."""
    x, y, z = vertices
    nearness = 1.0 / (image[8] * x + image[9] * y + image[10] * z + image[11])
    return (
        nearness * (image[0] * x + image[1] * y + image[2] * z + image[3]),
        nearness * (image[4] * x + image[5] * y + image[6] * z + image[7]),
    )


@jit
def sort(rows, begins, entries):
    """Put the indices of the segments that cross each row of pixels into `entries` (n,) int32.

    `rows` and `begins` are as `project` fills them.
    """
    ends = begins[:-1].copy()
    for edge in range(rows.shape[0]):
        for row in range(rows[edge, 0], rows[edge, 1]):
            entries[ends[row]] = edge
            ends[row] += 1


@jit
def cover(segments, begins, entries, some_near, first_row, coverage, unsure):
    """Fill `coverage` with the covered share of each pixel's samples, in some rows of the image.

    Parameters
    ----------
    segments : (n, 8) float64
    begins, entries
        As `project` and `sort` fill them. The sum of changes along any row of samples (`most` of
        `project`) must be below FIELD_BIAS.
    some_near : bool
        True if any segment has an end on a row of samples.
    first_row : int
        The first of the rows of pixels.
    coverage : (n_rows, width) float
    unsure : (n_rows, width) bool, all false
        Set to true where rounding may have decided the result.

    Returns
    -------
    bool
        True if any pixel is unsure.
    """
    n_rows, width = coverage.shape
    right = float(SAMPLES * width + 1)
    some_doubt = False
    if some_near:
        for edge in range(segments.shape[0]):
            if segments[edge, NEAR] != 0.0:
                some_doubt |= _mark_row(segments, edge, segments[edge, Y0], first_row, unsure)
                some_doubt |= _mark_row(segments, edge, segments[edge, Y1], first_row, unsure)
    # For each sample of a pixel, the change in the number of faces since the last sample before the
    # pixel in the same row; and flags for pixels that have such changes. One extra pixel stands for
    # everything to the right of the image.
    steps_of_pixels = np.zeros(SAMPLES * (width + 1), np.int64)
    flags_of_pixels = np.zeros((width // FLAGS + 1) * FLAGS, np.int8)
    steps, flags = pointer(steps_of_pixels), pointer(flags_of_pixels)
    numbers, entry, pixels = pointer(segments), pointer(entries), pointer(coverage)
    last = begins[begins.shape[0] - 1] - 1
    columns = stack_int32(SAMPLES)
    of_rows = stack_int64(SAMPLES)
    middles = stack_float64(SAMPLES)
    for sample in range(SAMPLES):
        middles[sample] = sample + 0.5
        of_rows[sample] = ONES
    ones = load(of_rows, 0, SAMPLES)
    for row in range(n_rows):
        y = load(middles, 0, SAMPLES) + float(SAMPLES * (first_row + row))
        for place in range(begins[first_row + row], begins[first_row + row + 1]):
            prefetch(numbers, SEGMENT * np.int64(entry[min(place + AHEAD, last)]))
            segment = offset(numbers, SEGMENT * np.int64(entry[place]))
            y0, y1, slope = segment[Y0], segment[Y1], segment[SLOPE]
            crosses = (y >= y0) != (y >= y1)
            x = (y - y0) * slope + segment[X0] - 0.5
            # Outside the image the exact place does not matter.
            x = vmin(vmax(select(crosses, x, -1.0), -1.0), right)
            after = ceiling(x)
            ahead = after - x
            slack = segment[SLACK] * (1.0 + abs(slope))
            here = bits(crosses)
            doubt = here & bits((ahead <= slack) | (ahead >= 1.0 - slack))
            if doubt != 0:
                store(columns, 0, truncate(after))
                for sample in range(SAMPLES):
                    if (doubt >> sample) & 1:
                        # The samples after the crossing and before it, if they are in the image.
                        behind = np.int64(columns[sample])
                        some_doubt |= _mark(unsure, row, behind)
                        some_doubt |= _mark(unsure, row, behind - 1)
            change = np.int64(segment[CHANGE])
            change = change if y0 > y1 else -change
            column = truncate(vmax(after, 0.0))
            before_it = as_int64((column & LAST) * FIELD)
            step = (((ones >> before_it) << before_it) * change) & as_int64(crosses)
            store(columns, 0, column >> SHIFT)
            store(of_rows, 0, step)
            for sample in range(SAMPLES):
                pixel = np.int64(columns[sample])
                steps[SAMPLES * pixel + sample] += of_rows[sample]
                flags[pixel] = 1
        _fill_row(steps, flags, offset(pixels, row * width), width)
    return some_doubt


@jit(forceinline=True)
def _fill_row(steps, flags, pixels, width):
    """Fill a row of pixels from their steps, and reset the steps and the flags to 0.

    The four samples of a pixel's row are the four 16-bit fields of an integer. Adding such integers
    adds field by field, as long as the sums are read only after a bias has made them positive.
    """
    none = splat(np.int8(0), FLAGS)
    unused = load(steps, 0, SAMPLES)
    # The number of faces over the last sample so far, in each of the four rows of samples.
    before = as_int16(unused - unused)
    filled, share = 0, 0.0
    for first in range(0, width + 1, FLAGS):
        todo = bits(load(flags, first, FLAGS) != 0)
        store(flags, first, none)
        while todo != 0:
            pixel = first + lowest_bit(todo)
            todo &= todo - 1
            _fill(pixels, filled, min(pixel, width), share)
            here = load(steps, SAMPLES * pixel, SAMPLES)
            store(steps, SAMPLES * pixel, here - here)
            faces = as_int16(here + BIASES) - FIELD_BIAS + before
            before = last_of_fours(faces)
            covered = bits(faces > 0)
            if pixel < width:
                pixels[pixel] = count_bits(covered) * (1.0 / SAMPLES**2)
            filled, share = pixel + 1, count_bits(covered & LAST_SAMPLES) * (1.0 / SAMPLES)
    _fill(pixels, filled, width, share)


@jit(forceinline=True)
def _fill(target, begin, end, value):
    for place in range(begin, end):
        target[place] = value


@jit
def _mark(unsure, row, column):
    """Mark the pixel of a sample; return False if it is outside the image."""
    if not 0 <= column < SAMPLES * unsure.shape[1]:
        return False
    unsure[row, column // SAMPLES] = True
    return True


@jit
def _mark_row(segments, edge, y, first_row, unsure):
    """Mark pixels that an edge touches in the row of samples on which its end at `y` lies."""
    x0, y0, x1, y1 = segments[edge, X0], segments[edge, Y0], segments[edge, X1], segments[edge, Y1]
    slope, slack = segments[edge, SLOPE], segments[edge, SLACK]
    row = np.floor(y)
    if abs(y - 0.5 - row) > slack:
        return False
    pixel_row = np.int64(row) // SAMPLES - first_row
    if not 0 <= pixel_row < unsure.shape[0]:
        return False
    begin, end = x0, x1
    if abs(y1 - y0) > 4.0 * slack:
        # Only the part of the edge within twice the slack of the row.
        near, far = row + 0.5 - 2.0 * slack, row + 0.5 + 2.0 * slack
        begin = x0 + (max(min(y0, y1), near) - y0) * slope
        end = x0 + (min(max(y0, y1), far) - y0) * slope
    right = float(SAMPLES * unsure.shape[1])
    first = np.ceil(max(min(begin, end) - 0.5 - 2.0 * slack, 0.0))
    last = np.floor(min(max(begin, end) - 0.5 + 2.0 * slack, right - 1.0))
    for column in range(np.int64(first), np.int64(last) + 1):
        unsure[pixel_row, column // SAMPLES] = True
    return first <= last
