"""Poses in .npy files: a folder with a 3x4 or 4x4 matrix for each view, or one file with all.

The files hold matrices and nothing else. The caller gives their direction, their axes, the image
size and the intrinsics. Camera to world matrices are read back bit for bit.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.files.rigid import from_world, to_world
from raydepth.camera.intrinsics import perspective_intrinsics
from raydepth.camera.poses import opencv_from_opengl, opengl_from_opencv

AXES = ("opencv", "opengl")
DIRECTIONS = ("world_from_camera", "camera_from_world")


def read(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    fov_deg: float | None = None,
    intrinsics: Any = None,
    axes: str = "opencv",
    direction: str = "world_from_camera",
) -> Cameras:
    _check_words(axes, direction)
    if size is None:
        raise ValueError("it holds poses only; give the size of the images")
    if (fov_deg is None) == (intrinsics is None):
        raise ValueError("it holds poses only; give either the field of view or the intrinsics")
    files = sorted(path.glob("*.npy"), key=_by_number) if path.is_dir() else [path]
    if not files:
        raise ValueError("the folder holds no .npy")
    poses = np.concatenate([_matrices(file) for file in files])
    if direction == "camera_from_world":
        poses = np.stack([to_world(pose[:3, :3], pose[:3, 3]) for pose in poses])
    if axes == "opengl":
        poses = opencv_from_opengl(poses)
    if intrinsics is None:
        intrinsics = perspective_intrinsics(float(fov_deg or 0.0), size)
    return Cameras(intrinsics, poses, size)


def contents(
    path: Path,
    cameras: Cameras,
    *,
    axes: str = "opencv",
    direction: str = "world_from_camera",
) -> dict[Path, bytes]:
    """Return one array (n_views, 3, 4) if the name ends in .npy, else a file for each view."""
    _check_words(axes, direction)
    poses = cameras.world_from_camera
    if axes == "opengl":
        poses = opengl_from_opencv(poses)
    if direction == "camera_from_world":
        inverses = (from_world(pose) for pose in poses)
        matrices = np.stack([np.column_stack(inverse) for inverse in inverses])
    else:
        matrices = poses[:, :3]
    if path.suffix == ".npy":
        return {path: _bytes(matrices)}
    files = {path / f"{view:03}.npy": _bytes(matrix) for view, matrix in enumerate(matrices)}
    others = sorted(set(path.glob("*.npy")) - set(files))
    if others:
        raise ValueError(f"{path} holds {others[0].name} of other cameras; choose another folder")
    return files


def _check_words(axes: str, direction: str) -> None:
    for name, value, known in (("axes", axes, AXES), ("direction", direction, DIRECTIONS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected {' or '.join(known)}")


def _matrices(file: Path) -> np.ndarray:
    """Return the matrices of one file: (n, 4, 4) float64."""
    try:
        matrices = np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
    except Exception as error:
        raise ValueError(f"{file.name} is not an array in .npy format ({error})") from None
    if matrices.ndim == 2:
        matrices = matrices[None]
    if (
        matrices.ndim != 3
        or matrices.shape[1:] not in ((3, 4), (4, 4))
        or matrices.dtype.kind not in "fiu"
    ):
        raise ValueError(
            f"{file.name} holds {matrices.dtype} of shape {matrices.shape}; expected numbers in "
            "3x4 or 4x4, one matrix or many"
        )
    poses = np.tile(np.eye(4), (len(matrices), 1, 1))
    poses[:, : matrices.shape[1]] = matrices
    return poses


def _bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _by_number(path: Path) -> tuple[list[int], str]:
    """Return a sort key that puts 2.npy before 10.npy."""
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.name
