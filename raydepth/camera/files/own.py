"""raydepth's own JSON: a list of `Cameras.to_json`, or any file of raydepth that holds cameras.

Poses are camera to world, in OpenCV axes; pixel centres are at half-integers. The format holds all
models, distortion, near and far. Numbers survive bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.camera.files.values import parsed_json

NAMES = ("views.json", "dataset.json", "cameras.json")


def is_own(data: Any) -> bool:
    """Return whether JSON data looks like raydepth's: a view, a list, views.json, dataset.json."""
    if isinstance(data, dict):
        return bool({"model", "views", "cameras"} & data.keys())
    return isinstance(data, list)


def read(path: Path) -> Cameras:
    data = parsed_json(path)
    if isinstance(data, dict) and "views" in data:
        data = [view["camera"] for view in data["views"]]
    elif isinstance(data, dict) and "cameras" in data:
        data = data["cameras"]
    return Cameras.from_json(data)


def contents(path: Path, cameras: Cameras) -> dict[Path, bytes]:
    lines = (json.dumps(cameras[view].to_json()) for view in range(len(cameras)))
    return {path: ("[\n " + ",\n ".join(lines) + "\n]\n").encode()}
