"""Cameras on a sphere around the origin: `Cameras` from placements, by function or in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from raydepth import placements
from raydepth.camera import (
    Cameras,
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)
from raydepth.poses import look_at, opencv_from_opengl, opengl_from_opencv

__all__ = [
    "Cameras",
    "ViewOptions",
    "cubemap_intrinsics",
    "dodecahedron",
    "equirectangular_intrinsics",
    "fibonacci",
    "fisheye_intrinsics",
    "from_spec",
    "look_at",
    "on_sphere",
    "opencv_from_opengl",
    "opengl_from_opencv",
    "orthographic_intrinsics",
    "perspective_intrinsics",
    "random",
    "ring",
]


def on_sphere(
    directions: Any,
    *,
    radius: float = 1.5,
    fov_deg: float | None = None,
    ortho_width: float | None = None,
    size: int | Sequence[int] = 512,
    up: str | Sequence[float] = "z",
) -> Cameras:
    """Cameras on a sphere around the origin, all looking at its centre.

    Parameters
    ----------
    directions : (n_views, 3) float
        Unit vectors from the origin to the cameras.
    radius : float
        Distance of the cameras from the origin, in units.
    fov_deg : float
        Full field of view in degrees across the longer side of the image; 40 if neither this nor
        `ortho_width` is given.
    ortho_width : float
        Makes the cameras orthographic, this many units across the longer side of the image.
    size : int or (width, height), pixels
    up : "x", "y", "z" or three numbers
    """
    if not (math.isfinite(radius) and radius > 0.0):
        raise ValueError(f"radius is {radius}; expected units above 0")
    if fov_deg is not None and ortho_width is not None:
        raise ValueError("fov_deg and ortho_width are both given; expected one of them")
    poses = look_at(np.asarray(directions, dtype=np.float64) * radius, up=up)
    if ortho_width is not None:
        intrinsics = orthographic_intrinsics(ortho_width, size)
        return Cameras(intrinsics, poses, size, model="orthographic")
    return Cameras(perspective_intrinsics(40.0 if fov_deg is None else fov_deg, size), poses, size)


class ViewOptions(TypedDict, total=False):
    """The keywords that every placement shares; see `on_sphere`."""

    radius: float
    fov_deg: float | None
    ortho_width: float | None
    size: int | Sequence[int]
    up: str | Sequence[float]


def fibonacci(n: int, **view: Unpack[ViewOptions]) -> Cameras:
    """n cameras spread evenly over the sphere: `placements.fibonacci`, `on_sphere`."""
    return _placed(placements.fibonacci(n), **view)


def ring(n: int, elevation: float = 30.0, **view: Unpack[ViewOptions]) -> Cameras:
    """n cameras around the up axis at one elevation in degrees: `placements.ring`, `on_sphere`."""
    return _placed(placements.ring(n, elevation), **view)


def dodecahedron(**view: Unpack[ViewOptions]) -> Cameras:
    """20 cameras at a dodecahedron's vertices: `placements.dodecahedron`, `on_sphere`."""
    return _placed(placements.dodecahedron(), **view)


def random(n: int, seed: int = 0, **view: Unpack[ViewOptions]) -> Cameras:
    """n cameras drawn uniformly from the sphere: `placements.random`, `on_sphere`."""
    return _placed(placements.random(n, seed), **view)


def from_spec(spec: str, **view: Unpack[ViewOptions]) -> Cameras:
    """Cameras from a placement in words, such as "fibonacci:24" or "ring:12,elevation=30,up=y".

    The grammar is `placements.parse`'s; other keywords are `on_sphere`'s.
    """
    name, arguments = placements.parse(spec)
    up = arguments.pop("up", None)
    if up is not None:
        view["up"] = str(up)
    return _placed(placements.PLACEMENTS[name](**arguments), **view)


def _placed(directions: np.ndarray, **view: Unpack[ViewOptions]) -> Cameras:
    """`on_sphere` for directions given in the z-up frame."""
    frame = placements.up_frame(view.get("up", "z"))
    return on_sphere(directions @ frame.T, **view)
