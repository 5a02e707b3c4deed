"""COLMAP's text files: a folder with cameras.txt and images.txt.

Poses are world to camera: a unit quaternion (w, x, y, z) and a translation, in OpenCV axes. Pixel
centres are at half-integers, as in raydepth. Views are in the order of the images' names. A
rotation is stored as a quaternion, so it is read back to rounding, not bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.files.rigid import quaternion_from_rotation, rotation_from_quaternion, to_world
from raydepth.camera.files.values import padded, same_model, same_size

# COLMAP's name of a model: raydepth's name, and the parameters in COLMAP's order.
MODELS = {
    "SIMPLE_PINHOLE": ("perspective", "f cx cy"),
    "PINHOLE": ("perspective", "fx fy cx cy"),
    "SIMPLE_RADIAL": ("perspective", "f cx cy k1"),
    "RADIAL": ("perspective", "f cx cy k1 k2"),
    "OPENCV": ("perspective", "fx fy cx cy k1 k2 p1 p2"),
    "FULL_OPENCV": ("perspective", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    "SIMPLE_RADIAL_FISHEYE": ("fisheye", "f cx cy k1"),
    "RADIAL_FISHEYE": ("fisheye", "f cx cy k1 k2"),
    "OPENCV_FISHEYE": ("fisheye", "fx fy cx cy k1 k2 k3 k4"),
}
DISTORTION = {
    "perspective": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
FILES = ("cameras.txt", "images.txt")


def read(path: Path) -> Cameras:
    folder = path if path.is_dir() else path.parent
    lenses = dict(_lenses(folder / FILES[0]))
    images = sorted(_images(folder / FILES[1]))
    if not images:
        raise ValueError(f"{FILES[1]} has no images")
    models, sizes, intrinsics, distortion, poses = [], [], [], [], []
    for name, camera, pose in images:
        if camera not in lenses:
            raise ValueError(f"{FILES[0]} has no camera {camera}, which image {name} uses")
        model, size, matrix, parameters = lenses[camera]
        models.append(model)
        sizes.append(size)
        intrinsics.append(matrix)
        distortion.append(parameters)
        poses.append(pose)
    model = same_model(models, "image")
    if model == "perspective" and not any(any(parameters[5:]) for parameters in distortion):
        distortion = [parameters[:5] for parameters in distortion]
    return Cameras(
        intrinsics, poses, same_size(sizes, "image"), model=model, distortion=padded(distortion)
    )


def contents(path: Path, cameras: Cameras) -> dict[Path, bytes]:
    """Return the files of a folder; points3D.txt is empty, but COLMAP expects it."""
    if cameras.model not in DISTORTION:
        raise ValueError(
            f"the cameras are {cameras.model}; COLMAP holds perspective or fisheye ones"
        )
    if cameras.intrinsics[:, 0, 1].any():
        raise ValueError("the cameras have skew; COLMAP holds none")
    numbers: dict[str, int] = {}
    images = []
    for view in range(len(cameras)):
        camera = numbers.setdefault(_lens(cameras, view), len(numbers) + 1)
        q = quaternion_from_rotation(cameras.world_from_camera[view, :3, :3].T)
        # The translation that fits the rotation as it will be read, so that the centre is kept.
        translation = -rotation_from_quaternion(q, "") @ cameras.world_from_camera[view, :3, 3]
        pose = " ".join(repr(x) for x in [*q.tolist(), *translation.tolist()])
        images.append(f"{view + 1} {pose} {camera} {view:06}.png\n\n")
    cameras_text = "# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n" + "".join(
        f"{number} {lens}\n" for lens, number in numbers.items()
    )
    images_text = (
        "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n"
        "# POINTS2D[] as (X, Y, POINT3D_ID)\n" + "".join(images)
    )
    return {
        path / "points3D.txt": b"",
        path / FILES[0]: cameras_text.encode(),
        path / FILES[1]: images_text.encode(),
    }


def _lens(cameras: Cameras, view: int) -> str:
    """Return a line of cameras.txt, without its number."""
    (fx, _, cx), (_, fy, cy), _ = cameras.intrinsics[view].tolist()
    parameters = [] if cameras.distortion is None else cameras.distortion[view].tolist()
    if cameras.model == "fisheye":
        name, parameters = "OPENCV_FISHEYE", parameters or [0.0] * 4
    elif not any(parameters):
        name, parameters = "PINHOLE", []
    elif not any(parameters[4:]):
        name, parameters = "OPENCV", parameters[:4]
    else:
        name, parameters = "FULL_OPENCV", parameters + [0.0] * (8 - len(parameters))
    numbers = " ".join(repr(x) for x in [fx, fy, cx, cy, *parameters])
    return f"{name} {cameras.width} {cameras.height} {numbers}"


Lens = tuple[str, tuple[int, int], list[list[float]], list[float]]


def _lenses(path: Path) -> Iterator[tuple[str, Lens]]:
    """Yield the number and the lens of each camera in cameras.txt."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"line {number} of {path.name}"
        if len(words) < 4:
            raise ValueError(f"{where} is {line!r}; expected number, model, size and parameters")
        if words[1] not in MODELS:
            raise ValueError(
                f"the model in {where} is {words[1]}; expected one of {', '.join(MODELS)}"
            )
        model, names = MODELS[words[1]]
        size = _numbers(words[2:4], where)
        values = _numbers(words[4:], where)
        if len(values) != len(names.split()):
            raise ValueError(f"{where} has {len(values)} parameters; {words[1]} has {names}")
        found = dict(zip(names.split(), values, strict=True))
        fx, fy = (found["f"],) * 2 if "f" in found else (found["fx"], found["fy"])
        matrix = [[fx, 0.0, found["cx"]], [0.0, fy, found["cy"]], [0.0, 0.0, 1.0]]
        parameters = [found.get(key, 0.0) for key in DISTORTION[model]]
        yield words[0], (model, (int(size[0]), int(size[1])), matrix, parameters)


def _images(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the name, the camera and the pose of each image; skip the line of points after it."""
    lines = iter(enumerate(_text(path).splitlines(), start=1))
    for number, line in lines:
        words = line.split(maxsplit=9)
        if not words or words[0].startswith("#"):
            continue
        where = f"line {number} of {path.name}"
        if len(words) < 10:
            raise ValueError(
                f"{where} has {len(words)} words; expected 10: number, quaternion, translation, "
                "camera and name"
            )
        values = np.array(_numbers(words[1:8], where))
        pose = to_world(rotation_from_quaternion(values[:4], where), values[4:])
        yield words[9], words[8], pose
        next(lines, None)


def _text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path.name} is missing; expected {' and '.join(FILES)}")
    return path.read_text(encoding="utf-8", errors="replace")


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where} holds {' '.join(words)!r}; expected numbers")
    return numbers
