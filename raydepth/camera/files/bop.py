"""BOP's scene_camera.json.

Poses are world to camera: a rotation matrix and a translation in mm, in OpenCV axes. One unit here
is one mm, as in BOP's models. Pixel centres are at whole numbers: BOP's toolkit turns the pixel in
column i into a ray through x = i. So half a pixel is subtracted from the principal point on writing
and added on reading. (Not all renderers of BOP's synthetic images have followed this convention.)
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.camera.files.rigid import from_world, to_world
from raydepth.camera.files.values import as_array, parsed_json

NAME = "scene_camera.json"
PIXEL_CENTRE = 0.5
# Folders of images beside a scene_camera.json.
IMAGES = ("depth", "rgb", "gray", "mask_visib")
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def is_bop(data: Any) -> bool:
    """Return whether JSON data looks like a scene_camera.json."""
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(view, dict) and "cam_K" in view for view in data.values())
    )


def read(path: Path, *, size: tuple[int, int] | None = None) -> Cameras:
    """Read the cameras, in the order of the images' numbers.

    The file does not hold the size of the images. If it is not given, it is that of the first PNG
    in depth/, rgb/, gray/ or mask_visib/ beside the file.
    """
    data = parsed_json(path)
    if not is_bop(data):
        raise ValueError("it does not hold an object with cam_K for each image")
    if not all(key.isdecimal() for key in data):
        odd = next(key for key in data if not key.isdecimal())
        raise ValueError(f"it has the key {odd!r}; expected the numbers of images")
    intrinsics, poses = [], []
    for key in sorted(data, key=int):
        view, where = data[key], f"image {key}"
        matrix = as_array(view["cam_K"], "cam_K", where, (9,), (3, 3)).reshape(3, 3)
        matrix[:2, 2] += PIXEL_CENTRE
        intrinsics.append(matrix)
        for name in ("cam_R_w2c", "cam_t_w2c"):
            if name not in view:
                raise ValueError(f"{where} lacks {name}, so it does not say where the camera is")
        rotation = as_array(view["cam_R_w2c"], "cam_R_w2c", where, (9,), (3, 3)).reshape(3, 3)
        translation = as_array(view["cam_t_w2c"], "cam_t_w2c", where, (3,), (3, 1)).reshape(3)
        poses.append(to_world(rotation, translation))
    found = size or _size_of_images(path.parent)
    if found is None:
        raise ValueError("it holds no size and has no PNG beside it; give the size of the images")
    return Cameras(intrinsics, poses, found)


def contents(path: Path, cameras: Cameras) -> dict[Path, bytes]:
    return {path: text(cameras).encode()}


def text(cameras: Cameras, depth_scale: float = 1.0) -> str:
    """Return the text of a scene_camera.json; `depth_scale` is in mm per value of a depth image."""
    check(cameras)
    lines = []
    for view in range(len(cameras)):
        rotation, translation = from_world(cameras.world_from_camera[view])
        matrix = cameras.intrinsics[view].copy()
        matrix[:2, 2] -= PIXEL_CENTRE
        entry = {
            "cam_K": matrix.ravel().tolist(),
            "depth_scale": depth_scale,
            "cam_R_w2c": rotation.ravel().tolist(),
            "cam_t_w2c": translation.tolist(),
        }
        lines.append(f'"{view}": {json.dumps(entry)}')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def check(cameras: Cameras) -> None:
    """Raise ValueError if a scene_camera.json cannot hold the cameras' lenses."""
    if cameras.model != "perspective" or not cameras.is_affine:
        raise ValueError(
            f"the cameras are {cameras.in_words}; {NAME} holds perspective ones without distortion"
        )


def _size_of_images(folder: Path) -> tuple[int, int] | None:
    """Return the width and height of the first PNG beside the file; None without a PNG."""
    for name in IMAGES:
        for image in sorted((folder / name).glob("*.png")):
            with open(image, "rb") as file:
                start = file.read(24)
            if start[:16] == PNG_START and len(start) == 24:
                width, height = struct.unpack(">II", start[16:])
                return int(width), int(height)
    return None
