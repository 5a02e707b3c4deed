"""An independent answer to compare with: every pixel against every triangle, in float64.

It shares nothing with the kernels: no hierarchy, no local frame, no affine ray basis, and another
formula (Cramer's rule in the camera's frame, Moller and Trumbore, "Fast, Minimum Storage
Ray/Triangle Intersection", 1997, instead of sheared edge functions).

It also says where an answer may differ: a pixel is `uncertain` when its centre lies within
`BAND` pixels of the outline of a triangle that decides it. In image coordinates the three edge
functions of a triangle are affine, so value / gradient is the distance to an edge in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from raydepth.camera.camera import Cameras

BAND = 1e-3


class Truth(NamedTuple):
    triangle_id: np.ndarray  # (height, width) int32, -1 = miss
    z: np.ndarray  # (height, width) float64, +inf = miss
    ray: np.ndarray  # (height, width) float64, +inf = miss
    uncertain: np.ndarray  # (height, width) bool


def brute_force(vertices: np.ndarray, faces: np.ndarray, camera: Cameras) -> Truth:
    """The truth for one view."""
    assert len(camera) == 1
    pose = camera.world_from_camera[0]
    in_camera = (np.asarray(vertices, np.float64) - pose[:3, 3]) @ pose[:3, :3]
    shape = (camera.height, camera.width)
    triangle_id = np.empty(shape, np.int32)
    z, ray = np.empty(shape), np.empty(shape)
    uncertain = np.empty(shape, np.bool_)
    _brute_force(
        in_camera, np.asarray(faces), camera.intrinsics[0], camera.model == "perspective",
        triangle_id, z, ray, uncertain,
    )  # fmt: skip
    return Truth(triangle_id, z, ray, uncertain)


@njit(cache=True)
def _cross(a, b):
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


@njit(cache=True)
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True, error_model="numpy")
def _pixels(gradient, det, fx, fy, skew):
    """Pixels by which an edge's barycentric coordinate, of this gradient, changes by 1."""
    per_column = gradient[0] / fx
    per_row = gradient[1] / fy - gradient[0] * skew / (fx * fy)
    return abs(det) / np.hypot(per_column, per_row)


@njit(cache=True, error_model="numpy")
def _brute_force(vertices, faces, intrinsics, perspective, triangle_id, z, ray, uncertain):
    fx, skew, cx = intrinsics[0]
    fy, cy = intrinsics[1, 1], intrinsics[1, 2]
    height, width = z.shape
    uncertain_z = np.full(z.shape, np.inf)
    triangle_id[:] = -1
    z[:] = np.inf
    for face in range(faces.shape[0]):
        a, b, c = vertices[faces[face, 0]], vertices[faces[face, 1]], vertices[faces[face, 2]]
        e1, e2 = b - a, c - a
        normal = _cross(e1, e2)
        if _dot(normal, normal) == 0.0:
            continue
        # Rows and columns that the triangle can reach: all of them if it crosses the camera plane.
        row0, row1, column0, column1 = 0, height, 0, width
        if not perspective or min(a[2], b[2], c[2]) > 0.0:
            low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
            for p in (a, b, c):
                w = p[2] if perspective else 1.0
                x = (fx * p[0] + skew * p[1]) / w + cx
                y = fy * p[1] / w + cy
                low_x, high_x = min(low_x, x), max(high_x, x)
                low_y, high_y = min(low_y, y), max(high_y, y)
            column0 = int(max(0.0, min(width + 0.0, low_x - 1.5)))
            column1 = int(max(0.0, min(width + 0.0, high_x + 1.5)))
            row0 = int(max(0.0, min(height + 0.0, low_y - 1.5)))
            row1 = int(max(0.0, min(height + 0.0, high_y + 1.5)))
        for row in range(row0, row1):
            for column in range(column0, column1):
                y = (row + 0.5 - cy) / fy
                x = (column + 0.5 - cx - skew * y) / fx
                if perspective:
                    o, d = np.zeros(3), np.array([x, y, 1.0])
                else:
                    o, d = np.array([x, y, 0.0]), np.array([0.0, 0.0, 1.0])
                p = _cross(d, e2)
                det = _dot(e1, p)
                if det == 0.0:
                    continue
                s = o - a
                q = _cross(s, e1)
                u, v, t = _dot(s, p) / det, _dot(d, q) / det, _dot(e2, q) / det
                if not t > 0.0:
                    continue
                # How the numerators of u, v and 1 - u - v change with the direction (perspective)
                # or the origin (orthographic), and through it per pixel to the right and down.
                if perspective:
                    gu, gv = _cross(e2, s), q
                    gw = _cross(e2, e1) - gu - gv
                else:
                    gu, gv = p, _cross(e1, d)
                    gw = -gu - gv
                du = u * _pixels(gu, det, fx, fy, skew)
                dv = v * _pixels(gv, det, fx, fy, skew)
                dw = (1.0 - u - v) * _pixels(gw, det, fx, fy, skew)
                nearest_edge = min(du, dv, dw)
                if nearest_edge < -BAND:
                    continue
                if nearest_edge <= BAND and t < uncertain_z[row, column]:
                    uncertain_z[row, column] = t
                if nearest_edge >= 0.0 and t < z[row, column]:
                    z[row, column] = t
                    triangle_id[row, column] = face
    for row in range(height):
        for column in range(width):
            uncertain[row, column] = uncertain_z[row, column] <= z[row, column] * (1.0 + 1e-6) and (
                uncertain_z[row, column] < np.inf
            )
            ray[row, column] = z[row, column]
            if perspective:
                y = (row + 0.5 - cy) / fy
                x = (column + 0.5 - cx - skew * y) / fx
                ray[row, column] *= np.sqrt(x * x + y * y + 1.0)


