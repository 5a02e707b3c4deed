"""Cut polygons into triangles: as a fan where a fan is correct, else by ear clipping.

A fan from the first corner covers a polygon exactly when each of its triangles turns the same way
as the polygon as a whole. This holds for every convex polygon and for many others. The remaining
ones are cut by ear clipping (G. Meisters, "Polygons have ears", 1975).
"""

from __future__ import annotations

import numpy as np

from raydepth.mesh.contents import Notes, check_indices


def triangulate(
    vertices: np.ndarray, corners: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, Notes]:
    """Cut polygons into triangles, keeping their order.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
    corners : (sizes.sum(),) int64
        Vertex indices of all polygons, one polygon after the other.
    sizes : (n_polygons,) int64
        The number of corners of each polygon.

    Returns
    -------
    faces : (n_faces, 3) int64
        The size - 2 triangles of each polygon, one polygon after the other; none for a polygon
        of fewer than three corners.
    notes : Notes

    Raises
    ------
    MeshError
        If an index is out of range.
    """
    check_indices(corners, len(vertices))
    if np.all(sizes == 3):
        return corners.reshape(-1, 3), Notes()
    first_corner = np.cumsum(sizes) - sizes
    n_triangles = np.maximum(sizes - 2, 0)
    first_triangle = np.cumsum(n_triangles) - n_triangles
    faces = np.empty((n_triangles.sum(), 3), dtype=np.int64)
    notes = Notes(
        {
            ("quad", "triangulated"): np.count_nonzero(sizes == 4),
            ("larger polygon", "triangulated"): np.count_nonzero(sizes > 4),
            ("face", "with fewer than three corners skipped"): np.count_nonzero(sizes < 3),
        }
    )
    for size in np.unique(sizes[sizes >= 3]):
        rows = np.flatnonzero(sizes == size)
        polygons = corners[first_corner[rows, None] + np.arange(size)]
        triangles = _fans(polygons)
        for row in np.flatnonzero(~_fans_are_right(vertices, triangles)):
            ears = clip_ears(_flat(vertices[polygons[row]]))
            if ears is None:
                notes["twisted or self-crossing polygon", "triangulated as a fan"] += 1
            else:
                notes["concave polygon", "cut by ear clipping"] += 1
                triangles[row] = polygons[row][ears]
        faces[first_triangle[rows, None] + np.arange(size - 2)] = triangles
    return faces, notes


def _fans(polygons: np.ndarray) -> np.ndarray:
    """Cut (n, size) polygons into fans from their first corners, (n, size - 2, 3)."""
    middle, last = polygons[:, 1:-1], polygons[:, 2:]
    return np.stack((np.broadcast_to(polygons[:, :1], middle.shape), middle, last), axis=2)


def _fans_are_right(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return for each fan, (n,) bool, True if no triangle turns against the whole polygon."""
    if triangles.shape[1] == 1:
        return np.ones(len(triangles), dtype=bool)
    apex = vertices[triangles[:, :, 0]]
    normals = np.cross(vertices[triangles[:, :, 1]] - apex, vertices[triangles[:, :, 2]] - apex)
    # The triangles' normals, scaled by area, add up to that of the polygon (M. Newell's).
    whole = normals.sum(axis=1, keepdims=True)
    return ((normals * whole).sum(axis=2) >= 0).all(axis=1)


def _flat(corners: np.ndarray) -> np.ndarray:
    """Drop the axis along which a polygon is thinnest; return (size, 2), counterclockwise."""
    relative = corners - corners[0]
    normal = np.cross(relative[1:-1], relative[2:]).sum(axis=0)
    axis = int(np.argmax(np.abs(normal)))
    flat = relative[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return flat if normal[axis] >= 0 else flat * (-1.0, 1.0)


def clip_ears(corners: np.ndarray) -> list[tuple[int, int, int]] | None:
    """Triangulate one simple polygon in the plane whose corners run counterclockwise.

    Parameters
    ----------
    corners : (size, 2) float64
        Corners may coincide, as where a slit joins a hole to the outline.

    Returns
    -------
    list of (int, int, int), or None
        size - 2 triangles as indices into `corners`; None if the outline crosses itself, which can
        happen to a polygon that is far from flat.
    """
    x, y = corners[:, 0].tolist(), corners[:, 1].tolist()

    def turn(a: int, b: int, c: int) -> float:
        return (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])

    def is_ear(a: int, b: int, c: int) -> bool:
        # A corner that coincides with one of the ear's own does not block it.
        taken = {(x[a], y[a]), (x[b], y[b]), (x[c], y[c])}
        return not any(
            turn(a, b, p) >= 0 and turn(b, c, p) >= 0 and turn(c, a, p) >= 0
            for p in reflex
            if (x[p], y[p]) not in taken
        )

    n_left = len(x)
    before = [n_left - 1, *range(n_left - 1)]
    after = [*range(1, n_left), 0]
    reflex = {b for b in range(n_left) if turn(before[b], b, after[b]) < 0}
    triangles = []
    b = n_refused = 0
    while n_left > 3:
        a, c = before[b], after[b]
        if b not in reflex and is_ear(a, b, c):
            triangles.append((a, b, c))
            after[a], before[c] = c, a
            for neighbour in (a, c):
                if turn(before[neighbour], neighbour, after[neighbour]) >= 0:
                    reflex.discard(neighbour)
                else:
                    reflex.add(neighbour)
            n_left -= 1
            n_refused = 0
        else:
            n_refused += 1
            if n_refused > n_left:
                return None
        b = c
    triangles.append((before[b], b, after[b]))
    # If the outline crosses itself, the last triangle is turned over by more than rounding errors.
    twice_area = sum(abs(turn(*triangle)) for triangle in triangles)
    return triangles if turn(*triangles[-1]) >= -1e-9 * twice_area else None
