"""Convert cameras from Blender's description to raydepth's and back.

Blender describes a lens in millimetres on a sensor that is fitted to a side of the image, with
shifts in units of that side. The image's size and the shape of its pixels belong to the scene. A
camera looks along its -z axis with y up. `BlenderCamera` holds these values under Blender's own
names.

The formulas are those of Blender's `BKE_camera_params_compute_viewplane` (camera.cc).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.poses import ROTATION_TOLERANCE, opencv_from_opengl, opengl_from_opencv

MODEL_OF_TYPE = {"PERSP": "perspective", "ORTHO": "orthographic"}
TYPE_OF_MODEL = {model: kind for kind, model in MODEL_OF_TYPE.items()}
UNSUPPORTED_TYPES = {"PANO": "panoramic", "CUSTOM": "custom (a shader)"}
SENSOR_FITS = ("AUTO", "HORIZONTAL", "VERTICAL")

# Limits of Blender's own fields: pixels, millimetres, the shape of a pixel.
MIN_SIDE = 4
MIN_LENS = 1.0
MAX_PIXEL_ASPECT = 200.0
DEFAULT_SENSOR_WIDTH = 36.0
# Blender's least clipping distance, and one below the 1e10 that its depth pass holds for a miss.
WIDEST_CLIP = 1e-6, 1e9

# Blender's numbers are float32: anything below this fraction of the image is lost in rounding.
FLOAT32_RESOLUTION = 2.0**-24


@dataclass(frozen=True, eq=False, kw_only=True)
class BlenderCamera:
    """One camera as Blender describes it, at one frame; it is checked, so it can be rendered.

    Parameters
    ----------
    matrix_world : (4, 4) float
        Takes camera points (x right, y up, looking along -z) to world points. Scale is ignored, as
        Blender ignores it in cameras.
    resolution_x, resolution_y : int
        Pixels of the image at 100 %.
    resolution_percentage : int
        The image has `resolution * percentage // 100` pixels.
    name : str
        A name for messages and files.
    type : "PERSP" or "ORTHO"
    lens : float
        Focal length of a perspective camera, millimetres.
    ortho_scale : float
        The length that the fitted side of an orthographic camera spans, units.
    sensor_width, sensor_height : float
        The sides of the sensor, millimetres.
    sensor_fit : "AUTO", "HORIZONTAL" or "VERTICAL"
        Which side of the image the sensor fits; "AUTO" fits its width to the longer side.
    shift_x, shift_y : float
        Shift of the lens to the right and up, in units of the fitted side.
    pixel_aspect_x, pixel_aspect_y : float
        The shape of a pixel: its relative width and height.
    clip_start, clip_end : float
        Nearest and farthest z depth that Blender sees, units; raydepth does not clip.

    Raises
    ------
    ValueError
        The camera is of a kind that is not rendered (panoramic, sheared, mirrored), or a number
        is invalid; the message names the camera and the value.
    """

    matrix_world: Any
    resolution_x: int
    resolution_y: int
    resolution_percentage: int = 100
    name: str = "Camera"
    type: str = "PERSP"
    lens: float = 50.0
    ortho_scale: float = 6.0
    sensor_width: float = DEFAULT_SENSOR_WIDTH
    sensor_height: float = 24.0
    sensor_fit: str = "AUTO"
    shift_x: float = 0.0
    shift_y: float = 0.0
    pixel_aspect_x: float = 1.0
    pixel_aspect_y: float = 1.0
    clip_start: float = 0.1
    clip_end: float = 1000.0

    def __post_init__(self) -> None:
        if self.type not in MODEL_OF_TYPE:
            raise ValueError(
                f"camera {self.name!r} is {UNSUPPORTED_TYPES.get(self.type, repr(self.type))}; "
                "expected a perspective or an orthographic one"
            )
        if self.sensor_fit not in SENSOR_FITS:
            raise ValueError(
                f"camera {self.name!r} has sensor_fit {self.sensor_fit!r}; "
                f"expected one of {', '.join(SENSOR_FITS)}"
            )
        positive = ["sensor_width", "sensor_height", "pixel_aspect_x", "pixel_aspect_y"]
        positive.append("lens" if self.type == "PERSP" else "ortho_scale")
        for name in (*positive, "shift_x", "shift_y"):
            value = getattr(self, name)
            if not math.isfinite(value) or (name in positive and value <= 0.0):
                raise ValueError(
                    f"camera {self.name!r} has {name} {value}; "
                    f"expected a {'number above 0' if name in positive else 'finite number'}"
                )
        if self.width < 1 or self.height < 1:
            raise ValueError(
                f"camera {self.name!r} has {self.resolution_x}x{self.resolution_y} pixels at "
                f"{self.resolution_percentage} %; expected at least one"
            )
        matrix = _without_scale(self.matrix_world, self.name)
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix_world", matrix)

    @property
    def model(self) -> str:
        """The camera model under raydepth's name: "perspective" or "orthographic"."""
        return MODEL_OF_TYPE[self.type]

    @property
    def width(self) -> int:
        """The width of the image, pixels."""
        return self.resolution_x * self.resolution_percentage // 100

    @property
    def height(self) -> int:
        """The height of the image, pixels."""
        return self.resolution_y * self.resolution_percentage // 100

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) float64: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], see `raydepth.Cameras`."""
        # The image's sides in units in which a pixel is as wide and high as its aspect says.
        across, down = self.width * self.pixel_aspect_x, self.height * self.pixel_aspect_y
        horizontal = self.sensor_fit == "HORIZONTAL" or (
            self.sensor_fit == "AUTO" and across >= down
        )
        fitted = across if horizontal else down
        if self.type == "PERSP":
            # "AUTO" fits the sensor's width to either side; its height counts for "VERTICAL" only.
            sensor = self.sensor_height if self.sensor_fit == "VERTICAL" else self.sensor_width
            focal = self.lens / sensor * fitted
        else:
            focal = fitted / self.ortho_scale
        return np.array(
            [
                [
                    focal / self.pixel_aspect_x,
                    0.0,
                    self.width / 2 - self.shift_x * fitted / self.pixel_aspect_x,
                ],
                [
                    0.0,
                    focal / self.pixel_aspect_y,
                    self.height / 2 + self.shift_y * fitted / self.pixel_aspect_y,
                ],
                [0.0, 0.0, 1.0],
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON data; `BlenderCamera(**data)` restores the camera."""
        return {**asdict(self), "matrix_world": self.matrix_world.tolist()}


