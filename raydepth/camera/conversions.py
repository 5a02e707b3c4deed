"""Between kinds of depth, and between depth and points in the world, for every camera model.

A depth that is not finite is a miss and stays one: +inf in depth, NaN in points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras


def ray_from_z(z: Any, cameras: Cameras) -> np.ndarray:
    """Ray depth from z depth.

    Parameters
    ----------
    z : (n_views, height, width) or, of one view, (height, width) float
        In units; what is not finite is a miss.
    cameras : Cameras

    Returns
    -------
    the same shape, float64
        +inf = miss.

    Raises
    ------
    ValueError
        The cameras have no z depth, or `z` has another shape than their images.
    """
    return _scaled(z, cameras, "z", lambda z, length: z * length)


def z_from_ray(ray: Any, cameras: Cameras) -> np.ndarray:
    """Z depth from ray depth; arguments, result and errors as for `ray_from_z`."""
    return _scaled(ray, cameras, "ray", lambda ray, length: ray / length)


def points_from_depth(depth: Any, cameras: Cameras, kind: str) -> np.ndarray:
    """World points that the pixels of depth maps see.

    Parameters
    ----------
    depth : (n_views, height, width) or, of one view, (height, width) float
        In units; what is not finite is a miss.
    cameras : Cameras
    kind : "z" or "ray"
        What `depth` is.

    Returns
    -------
    (..., 3) float64
        Of the shape of `depth`; NaN = miss.

    Raises
    ------
    ValueError
        Another shape than the cameras' images, or a kind that the cameras do not have.
    """
    maps = _checked(depth, cameras, "depth")
    points = np.empty((*maps.shape, 3))
    for view in range(len(cameras)):
        points[view] = cameras[view].unproject(None, maps[view][None], kind)[0]
    return points.reshape(*np.shape(depth), 3)


def depth_from_points(points: Any, cameras: Cameras, kind: str) -> np.ndarray:
    """How far away points in the world are, in every view.

    Parameters
    ----------
    points : (..., 3) float
        The same for all views. Whether anything hides them plays no part: see `Cameras.project` for
        where they are seen.
    cameras : Cameras
    kind : "z" or "ray"

    Returns
    -------
    (n_views, ...) float64
        In units; +inf for what is not in front of a camera that has z depth, and for points that
        are not finite.

    Raises
    ------
    ValueError
        Not points, or a kind that the cameras do not have.
    """
    _check_kind(cameras, kind)
    points = np.asarray(points, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != 3:
        raise ValueError(f"points have shape {points.shape}; expected (..., 3)")
    depths = np.empty((len(cameras), *points.shape[:-1]))
    for view, pose in enumerate(cameras.world_from_camera):
        x, y, z = np.moveaxis((points - pose[:3, 3]) @ pose[:3, :3], -1, 0)
        along_z = kind == "z" or cameras.model == "orthographic"
        depth = z if along_z else np.sqrt(x * x + y * y + z * z)
        # Not of NaN, nor, where there is z, of what is behind.
        seen = (depth > 0.0) & (z > 0.0 if cameras.has_z else True)
        depths[view] = np.where(seen, depth, np.inf)
    return depths


def _scaled(depth: Any, cameras: Cameras, name: str, convert: Any) -> np.ndarray:
    _check_kind(cameras, "z")
    maps = _checked(depth, cameras, name)
    converted = np.full(maps.shape, np.inf)
    for view in range(len(cameras)):
        _, directions = cameras[view].rays()
        # Of a direction whose z is 1: how much longer the way along the ray is.
        length = np.sqrt((directions[0] * directions[0]).sum(axis=-1))
        hit = np.isfinite(maps[view]) & (length > 0.0)
        converted[view][hit] = convert(maps[view][hit], length[hit])
    return converted.reshape(np.shape(depth))


def _check_kind(cameras: Cameras, kind: str) -> None:
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    if kind not in ("z", "ray"):
        raise ValueError(f"kind is {kind!r}; expected 'z' or 'ray'")
    cameras.check_kinds((kind,))


def _checked(depth: Any, cameras: Cameras, name: str) -> np.ndarray:
    """(n_views, height, width) float64."""
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    maps = np.asarray(depth, dtype=np.float64)
    expected = (len(cameras), cameras.height, cameras.width)
    if maps.shape != expected and (len(cameras) != 1 or maps.shape != expected[1:]):
        raise ValueError(f"{name} has shape {maps.shape}; expected {expected}")
    return maps.reshape(expected)
