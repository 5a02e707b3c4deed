"""Find the true depth at a few pixels, and whether an outline passes close to their centres.

This is a judge for pixels on which two renderers disagree. It tests every triangle, without the
renderer's hierarchy or kernels, by float64 edge functions in the image, after Pineda, "A Parallel
Algorithm for Polygon Rasterization", 1988, in their homogeneous form, which also handles triangles
that cross the camera's plane (Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous
Coordinates", 1997).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Pixels. An outline this close to a pixel's centre may be resolved either way.
BAND = 1e-3
# A circle of this many points has points on both sides of every straight line that passes its
# centre closer than cos(180 degrees / 16) = 98 % of its radius. An outline farther away than BAND
# never excuses a pixel.
RING = 16

# Pixels. Image boxes of triangles are enlarged by this, so that none is missed.
MARGIN = 0.01
# Pixels. Rounding of float64 edge functions opens no gap this wide where triangles share an edge.
EDGE_SLACK = 1e-9
# Pixels. Closer to an outline than this, float64 itself may decide either way.
UNDECIDED = 1e-6


class Judgement(NamedTuple):
    """The findings of `judge` for each pixel.

    Attributes
    ----------
    z : (n_pixels,) float64
        z depth of the nearest triangle at the pixel's centre, units; +inf = miss.
    face : (n_pixels,) int
        Index of that triangle; -1 = miss.
    in_band : (n_pixels,) bool
        True if the visible face changes, or ends, within BAND of the centre.
    right : (n_pixels,) bool
        True if the claimed z is, to a float32 step, that of the nearest triangle, or if it is that
        of one visible within UNDECIDED of the centre. False if a ray slips through between two
        faces.
    """

    z: np.ndarray
    face: np.ndarray
    in_band: np.ndarray
    right: np.ndarray


def judge(
    pixels: np.ndarray,
    claimed_z: np.ndarray,
    corners: np.ndarray,
    intrinsics: np.ndarray,
    model: str,
) -> Judgement:
    """Find depth at pixel centres from all triangles in float64, and whether an outline is near.

    Parameters
    ----------
    pixels : (n_pixels, 2) int
        Row and column.
    claimed_z : (n_pixels,) float
        z depth that a renderer claims, units; not finite = miss.
    corners : (n_faces, 3, 3) float64
        The triangles' corners in the camera's frame (x right, y down, z forward), units.
    intrinsics : (3, 3) float64
    model : "perspective" or "orthographic"
    """
    perspective = model == "perspective"
    # Homogeneous image coordinates of the corners: (x w, y w, w), w = z or 1.
    w = corners[..., 2] if perspective else np.ones(corners.shape[:2])
    image = np.stack([corners[..., 0], corners[..., 1], w], axis=-1) @ intrinsics.T
    low, high = _boxes(image)

    angle = 2.0 * np.pi * np.arange(RING) / RING
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    samples = np.concatenate([np.zeros((1, 2)), UNDECIDED * ring, BAND * ring])
    close_by, at = slice(0, 1 + RING), np.arange(1 + RING)
    result = Judgement(*(np.empty(len(pixels), dtype) for dtype in (float, int, bool, bool)))
    for i, (row, column) in enumerate(pixels):
        centre = np.array([column + 0.5, row + 0.5])
        close = np.flatnonzero(((low <= centre) & (centre <= high)).all(axis=1))
        # Relative to the centre, so that a thousandth of a pixel keeps its digits.
        local = image[close]
        local[..., :2] -= centre * local[..., 2:]
        z, slope, face = _nearest(local, corners[close, :, 2], samples, perspective)
        result.z[i] = z[0]
        result.face[i] = -1 if face[0] < 0 else close[face[0]]
        result.in_band[i] = np.any(face != face[0])
        if np.isfinite(claimed_z[i]):
            # Another face is sampled beside the centre; at the centre its plane's depth differs.
            another = face[close_by] != face[0]
            allowed = np.spacing(np.float32(claimed_z[i])) + np.where(
                another, UNDECIDED * slope[close_by], 0.0
            )
            off = np.where(another | (at == 0), np.abs(z[close_by] - claimed_z[i]), np.inf)
            result.right[i] = (off <= allowed).any()
        else:
            result.right[i] = np.isinf(z[close_by]).any()
    return result


def _boxes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n_faces, 2) lowest and highest image coordinates; infinite where w changes sign."""
    w = image[..., 2:]
    in_front: np.ndarray = np.all(w > 0.0, axis=(1, 2))
    behind: np.ndarray = np.all(w <= 0.0, axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = image[..., :2] / w
    low = np.where(in_front[:, None], xy.min(axis=1) - MARGIN, -np.inf)
    high = np.where(in_front[:, None], xy.max(axis=1) + MARGIN, np.inf)
    low[behind] = np.inf
    return low, high


def _nearest(
    image: np.ndarray, depth: np.ndarray, points: np.ndarray, perspective: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest triangle at each of some image points.

    Parameters
    ----------
    image : (n, 3, 3) float64
        Homogeneous image coordinates of corners, relative to the origin of `points`.
    depth : (n, 3) float64
        z of the corners.
    points : (n_points, 2) float64, pixels

    Returns
    -------
    z : (n_points,) float64, +inf = miss
    slope : (n_points,) float64, by how much z changes per pixel
    face : (n_points,) int, an index into `image`, -1 = miss
    """
    if len(image) == 0:
        n_points = len(points)
        return np.full(n_points, np.inf), np.zeros(n_points), np.full(n_points, -1)
    # Row i holds the edge function of the edge opposite corner i: a line in the image.
    edges = np.cross(image[:, [1, 2, 0]], image[:, [2, 0, 1]])
    area = np.einsum("nj,nj->n", image[:, 0], edges[:, 0])[:, None]
    edges = edges * np.sign(area)[..., None]
    length = np.linalg.norm(edges[..., :2], axis=-1)
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    values = np.einsum("nej,pj->npe", edges, homogeneous)
    covered = (values >= -EDGE_SLACK * length[:, None]).all(axis=2) & (area != 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if perspective:
            # The sum of the edge functions, divided by the area, is 1 / z, affine in the image.
            z = np.abs(area) / values.sum(axis=2)
            gradient = edges.sum(axis=1)[:, :2]
            slope = z * z * np.linalg.norm(gradient, axis=1)[:, None] / np.abs(area)
        else:
            z = np.einsum("npe,ne->np", values, depth) / np.abs(area)
            gradient = np.einsum("nej,ne->nj", edges[..., :2], depth)
            slope = np.linalg.norm(gradient, axis=1)[:, None] / np.abs(area) + np.zeros_like(z)
    z = np.where(covered & (z > 0.0), z, np.inf)
    first, at = z.argmin(axis=0), np.arange(len(points))
    nearest = z[first, at]
    return nearest, slope[first, at], np.where(np.isfinite(nearest), first, -1)