def cameras_from_blender(cameras: BlenderCamera | Sequence[BlenderCamera]) -> Cameras:
    """Convert Blender's cameras to raydepth's: one view for each camera, in the same order.

    Raises
    ------
    ValueError
        There are no cameras, or they differ in type or image size, which all views of one
        `Cameras` share.
    """
    cameras = [cameras] if isinstance(cameras, BlenderCamera) else list(cameras)
    if not cameras:
        raise ValueError("no cameras; expected at least one")
    first = cameras[0]
    for camera in cameras:
        for what, value, expected in (
            ("type", camera.type, first.type),
            ("size", (camera.width, camera.height), (first.width, first.height)),
        ):
            if value != expected:
                raise ValueError(
                    f"camera {camera.name!r} has {what} {value}, camera {first.name!r} "
                    f"has {expected}; expected the same for all"
                )
    return Cameras(
        np.stack([camera.intrinsics for camera in cameras]),
        opencv_from_opengl(np.stack([camera.matrix_world for camera in cameras])),
        (first.width, first.height),
        model=first.model,
    )


def blender_from_cameras(cameras: Cameras, name: str = "Camera") -> tuple[BlenderCamera, ...]:
    """Convert raydepth's cameras to Blender's: one for each view, named `name`_000 and so on.

    The sensor is fitted horizontally, and nothing is clipped. Numbers are float64. Blender rounds
    them to float32; focal lengths, principal points and poses then equal the given ones to a few
    parts in 2^24.

    Raises
    ------
    ValueError
        A view has skew or pixels more than 200 times as long as wide (the message names the view),
        or an image side has fewer than 4 pixels: Blender supports none of these. Or the cameras
        are neither perspective nor orthographic, are distorted, or have near or far limits.
    """
    check_model(cameras)
    if min(cameras.width, cameras.height) < MIN_SIDE:
        raise ValueError(
            f"images are {cameras.width}x{cameras.height}; expected at least {MIN_SIDE} pixels a "
            "side, as in Blender"
        )
    width, height = cameras.width, cameras.height
    digits = max(3, len(str(len(cameras) - 1)))
    poses = opengl_from_opencv(cameras.world_from_camera)
    converted = []
    for view, (intrinsics, pose) in enumerate(zip(cameras.intrinsics, poses, strict=True)):
        (fx, skew, cx), (_, fy, cy), _ = intrinsics.tolist()
        if abs(skew) * height / fy > FLOAT32_RESOLUTION * width:
            raise ValueError(f"view {view} has skew {skew:.9g}; Blender's cameras have none")
        if max(fx / fy, fy / fx) > MAX_PIXEL_ASPECT:
            raise ValueError(
                f"view {view} has fx {fx:.9g} and fy {fy:.9g}; Blender's pixels are at most "
                f"{MAX_PIXEL_ASPECT:g} times as long as wide"
            )
        sensor_width = DEFAULT_SENSOR_WIDTH
        while fx * sensor_width / width < MIN_LENS:
            sensor_width *= 2.0
        converted.append(
            BlenderCamera(
                matrix_world=pose,
                resolution_x=width,
                resolution_y=height,
                name=f"{name}_{view:0{digits}}",
                type=TYPE_OF_MODEL[cameras.model],
                lens=fx * sensor_width / width,
                ortho_scale=width / fx,
                sensor_width=sensor_width,
                sensor_fit="HORIZONTAL",
                shift_x=(width / 2 - cx) / width,
                shift_y=(cy - height / 2) / width * (fx / fy),
                pixel_aspect_x=max(1.0, fy / fx),
                pixel_aspect_y=max(1.0, fx / fy),
                clip_start=WIDEST_CLIP[0],
                clip_end=WIDEST_CLIP[1],
            )
        )
    return tuple(converted)


