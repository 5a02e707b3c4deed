"""Draws the pictures of docs/camera_models.md: `python docs/camera_model_pictures.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import raydepth as rd
from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import (
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)
from raydepth.camera.poses import look_at
from raydepth.codecs.png import encode_png
from raydepth.pictures.contact_sheet import MISS_COLOUR, viridis

SIZE = 256
STEPS = 48
POSE = look_at([0.3, -0.2, 0.1], [3.0, 0.6, -0.2])
WIDE = perspective_intrinsics(110, SIZE)

# Name: intrinsics, size, and what else the cameras are made with.
PICTURES = {
    "perspective": (WIDE, SIZE, {}),
    "five": (WIDE, SIZE, {"distortion": [-0.12, 0.015, 0.0, 0.0, 0.0]}),
    "eight": (WIDE, SIZE, {"distortion": [0.9, 0.3, 0.02, 0.0, 0.01, 0.6, 0.1, 0.0]}),
    "orthographic": (orthographic_intrinsics(6.0, SIZE), SIZE, {"model": "orthographic"}),
    "equidistant": (fisheye_intrinsics(230, SIZE), SIZE, {"model": "fisheye"}),
    "kannala": (
        fisheye_intrinsics(230, SIZE),
        SIZE,
        {"model": "fisheye", "distortion": [-0.05, 0.002, 0.0, 0.0]},
    ),
    "near_far": (WIDE, SIZE, {"near": 1.5, "far": 3.0}),
    "equirectangular": (
        equirectangular_intrinsics((2 * SIZE, SIZE)),
        (2 * SIZE, SIZE),
        {"model": "equirectangular"},
    ),
    "cubemap": (cubemap_intrinsics((6 * 128, 128)), (6 * 128, 128), {"model": "cubemap"}),
}


def room() -> rd.Mesh:
    """A box of small cubes on a grid, whose rows are straight."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    faces = np.array(
        [
            (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
            (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
        ]
    )  # fmt: skip
    at = np.linspace(-2.4, 2.4, 7)
    centres = np.stack(np.meshgrid(at, at, at), axis=-1).reshape(-1, 3)
    centres = centres[np.abs(centres).max(axis=1) > 2.0]
    vertices = np.concatenate([3.0 * corners, *(0.18 * corners + c for c in centres)])
    return rd.Mesh(vertices, np.concatenate([faces + 8 * i for i in range(len(centres) + 1)]))


def draw(folder: Path) -> None:
    """Write a picture of each: ray depth, near is bright."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh = room()
    for name, (intrinsics, size, more) in PICTURES.items():
        depth = rd.render(mesh, Cameras(intrinsics, POSE, size, **more), kind="ray").depth[0]
        hit = np.isfinite(depth)
        near, far = depth[hit].min(), depth[hit].max()
        picture = np.empty((*depth.shape, 3), np.uint8)
        picture[:] = MISS_COLOUR
        # In steps, so that the files are small.
        picture[hit] = viridis(np.rint((far - depth[hit]) / (far - near) * STEPS) / STEPS)
        (folder / f"{name}.png").write_bytes(encode_png(picture))


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "camera_models")