class RayTruth(NamedTuple):
    triangle_id: np.ndarray  # (n,) int32, -1 = miss
    t: np.ndarray  # (n,) float64, lengths of the direction, +inf = miss
    uncertain: np.ndarray  # (n,) bool: an edge, or a limit, within rounding of the ray


def brute_force_rays(
    vertices: np.ndarray,
    faces: np.ndarray,
    origins: np.ndarray,
    directions: np.ndarray,
    t_min: float = 0.0,
    t_max: float = np.inf,
) -> RayTruth:
    """The truth for any rays (n, 3), by Moller's and Trumbore's formula again.

    Directions of two sources differ by rounding: a ray is uncertain if a barycentric coordinate of
    a face it might see is within 1e-9 of 0, or a distance within 1e-12 of a limit.
    """
    a, b, c = (np.asarray(vertices, np.float64)[faces[:, i]] for i in range(3))
    e1, e2 = b - a, c - a
    o, d = np.asarray(origins)[:, None], np.asarray(directions)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.cross(d, e2)
        det = (e1 * p).sum(axis=-1)
        s = o - a
        q = np.cross(s, e1)
        u, v, t = (
            (s * p).sum(axis=-1) / det,
            (q * d).sum(axis=-1) / det,
            (q * e2).sum(axis=-1) / det,
        )
        slack = np.minimum(np.minimum(u, v), 1.0 - u - v)
        hit = (slack >= 0.0) & (t >= t_min) & (t <= t_max) & (t > 0.0)
        at_limit = np.abs(t - t_min) <= 1e-12 * t_min
        if np.isfinite(t_max):
            at_limit |= np.abs(t - t_max) <= 1e-12 * t_max
        doubtful = ((np.abs(slack) <= 1e-9) | ((slack >= -1e-9) & at_limit)) & (t > 0.0)
        nearest = np.where(hit, t, np.inf)
        first = nearest.min(axis=1)
        ids = np.where(np.isfinite(first), nearest.argmin(axis=1), -1)
        uncertain = (doubtful & (t <= first[:, None] * (1.0 + 1e-9))).any(axis=1)
    return RayTruth(ids, first, uncertain)


