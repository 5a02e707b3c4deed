"""transforms.json of NeRF, instant-ngp and nerfstudio.

`transform_matrix` maps camera to world, in OpenGL axes (x right, y up, looking along -z). Pixel
centres are at half-integers, as in raydepth: instant-ngp and nerfstudio both send the ray of pixel
(0, 0) through (0.5, 0.5). Intrinsics and sizes stand at the top of the file or in its frames. Those
in a frame go first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.camera.files.values import (
    as_array,
    as_number,
    as_size,
    padded,
    parsed_json,
    same_model,
    same_size,
)
from raydepth.camera.poses import opencv_from_opengl, opengl_from_opencv

# The value of `camera_model`, and raydepth's name of the model. Without `camera_model` the model is
# perspective, distorted or not, or fisheye if `is_fisheye` is set.
MODELS = {
    "PINHOLE": "perspective",
    "SIMPLE_PINHOLE": "perspective",
    "PERSPECTIVE": "perspective",
    "SIMPLE_RADIAL": "perspective",
    "RADIAL": "perspective",
    "OPENCV": "perspective",
    "OPENCV_FISHEYE": "fisheye",
}
FOCAL = {"fl_x", "fl_y", "camera_angle_x", "camera_angle_y"}
DISTORTION = {
    "perspective": ("k1", "k2", "p1", "p2", "k3"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}


def read(path: Path, *, size: tuple[int, int] | None = None) -> Cameras:
    """Read the cameras; `size` is for files without one, such as those of the original NeRF."""
    data = parsed_json(path)
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not frames:
        raise ValueError("it has no frames")
    models, sizes, intrinsics, distortion, poses = [], [], [], [], []
    for i, frame in enumerate(frames):
        where = f"frame {i}"
        if not isinstance(frame, dict):
            raise ValueError(f"{where} is not a JSON object")
        # A focal length in a frame replaces one at the top, also if that has another form.
        shared = set(data) - (FOCAL if FOCAL & set(frame) else set())
        values = {key: data[key] for key in shared} | frame
        models.append(_model(values, where))
        sizes.append(_size(values, size, where))
        intrinsics.append(_intrinsics(values, *sizes[-1], where))
        distortion.append(_distortion(values, models[-1], where))
        if "transform_matrix" not in frame:
            raise ValueError(f"{where} lacks transform_matrix")
        matrix = as_array(frame["transform_matrix"], "transform_matrix", where, (4, 4), (3, 4))
        poses.append(opencv_from_opengl([*matrix[:3].tolist(), [0.0, 0.0, 0.0, 1.0]]))
    return Cameras(
        intrinsics,
        poses,
        same_size(sizes, "frame"),
        model=same_model(models, "frame"),
        distortion=padded(distortion),
    )


def contents(path: Path, cameras: Cameras) -> dict[Path, bytes]:
    names = [f"{view:03}.png" for view in range(len(cameras))]
    frames = [{"file_path": name} for name in names]
    return {path: text(cameras, frames).encode()}


def text(
    cameras: Cameras, frames: Sequence[dict[str, Any]], more: dict[str, Any] | None = None
) -> str:
    """Return the text of a transforms.json.

    Parameters
    ----------
    frames : sequence of dict
        The entries of each frame besides its camera, such as file_path.
    more : dict, optional
        More entries at the top of the file.
    """
    check(cameras)
    lenses = [_lens(cameras, view) for view in range(len(cameras))]
    shared = all(lens == lenses[0] for lens in lenses)
    top: dict[str, Any] = {"w": cameras.width, "h": cameras.height}
    if shared:
        top = lenses[0]
    if cameras.model == "fisheye":
        top |= {"camera_model": "OPENCV_FISHEYE", "is_fisheye": True}
    else:
        top |= {"camera_model": "PINHOLE" if cameras.is_affine else "OPENCV"}
    top |= more or {}
    entries = []
    for view, frame in enumerate(frames):
        pose = opengl_from_opencv(cameras.world_from_camera[view]).tolist()
        # instant-ngp divides a frame's cx by the frame's w, so frames hold all intrinsics or none.
        entries.append({**frame, **({} if shared else lenses[view]), "transform_matrix": pose})
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in top.items()]
    listed = ",\n  ".join(json.dumps(entry) for entry in entries)
    return "{\n " + ",\n ".join([*lines, '"frames": [\n  ' + listed + "\n ]"]) + "\n}\n"


def check(cameras: Cameras) -> None:
    """Raise ValueError if a transforms.json cannot hold the cameras' lenses."""
    if cameras.model not in DISTORTION:
        raise ValueError(
            f"the cameras are {cameras.model}; transforms.json holds perspective or fisheye ones"
        )
    if cameras.intrinsics[:, 0, 1].any():
        raise ValueError("the cameras have skew; transforms.json holds none")
    if cameras.distortion is not None and cameras.distortion.shape[1] > 5:
        beyond = cameras.distortion[:, 5:].any(axis=1)
        if beyond.any():
            raise ValueError(
                f"view {int(beyond.argmax())} is distorted by k4, k5 or k6; "
                "transforms.json holds k1 k2 p1 p2 k3"
            )


