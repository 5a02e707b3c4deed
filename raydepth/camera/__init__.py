"""Cameras: models, lenses, poses, placements and files of cameras."""

from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import (
    MAX_SIDE,
    checked_size,
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)

__all__ = [
    "MAX_SIDE",
    "Cameras",
    "checked_size",
    "cubemap_intrinsics",
    "equirectangular_intrinsics",
    "fisheye_intrinsics",
    "orthographic_intrinsics",
    "perspective_intrinsics",
]
