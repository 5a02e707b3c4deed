"""Cameras: many views of one model and size, their rays, and placements around the origin.

A camera looks along its +z axis, x points right, y points down (OpenCV's axes). The centre of pixel
(row, column) is at image coordinates (column + 0.5, row + 0.5); row 0 is the top row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from raydepth import placements
from raydepth.limits import MAX_COORDINATE

MODELS = ("perspective", "orthographic")

# Float32 poses are orthonormal to about 1e-7, poses typed with six digits to about 1e-6.
ROTATION_TOLERANCE = 1e-5
MAX_SIDE = 65535

# Closer than this (radians) to the up axis, "up" fades into a fixed direction: see look_at.
POLE_CAP = 1e-3

OPENGL_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


class Cameras:
    """n views that share a model and an image size. Immutable.

    Parameters
    ----------
    intrinsics : (3, 3) or (n_views, 3, 3) float
        `[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]`, in pixels. Takes camera coordinates to image
        coordinates: of `(x / z, y / z, 1)` for a perspective camera, of `(x, y, 1)` for an
        orthographic one, whose fx and fy are therefore pixels per unit.
    world_from_camera : (4, 4) or (n_views, 4, 4) float
        Takes camera points to world points (OpenCV axes). Rotation and translation only. It and the
        intrinsics may be arrays on a CUDA device; they are copied to main memory.
    size : int or (width, height)
        Image size in pixels; one number means a square.
    model : "perspective" or "orthographic"

    Raises
    ------
    ValueError
        A field has the wrong shape, is not finite, or makes no sense (zero focal length, a
        rotation that is mirrored, scaled or sheared); the message names field, value and view.
    """

    def __init__(
        self,
        intrinsics: Any,
        world_from_camera: Any,
        size: int | Sequence[int],
        *,
        model: str = "perspective",
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"model is {model!r}; expected one of {', '.join(MODELS)}")
        self.model = model
        self.width, self.height = _checked_size(size)
        self.world_from_camera = _checked_poses(world_from_camera)
        self.intrinsics = _checked_intrinsics(intrinsics, len(self.world_from_camera))

    def __len__(self) -> int:
        return len(self.world_from_camera)

    def __getitem__(self, views: int | slice | Sequence[int] | np.ndarray) -> Cameras:
        """The chosen views, as Cameras; an int gives Cameras of one view."""
        if isinstance(views, (int, np.integer)):
            if not -len(self) <= views < len(self):
                raise IndexError(f"view {views} of {len(self)}")
            views = [int(views)]
        return Cameras(
            self.intrinsics[views],
            self.world_from_camera[views],
            (self.width, self.height),
            model=self.model,
        )

    def __repr__(self) -> str:
        return f"Cameras({len(self)} {self.model} views, {self.width}x{self.height})"

    @property
    def camera_from_world(self) -> np.ndarray:
        """(n_views, 4, 4) float64, the inverse of `world_from_camera`."""
        return np.linalg.inv(self.world_from_camera)

    @property
    def centres(self) -> np.ndarray:
        """(n_views, 3) float64, where the cameras stand in the world."""
        return self.world_from_camera[:, :3, 3]

    def ray_basis(self) -> np.ndarray:
        """What turns image coordinates into rays: (n_views, 6, 3) float64.

        For perspective and orthographic cameras both ends of a ray are affine in the image
        coordinates (x, y). With rows o, ox, oy, d, dx, dy, the ray through (x, y) has the origin
        `o + x * ox + y * oy` and the direction `d + x * dx + y * dy`, in the world. A point at
        `origin + t * direction` has z depth t: directions are not normalised.
        """
        rotation = self.world_from_camera[:, :3, :3]
        fx, skew, cx = self.intrinsics[:, 0, 0], self.intrinsics[:, 0, 1], self.intrinsics[:, 0, 2]
        fy, cy = self.intrinsics[:, 1, 1], self.intrinsics[:, 1, 2]
        # The columns of the inverse intrinsics, in the camera's own axes.
        inverse = np.zeros((len(self), 3, 3))
        inverse[:, 0, 0] = 1.0 / fx
        inverse[:, 0, 1] = -skew / (fx * fy)
        inverse[:, 0, 2] = (skew * cy / fy - cx) / fx
        inverse[:, 1, 1] = 1.0 / fy
        inverse[:, 1, 2] = -cy / fy
        basis = np.zeros((len(self), 6, 3))
        if self.model == "perspective":
            inverse[:, 2, 2] = 1.0
            basis[:, 0] = self.centres
            basis[:, 3:] = np.swapaxes(rotation @ inverse, 1, 2)[:, [2, 0, 1]]
        else:
            basis[:, :3] = np.swapaxes(rotation @ inverse, 1, 2)[:, [2, 0, 1]]
            basis[:, 0] += self.centres
            basis[:, 3] = rotation[:, :, 2]
        return basis

    def to_json(self) -> dict[str, Any]:
        """One view as plain JSON data; numbers survive the round trip bit for bit."""
        if len(self) != 1:
            raise ValueError(f"to_json takes one view, got {len(self)}: cameras[i].to_json()")
        return {
            "model": self.model,
            "width": self.width,
            "height": self.height,
            "axes": "opencv",
            "pixel_centre": [0.5, 0.5],
            "intrinsics": self.intrinsics[0].tolist(),
            "world_from_camera": self.world_from_camera[0].tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any] | Sequence[dict[str, Any]]) -> Cameras:
        """Cameras from what `to_json` gave: one view, or a list of views of one model and size."""
        views = [data] if isinstance(data, dict) else list(data)
        if not views:
            raise ValueError("no cameras; expected at least one")
        shared = ("model", "width", "height", "axes", "pixel_centre")
        for i, view in enumerate(views):
            missing = [
                key
                for key in (*shared, "intrinsics", "world_from_camera")
                if not isinstance(view, dict) or key not in view
            ]
            if missing:
                raise ValueError(f"camera {i} lacks {', '.join(missing)}")
            for key in shared:
                if view[key] != views[0][key]:
                    raise ValueError(
                        f"camera {i} has {key} {view[key]!r}, camera 0 has {views[0][key]!r}; "
                        "expected the same for all"
                    )
        first = views[0]
        if first["axes"] != "opencv" or first["pixel_centre"] != [0.5, 0.5]:
            raise ValueError(
                f"cameras have axes {first['axes']!r} and pixel_centre {first['pixel_centre']!r}; "
                "expected 'opencv' and [0.5, 0.5]"
            )
        return cls(
            [view["intrinsics"] for view in views],
            [view["world_from_camera"] for view in views],
            (first["width"], first["height"]),
            model=first["model"],
        )


def opencv_from_opengl(world_from_camera: Any) -> np.ndarray:
    """Poses given for OpenGL or Blender axes (x right, y up, looking along -z), in OpenCV axes.

    Takes and returns `world_from_camera`, (..., 4, 4) float64.
    """
    return np.asarray(world_from_camera, dtype=np.float64) @ OPENGL_FLIP


def opengl_from_opencv(world_from_camera: Any) -> np.ndarray:
    """Poses in OpenCV axes, given for OpenGL or Blender axes; the inverse of the other."""
    return np.asarray(world_from_camera, dtype=np.float64) @ OPENGL_FLIP


def perspective_intrinsics(fov_deg: float, size: int | Sequence[int]) -> np.ndarray:
    """(3, 3) intrinsics with square pixels and the principal point in the middle.

    `fov_deg` is the full angle in degrees across the longer side of the image, as in Blender.
    """
    width, height = _checked_size(size)
    if not 0.0 < fov_deg < 180.0:
        raise ValueError(f"fov_deg is {fov_deg}; expected degrees between 0 and 180")
    focal = 0.5 * max(width, height) / math.tan(math.radians(fov_deg) / 2.0)
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def orthographic_intrinsics(ortho_width: float, size: int | Sequence[int]) -> np.ndarray:
    """(3, 3) intrinsics of an orthographic view `ortho_width` units across its longer side."""
    width, height = _checked_size(size)
    if not (math.isfinite(ortho_width) and ortho_width > 0.0):
        raise ValueError(f"ortho_width is {ortho_width}; expected units above 0")
    scale = max(width, height) / ortho_width
    return np.array([[scale, 0.0, width / 2.0], [0.0, scale, height / 2.0], [0.0, 0.0, 1.0]])


def look_at(eye: Any, target: Any = (0.0, 0.0, 0.0), up: str | Sequence[float] = "z") -> np.ndarray:
    """`world_from_camera` of cameras at `eye` that look at `target` with `up` upwards.

    No field of image-up directions is continuous all around a sphere (Brouwer's hairy ball
    theorem), and the usual one breaks where a camera looks straight along `up`. Here, within
    0.001 rad of that axis, up fades into the direction it has when one comes from azimuth 0
    (see `placements.up_frame`): poses are defined everywhere and continuous at the poles.

    Parameters
    ----------
    eye, target : (3,) or (n_views, 3) float, world units
    up : "x", "y", "z" or three numbers

    Returns
    -------
    (n_views, 4, 4) float64
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

    frame = placements.up_frame(up)
    azimuth_0, up_axis = frame[:, 0], frame[:, 2]
    # up made perpendicular to the view; its length is the sine of the angle to the pole.
    upright = np.cross(forward, np.cross(up_axis, forward))
    sine = np.linalg.norm(upright, axis=1, keepdims=True)
    # What upright becomes on the meridian of azimuth 0: towards -azimuth_0 above, + below.
    at_pole = np.where(forward @ up_axis < 0.0, -1.0, 1.0)[:, None] * azimuth_0
    at_pole = np.cross(forward, np.cross(at_pole, forward))
    image_up = upright / np.maximum(sine, POLE_CAP) + at_pole * np.maximum(
        0.0, 1.0 - sine / POLE_CAP
    )
    # The one point of the cap where the two cancel, which topology demands, takes the pole's.
    image_up = np.where(np.linalg.norm(image_up, axis=1, keepdims=True) > 1e-9, image_up, at_pole)

    right = _unit(np.cross(forward, image_up))
    poses = np.zeros((len(eye), 4, 4))
    poses[:, :3, 0] = right
    poses[:, :3, 1] = np.cross(forward, right)
    poses[:, :3, 2] = forward
    poses[:, :3, 3] = eye
    poses[:, 3, 3] = 1.0
    return poses


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


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _checked_size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(sides) != 2 or not all(
        isinstance(side, (int, np.integer)) and 1 <= side <= MAX_SIDE for side in sides
    ):
        raise ValueError(
            f"size is {size!r}; expected one whole number or (width, height), 1 to {MAX_SIDE}"
        )
    return int(sides[0]), int(sides[1])


