"""Directions to the vertices of regular solids, in a stated order."""

from __future__ import annotations

import math

import numpy as np

GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0
MAX_LEVELS = 8
_SIGNS = [(a, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]


def tetrahedron() -> np.ndarray:
    """The 4 corners of a cube with an even number of minus signs: +++, +--, -+-, --+."""
    return np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / math.sqrt(3.0)


def cube() -> np.ndarray:
    """The 8 corners of a cube: x slowest, z fastest, minus before plus."""
    return np.array(_cube()) / math.sqrt(3.0)


def octahedron() -> np.ndarray:
    """The 6 axes: +x, -x, +y, -y, +z, -z. The last two are the poles."""
    return np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)


def dodecahedron() -> np.ndarray:
    """The 20 vertices of a regular dodecahedron.

    Order: the 8 corners of a cube (x slowest, z fastest, minus before plus), then the 12 of the
    three golden rectangles, those with x = 0, with y = 0 and with z = 0, minus before plus.
    """
    rectangles = (
        [(0.0, a / GOLDEN, b * GOLDEN) for a, b in _SIGNS]
        + [(a * GOLDEN, 0.0, b / GOLDEN) for a, b in _SIGNS]
        + [(a / GOLDEN, b * GOLDEN, 0.0) for a, b in _SIGNS]
    )
    return np.array(_cube() + rectangles) / math.sqrt(3.0)


def rotationnet() -> np.ndarray:
    """The 20 vertices of a dodecahedron, in the order of RotationNet and MVCNN.

    Order: the 8 corners of a cube, then the golden rectangles with x = 0, y = 0 and z = 0; plus
    before minus, the last coordinate fastest, but x fastest where z = 0. The view permutations that
    RotationNet ships (case 2) number the views in this order. Its images begin at -y, as MATLAB's
    `view` does; azimuth=-90 turns the views there.

    Source: Kanezaki, Matsushita and Nishida, "RotationNet", 2018.
    """
    signs = _SIGNS[::-1]
    corners = [(x, y, z) for x in (1.0, -1.0) for y, z in signs]
    rectangles = (
        [(0.0, a / GOLDEN, b * GOLDEN) for a, b in signs]
        + [(a * GOLDEN, 0.0, b / GOLDEN) for a, b in signs]
        + [(a / GOLDEN, b * GOLDEN, 0.0) for b, a in signs]
    )
    return np.array(corners + rectangles) / math.sqrt(3.0)


def mvcnn80() -> np.ndarray:
    """MVCNN's 80 views of shapes of any orientation: `rotationnet`'s 20, each in 4 rolls.

    This returns the 20 directions; `table.ROLLS` has the number of rolls. The rolls of a direction
    (0, 90, 180, 270 degrees) follow each other. Source: as for `mvcnn12`.
    """
    return rotationnet()


def icosahedron() -> np.ndarray:
    """The 12 vertices of an icosahedron: golden rectangles with x, y and z = 0, minus first."""
    vertices = (
        [(0.0, a, b * GOLDEN) for a, b in _SIGNS]
        + [(a * GOLDEN, 0.0, b) for a, b in _SIGNS]
        + [(a, b * GOLDEN, 0.0) for a, b in _SIGNS]
    )
    return np.array(vertices) / math.sqrt(1.0 + GOLDEN * GOLDEN)


def icosphere(levels: int) -> np.ndarray:
    """The 10 x 4^levels + 2 vertices of an icosahedron whose edges are halved `levels` times.

    Order: the icosahedron's 12, then those of each level, sorted by the two vertices that they lie
    between. So the first 12, 42, 162, ... are the placements with fewer levels.
    """
    if isinstance(levels, bool) or int(levels) != levels or not 0 <= levels <= MAX_LEVELS:
        raise ValueError(f"levels is {levels}; expected 0 to {MAX_LEVELS}, a whole number")
    vertices = icosahedron()
    # The cosine of neighbours on the icosahedron is 1 / sqrt(5); that of other pairs is negative.
    near = vertices @ vertices.T > 0.3
    triples = np.argwhere(near[:, :, None] & near[:, None, :] & near[None, :, :])
    faces = triples[(triples[:, 0] < triples[:, 1]) & (triples[:, 1] < triples[:, 2])]
    for _ in range(int(levels)):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]]))
        unique, place = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique[:, 0]] + vertices[unique[:, 1]]
        ab, bc, ac = len(vertices) + place.reshape(3, -1)
        vertices = np.concatenate([vertices, middle / np.linalg.norm(middle, axis=1)[:, None]])
        a, b, c = faces.T
        corners = [(a, ab, ac), (b, ab, bc), (c, ac, bc), (ab, bc, ac)]
        faces = np.concatenate([np.stack(corner, axis=1) for corner in corners])
    return vertices


def _cube() -> list[tuple[float, float, float]]:
    return [(x, y, z) for x in (-1.0, 1.0) for y, z in _SIGNS]
