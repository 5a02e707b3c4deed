"""The lens of each camera model: rays of pixels and pixels of points, in the camera's own frame.

`lens_of` returns the lens of a view. `Cameras` (camera.py) places lenses in the world.
"""

from __future__ import annotations

import functools

import numpy as np

from raydepth.camera.lenses.brown_conrady import BrownConrady
from raydepth.camera.lenses.cubemap import Cubemap
from raydepth.camera.lenses.fisheye import Fisheye
from raydepth.camera.lenses.flat import Orthographic, Perspective
from raydepth.camera.lenses.lens import Lens
from raydepth.camera.lenses.panorama import Equirectangular

MODELS = ("perspective", "orthographic", "fisheye", "equirectangular", "cubemap")
PLAIN = {
    "perspective": Perspective,
    "orthographic": Orthographic,
    "equirectangular": Equirectangular,
    "cubemap": Cubemap,
}

# The numbers of distortion parameters that a model may have.
DISTORTIONS = {"perspective": (5, 8), "fisheye": (4,)}


def lens_of(
    model: str, intrinsics: np.ndarray, distortion: np.ndarray | None, size: tuple[int, int]
) -> Lens:
    """Return the lens of one view; `distortion` is None if it has none."""
    parameters = None if distortion is None else distortion.tobytes()
    return _lens(model, intrinsics.tobytes(), parameters, size)


# Cached, because finding the end of a distorted lens's field takes a tenth of a second.
@functools.lru_cache(maxsize=256)
def _lens(model: str, intrinsics: bytes, parameters: bytes | None, size: tuple[int, int]) -> Lens:
    matrix = np.frombuffer(intrinsics).reshape(3, 3)
    distortion = None if parameters is None else np.frombuffer(parameters)
    if model == "perspective" and distortion is not None:
        return BrownConrady(matrix, distortion, size)
    if model == "fisheye":
        return Fisheye(matrix, distortion, size)
    return PLAIN[model](matrix, size)
