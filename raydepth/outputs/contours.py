"""The contour edges of a view, from which the covered share of each pixel follows.

Each face covers a triangle of the image. Along a row of the image, the number of faces over a point
changes only at edges. It changes by +1 or -1 for each face that has the edge, depending on which
side of the face is seen. For most edges these changes cancel out, because one face ends where the
next begins. The edges that remain are *contour edges*: those between a face seen from the front
and one seen from the back, and those that only one face has. The sum of their changes alone gives
the number of faces everywhere, and so what is covered, without any ray. Source: Appel, "The Notion
of Quantitative Invisibility and the Machine Rendering of Solids", 1967, who counts faces along
edges in this way.

This holds for any faces, closed or not, of either orientation; faces that share no vertices only
have more contours. All of the mesh must be in front of the camera.

Projected vertices, in float64, may be off by up to a *slack*. The count is then that of a mesh bent
by as much: it is right for every sample that is farther than the slack from each contour edge.
Pixels with other samples are marked, for rays to decide. The same holds for faces seen so nearly
edge on that their side is not certain: they are narrower than the slack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raydepth.simd.jit import jit
from raydepth.simd.vectors import (
    bits,
    load_int16,
    lowest_bit,
    pointer,
    prefetch,
    splat,
    store_signs,
)

SIDES = 16  # faces whose sides are found together
ALL = (1 << SIDES) - 1
AROUND = 8
UNIT = 32767
# A face's side is known if the eye's height above its plane is more than this times the eye's size,
# because each of the plane's four numbers was rounded by 2^-16. In float64, the eye's height is
# multiplied by the height of the face.
SURE = 2.0**-15
SURE_IN_FLOAT64 = 2.0**-46
# Faces whose height is less than this times their longest edge have no normal in `planes`: with a
# rounding of 2^-52, the normal may be off by 2^-18.
THIN = 2.0**-34
AHEAD = 8  # memory is prefetched this many segments before it is needed


class Edges(NamedTuple):
    """The edges of a mesh, and planes that tell on which side of a face a point is; see `edges_of`.

    The arrays are small, because every view reads all of them. Faces are numbered as in `corners`;
    `n_sides` is their number rounded up to a multiple of SIDES. An edge that two faces have in
    opposite directions belongs to one of the two; at most two such edges belong to a face. For each
    of them, `steps` holds the other face's number minus its own.
    """

    corners: np.ndarray  # (n_faces, 3) int32, vertices
    planes: np.ndarray  # (4, n_sides) int16, unit normal and half of the offset, times UNIT
    steps: np.ndarray  # (n_sides, 2) int16, from a face to its neighbours; 0 = none
    ends: np.ndarray  # (n_sides, 2, 2) int32, the vertices of the edges between them
    around: np.ndarray  # (n_sides / SIDES, AROUND) int32, see `_fill_around`
    firsts: np.ndarray  # (n_others + 1,) int32, where the faces of all other edges begin in `faces`
    faces: np.ndarray  # (firsts[-1],) int32, ~face for one with the opposite direction
    other_ends: np.ndarray  # (n_others, 2) int32


def edges_of(vertices: np.ndarray, faces: np.ndarray) -> Edges:
    """Find the edges of faces (n_faces, 3) that have an area; vertices at the same place are one.

    Neighbouring faces should be near each other in the order of `faces`.
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
    around = np.empty((n_sides // SIDES, AROUND), np.int32)
    _fill_around(steps, around)
    return Edges(
        corners,
        planes,
        steps,
        ends,
        around,
        firsts[: n_others + 1].copy(),
        of_others[: firsts[n_others]].copy(),
        other_ends[:n_others].copy(),
    )


def _first_at_its_place(vertices: np.ndarray) -> np.ndarray:
    """Map all vertices with the same coordinates to one of them: (n,) int32.

    If two places share a hash, some of their vertices may be kept apart. This only adds contours.
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


@jit
def _plane(vertices, corners, face):
    """Return a face's normal, as long as its height above the longest edge; that edge's length."""
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


@jit
def _fill_planes(vertices, corners, planes):
    """Fill `planes` with integers; 0, which has no sides, for faces too thin for float64."""
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


@jit
def _fill_half_edges(corners, same, low, high):
    """Fill `low` and `high` with the two vertices of the edge from each corner to the next."""
    for face in range(corners.shape[0]):
        for corner in range(3):
            start = same[corners[face, corner]]
            end = same[corners[face, (corner + 1) % 3]]
            low[3 * face + corner] = min(start, end)
            high[3 * face + corner] = max(start, end)


@jit
def _sorted_by(keys, order, n_keys):
    """Return `order` sorted by keys below `n_keys`; items with equal keys keep their order."""
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


@jit
def _fill_edges(corners, same, low, high, order, steps, ends, firsts, of_others, other_ends):
    """Fill the parts of `Edges` from half edges in `order`; return the number of other edges."""
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


@jit
def _take(face, other, start_vertex, end_vertex, steps, ends):
    """Let an edge belong to a face, if the face has room for it; return whether it has."""
    step = other - face
    if step == 0 or abs(step) > UNIT:
        return False
    for place in range(2):
        if steps[face, place] == 0:
            steps[face, place] = step
            ends[face, place, 0], ends[face, place, 1] = start_vertex, end_vertex
            return True
    return False


@jit
def _fill_around(steps, around):
    """Fill `around` with the groups of SIDES faces to which the edges of a group's faces lead.

    Unused entries hold the group itself. If there are more than AROUND such groups, all entries
    hold the number of groups.
    """
    n_groups = around.shape[0]
    for group in range(n_groups):
        around[group] = group
        n = 0
        for face in range(SIDES * group, SIDES * (group + 1)):
            for place in range(2):
                other = (face + steps[face, place]) // SIDES
                known = other == group
                for i in range(min(n, AROUND)):
                    known |= around[group, i] == other
                if not known:
                    around[group, n % AROUND] = other
                    n += 1
        if n > AROUND:
            around[group] = n_groups


@jit
def _fill_sides(edges, vertices, eye, sides, alike, found, changes):
    """Fill `sides` with 1 or -1 for the side of each face that `eye` is on; likewise `alike`.

    `alike` is 1 or -1 for a group whose faces all have this side, and 0 if they differ. One
    extra entry, whose index is the number of groups, is 0. The edges of faces whose side is not
    certain are put into `found`, before all others; return their number.
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
        fronts, backs = bits(front), bits(back)
        alike[group // SIDES] = np.int8(fronts == ALL) - np.int8(backs == ALL)
        unsure = (fronts | backs) ^ ALL
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
    alike[n_sides // SIDES] = 0
    return n


@jit
def find(edges, vertices, eye, sides, found, changes):
    """Find the contour edges of a view: fill `found` with pairs of vertices, return their number.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    eye : (4,) float64
        The camera's position and 1, or an orthographic camera's direction and 0, times 1 or -1.
        With this sign, a face of positive volume n . eye goes round in the image from x towards y.
    sides : (2 * n_sides,) int8
        Scratch.
    found : (n, 2) int32, and `changes`, (n,) int32
        Long enough for all edges, and three more for each face. They are filled with each edge's
        vertices, and with the change in the number of faces from the left to the right of an edge
        that goes up (y falls). The change is 0 if only the samples beside the edge are not certain.
    """
    alike_groups = sides[edges.steps.shape[0] :]
    n_found = n = _fill_sides(edges, vertices, eye, sides, alike_groups, found, changes)
    side, steps = pointer(sides), pointer(edges.steps)
    alike, around = pointer(alike_groups), pointer(edges.around)
    edge_at, change_at = pointer(found), pointer(changes)
    for group in range(edges.around.shape[0]):
        differ = alike[group] == 0
        for i in range(AROUND * group, AROUND * (group + 1)):
            differ |= alike[around[i]] != alike[group]
        if not differ:
            continue
        for face in range(SIDES * group, SIDES * (group + 1)):
            here = side[face]
            for place in range(2 * face, 2 * face + 2):
                # There is no branch here, because it would often be mispredicted.
                edge_at[2 * n], change_at[n] = place, 2 * here
                n += np.int64(side[face + steps[place]] != here)
    # The vertices are looked up only now, so that they can be prefetched.
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
