"""Convert a mesh's arrays to the local frame, and make the references that the builder moves.

To get to the *local frame*, the centre of the mesh's bounds is subtracted from its vertices in
float64, and the result is scaled by a power of two, so that coordinates are at most about 1. Both
steps keep full precision for meshes that are far from the origin, tiny or huge.

Boxes here are 8 float32: minimum, 0, negated maximum, 0; see sah.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from raydepth.simd.jit import jit
from raydepth.simd.vectors import least, load, pointer, prefetch, splat, store
from raydepth.system import aligned, parallel

f4 = np.float32

# Vertices or faces that one thread handles at a time.
PIECE = 1 << 15
# A mesh's vertices may be in any order, so they are prefetched this many faces ahead.
AHEAD = 16
# A step by both of these, one relative and one absolute, reaches at least the next float32. It
# needs no denormals.
RELATIVE_STEP = f4(2.0**-23)
LEAST_STEP = f4(2.0**-126)


class Prepared(NamedTuple):
    """A mesh in its local frame.

    Attributes
    ----------
    vertices : (n_vertices, 3) float64
        In the local frame.
    vertex_boxes : (n_vertices, 8) float32
        The vertices, rounded outwards.
    corners : (n_faces, 3) int32
        The faces with their vertices in lexicographic order of coordinates.
    references : (2, n_faces, 8) float32
        The first of the two holds references to the faces that have an area; see sah.py.
    n_live : int
        The number of these references.
    box : (16,) float32
        Their box, then the box of their centroids.
    centre : (3,) float64
        The place of the local frame's origin, in world coordinates.
    scale : float
        A power of two: local lengths per world length.
    """

    vertices: np.ndarray
    vertex_boxes: np.ndarray
    corners: np.ndarray
    references: np.ndarray
    n_live: int
    box: np.ndarray
    centre: np.ndarray
    scale: float


def prepare(vertices: np.ndarray, faces: np.ndarray, threads: int) -> Prepared:
    """Bring a mesh to its local frame and make references to its faces."""
    vertices, faces = _read_only(vertices, np.float64), _read_only(faces, np.int32)
    centre, scale = local_frame(vertices, faces, threads)
    local = aligned.empty(vertices.shape, np.float64)
    vertex_boxes = aligned.empty((len(vertices), 8), np.float32)

    def localize(task: int) -> None:
        begin = task * PIECE
        _localize(vertices, begin, begin + PIECE, centre, scale, local, vertex_boxes)

    parallel.for_each(localize, n_pieces(len(vertices)), threads)

    corners = aligned.empty(faces.shape, np.int32)
    references = aligned.empty((2, len(faces), 8), np.float32)
    face_of = references.view(np.int32)
    tasks = n_pieces(len(faces))
    boxes = np.empty((tasks, 16), np.float32)
    n_live = [0] * tasks

    def refer(task: int) -> None:
        begin = task * PIECE
        n_live[task] = _refer(
            local, vertex_boxes, faces, begin, begin + PIECE, corners, references[0], face_of[0],
            boxes[task],
        )  # fmt: skip

    parallel.for_each(refer, tasks, threads)
    # Close the gaps that faces without area leave between the pieces.
    n_all = 0
    for task, n in enumerate(n_live):
        if n_all < task * PIECE:
            references[0, n_all : n_all + n] = references[0, task * PIECE : task * PIECE + n]
        n_all += n
    box = np.minimum.reduce(boxes)
    return Prepared(local, vertex_boxes, corners, references, n_all, box, centre, scale)


def _read_only(array: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """A contiguous, read-only view, so that the compiler sees one type for all arrays."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def n_pieces(n: int) -> int:
    return -(-n // PIECE)


def local_frame(vertices: np.ndarray, faces: np.ndarray, threads: int) -> tuple[np.ndarray, float]:
    """Return the centre of the faces' bounds, and the power of two that brings them to size 1."""
    bounds = np.empty((n_pieces(len(faces)), 2, 3))

    def bound(task: int) -> None:
        _used_bounds(vertices, faces, task * PIECE, (task + 1) * PIECE, bounds[task])

    parallel.for_each(bound, len(bounds), threads)
    low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
    half = float((high - low).max()) * 0.5
    return low + (high - low) * 0.5, math.ldexp(1.0, -math.frexp(half)[1])


@jit
def _used_bounds(vertices, faces, begin, end, bounds):
    low_x = low_y = low_z = np.inf
    high_x = high_y = high_z = -np.inf
    coordinate, vertex_of = pointer(vertices), pointer(faces)
    for face in range(begin, min(end, faces.shape[0])):
        ahead = 3 * (face + AHEAD if face + AHEAD < faces.shape[0] else face)
        for corner in range(3):
            prefetch(coordinate, 3 * np.int64(vertex_of[ahead + corner]))
        for corner in range(3):
            at = 3 * np.int64(vertex_of[3 * face + corner])
            x, y, z = coordinate[at], coordinate[at + 1], coordinate[at + 2]
            low_x = x if x < low_x else low_x
            low_y = y if y < low_y else low_y
            low_z = z if z < low_z else low_z
            high_x = x if x > high_x else high_x
            high_y = y if y > high_y else high_y
            high_z = z if z > high_z else high_z
    bounds[0, 0], bounds[0, 1], bounds[0, 2] = low_x, low_y, low_z
    bounds[1, 0], bounds[1, 1], bounds[1, 2] = high_x, high_y, high_z


@jit
def _round_down(x):
    y = f4(x)
    return y - (abs(y) * RELATIVE_STEP + LEAST_STEP) if np.float64(y) > x else y


@jit
def _localize(vertices, begin, end, centre, scale, local, boxes):
    world, middle, out, box = pointer(vertices), pointer(centre), pointer(local), pointer(boxes)
    for vertex in range(begin, min(end, vertices.shape[0])):
        for axis in range(3):
            # Adding 0 turns -0 into 0, so that equal coordinates have equal bits.
            x = (world[3 * vertex + axis] - middle[axis]) * scale + 0.0
            out[3 * vertex + axis] = x
            # The maximum is stored negated, so rounding down moves it outwards, too.
            box[8 * vertex + axis] = _round_down(x)
            box[8 * vertex + 4 + axis] = _round_down(-x)
        box[8 * vertex + 3] = f4(0.0)
        box[8 * vertex + 7] = f4(0.0)


@jit
def _before(vertices, i, j):
    """1 if vertex i comes before vertex j in lexicographic order of coordinates, else 0."""
    # No branches, because the processor could not predict them.
    x, y, z = vertices[3 * i], vertices[3 * i + 1], vertices[3 * i + 2]
    x_, y_, z_ = vertices[3 * j], vertices[3 * j + 1], vertices[3 * j + 2]
    return np.int64((x < x_) | ((x == x_) & ((y < y_) | ((y == y_) & (z < z_)))))


@jit
def _has_area(vertices, i, j, k):
    """True if the cross product of two edges is not zero."""
    i, j, k = 3 * i, 3 * j, 3 * k
    ux, vx = vertices[j] - vertices[i], vertices[k] - vertices[i]
    uy, vy = vertices[j + 1] - vertices[i + 1], vertices[k + 1] - vertices[i + 1]
    uz, vz = vertices[j + 2] - vertices[i + 2], vertices[k + 2] - vertices[i + 2]
    return uy * vz != uz * vy or uz * vx != ux * vz or ux * vy != uy * vx


@jit
def _refer(vertices, vertex_boxes, faces, begin, end, corners, references, face_of, box):
    """Sort the corners of faces and make references to those with an area; return their number."""
    vertex, vertex_box = pointer(vertices), pointer(vertex_boxes)
    reference, id_of = pointer(references), pointer(face_of)
    corner_of, sorted_corner = pointer(faces), pointer(corners)
    whole = splat(f4(np.inf), 8)
    low, high = splat(f4(np.inf), 4), splat(f4(np.inf), 4)
    at = 8 * begin
    for face in range(begin, min(end, faces.shape[0])):
        ahead = 3 * (face + AHEAD if face + AHEAD < faces.shape[0] else face)
        for corner in range(3):
            prefetch(vertex, 3 * np.int64(corner_of[ahead + corner]))
            prefetch(vertex_box, 8 * np.int64(corner_of[ahead + corner]))
        i = np.int64(corner_of[3 * face])
        j = np.int64(corner_of[3 * face + 1])
        k = np.int64(corner_of[3 * face + 2])
        # A corner's place is the number of corners before it; equal corners keep their order.
        ji, ki, kj = _before(vertex, j, i), _before(vertex, k, i), _before(vertex, k, j)
        sorted_corner[3 * face + ji + ki] = i
        sorted_corner[3 * face + 1 - ji + kj] = j
        sorted_corner[3 * face + 2 - ki - kj] = k
        i = np.int64(sorted_corner[3 * face])
        j = np.int64(sorted_corner[3 * face + 1])
        k = np.int64(sorted_corner[3 * face + 2])
        if not _has_area(vertex, i, j, k):
            continue
        here = least(load(vertex_box, 8 * i, 8), load(vertex_box, 8 * j, 8))
        here = least(here, load(vertex_box, 8 * k, 8))
        store(reference, at, here)
        id_of[at + 3] = face
        whole = least(whole, here)
        centroid = load(reference, at, 4) - load(reference, at + 4, 4)
        low = least(low, centroid)
        high = least(high, f4(0.0) - centroid)
        at += 8
    target = pointer(box)
    store(target, 0, whole)
    store(target, 8, low)
    store(target, 12, high)
    return at // 8 - begin