def _checked_poses(world_from_camera: Any) -> np.ndarray:
    poses = _float_array(world_from_camera, "world_from_camera", (4, 4))
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


def _checked_intrinsics(intrinsics: Any, n_views: int) -> np.ndarray:
    matrices = _float_array(intrinsics, "intrinsics", (3, 3))
    if len(matrices) not in (1, n_views):
        raise ValueError(f"intrinsics are of {len(matrices)} views, poses of {n_views}")
    for (row, column), name in (((0, 0), "fx"), ((1, 1), "fy")):
        bad = matrices[:, row, column] <= 0.0
        if bad.any():
            view = int(np.argmax(bad))
            raise ValueError(
                f"{name} of view {view} is {matrices[view, row, column]}; expected pixels above 0"
            )
    if (matrices[:, [1, 2, 2, 2], [0, 0, 1, 2]] != [0, 0, 0, 1]).any():
        raise ValueError("intrinsics have the form [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]")
    matrices = np.ascontiguousarray(np.broadcast_to(matrices, (n_views, 3, 3)))
    matrices.setflags(write=False)
    return matrices


def _float_array(value: Any, name: str, shape: tuple[int, int]) -> np.ndarray:
    """A fresh (n, *shape) float64 array of one matrix or many, wherever they are."""
    if hasattr(value, "__cuda_array_interface__"):
        from raydepth.cuda.device import device

        value = device().fetch(value)
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not an array of numbers") from None
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != shape or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape} or (n_views, *{shape})")
    if not np.isfinite(array).all():
        view = int(np.argmin(np.isfinite(array).all(axis=(1, 2))))
        raise ValueError(f"{name} of view {view} is not finite")
    return array
