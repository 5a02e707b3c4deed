"""Files of cameras, one module a format: `read_cameras`, `write_cameras`.

Axes and pixel centres are converted to those of `Cameras`; each module says what its format has.
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
# What a format does not say itself, so that it may be given.
TAKES: dict[str, tuple[str, ...]] = {
    "nerf": ("size",),
    "bop": ("size",),
    "npy": ("size", "fov_deg", "intrinsics", "axes", "direction"),
}
WRITES: dict[str, tuple[str, ...]] = {"npy": ("axes", "direction")}
# Files that say what a folder holds.
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
    """Cameras of a file or folder, with OpenCV axes and pixel centres at half-integers.

    Parameters
    ----------
    path : path
        A transforms.json, a folder with COLMAP's cameras.txt and images.txt, a scene_camera.json,
        poses in .npy (a file, or a folder of them), or any JSON of raydepth with cameras.
    format : {"raydepth", "nerf", "colmap", "bop", "npy"}, optional
        Recognised by name and content, if not given.
    size : int or (width, height), optional
        Of the images, for formats that do not say it: npy, bop without images, nerf without w, h.
    fov_deg, intrinsics : float; (3, 3) or (n_views, 3, 3) float, optional
        For npy, one of them: degrees across the longer side, or pixels.
    axes : {"opencv", "opengl"}, optional
        For npy: of the camera; opencv if not given.
    direction : {"world_from_camera", "camera_from_world"}, optional
        For npy: what the matrices do; world_from_camera if not given.

    Raises
    ------
    ValueError
        The file holds no cameras, or such as `Cameras` cannot be; the message names the file, the
        field and what was expected. Or something is given that the format says itself.
    OSError
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
    except Exception as error:  # a foreign file fails in as many ways as JSON has shapes
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
    """Write cameras for another program, whole or not at all.

    Parameters
    ----------
    path : path
        The file; for colmap and, unless it ends in .npy, npy: a folder, made if it is not there.
    format : {"raydepth", "nerf", "colmap", "bop", "npy"}, optional
        By the name, if not given: transforms*.json is nerf, scene_camera.json bop, *.npy npy, other
        .json raydepth.
    axes, direction : str, optional
        Of npy, as for `read_cameras`.

    Raises
    ------
    ValueError
        The format is unknown or cannot hold the cameras (their model, skew, distortion, near or
        far); nothing was written.
    OSError
    """
    place = Path(path)
    given = {"axes": axes, "direction": direction}
    options = {key: value for key, value in given.items() if value is not None}
    name = _checked_format(format) or _format_by_name(place)
    _refuse_others(name, options, WRITES)
    if name != "raydepth" and cameras.has_limits:
        raise ValueError(f"the cameras have near or far; {name} holds none, raydepth's JSON does")
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
    """The format of a file or folder, and the file to read."""
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
    raise ValueError(f"the folder has no file of {name}")


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
    """Refuse what the format says itself."""
    for key in options:
        if key not in known.get(name, ()):
            raise ValueError(f"{key} is given, but {name} has its own")
