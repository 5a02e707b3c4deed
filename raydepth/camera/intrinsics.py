"""Intrinsic matrices of each camera model, and checks of the arguments of `Cameras`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raydepth.camera.lenses.models import DISTORTIONS
from raydepth.camera.poses import float_array
from raydepth.system.real_arrays import real_array

MAX_SIDE = 65535


def perspective_intrinsics(fov_deg: float, size: int | Sequence[int]) -> np.ndarray:
    """Return (3, 3) float64 intrinsics with square pixels and a central principal point.

    `fov_deg` is the full angle in degrees across the longer side of the image, as in Blender.
    `size` is in pixels, as for `Cameras`. Values out of range raise ValueError.
    """
    width, height = checked_size(size)
    if not 0.0 < fov_deg < 180.0:
        raise ValueError(f"fov_deg is {fov_deg}; expected degrees between 0 and 180")
    focal = 0.5 * max(width, height) / math.tan(math.radians(fov_deg) / 2.0)
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def orthographic_intrinsics(ortho_width: float, size: int | Sequence[int]) -> np.ndarray:
    """Return (3, 3) float64 intrinsics of an orthographic view.

    The view is `ortho_width` units across its longer side. `size` is in pixels, as for `Cameras`.
    Values out of range raise ValueError.
    """
    width, height = checked_size(size)
    if not (math.isfinite(ortho_width) and ortho_width > 0.0):
        raise ValueError(f"ortho_width is {ortho_width}; expected units above 0")
    scale = max(width, height) / ortho_width
    return np.array([[scale, 0.0, width / 2.0], [0.0, scale, height / 2.0], [0.0, 0.0, 1.0]])


def fisheye_intrinsics(fov_deg: float, size: int | Sequence[int]) -> np.ndarray:
    """Return (3, 3) float64 intrinsics of an equidistant fisheye with a central principal point.

    `fov_deg` is the full angle in degrees across the longer side of the image, at most 360. `size`
    is in pixels, as for `Cameras`. Values out of range raise ValueError.
    """
    width, height = checked_size(size)
    if not 0.0 < fov_deg <= 360.0:
        raise ValueError(f"fov_deg is {fov_deg}; expected degrees above 0, 360 at most")
    focal = max(width, height) / math.radians(fov_deg)
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def equirectangular_intrinsics(size: int | Sequence[int]) -> np.ndarray:
    """Return (3, 3) float64 intrinsics of a panorama of the whole sphere.

    The middle of the image looks straight ahead. `size` is in pixels, as for `Cameras`; a value out
    of range raises ValueError.
    """
    width, height = checked_size(size)
    fx, fy = width / (2.0 * math.pi), height / math.pi
    return np.array([[fx, 0.0, width / 2.0], [0.0, fy, height / 2.0], [0.0, 0.0, 1.0]])


def cubemap_intrinsics(size: Sequence[int]) -> np.ndarray:
    """Return (3, 3) float64 intrinsics of one face of a cube map.

    `size` is that of all six faces in pixels, (6 s, s); another one raises ValueError.
    """
    width, height = checked_size(size)
    check_cubemap_size(width, height)
    half = height / 2.0
    return np.array([[half, 0.0, half], [0.0, half, half], [0.0, 0.0, 1.0]])


def checked_size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(sides) != 2 or not all(
        isinstance(side, (int, np.integer)) and 1 <= side <= MAX_SIDE for side in sides
    ):
        raise ValueError(
            f"size is {size!r}; expected one whole number or (width, height), 1 to {MAX_SIDE}"
        )
    return int(sides[0]), int(sides[1])


def checked_points(value: Any, name: str, n_axes: int) -> np.ndarray:
    points = real_array(value, name)
    if points.ndim == 0 or points.shape[-1] != n_axes:
        raise ValueError(f"{name} has shape {points.shape}; expected (..., {n_axes})")
    return points


def check_cubemap_size(width: int, height: int) -> None:
    if width != 6 * height:
        raise ValueError(
            f"size of a cubemap is {width}x{height}; expected six square faces side by side, "
            f"such as {6 * height}x{height}"
        )


def check_cubemap(intrinsics: np.ndarray, width: int, height: int) -> None:
    check_cubemap_size(width, height)
    wrong = (intrinsics != cubemap_intrinsics((width, height))).any(axis=(1, 2))
    if wrong.any():
        view = int(np.argmax(wrong))
        raise ValueError(
            f"intrinsics of view {view} are {intrinsics[view].tolist()}; expected "
            f"{cubemap_intrinsics((width, height)).tolist()} for cubemap faces of {height} pixels"
        )


def checked_distortion(value: Any, model: str, n_views: int) -> np.ndarray | None:
    if value is None:
        return None
    if model not in DISTORTIONS:
        raise ValueError(f"distortion is given, but {model} cameras have none")
    counts = DISTORTIONS[model]
    parameters = np.atleast_1d(np.array(real_array(value, "distortion")))
    expected = f"{' or '.join(map(str, counts))} parameters"
    if parameters.ndim > 2 or parameters.shape[-1] not in counts:
        raise ValueError(
            f"distortion has shape {parameters.shape}; expected {expected} for {model}, for "
            "all views or for each"
        )
    if parameters.ndim == 2 and len(parameters) not in (1, n_views):
        raise ValueError(f"distortion is given for {len(parameters)} views, poses for {n_views}")
    return _for_views(parameters, "distortion", (n_views, parameters.shape[-1]))


def checked_limit(value: Any, name: str, n_views: int) -> np.ndarray | None:
    if value is None:
        return None
    try:
        limit = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not a number or an array with one for each view") from None
    if limit.shape not in ((), (1,), (n_views,)):
        raise ValueError(f"{name} has shape {limit.shape}; expected a number or ({n_views},)")
    limit = _for_views(limit, name, (n_views,))
    wrong = limit < 0.0 if name == "near" else limit <= 0.0
    if wrong.any():
        view = int(np.argmax(wrong))
        expected = "0 or more" if name == "near" else "above 0"
        raise ValueError(f"{name} of view {view} is {limit[view]}; expected units, {expected}")
    return limit


def _for_views(values: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values, checked to be finite and repeated for all views if they are shared."""
    values = np.ascontiguousarray(np.broadcast_to(values, shape))
    if not np.isfinite(values).all():
        view = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise ValueError(f"{name} of view {view} is {values[view]}; expected finite numbers")
    values.setflags(write=False)
    return values


def checked_intrinsics(intrinsics: Any, n_views: int) -> np.ndarray:
    matrices = float_array(intrinsics, "intrinsics", (3, 3))
    if len(matrices) not in (1, n_views):
        raise ValueError(f"intrinsics are given for {len(matrices)} views, poses for {n_views}")
    for (row, column), name in (((0, 0), "fx"), ((1, 1), "fy")):
        bad = matrices[:, row, column] <= 0.0
        if bad.any():
            view = int(np.argmax(bad))
            raise ValueError(
                f"{name} of view {view} is {matrices[view, row, column]}; expected pixels above 0"
            )
    if (matrices[:, [1, 2, 2, 2], [0, 0, 1, 2]] != [0, 0, 0, 1]).any():
        raise ValueError("intrinsics do not have the form [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]")
    matrices = np.ascontiguousarray(np.broadcast_to(matrices, (n_views, 3, 3)))
    matrices.setflags(write=False)
    return matrices