def _lens(cameras: Cameras, view: int) -> dict[str, Any]:
    (fx, _, cx), (_, fy, cy), _ = cameras.intrinsics[view].tolist()
    lens: dict[str, Any] = {
        "w": cameras.width, "h": cameras.height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy
    }  # fmt: skip
    if cameras.distortion is not None:
        lens |= zip(DISTORTION[cameras.model], cameras.distortion[view].tolist()[:5], strict=False)
    if cameras.model == "perspective":
        # For programs that read the original NeRF's files: they know no other key.
        lens["camera_angle_x"] = 2.0 * math.atan(0.5 * cameras.width / fx)
    return lens


def _model(values: dict[str, Any], where: str) -> str:
    name = values.get("camera_model", "OPENCV_FISHEYE" if values.get("is_fisheye") else "OPENCV")
    if name not in MODELS:
        raise ValueError(
            f"camera_model of {where} is {name!r}; expected one of {', '.join(MODELS)}"
        )
    for key in ("latlong", "equirectangular", "orthographic", "ftheta_p0"):
        if values.get(key):
            raise ValueError(f"{where} has {key}; expected a perspective or OPENCV_FISHEYE camera")
    return MODELS[name]


def _size(values: dict[str, Any], given: tuple[int, int] | None, where: str) -> tuple[int, int]:
    if "w" in values and "h" in values:
        found = as_size(values["w"], "w", where), as_size(values["h"], "h", where)
        if given is not None and given != found:
            raise ValueError(
                f"size is given as {given[0]}x{given[1]}, but {where} is {found[0]}x{found[1]}"
            )
        return found
    if given is None:
        raise ValueError(f"{where} lacks w and h; give the size of the images")
    return given


def _intrinsics(values: dict[str, Any], width: int, height: int, where: str) -> list[list[float]]:
    focal: dict[str, float] = {}
    for axis, side in (("x", width), ("y", height)):
        if f"fl_{axis}" in values:
            focal[axis] = as_number(values[f"fl_{axis}"], f"fl_{axis}", where)
        elif f"camera_angle_{axis}" in values:
            name = f"camera_angle_{axis}"
            angle = as_number(values[name], name, where)
            if not 0.0 < angle < math.pi:
                raise ValueError(f"{name} of {where} is {angle}; expected radians from 0 to pi")
            focal[axis] = 0.5 * side / math.tan(0.5 * angle)
    if not focal:
        raise ValueError(f"{where} lacks fl_x and camera_angle_x; expected one of them")
    # If only one focal length is given, pixels are square.
    fx, fy = focal.get("x", focal.get("y", 0.0)), focal.get("y", focal.get("x", 0.0))
    cx = as_number(values.get("cx", 0.5 * width), "cx", where)
    cy = as_number(values.get("cy", 0.5 * height), "cy", where)
    return [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]


def _distortion(values: dict[str, Any], model: str, where: str) -> list[float]:
    known = DISTORTION[model]
    for key in {"k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"} - set(known):
        if as_number(values.get(key, 0.0), key, where) != 0.0:
            raise ValueError(
                f"{key} of {where} is {values[key]}; a {model} camera has {', '.join(known)}"
            )
    return [as_number(values.get(key, 0.0), key, where) for key in known]