def ulps(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many float32 values lie between float32 `depth` and float64 `truth`, rounded."""
    a = np.asarray(depth, np.float32).view(np.int32).astype(np.int64)
    b = np.asarray(truth, np.float64).astype(np.float32).view(np.int32).astype(np.int64)
    return np.abs(a - b)


def assert_exact(rendering, view: int, truth: Truth, *, max_uncertain: float = 0.02) -> None:
    """The promises of exactness, for one view rendered with kind=("z", "ray")."""
    sure = ~truth.uncertain
    assert truth.uncertain.mean() <= max_uncertain, "the test would look away too often"
    hit = rendering.triangle_id[view] >= 0
    wrong = (hit != (truth.triangle_id >= 0)) & sure
    assert not wrong.any(), (
        f"{wrong.sum()} pixels hit or miss wrongly, first {np.argwhere(wrong)[0]}"
    )
    both = hit & (truth.triangle_id >= 0) & sure
    for depth, expected in ((rendering.z_depth, truth.z), (rendering.ray_depth, truth.ray)):
        assert np.isfinite(depth[view][hit]).all()
        assert (depth[view][hit] > 0).all()
        worst = ulps(depth[view][both], expected[both]).max(initial=0)
        assert worst <= 1, f"depth is {worst} float32 ulps off"


class Surface(NamedTuple):
    """What the pixels of a view see; NaN = miss, facing 0."""

    barycentric: np.ndarray  # (height, width, 3) float64
    point: np.ndarray  # (height, width, 3) float64, in the world
    normal: np.ndarray  # (height, width, 3) float64, in the world
    facing: np.ndarray  # (height, width) int


def rays(camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions (z component 1 in the camera) of one view, (height, width, 3)."""
    k, pose = camera.intrinsics[0], camera.world_from_camera[0]
    row, column = np.mgrid[: camera.height, : camera.width] + 0.5
    y = (row - k[1, 2]) / k[1, 1]
    x = (column - k[0, 2] - k[0, 1] * y) / k[0, 0]
    seen = np.stack([x, y, np.ones_like(x)], axis=-1)
    if camera.model == "perspective":
        return np.broadcast_to(pose[:3, 3], seen.shape), seen @ pose[:3, :3].T
    start = np.stack([x, y, np.zeros_like(x)], axis=-1) @ pose[:3, :3].T + pose[:3, 3]
    return start, np.broadcast_to(pose[:3, 2], seen.shape)


def surface(vertices, faces, camera: Cameras, truth: Truth) -> Surface:
    """From the oracle's own faces: weights from areas, the plane by NumPy's cross product."""
    hit = truth.triangle_id >= 0
    corners = np.asarray(vertices, np.float64)[np.asarray(faces)[truth.triangle_id[hit]]]
    origin, direction = (ends[hit] for ends in rays(camera))
    point = origin + truth.z[hit][:, None] * direction
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = np.cross(b - a, c - a)
    squared = (area * area).sum(axis=1)
    weights = [
        (np.cross(q - p, point - p) * area).sum(axis=1) / squared
        for p, q in ((b, c), (c, a), (a, b))
    ]
    found = []
    for values in (np.stack(weights, axis=1), point, area / np.sqrt(squared)[:, None]):
        image = np.full((*hit.shape, 3), np.nan)
        image[hit] = values
        found.append(image)
    facing = np.zeros(hit.shape, int)
    facing[hit] = -np.sign((area * direction).sum(axis=1))
    return Surface(*found, facing)


def all_crossings(vertices, faces, origin, direction):
    """Every face that one ray meets as (t, face), sorted: Moller and Trumbore on all faces."""
    a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[np.asarray(faces)], 1, 0)
    e1, e2 = b - a, c - a
    p = np.cross(direction, e2)
    det = (e1 * p).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = origin - a
        q = np.cross(s, e1)
        u, v = (s * p).sum(axis=1) / det, (q * direction).sum(axis=1) / det
        t = (q * e2).sum(axis=1) / det
        inside = (det != 0) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        clear = np.minimum(np.minimum(abs(u), abs(v)), abs(1 - u - v))[(t > 0)].min(initial=1)
    found = np.flatnonzero(inside)
    return sorted(zip(t[found].tolist(), found.tolist(), strict=True)), clear
