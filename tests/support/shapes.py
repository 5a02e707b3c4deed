"""Meshes made in code: (vertices (n, 3) float64, faces (m, 3) int32)."""

from __future__ import annotations

import numpy as np

CUBE_FACES = [
    (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
    (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
]  # fmt: skip


def cube(half: float = 0.5):
    """A closed axis-aligned cube around the origin; corner index is 4x + 2y + z."""
    corners = [(x, y, z) for x in (-half, half) for y in (-half, half) for z in (-half, half)]
    return np.array(corners), np.array(CUBE_FACES, np.int32)


def icosphere(radius: float = 0.5, levels: int = 3):
    """A closed, subdivided icosahedron with its vertices on the sphere."""
    g = (1 + np.sqrt(5)) / 2
    vertices = [
        (-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g),
        (0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1),
    ]  # fmt: skip
    faces = [
        (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4),
        (11, 10, 2), (10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8),
        (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1),
    ]  # fmt: skip
    points = [np.array(v) / np.linalg.norm(v) for v in vertices]
    for _ in range(levels):
        middle: dict[tuple[int, int], int] = {}

        def midpoint(i: int, j: int, middle=middle) -> int:
            key = (min(i, j), max(i, j))
            if key not in middle:
                p = points[i] + points[j]
                middle[key] = len(points)
                points.append(p / np.linalg.norm(p))
            return middle[key]

        finer = []
        for a, b, c in faces:
            ab, bc, ca = midpoint(a, b), midpoint(b, c), midpoint(c, a)
            finer += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = finer
    return np.array(points) * radius, np.array(faces, np.int32)


def soup(seed: int, n: int = 200, spread: float = 0.5, size: float = 0.3):
    """n random triangles that intersect, overlap and point everywhere."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-spread, spread, (n, 1, 3))
    corners = centres + rng.normal(scale=size, size=(n, 3, 3)) * rng.uniform(0.05, 1, (n, 1, 1))
    return corners.reshape(-1, 3), np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def square(half: float = 1.0, z: float = 0.0):
    """Two triangles facing +z."""
    vertices = [(-half, -half, z), (half, -half, z), (half, half, z), (-half, half, z)]
    return np.array(vertices), np.array([(0, 1, 2), (0, 2, 3)], np.int32)


def needles(seed: int, n: int = 300):
    """Triangles a million times longer than wide, through all of the unit cube."""
    rng = np.random.default_rng(seed)
    start, end = rng.uniform(-0.5, 0.5, (2, n, 3))
    side = start + 1e-6 * rng.normal(size=(n, 3))
    corners = np.stack([start, end, side], axis=1)
    return corners.reshape(-1, 3), np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def terrain_with_screw(seed: int = 0, n: int = 64):
    """200 units of hilly ground, and on it a closed cube of side 0.001."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-100, 100, n), np.linspace(-100, 100, n), indexing="ij")
    ground = np.stack([x, y, rng.uniform(-2, 2, (n, n))], axis=-1).reshape(-1, 3)
    i = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).reshape(-1)
    quads = np.concatenate(
        [np.stack([i, i + n, i + n + 1], 1), np.stack([i, i + n + 1, i + 1], 1)]
    ).astype(np.int32)
    screw, screw_faces = cube(0.0005)
    screw += np.array([10.0, 10.0, 3.0])
    return np.concatenate([ground, screw]), np.concatenate([quads, screw_faces + len(ground)])
