"""Read and write camera files of all formats: `read_cameras`, `write_cameras`.

Axes and pixel centres are converted to those of `Cameras`. Each format has a module, which states
the format's conventions.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.camera.files import bop, colmap, matrices, nerf, own
from raydepth.camera.files.values import parsed_json
from raydepth.camera.intrinsics import checked_size
from raydepth.system.atomic_files import write_whole

FORMATS: dict[str, ModuleType] = {
    "raydepth": own,
    "nerf": nerf,
    "colmap": colmap,
    "bop": bop,
    "npy": matrices,
}
# Arguments that a format takes, because its files do not (or not always) hold them.
TAKES: dict[str, tuple[str, ...]] = {
    "nerf": ("size",),
    "bop": ("size",),
    "npy": ("size", "fov_deg", "intrinsics", "axes", "direction"),
}
WRITES: dict[str, tuple[str, ...]] = {"npy": ("axes", "direction")}
# Files whose presence tells the format of a folder.
IN_FOLDERS = {
    "cameras.txt": "colmap",
    "images.txt": "colmap",
    bop.NAME: "bop",
    "transforms.json": "nerf",
    **dict.fromkeys(own.NAMES, "raydepth"),
}


def read_cameras(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    size: Any = None,
    fov_deg: float | None = None,
    intrinsics: Any = None,
    axes: str | None = None,
    direction: str | None = None,
) -> Cameras:
    """Read the cameras of a file or folder, converted to raydepth's axes and pixel centres.

    Parameters
    ----------
    path : path
        A transforms.json, a folder with COLMAP's cameras.txt and images.txt, a scene_camera.json,
        poses in .npy (a file, or a folder of them), or any JSON file of raydepth with cameras.
    format : {"raydepth", "nerf", "colmap", "bop", "npy"}, optional
        If not given, it is recognised by name and content.
    size : int or (width, height), optional
        Image size in pixels, for files that do not hold it: npy, bop without images, nerf without
        w and h.
    fov_deg, intrinsics : float; (3, 3) or (n_views, 3, 3) float, optional
        For npy, one of the two: the field of view in degrees across the longer side of the image,
        or the intrinsics in pixels.
    axes : {"opencv", "opengl"}, optional
        For npy: the camera's axes; opencv if not given.
    direction : {"world_from_camera", "camera_from_world"}, optional
        For npy: the direction in which the matrices map points; world_from_camera if not given.

    Returns
    -------
    Cameras
        With OpenCV axes and pixel centres at half-integers.

    Raises
    ------
    ValueError
        The file holds no cameras, or cameras that `Cameras` refuses; the message names the file,
        the field and what was expected. Or an argument is given that the format does not take.
    OSError
        The file does not exist or cannot be read.
    """
    place = Path(path)
    given = {
        "size": size, "fov_deg": fov_deg, "intrinsics": intrinsics,
        "axes": axes, "direction": direction,
    }  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    if size is not None:
        options["size"] = checked_size(size)
    if not place.exists():
        raise FileNotFoundError(f"{place}: No such file or directory")
    name, file = _checked_format(format), place
    try:
        if name is None:
            name, file = _recognised(place)
        if name in ("nerf", "bop", "raydepth") and file.is_dir():
            file = _file_in_folder(file, name)
        _refuse_others(name, options, TAKES)
        return FORMATS[name].read(file, **options)
    except OSError:
        raise
    except Exception as error:  # malformed JSON makes readers fail in many ways
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{file} holds no cameras ({reason})") from None


def write_cameras(
    path: str | os.PathLike[str],
    cameras: Cameras,
    *,
    format: str | None = None,
    axes: str | None = None,
    direction: str | None = None,
) -> None:
    """Write cameras in another program's format, completely or not at all.

    Parameters
    ----------
    path : path
        The file to write. For colmap, and for npy unless the name ends in .npy, it is a folder,
        which is made if it does not exist.
    cameras : Cameras
    format : {"raydepth", "nerf", "colmap", "bop", "npy"}, optional
        If not given, the name decides: transforms*.json is nerf, scene_camera.json bop, *.npy npy,
        other .json raydepth.
    axes, direction : str, optional
        For npy, as for `read_cameras`.

    Raises
    ------
    ValueError
        The format is unknown, cannot hold the cameras (their model, skew, distortion, near or far)
        or does not take an argument; nothing was written.
    OSError
        A file cannot be written.
    """
    place = Path(path)
    given = {"axes": axes, "direction": direction}
    options = {key: value for key, value in given.items() if value is not None}
    name = _checked_format(format) or _format_by_name(place)
    _refuse_others(name, options, WRITES)
    if name != "raydepth" and cameras.has_limits:
        raise ValueError(f"the cameras have near or far; {name} cannot hold them, raydepth can")
    if name == "npy" and (cameras.model != "perspective" or not cameras.is_affine):
        raise ValueError(f"the cameras are {cameras.in_words}; npy holds poses only")
    contents = FORMATS[name].contents(place, cameras, **options)
    if set(contents) != {place}:
        place.mkdir(parents=True, exist_ok=True)
    write_whole(contents)


def _checked_format(name: str | None) -> str | None:
    if name is not None and name not in FORMATS:
        raise ValueError(f"format is {name!r}; expected one of {', '.join(FORMATS)}")
    return name


def _recognised(place: Path) -> tuple[str, Path]:
    """Return the format of a file or folder, and the file to read."""
    if place.is_dir():
        for file, name in IN_FOLDERS.items():
            if (place / file).is_file():
                return name, place if name == "colmap" else place / file
        if any(place.glob("*.npy")):
            return "npy", place
        raise ValueError(f"the folder has none of {', '.join(IN_FOLDERS)} and no .npy")
    if place.suffix.lower() == ".npy":
        return "npy", place
    if place.name in colmap.FILES:
        return "colmap", place
    data = parsed_json(place)
    if isinstance(data, dict) and "frames" in data:
        return "nerf", place
    if bop.is_bop(data):
        return "bop", place
    if own.is_own(data):
        return "raydepth", place
    raise ValueError(
        "it has neither frames (transforms.json) nor cam_K (scene_camera.json) nor raydepth's keys"
    )


def _file_in_folder(folder: Path, name: str) -> Path:
    for file, format in IN_FOLDERS.items():
        if format == name and (folder / file).is_file():
            return folder / file
    raise ValueError(f"the folder has no file of format {name}")


def _format_by_name(place: Path) -> str:
    if place.suffix == ".npy":
        return "npy"
    if place.name == bop.NAME:
        return "bop"
    if place.suffix == ".json":
        return "nerf" if place.name.startswith("transforms") else "raydepth"
    raise ValueError(
        f"{place}: the name does not say the format; expected format={'|'.join(FORMATS)}"
    )


def _refuse_others(name: str, options: dict[str, Any], known: dict[str, tuple[str, ...]]) -> None:
    """Raise ValueError for an option that the format does not take."""
    for key in options:
        if key not in known.get(name, ()):
            raise ValueError(f"{key} is given, but {name} has its own")
