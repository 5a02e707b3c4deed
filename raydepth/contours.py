"""Contour edges of a view, and how much of each pixel lies within them.

Each face covers a triangle of the image. Walk along a row of the image: the number of faces over
one's place changes only at edges, by +1 or -1 for each face that has the edge, depending on the
face's side that is seen. At most edges that cancels out: one face ends where the next begins.
What is left are *contour edges*: those with a face seen from the front and one from the back, and
those with one face. Summing up their changes alone gives the number of faces everywhere, and with
it what is covered at all, without any ray. Source: Appel, "The Notion of Quantitative Invisibility
and the Machine Rendering of Solids", 1967, who counts faces along edges in this way.

It holds for any faces, closed or not, whichever way round; those that share no vertices only have
more contours. It needs all of the mesh in front of the camera.

Where projected vertices, in float64, are off by up to a *slack*, the count is that of a mesh bent
by as much: it is right for every sample that is farther than that from each contour edge. Pixels
with other samples are marked, for rays to decide. The same holds for faces seen so nearly edge on
that their side is not sure: they are narrower than the slack.

Image coordinates here are those of samples: sample (row, column) is at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from raydepth.simd import (
    as_int16,
    bits,
    count_bits,
    last_of_fours,
    load,
    load_int16,
    lowest_bit,
    pointer,
    prefetch,
    splat,
    store,
    store_signs,
)

SHIFT = 2
SAMPLES = 1 << SHIFT  # along each side of a pixel
LAST = SAMPLES - 1
SIDES = 16  # faces whose sides are found together
UNIT = 32767
# A face's side is known if the eye's height above its plane is more than this times the eye's size:
# each of four numbers was rounded by 2^-16. In float64 it is the height times that of the face.
SURE = 2.0**-15
SURE_IN_FLOAT64 = 2.0**-46
# Faces whose height is less than this times their longest edge have no normal in `planes`: with
# rounding of 2^-52 it may be off by 2^-18.
THIN = 2.0**-34
# What `cover` returns.
DONE, UNSURE, TOO_MANY = range(3)
# Numbers of faces over the four samples of a row of a pixel: fields of one integer, which become
# numbers of their own once a bias has made all positive. The highest bit of all stays 0, because
# overflow has no meaning here.
FIELD = 16
FIELD_BIAS = (1 << 14) - 1
ONES = 0x0001_0001_0001_0001
BIASES = FIELD_BIAS * ONES
# Bits of the last samples of a pixel's rows.
LAST_SAMPLES = 0x8888
# Columns of the array of segments: the ends of one, dx / dy, the slack, the change, and whether
# an end lies on a row of samples. A segment fills a cache line.
X0, Y0, X1, Y1, SLOPE, SLACK, CHANGE, NEAR = range(8)
SEGMENT = 8
AHEAD = 8  # how many segments before it is needed memory is asked for


class Edges(NamedTuple):
    """The edges of a mesh, and on which side of a face a point is; see `edges_of`.

    Made small, because every view reads all of it. Faces are numbered as in `corners`; `n_sides` is
    their number rounded up to a multiple of SIDES. An edge that two faces have in opposite
    directions belongs to one of them, which has at most two such edges; it knows how many faces
    further the other stands.
    """

    corners: np.ndarray  # (n_faces, 3) int32, vertices
    planes: np.ndarray  # (4, n_sides) int16, unit normal and half of the offset, times UNIT
    steps: np.ndarray  # (n_sides, 2) int16, from a face to its neighbours; 0 = none
    ends: np.ndarray  # (n_sides, 2, 2) int32, the vertices of the edges between them
    firsts: np.ndarray  # (n_others + 1,) int32, where the faces of all other edges begin in `faces`
    faces: np.ndarray  # (firsts[-1],) int32, ~face for one with the opposite direction
    other_ends: np.ndarray  # (n_others, 2) int32


def edges_of(vertices: np.ndarray, faces: np.ndarray) -> Edges:
    """The edges of faces (n_faces, 3) that have an area; vertices at the same place are one.

    Faces should be in an order in which neighbours stand near each other.
    """
    same = _first_at_its_place(vertices)
    corners = np.ascontiguousarray(faces, np.int32)
    n_faces = len(corners)
    n_sides = -(-n_faces // SIDES) * SIDES
    planes = np.zeros((4, n_sides), np.int16)
    _fill_planes(vertices, corners, planes)
    low, high = np.empty((2, 3 * n_faces), np.int32)
    _fill_half_edges(corners, same, low, high)
    order = np.arange(3 * n_faces, dtype=np.int32)
    for keys in (high, low):
        order = _sorted_by(keys, order, len(vertices))
    steps, ends = np.zeros((n_sides, 2), np.int16), np.zeros((n_sides, 2, 2), np.int32)
    firsts, of_others = np.empty((2, 3 * n_faces + 1), np.int32)
    other_ends = np.empty((3 * n_faces, 2), np.int32)
    n_others = _fill_edges(
        corners, same, low, high, order, steps, ends, firsts, of_others, other_ends
    )
    return Edges(
        corners,
        planes,
        steps,
        ends,
        firsts[: n_others + 1].copy(),
        of_others[: firsts[n_others]].copy(),
        other_ends[:n_others].copy(),
    )


def _first_at_its_place(vertices: np.ndarray) -> np.ndarray:
    """For each vertex one of those with the same coordinates, the same for all: (n,) int32.

    Two places that share a hash may keep some of their vertices apart: those have more contours.
    """
    words = (vertices + 0.0).view(np.uint64)  # -0 becomes 0
    hashes = np.zeros(len(vertices), np.uint64)
    for axis in range(3):
        hashes ^= words[:, axis]
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    order = np.argsort(hashes)
    sorted_vertices = vertices[order]
    new = np.ones(len(order), bool)
    new[1:] = (sorted_vertices[1:] != sorted_vertices[:-1]).any(axis=1)
    same = np.empty(len(order), np.int32)
    same[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return same


@njit(cache=True, nogil=True, error_model="numpy")
def _plane(vertices, corners, face):
    """A face's normal, of the length of its height above the longest edge; that edge's length."""
    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    ux, uy, uz = (
        vertices[b, 0] - vertices[a, 0],
        vertices[b, 1] - vertices[a, 1],
        vertices[b, 2] - vertices[a, 2],
    )
    vx, vy, vz = (
        vertices[c, 0] - vertices[a, 0],
        vertices[c, 1] - vertices[a, 1],
        vertices[c, 2] - vertices[a, 2],
    )
    wx, wy, wz = vx - ux, vy - uy, vz - uz
    longest = max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz)
    longest = np.sqrt(max(longest, wx * wx + wy * wy + wz * wz))
    if longest == 0.0:  # too small to be squared
        return 0.0, 0.0, 0.0, 0.0
    return (
        (uy * vz - uz * vy) / longest,
        (uz * vx - ux * vz) / longest,
        (ux * vy - uy * vx) / longest,
        longest,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_planes(vertices, corners, planes):
    """Planes as integers; 0, on no side, for faces so thin that float64 hardly knows them."""
    for face in range(corners.shape[0]):
        x, y, z, longest = _plane(vertices, corners, face)
        height = np.sqrt(x * x + y * y + z * z)
        if height <= THIN * longest:
            continue
        x, y, z = x / height, y / height, z / height
        a = corners[face, 0]
        offset = -(x * vertices[a, 0] + y * vertices[a, 1] + z * vertices[a, 2])
        planes[0, face] = np.rint(UNIT * x)
        planes[1, face] = np.rint(UNIT * y)
        planes[2, face] = np.rint(UNIT * z)
        planes[3, face] = np.rint(UNIT * 0.5 * offset)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_half_edges(corners, same, low, high):
    """The two vertices of each corner's edge to the next."""
    for face in range(corners.shape[0]):
        for corner in range(3):
            start = same[corners[face, corner]]
            end = same[corners[face, (corner + 1) % 3]]
            low[3 * face + corner] = min(start, end)
            high[3 * face + corner] = max(start, end)


