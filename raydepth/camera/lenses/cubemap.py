"""Cube maps: six square views, each of 90 degrees, side by side in one image."""

from __future__ import annotations

import numpy as np

from raydepth.camera.lenses.lens import Lens

# The image's faces from left to right, in the order and the orientation of OpenGL's and Vulkan's
# cube maps. The rows of a face are the directions right, down and forward of its view, in the
# camera's frame. The views are those of a camera turned to the right, to the left, upwards,
# downwards, not at all and backwards.
FACES = {
    "right": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "left": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "up": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "down": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "front": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "back": ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
}

# (6, 3, 3): maps points in the camera's frame to points in each face's frame.
FACE_FROM_CAMERA = np.array(list(FACES.values()), dtype=np.float64)


class Cubemap(Lens):
    """A cube map, with the intrinsics of one face, `[[s/2, 0, s/2], [0, s/2, s/2], [0, 0, 1]]`.

    A direction is seen by the face whose axis is nearest to it. The field is everything. The seams
    between faces are imaged twice; `project` gives the place on the first of the faces.
    """

    def project(self, points: np.ndarray) -> np.ndarray:
        side = float(self.height)
        z = np.stack([points @ forward for forward in FACE_FROM_CAMERA[:, 2]], axis=-1)
        face = np.argmax(z, axis=-1)
        x, y, z = np.moveaxis(np.einsum("...ij,...j->...i", FACE_FROM_CAMERA[face], points), -1, 0)
        z = np.where(z > 0.0, z, np.nan)  # no face sees the camera's centre
        pixels = self._image(x / z, y / z)
        pixels[..., 0] += side * face
        return pixels

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        side = float(self.height)
        face = np.floor(pixels[..., 0] / side)
        inside = (face >= 0) & (face < 6) & (pixels[..., 1] >= 0.0) & (pixels[..., 1] <= side)
        face = np.where(inside, face, 0.0)
        x, y = self._plane(pixels - side * np.stack([face, np.zeros_like(face)], axis=-1))
        length = np.sqrt(x * x + y * y + 1.0)
        right, down, forward = np.moveaxis(FACE_FROM_CAMERA[face.astype(np.intp)], -2, 0)
        directions = (x[..., None] * right + y[..., None] * down + forward) / length[..., None]
        directions[~inside] = 0.0
        return directions