def check_model(cameras: Cameras) -> None:
    """Raise ValueError for camera models and limits that are not converted to Blender's."""
    if not cameras.is_affine:
        raise ValueError(
            f"cameras are {cameras.in_words}; expected perspective or orthographic ones without "
            "distortion, the only ones that are converted to Blender's"
        )
    if cameras.has_limits:
        raise ValueError(
            "cameras have near or far limits, which are not converted to Blender's; expected none"
        )


def _without_scale(matrix_world: Any, name: str) -> np.ndarray:
    """Return the matrix that Blender renders with: each axis of the camera is a unit vector."""
    matrix = np.array(matrix_world, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"camera {name!r} has a matrix_world that is not 4x4 finite numbers")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not lengths.all():
        raise ValueError(f"camera {name!r} is scaled to 0 along an axis")
    matrix[:3, :3] /= lengths
    rotation = matrix[:3, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > ROTATION_TOLERANCE:
        raise ValueError(
            f"camera {name!r} is sheared, as a rotated child of an unevenly scaled parent is; "
            "expected a rotation, a uniform scale and a translation"
        )
    if np.linalg.det(rotation) < 0.0:
        raise ValueError(
            f"camera {name!r} is mirrored (a negative scale, its own or a parent's); "
            "expected a rotation, a uniform scale and a translation"
        )
    return matrix