@njit(cache=True, nogil=True, error_model="numpy")
def _sorted_by(keys, order, n_keys):
    """`order` sorted by keys below `n_keys`, equal ones as they were."""
    places = np.zeros(n_keys + 1, np.int64)
    for item in order:
        places[keys[item] + 1] += 1
    for key in range(n_keys):
        places[key + 1] += places[key]
    result = np.empty_like(order)
    for item in order:
        result[places[keys[item]]] = item
        places[keys[item]] += 1
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_edges(corners, same, low, high, order, steps, ends, firsts, of_others, other_ends):
    """Fill the parts of `Edges` from half edges in `order`; returns the number of others."""
    n_others = n_faces = begin = 0
    firsts[0] = 0
    while begin < len(order):
        first = order[begin]
        end = begin + 1
        while (
            end < len(order) and low[order[end]] == low[first] and high[order[end]] == high[first]
        ):
            end += 1
        start_vertex = corners[first // 3, first % 3]
        end_vertex = corners[first // 3, (first % 3 + 1) % 3]
        taken = False
        if end - begin == 2:
            second = order[begin + 1]
            if same[corners[second // 3, second % 3]] != same[start_vertex]:
                one, other = first // 3, second // 3
                taken = _take(one, other, start_vertex, end_vertex, steps, ends) or _take(
                    other, one, end_vertex, start_vertex, steps, ends
                )
        if not taken:
            for place in range(begin, end):
                face, corner = order[place] // 3, order[place] % 3
                alike = same[corners[face, corner]] == same[start_vertex]
                of_others[n_faces] = face if alike else ~face
                n_faces += 1
            other_ends[n_others, 0], other_ends[n_others, 1] = start_vertex, end_vertex
            n_others += 1
            firsts[n_others] = n_faces
        begin = end
    return n_others


@njit(cache=True, nogil=True, error_model="numpy")
def _take(face, other, start_vertex, end_vertex, steps, ends):
    """Let an edge belong to a face, if that has room for it; says whether it has."""
    step = other - face
    if step == 0 or abs(step) > UNIT:
        return False
    for place in range(2):
        if steps[face, place] == 0:
            steps[face, place] = step
            ends[face, place, 0], ends[face, place, 1] = start_vertex, end_vertex
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_sides(edges, vertices, eye, sides, found, changes):
    """1 or -1 for the side of each face that `eye` is on.

    Where that is not sure, the face's edges are put first into `found`; returns how many.
    """
    planes, n_sides = edges.planes, edges.planes.shape[1]
    n_faces = edges.corners.shape[0]
    plane, target = pointer(planes), pointer(sides)
    x = splat(np.float32(eye[0] / UNIT), SIDES)
    y = splat(np.float32(eye[1] / UNIT), SIDES)
    z = splat(np.float32(eye[2] / UNIT), SIDES)
    w = splat(np.float32(2.0 * eye[3] / UNIT), SIDES)
    size = abs(eye[0]) + abs(eye[1]) + abs(eye[2]) + 2.0 * abs(eye[3])
    sure = np.float32(SURE * size)
    n = 0
    for group in range(0, n_sides, SIDES):
        volume = (
            load_int16(plane, group, SIDES) * x
            + load_int16(plane, n_sides + group, SIDES) * y
            + load_int16(plane, 2 * n_sides + group, SIDES) * z
            + load_int16(plane, 3 * n_sides + group, SIDES) * w
        )
        front, back = volume > sure, volume < -sure
        store_signs(target, group, front, back)
        unsure = bits(front | back) ^ ((1 << SIDES) - 1)
        while unsure != 0:
            face = group + lowest_bit(unsure)
            unsure &= unsure - 1
            if face >= n_faces:
                break
            nx, ny, nz, _ = _plane(vertices, edges.corners, face)
            a = edges.corners[face, 0]
            height = (
                nx * (eye[0] - eye[3] * vertices[a, 0])
                + ny * (eye[1] - eye[3] * vertices[a, 1])
                + nz * (eye[2] - eye[3] * vertices[a, 2])
            )
            target[face] = 1 if height > 0.0 else -1
            if abs(height) <= SURE_IN_FLOAT64 * size:
                for corner in range(3):
                    found[n, 0] = edges.corners[face, corner]
                    found[n, 1] = edges.corners[face, (corner + 1) % 3]
                    changes[n] = 0
                    n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def find(edges, vertices, eye, sides, found, changes):
    """The contour edges of a view: `found` is filled with pairs of vertices; returns how many.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    eye : (4,) float64
        The camera's place and 1, or an orthographic camera's direction and 0, times 1 or -1: so
        that a face of positive volume n . eye goes round in the image as x goes to y.
    sides : (n_sides,) int8
        Scratch.
    found : (n, 2) int32, and `changes`, (n,) int32
        For as many as there are edges, and three for each face. Vertices, and by how much the
        number of faces changes from left to right of an edge that goes up (y falls); 0 where only
        the samples beside it are not sure.
    """
    n_found = n = _fill_sides(edges, vertices, eye, sides, found, changes)
    side, steps = pointer(sides), pointer(edges.steps)
    for face in range(edges.corners.shape[0]):
        here = side[face]
        for place in range(2 * face, 2 * face + 2):
            if side[face + steps[place]] != here:
                found[n, 0] = place
                changes[n] = 2 * here
                n += 1
    # Their vertices only now, so that they can be asked for ahead.
    ends = pointer(edges.ends)
    for edge in range(n_found, n):
        prefetch(ends, 2 * np.int64(found[min(edge + AHEAD, n - 1), 0]))
        place = np.int64(found[edge, 0])
        found[edge, 0], found[edge, 1] = ends[2 * place], ends[2 * place + 1]
    for edge in range(len(edges.firsts) - 1):
        change = 0
        for place in range(edges.firsts[edge], edges.firsts[edge + 1]):
            face = edges.faces[place]
            change += sides[face] if face >= 0 else -sides[~face]
        if change != 0:
            found[n, 0], found[n, 1] = edges.other_ends[edge, 0], edges.other_ends[edge, 1]
            changes[n] = change
            n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def project(vertices, found, changes, image, slack, relative_slack, n_rows, segments):
    """Fill `segments` (n, 8) with where contour edges are seen, columns as named above.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    found, changes
        As `find` filled them.
    image : (3, 4) float64
        Takes a vertex to X, Y, S, seen at X / S and Y / S.
    slack, relative_slack : float
        By how much a projected vertex may be off: so much, and so much of its coordinates.
    n_rows : int
        Of samples.

    Returns
    -------
    How often the edges cross rows of samples.
    """
    n_crossings = 0
    n = segments.shape[0]
    vertex_at = pointer(vertices)
    for edge in range(n):
        for end in range(2):
            prefetch(vertex_at, 3 * np.int64(found[min(edge + AHEAD, n - 1), end]))
            vertex = found[edge, end]
            x, y, z = vertices[vertex, 0], vertices[vertex, 1], vertices[vertex, 2]
            nearness = 1.0 / (image[2, 0] * x + image[2, 1] * y + image[2, 2] * z + image[2, 3])
            segments[edge, 2 * end] = nearness * (
                image[0, 0] * x + image[0, 1] * y + image[0, 2] * z + image[0, 3]
            )
            segments[edge, 2 * end + 1] = nearness * (
                image[1, 0] * x + image[1, 1] * y + image[1, 2] * z + image[1, 3]
            )
        x0, y0, x1, y1, _, _, _, _ = _segment(segments, edge)
        off = slack + relative_slack * (abs(x0) + abs(y0) + abs(x1) + abs(y1))
        slope = (x1 - x0) / (y1 - y0)
        segments[edge, SLOPE] = slope
        segments[edge, CHANGE] = changes[edge]
        segments[edge, SLACK] = off
        # Whether an end lies on a row of samples.
        near = min(abs(y0 - 0.5 - np.floor(y0)), abs(y1 - 0.5 - np.floor(y1)))
        segments[edge, NEAR] = 1.0 if near <= off else 0.0
        n_crossings += abs(_row(y1, 0, n_rows) - _row(y0, 0, n_rows))
    return n_crossings


@njit(cache=True, nogil=True, error_model="numpy")
def _segment(segments, edge):
    return (
        segments[edge, X0],
        segments[edge, Y0],
        segments[edge, X1],
        segments[edge, Y1],
        segments[edge, SLOPE],
        segments[edge, SLACK],
        segments[edge, CHANGE],
        segments[edge, NEAR],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _row(y, first, last):
    """The first row of samples at or below y, at least `first` and at most `last`."""
    low, high = float(first), float(last)
    y = y - 0.5
    y = y if y > low else low
    return np.int64(np.ceil(y if y < high else high))


@njit(cache=True, nogil=True, error_model="numpy")
def cover(segments, first_row, crossings, coverage, unsure):
    """Fill the share of each pixel's samples that are covered, in some rows of the image.

    Parameters
    ----------
    segments : (n, 8) float64
    first_row : int
        Of pixels.
    crossings : (n,) int64
        Scratch, of at least as many as `project` returned.
    coverage : (n_rows, width) float
    unsure : (n_rows, width) bool, all false
        Becomes true where rounding may have decided.

    Returns
    -------
    DONE, UNSURE if any pixel is, or TOO_MANY if there are more crossings than can be counted.
    """
    n_rows, width = coverage.shape
    top, bottom = SAMPLES * first_row, SAMPLES * (first_row + n_rows)
    right = float(SAMPLES * width)
    some_doubt = False
    # How many crossings each row of samples has, and the sum of their changes.
    ends = np.zeros(bottom - top + 1, np.int64)
    changes = np.zeros(bottom - top + 1, np.int64)
    for edge in range(segments.shape[0]):
        _, y0, _, y1, _, _, signed, near = _segment(segments, edge)
        if near != 0.0:
            some_doubt |= _mark_row(segments, edge, y0, first_row, unsure)
            some_doubt |= _mark_row(segments, edge, y1, first_row, unsure)
        row0, row1 = _row(y0, top, bottom) - top, _row(y1, top, bottom) - top
        change = np.int64(abs(signed))
        ends[min(row0, row1)] += 1
        ends[max(row0, row1)] -= 1
        changes[min(row0, row1)] += change
        changes[max(row0, row1)] -= change
    here = changes_here = most = total = 0
    for row in range(bottom - top):
        here += ends[row]
        ends[row] = total
        total += here
        changes_here += changes[row]
        most = max(most, changes_here)
    ends[bottom - top] = total
    if most >= FIELD_BIAS:
        return TOO_MANY
    # Where each row of pixels' begin; then, as they are put there, where they end.
    for row in range(n_rows):
        ends[row] = ends[SAMPLES * row]
    for edge in range(segments.shape[0]):
        x0, y0, _, y1, slope, slack, signed, _ = _segment(segments, edge)
        row0, row1 = _row(y0, top, bottom), _row(y1, top, bottom)
        if row0 == row1:
            continue
        change = np.int64(signed) if row0 > row1 else -np.int64(signed)
        slack *= 1.0 + abs(slope)
        for row in range(min(row0, row1), max(row0, row1)):
            x = x0 + (row + 0.5 - y0) * slope - 0.5
            x = x if x > -1.0 else -1.0
            x = x if x < right else right
            after = np.ceil(x)
            ahead = after - x
            pixel_row = (row - top) >> SHIFT
            if ahead <= slack or ahead >= 1.0 - slack:
                some_doubt |= _mark(unsure, pixel_row, after)
                some_doubt |= _mark(unsure, pixel_row, after - 1.0)
            # Addresses are those of samples in one pixel after the other.
            column = max(np.int64(after), 0)
            address = (((column >> SHIFT) * SAMPLES) + ((row - top) & LAST)) * SAMPLES
            place = ends[pixel_row]
            ends[pixel_row] = place + 1
            crossings[place] = (change << 32) + address + (column & LAST)
    steps = np.zeros(SAMPLES * (width + 1), np.int64)
    _count(crossings, ends, steps, np.zeros(width // 64 + 1, np.int64), coverage)
    return UNSURE if some_doubt else DONE


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(unsure, row, column):
    """Mark the pixel of a sample, if it is in the image."""
    if not 0.0 <= column < SAMPLES * unsure.shape[1]:
        return False
    unsure[row, np.int64(column) // SAMPLES] = True
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _mark_row(segments, edge, y, first_row, unsure):
    """Mark what an edge touches of the row of samples that one of its ends at `y` lies on."""
    x0, y0, x1, y1, slope, slack, _, _ = _segment(segments, edge)
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


@njit(cache=True, nogil=True, error_model="numpy")
def _count(crossings, ends, steps_of_pixels, active_pixels, coverage):
    """Fill `coverage` from the crossings of each row of pixels, which end at `ends`.

    The four samples of a row of a pixel are the four 16-bit fields of an integer: adding such
    integers adds field by field, as long as the sums are read only once a bias makes them positive.

    Parameters
    ----------
    steps_of_pixels : (SAMPLES * (width + 1),) int64, zeros before and after
        By how much a pixel's samples differ from the last one before it in their row. There is one
        pixel more, for all that is right of the image.
    active_pixels : (width // 64 + 1,) int64, zeros before and after
        A bit for each pixel that has steps.
    """
    n_rows, width = coverage.shape
    steps, active = pointer(steps_of_pixels), pointer(active_pixels)
    numbers, pixels = pointer(crossings), pointer(coverage)
    unused = load(steps, 0, SAMPLES)
    nothing = as_int16(unused - unused)
    begin = 0
    for row in range(n_rows):
        for place in range(begin, ends[row]):
            crossing = numbers[place]
            address = crossing & 0xFFFFFFFF
            pixel = address >> (2 * SHIFT)
            before_it = FIELD * (address & LAST)
            steps[address >> SHIFT] += (crossing >> 32) * ((ONES >> before_it) << before_it)
            active[pixel >> 6] |= 1 << (pixel & 63)
        begin = ends[row]
        filled, share = 0, 0.0
        # The last number of each row of samples so far.
        before = nothing
        for word in range((width >> 6) + 1):
            todo = active[word]
            active[word] = 0
            while todo != 0:
                pixel = 64 * word + lowest_bit(todo)
                todo &= todo - 1
                _fill(pixels, row * width + filled, row * width + min(pixel, width), share)
                here = load(steps, SAMPLES * pixel, SAMPLES)
                store(steps, SAMPLES * pixel, here - here)
                faces = as_int16(here + BIASES) - FIELD_BIAS + before
                before = last_of_fours(faces)
                covered = bits(faces > 0)
                if pixel < width:
                    pixels[row * width + pixel] = count_bits(covered) * (1.0 / SAMPLES**2)
                filled, share = pixel + 1, count_bits(covered & LAST_SAMPLES) * (1.0 / SAMPLES)
        _fill(pixels, row * width + filled, (row + 1) * width, share)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(target, begin, end, value):
    for place in range(begin, end):
        target[place] = value
