"""The position and the projection of each view: plain arrays, one row per view.

A projection maps points to image coordinates. It has 14 numbers:

| slot        | numbers | meaning                                                                |
| ----------- | ------- | ---------------------------------------------------------------------- |
| X, Y, S     | 4 each  | rows (a, b, c, d) that map a point (x, y, z) to ax + by + cz + d       |
| PERSPECTIVE | 1       | 1 for a perspective view, 0 for an orthographic one                    |
| FARTHEST    | 1       | nearness of an orthographic view = this number minus the distance S    |

The image coordinates are X / S and Y / S for a perspective view, X and Y for an orthographic one;
S is the distance along the ray.

A frame has 15 numbers. ROTATION, nine, is the rotation of `world_from_camera`, row by row. PLACE,
three, is the camera's position minus the mesh's centre. CENTRE, three, is that centre. PLACE and
CENTRE are in world units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

X, Y, S, PERSPECTIVE, FARTHEST, PROJECTION = 0, 4, 8, 12, 13, 14
ROTATION, PLACE, CENTRE, FRAME = 0, 9, 12, 15

# The mesh lies within sqrt(3) of the local origin. So a distance S that is measured from a plane
# this far in front of the origin is above 0, and FARTHEST minus S is above 0, too.
REACH = 4.0


class ViewFrames(NamedTuple):
    """The geometry of some views, for kernels.

    Lengths are in the hierarchy's local frame unless another unit is named.

    Attributes
    ----------
    basis : (n_views, 6, 3) float64
        The ray basis, see `kernels.pixel_ray`; (0, 6, 3) if rays are not affine in the pixel.
    projection : (n_views, 14) float64
        The inverse of the basis, as in the table above; (0, 14) if rays are not affine.
    frame : (n_views, 15) float64
        As above, in world units.
    near, far : (n_views,) float64
        The limits on the z depth of what is seen, or on its ray depth if the camera has no z.
    """

    basis: np.ndarray
    projection: np.ndarray
    frame: np.ndarray
    near: np.ndarray
    far: np.ndarray


def view_frames(
    ray_basis: np.ndarray | None,
    perspective: bool,
    world_from_camera: np.ndarray,
    limits: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    scale: float,
) -> ViewFrames:
    """Return the frames of views of a mesh whose local frame has this centre and scale.

    Parameters
    ----------
    ray_basis : (n_views, 6, 3) float64 or None
        In world units, see `Cameras.ray_basis`; None if rays are not affine in the pixel.
    world_from_camera : (n_views, 4, 4) float64
    limits : near and far, (n_views,) float64 each
        In world units.
    """
    near, far = (limit * scale for limit in limits)
    if ray_basis is None:
        basis, projection = np.empty((0, 6, 3)), np.empty((0, PROJECTION))
    else:
        basis = local_basis(ray_basis, centre, scale)
        projection = projections(basis, perspective)
    return ViewFrames(basis, projection, _frames(world_from_camera, centre), near, far)


def local_basis(ray_basis: np.ndarray, centre: np.ndarray, scale: float) -> np.ndarray:
    """Return a ray basis with its origins in the local frame.

    Directions are not changed. So a distance along the ray in world units is the local distance
    divided by the frame's scale, a power of two.
    """
    basis = ray_basis.copy()
    basis[:, 0] -= centre
    basis[:, :3] *= scale
    return basis


def projections(basis: np.ndarray, perspective: bool) -> np.ndarray:
    """Return the inverse of `basis`, (n_views, 14) float64, as in the table above.

    For an orthographic camera that is far away, S is measured from a nearer plane that is still in
    front of the mesh, so that float32 can tell distances apart.
    """
    axes = [4, 5, 3] if perspective else [1, 2, 3]
    inverse = np.linalg.inv(np.swapaxes(basis[:, axes], 1, 2))
    result = np.zeros((len(basis), PROJECTION))
    rows = result[:, :PERSPECTIVE].reshape(-1, 3, 4)
    rows[:, :, :3] = inverse
    rows[:, :, 3] = -np.einsum("nij,nj->ni", inverse, basis[:, 0])
    result[:, PERSPECTIVE] = perspective
    result[:, FARTHEST] = rows[:, 2, 3] + REACH
    if not perspective:
        np.minimum(rows[:, 2, 3], REACH, out=rows[:, 2, 3])
    return result


def _frames(world_from_camera: np.ndarray, centre: np.ndarray) -> np.ndarray:
    result = np.empty((len(world_from_camera), FRAME))
    result[:, ROTATION:PLACE] = world_from_camera[:, :3, :3].reshape(-1, 9)
    result[:, PLACE:CENTRE] = world_from_camera[:, :3, 3] - centre
    result[:, CENTRE:] = centre
    return result


def z_ranges(
    low: np.ndarray, high: np.ndarray, projection: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest z of a box in each view, (n_views,) each, in local units.

    Parameters
    ----------
    low, high : (3,) float64
        The box's corners.
    """
    along, offset = projection[:, S : S + 3], projection[:, FARTHEST] - REACH
    nearest = np.minimum(along * low, along * high).sum(axis=1) + offset
    return nearest, np.maximum(along * low, along * high).sum(axis=1) + offset
