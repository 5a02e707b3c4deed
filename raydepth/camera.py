"""`Cameras`: many views of one model and size, their rays, and their intrinsics.

A camera looks along its +z axis, x points right, y points down (OpenCV's axes). The centre of pixel
(row, column) is at image coordinates (column + 0.5, row + 0.5); row 0 is the top row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raydepth.poses import checked_poses, float_array

MODELS = ("perspective", "orthographic")

MAX_SIDE = 65535


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
        self.width, self.height = checked_size(size)
        self.world_from_camera = checked_poses(world_from_camera)
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


def perspective_intrinsics(fov_deg: float, size: int | Sequence[int]) -> np.ndarray:
    """(3, 3) intrinsics with square pixels and the principal point in the middle.

    `fov_deg` is the full angle in degrees across the longer side of the image, as in Blender.
    """
    width, height = checked_size(size)
    if not 0.0 < fov_deg < 180.0:
        raise ValueError(f"fov_deg is {fov_deg}; expected degrees between 0 and 180")
    focal = 0.5 * max(width, height) / math.tan(math.radians(fov_deg) / 2.0)
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def orthographic_intrinsics(ortho_width: float, size: int | Sequence[int]) -> np.ndarray:
    """(3, 3) intrinsics of an orthographic view `ortho_width` units across its longer side."""
    width, height = checked_size(size)
    if not (math.isfinite(ortho_width) and ortho_width > 0.0):
        raise ValueError(f"ortho_width is {ortho_width}; expected units above 0")
    scale = max(width, height) / ortho_width
    return np.array([[scale, 0.0, width / 2.0], [0.0, scale, height / 2.0], [0.0, 0.0, 1.0]])


def checked_size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(sides) != 2 or not all(
        isinstance(side, (int, np.integer)) and 1 <= side <= MAX_SIDE for side in sides
    ):
        raise ValueError(
            f"size is {size!r}; expected one whole number or (width, height), 1 to {MAX_SIDE}"
        )
    return int(sides[0]), int(sides[1])


def _checked_intrinsics(intrinsics: Any, n_views: int) -> np.ndarray:
    matrices = float_array(intrinsics, "intrinsics", (3, 3))
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
