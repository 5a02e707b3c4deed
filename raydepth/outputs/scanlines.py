"""Contour edges, and with them the share of each pixel that is covered, row by row.

See contours.py. Along a row of samples the number of faces changes where contour edges cross it:
for each row of pixels those edges are looked up that cross one of its four rows of samples, their
crossings summed up pixel by pixel, and the numbers above 0 counted. Source: Wylie, Romney, Evans,
Erdahl, "Half-tone Perspective Drawings by Computer", 1967, for images from the edges of each row.

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
# Numbers of faces over the four samples of a row of a pixel: fields of one integer, which become
# numbers of their own once a bias has made all positive. The highest bit of all stays 0, because
# overflow has no meaning here.
FIELD = 16
FIELD_BIAS = (1 << 14) - 1
ONES = 0x0001_0001_0001_0001
BIASES = FIELD_BIAS * ONES
# Bits of the last samples of a pixel's rows.
LAST_SAMPLES = 0x8888
# Flags that are looked at together.
FLAGS = 64
# Columns of the array of segments: the ends of one, dx / dy, the slack, the change, and whether
# an end lies on a row of samples. A segment fills a cache line.
X0, Y0, X1, Y1, SLOPE, SLACK, CHANGE, NEAR = range(8)
SEGMENT = 8
COLUMNS = SEGMENT * EIGHT
AHEAD = 8  # how many segments before it is needed memory is asked for


@jit
def project(vertices, found, changes, image, slack, relative_slack, segments, rows, begins):
    """Where contour edges are seen.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    found, changes
        As `find` filled them.
    image : (3, 4) float64
        Takes a vertex to X, Y, S, seen at X / S and Y / S.
    slack, relative_slack : float
        By how much a projected vertex may be off: so much, and so much of its coordinates.
    segments : (n, 8) float64
        Becomes columns as named above.
    rows : (n, 2) int32
        Becomes the first row of pixels of which a segment crosses a row of samples, and the one
        behind the last.
    begins : (height + 1,) int64
        Becomes where each row of pixels begins in a list of all rows' segments.

    Returns
    -------
    n_crossings, n_near, most
        How often the edges cross rows of samples, how many have an end on one, and the largest sum
        of changes along one.
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
        # Whether an end lies on a row of samples.
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
    """Where eight vertices, three vectors, are seen: x and y."""
    x, y, z = vertices
    nearness = 1.0 / (image[8] * x + image[9] * y + image[10] * z + image[11])
    return (
        nearness * (image[0] * x + image[1] * y + image[2] * z + image[3]),
        nearness * (image[4] * x + image[5] * y + image[6] * z + image[7]),
    )


@jit
def sort(rows, begins, entries):
    """Put the numbers of the segments that cross each row of pixels into `entries` (n,) int32.

    `rows` and `begins` are as `project` filled them.
    """
    ends = begins[:-1].copy()
    for edge in range(rows.shape[0]):
        for row in range(rows[edge, 0], rows[edge, 1]):
            entries[ends[row]] = edge
            ends[row] += 1


@jit
def cover(segments, begins, entries, some_near, first_row, coverage, unsure):
    """Fill the share of each pixel's samples that are covered, in some rows of the image.

    Parameters
    ----------
    segments : (n, 8) float64
    begins, entries
        As `project` and `sort` filled them; there are less than FIELD_BIAS changes along any row.
    some_near : bool
        Whether any segment has an end on a row of samples.
    first_row : int
        Of pixels.
    coverage : (n_rows, width) float
    unsure : (n_rows, width) bool, all false
        Becomes true where rounding may have decided.

    Returns
    -------
    Whether any pixel is unsure.
    """
    n_rows, width = coverage.shape
    right = float(SAMPLES * width + 1)
    some_doubt = False
    if some_near:
        for edge in range(segments.shape[0]):
            if segments[edge, NEAR] != 0.0:
                some_doubt |= _mark_row(segments, edge, segments[edge, Y0], first_row, unsure)
                some_doubt |= _mark_row(segments, edge, segments[edge, Y1], first_row, unsure)
    # By how much a pixel's samples differ from the last one before it in their row, and which
    # pixels have such steps. There is one pixel more, for all that is right of the image.
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
            # Outside the image it does not matter where.
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
                        # The sample behind, and the one before, if they are in the image.
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
    """Fill a row of pixels from their steps, and take those and the flags back to 0.

    The four samples of a row of a pixel are the four 16-bit fields of an integer: adding such
    integers adds field by field, as long as the sums are read only once a bias makes them positive.
    """
    none = splat(np.int8(0), FLAGS)
    unused = load(steps, 0, SAMPLES)
    # The last number of each row of samples so far.
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
    """Mark the pixel of a sample, if it is in the image."""
    if not 0 <= column < SAMPLES * unsure.shape[1]:
        return False
    unsure[row, column // SAMPLES] = True
    return True


@jit
def _mark_row(segments, edge, y, first_row, unsure):
    """Mark what an edge touches of the row of samples that one of its ends at `y` lies on."""
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
        # The part of it that is as near to the row as the slack.
        near, far = row + 0.5 - 2.0 * slack, row + 0.5 + 2.0 * slack
        begin = x0 + (max(min(y0, y1), near) - y0) * slope
        end = x0 + (min(max(y0, y1), far) - y0) * slope
    right = float(SAMPLES * unsure.shape[1])
    first = np.ceil(max(min(begin, end) - 0.5 - 2.0 * slack, 0.0))
    last = np.floor(min(max(begin, end) - 0.5 + 2.0 * slack, right - 1.0))
    for column in range(np.int64(first), np.int64(last) + 1):
        unsure[pixel_row, column // SAMPLES] = True
    return first <= last
