"""Conversions between kinds of depth, and between depth and world points, for every camera model.

A depth that is not finite is a miss and stays a miss: +inf in depth, NaN in points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.kinds import checked_kind
from raydepth.system.real_arrays import real_array


def ray_from_z(z: Any, cameras: Cameras) -> np.ndarray:
    """Convert z depth to ray depth.

    Parameters
    ----------
    z : (n_views, height, width) or, for one view, (height, width) float
        z depth in units; values that are not finite are misses.
    cameras : Cameras

    Returns
    -------
    the same shape, float64
        Ray depth in units; +inf for a miss.

    Raises
    ------
    ValueError
        The cameras have no z depth, or the shape of `z` is not that of their images.
    TypeError
        `cameras` is not a Cameras.
    """
    return _scaled(z, cameras, "z", lambda z, length: z * length)


def z_from_ray(ray: Any, cameras: Cameras) -> np.ndarray:
    """Convert ray depth to z depth; arguments, result and errors are as for `ray_from_z`."""
    return _scaled(ray, cameras, "ray", lambda ray, length: ray / length)


def points_from_depth(depth: Any, cameras: Cameras, kind: str) -> np.ndarray:
    """Return the world points that the pixels of depth maps see.

    Parameters
    ----------
    depth : (n_views, height, width) or, for one view, (height, width) float
        Depth in units; values that are not finite are misses.
    cameras : Cameras
    kind : "z" or "ray"
        The kind of `depth`.

    Returns
    -------
    (..., 3) float64
        A world point for each value of `depth`; NaN for a miss.

    Raises
    ------
    ValueError
        The shape of `depth` is not that of the cameras' images, or the cameras do not have this
        kind of depth.
    TypeError
        `cameras` is not a Cameras.
    """
    maps = _checked(depth, cameras, "depth")
    points = np.empty((*maps.shape, 3))
    for view in range(len(cameras)):
        points[view] = cameras[view].unproject(None, maps[view][None], kind)[0]
    return points.reshape(*np.shape(depth), 3)


def depth_from_points(points: Any, cameras: Cameras, kind: str) -> np.ndarray:
    """Return the depth of world points in every view.

    Parameters
    ----------
    points : (..., 3) float
        The same for all views, in units. Occlusion is ignored. `Cameras.project` returns where the
        points are seen.
    cameras : Cameras
    kind : "z" or "ray"
        The kind of depth to return.

    Returns
    -------
    (n_views, ...) float64
        Depth in units; +inf for points that are not in front of a camera that has z depth, and for
        points that are not finite.

    Raises
    ------
    ValueError
        `points` has another shape, or the cameras do not have this kind of depth.
    TypeError
        `cameras` is not a Cameras.
    """
    _check_kind(cameras, kind)
    points = real_array(points, "points")
    if points.ndim == 0 or points.shape[-1] != 3:
        raise ValueError(f"points have shape {points.shape}; expected (..., 3)")
    depths = np.empty((len(cameras), *points.shape[:-1]))
    for view, pose in enumerate(cameras.world_from_camera):
        x, y, z = np.moveaxis((points - pose[:3, 3]) @ pose[:3, :3], -1, 0)
        along_z = kind == "z" or cameras.model == "orthographic"
        depth = z if along_z else np.sqrt(x * x + y * y + z * z)
        # False for NaN and, if there is z depth, for points behind the camera.
        seen = (depth > 0.0) & (z > 0.0 if cameras.has_z else True)
        depths[view] = np.where(seen, depth, np.inf)
    return depths


def _scaled(depth: Any, cameras: Cameras, name: str, convert: Any) -> np.ndarray:
    _check_kind(cameras, "z")
    maps = _checked(depth, cameras, name)
    converted = np.full(maps.shape, np.inf)
    for view in range(len(cameras)):
        _, directions = cameras[view].rays()
        # Directions have z = 1, so their length is ray depth divided by z depth.
        length = np.sqrt((directions[0] * directions[0]).sum(axis=-1))
        hit = np.isfinite(maps[view]) & (length > 0.0)
        converted[view][hit] = convert(maps[view][hit], length[hit])
    return converted.reshape(np.shape(depth))


def _check_kind(cameras: Cameras, kind: str) -> None:
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    checked_kind(kind)
    cameras.check_kinds((kind,))


def _checked(depth: Any, cameras: Cameras, name: str) -> np.ndarray:
    """Return `depth` as (n_views, height, width) float64."""
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    if isinstance(depth, np.ma.MaskedArray):
        depth = depth.filled(np.inf)  # what is masked is a miss
    maps = real_array(depth, name)
    expected = (len(cameras), cameras.height, cameras.width)
    if maps.shape != expected and (len(cameras) != 1 or maps.shape != expected[1:]):
        raise ValueError(f"{name} has shape {maps.shape}; expected {expected}")
    return maps.reshape(expected)
