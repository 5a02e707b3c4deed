"""Camera poses: look-at, conversions between axes, rolls, checks.

A camera looks along its +z axis, x points right, y points down (OpenCV's axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raydepth.camera.placements import frames
from raydepth.limits import MAX_COORDINATE
from raydepth.system.real_arrays import real_array

# Float32 poses are orthonormal to about 1e-7, poses typed with six digits to about 1e-6.
ROTATION_TOLERANCE = 1e-5

# Within this angle (radians) of the up axis, "up" fades into a fixed direction: see look_at.
POLE_CAP = 1e-3

OPENGL_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def opencv_from_opengl(world_from_camera: Any) -> np.ndarray:
    """Convert poses from OpenGL or Blender axes (x right, y up, looking along -z) to OpenCV axes.

    Takes and returns `world_from_camera`, (..., 4, 4) float64.
    """
    return _flipped(world_from_camera)


def opengl_from_opencv(world_from_camera: Any) -> np.ndarray:
    """Convert poses from OpenCV axes to OpenGL or Blender axes: inverts `opencv_from_opengl`."""
    return _flipped(world_from_camera)


def look_at(eye: Any, target: Any = (0.0, 0.0, 0.0), up: str | Sequence[float] = "z") -> np.ndarray:
    """Return `world_from_camera` of cameras at `eye` that look at `target` with `up` upwards.

    No field of image-up directions is continuous all around a sphere (Brouwer's hairy ball
    theorem), and the usual one is undefined where a camera looks straight along `up`. Here, within
    0.001 rad of that axis, the image's up direction fades into its limit on the meridian of azimuth
    0 (see `frames.up_frame`). So poses are defined everywhere and continuous at the poles.

    Parameters
    ----------
    eye, target : (3,) or (n_views, 3) float, world units
    up : "x", "y", "z" or three numbers

    Returns
    -------
    (n_views, 4, 4) float64

    Raises
    ------
    ValueError
        A shape is wrong, a number is not finite, `up` is 0, or `eye` equals `target`.
    """
    eye, target = (np.atleast_2d(np.asarray(p, dtype=np.float64)) for p in (eye, target))
    for name, points in (("eye", eye), ("target", target)):
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"{name} has shape {points.shape}; expected (3,) or (n_views, 3)")
    eye, target = np.broadcast_arrays(eye, target)
    if not (np.isfinite(eye).all() and np.isfinite(target).all()):
        raise ValueError("eye or target is not finite")
    forward = target - eye
    largest = np.abs(forward).max(axis=1, keepdims=True)
    if not largest.all():
        raise ValueError(f"eye and target are the same point in view {int(np.argmin(largest))}")
    forward = _unit(forward / largest)

    frame = frames.up_frame(up)
    azimuth_0, up_axis = frame[:, 0], frame[:, 2]
    # `up` made perpendicular to `forward`. Its length is the sine of the angle to the pole.
    upright = np.cross(forward, np.cross(up_axis, forward))
    sine = np.linalg.norm(upright, axis=1, keepdims=True)
    # The limit of `upright` on the meridian of azimuth 0: -azimuth_0 for a camera above, else
    # +azimuth_0.
    at_pole = np.where(forward @ up_axis < 0.0, -1.0, 1.0)[:, None] * azimuth_0
    at_pole = np.cross(forward, np.cross(at_pole, forward))
    image_up = upright / np.maximum(sine, POLE_CAP) + at_pole * np.maximum(
        0.0, 1.0 - sine / POLE_CAP
    )
    # The two terms cancel at one point of the cap, as the theorem demands. It takes `at_pole`.
    image_up = np.where(np.linalg.norm(image_up, axis=1, keepdims=True) > 1e-9, image_up, at_pole)

    right = _unit(np.cross(forward, image_up))
    poses = np.zeros((len(eye), 4, 4))
    poses[:, :3, 0] = right
    poses[:, :3, 1] = np.cross(forward, right)
    poses[:, :3, 2] = forward
    poses[:, :3, 3] = eye
    poses[:, 3, 3] = 1.0
    return poses


def rolled(world_from_camera: Any, degrees: Any) -> np.ndarray:
    """Return poses rolled around the cameras' own axes, clockwise as seen from behind.

    The scene turns counterclockwise in the image. A roll of 0 degrees changes nothing, bit for bit,
    and quarter turns exchange axes exactly.

    Parameters
    ----------
    world_from_camera : (n_views, 4, 4) float
    degrees : float or (n_views,) float

    Returns
    -------
    (n_views, 4, 4) float64
    """
    poses = np.array(world_from_camera, dtype=np.float64)
    degrees = np.broadcast_to(np.asarray(degrees, dtype=np.float64), len(poses))
    quarters = np.round(degrees / 90.0)
    rest = np.radians(degrees - 90.0 * quarters)
    # Sine and cosine of the quarter turns are exact.
    sign_sine = np.array([0.0, 1.0, 0.0, -1.0])[quarters.astype(np.int64) % 4]
    sign_cosine = np.array([1.0, 0.0, -1.0, 0.0])[quarters.astype(np.int64) % 4]
    cosine = sign_cosine * np.cos(rest) - sign_sine * np.sin(rest)
    sine = sign_sine * np.cos(rest) + sign_cosine * np.sin(rest)
    right, down = poses[:, :3, 0], poses[:, :3, 1]
    turned = np.stack(
        [
            cosine[:, None] * right + sine[:, None] * down,
            cosine[:, None] * down - sine[:, None] * right,
        ],
        axis=2,
    )
    # A pose that does not turn keeps even the signs of its zeros.
    turns = degrees != 0.0
    poses[turns, :3, :2] = turned[turns]
    return poses


def checked_poses(world_from_camera: Any) -> np.ndarray:
    poses = float_array(world_from_camera, "world_from_camera", (4, 4))
    rotation = poses[:, :3, :3]
    deviation = np.abs(np.swapaxes(rotation, 1, 2) @ rotation - np.eye(3)).max(axis=(1, 2))
    for bad, reason in (
        (np.abs(poses[:, :3, 3]).max(axis=1) > MAX_COORDINATE, f"is beyond {MAX_COORDINATE:g}"),
        ((poses[:, 3] != [0, 0, 0, 1]).any(axis=1), "has a last row other than 0 0 0 1"),
        (deviation > ROTATION_TOLERANCE, "has a rotation that is not orthonormal"),
        (np.linalg.det(rotation) < 0.0, "is mirrored (its determinant is negative)"),
    ):
        if bad.any():
            view = int(np.argmax(bad))
            detail = f" (by {deviation[view]:.2g})" if "orthonormal" in reason else ""
            raise ValueError(
                f"world_from_camera of view {view} {reason}{detail}; "
                "expected a rotation and a translation"
            )
    poses.setflags(write=False)
    return poses


def float_array(value: Any, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Copy one matrix or many, also from a device, to a new (n, *shape) float64 array."""
    if hasattr(value, "__cuda_array_interface__"):
        value = _on_the_host(value, name)
    array = np.array(real_array(value, name))
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != shape or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape} or (n_views, *{shape})")
    if not np.isfinite(array).all():
        view = int(np.argmin(np.isfinite(array).all(axis=(1, 2))))
        raise ValueError(f"{name} of view {view} is not finite")
    return array


def _on_the_host(value: Any, name: str) -> Any:
    """Copy an array from a device's memory, by the method that its library has for this."""
    # The methods of raydepth, Torch, CuPy and Numba.
    for method in ("to_host", "cpu", "get", "copy_to_host"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise ValueError(f"{name} is in the memory of a device; expected an array in main memory")


def _flipped(world_from_camera: Any) -> np.ndarray:
    """Return the poses times OPENGL_FLIP, exact to the signs of zeros."""
    poses = np.array(world_from_camera, dtype=np.float64)
    poses[..., :3, 1:3] = -poses[..., :3, 1:3]
    return poses


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
