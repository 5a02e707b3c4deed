"""Cameras as the command line takes them, in words: a placement or a file.

    fibonacci:24,up=y
    transforms.json
    poses.npy,axes=opengl,direction=camera_from_world

After a file, parameters of `read_cameras` may follow that state what the file itself does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from raydepth import cameras as cameras_module
from raydepth.camera.camera import Cameras
from raydepth.camera.files.formats import read_cameras
from raydepth.camera.placements.table import PLACEMENTS

OF_FILES = ("format", "axes", "direction")
SUFFIXES = (".json", ".npy", ".txt")
SIZE = 512


def cameras_from_words(
    spec: str, *, radius: float | None = None, fov_deg: float | None = None, size: Any = None
) -> Cameras:
    """Return the cameras of a placement or a file.

    Parameters
    ----------
    spec : str
        A placement, or a file with parameters, as above.
    radius, fov_deg, size : optional
        As for `on_sphere`. A value that a file states itself is refused.

    Raises
    ------
    ValueError
        As for `cameras.from_spec` and `read_cameras`.
    OSError
        The file cannot be read.
    """
    path, words = _file(spec)
    if path is None:
        size = SIZE if size is None else size
        return cameras_module.from_spec(spec, radius=radius, fov_deg=fov_deg, size=size)
    if radius is not None:
        raise ValueError(f"radius is given, but {path} has its own")
    return read_cameras(path, fov_deg=fov_deg, size=size, **words)


def is_file(spec: str) -> bool:
    """Tell whether the words name a file and not a placement."""
    return _file(spec)[0] is not None


def _file(spec: str) -> tuple[Path | None, dict[str, Any]]:
    """Split words into a file, None if they are a placement, and the parameters after it."""
    words: dict[str, Any] = {}
    path = spec
    while True:
        before, comma, word = path.rpartition(",")
        key, equals, value = word.partition("=")
        if not (comma and equals and key in OF_FILES):
            break
        if key in words:
            raise ValueError(f"{spec!r}: {key} is given twice; expected it once")
        words[key] = value
        path = before
    meant = (
        path.lower().endswith(SUFFIXES)
        or os.sep in path
        or (path.partition(":")[0] not in PLACEMENTS and os.path.lexists(path))
    )
    return (Path(path), words) if meant else (None, {})
