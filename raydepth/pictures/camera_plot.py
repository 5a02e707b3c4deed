"""A picture of cameras around the origin: frusta with numbers, the sphere, the world's axes."""

from __future__ import annotations

import io
import itertools
import math
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras

# The direction from which the picture is seen, in degrees in the world; z is up.
AZIMUTH, ELEVATION = 25.0, 22.0
# The picture is drawn this many times as large and then scaled down, so that lines are smooth.
OVERSAMPLING = 3
# More cameras than this get no numbers, because the numbers would hide each other.
MOST_NUMBERED = 200
WHITE = (255, 255, 255)
SPHERE = (190, 190, 190)
FRONT, UP = (23, 78, 140), (214, 92, 20)
AXES = {"x": (200, 40, 40), "y": (40, 150, 60), "z": (50, 80, 220)}
# Lines behind the middle of the sphere are drawn this far towards white.
FADED = 0.62
# The number of colours in a file. So few make no visible difference to lines.
N_COLOURS = 64
# The distance of a number from its camera, in pixels.
AWAY = 12.0
# The space around the drawing, for numbers, in pixels.
MARGIN = 30.0

Colour = tuple[int, int, int]


def plot_cameras(cameras: Cameras, *, size: int = 640) -> np.ndarray:
    """Draw cameras around the sphere on which they stand.

    Each camera is a frustum. The edge at the top of its image is orange and has a mark on it.
    Cameras behind the origin are pale. The radius of the sphere is the median distance of the
    cameras from the origin.

    Parameters
    ----------
    cameras : Cameras
    size : int
        Side of the square picture, in pixels; 64 to 4096.

    Returns
    -------
    (size, size, 3) uint8

    Raises
    ------
    ValueError
        If `size` is out of range.
    """
    if not 64 <= size <= 4096:
        raise ValueError(f"the size of the picture is {size}; expected 64 to 4096 pixels")
    return _Picture(cameras, size).drawn()


def plot_png(cameras: Cameras, *, size: int = 640) -> bytes:
    """Return the picture of `plot_cameras` as a PNG file with few colours."""
    from PIL import Image

    picture = Image.fromarray(plot_cameras(cameras, size=size))
    # Keep the colours that differ most, so that thin lines keep theirs too.
    picture = picture.quantize(N_COLOURS, method=Image.Quantize.MAXCOVERAGE)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


class _Picture:
    """The drawing of one set of cameras; lengths are in units of the sphere's radius."""

    def __init__(self, cameras: Cameras, size: int) -> None:
        # Pillow takes a while to import, and most of raydepth does not need it.
        from PIL import Image, ImageDraw

        self.pillow: Any = Image
        self.size = size
        distances = np.linalg.norm(cameras.centres, axis=1)
        self.radius = float(np.median(distances)) or 1.0
        self.length = min(0.2, 1.2 / math.sqrt(len(cameras)))
        self.frusta = _frusta(cameras, self.length * self.radius) / self.radius
        farthest = max(1.0, float(np.linalg.norm(self.frusta, axis=-1).max()))
        self.scale = (1.0 - 2.0 * MARGIN / size) / farthest
        azimuth, elevation = math.radians(AZIMUTH), math.radians(ELEVATION)
        towards = np.array(
            [
                math.cos(elevation) * math.cos(azimuth),
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
            ]
        )
        right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        self.frame = np.stack([right, np.cross(towards, right), towards])
        side = size * OVERSAMPLING
        self.image = Image.new("RGB", (side, side), WHITE)
        self.draw: Any = ImageDraw.Draw(self.image)

    def drawn(self) -> np.ndarray:
        from PIL import ImageDraw

        order = np.argsort(self._nearness(self.frusta[:, 0]), kind="stable")
        behind = [view for view in order if self._nearness(self.frusta[view, 0]) < 0.0]
        for view in behind:
            self._frustum(view)
        self._sphere()
        self._axes()
        for view in order[len(behind) :]:
            self._frustum(view)
        image = self.image.resize((self.size, self.size), self.pillow.Resampling.LANCZOS)
        # Text is drawn on the scaled picture, so that it stays sharp.
        draw = ImageDraw.Draw(image)
        for axis, end in zip("xyz", np.eye(3), strict=True):
            self._text(draw, end * 0.56, axis, AXES[axis])
        if len(self.frusta) <= MOST_NUMBERED:
            for tip, label in _labels(self.frusta[:, 0]):
                self._text(draw, tip, label, self._shade(FRONT, tip), away=AWAY)
        return np.asarray(image)

    def _frustum(self, view: int) -> None:
        tip, corners = self.frusta[view, 0], self.frusta[view, 1:5]
        blue, orange = self._shade(FRONT, tip), self._shade(UP, tip)
        for corner, start in zip(corners, self.frusta[view, 5:9], strict=True):
            self._line([start, corner], blue, 1)
        self._line([corners[1], corners[2], corners[3], corners[0]], blue, 1)
        self._line([corners[0], corners[1]], orange, 2)
        # A mark above the image's top edge says which way is up.
        middle = (corners[0] + corners[1]) / 2.0
        peak = middle + (middle - (corners[2] + corners[3]) / 2.0) * 0.25
        self._line([corners[0], peak, corners[1]], orange, 1)

    def _sphere(self) -> None:
        turn = np.linspace(0.0, 2.0 * math.pi, 181)
        circle = np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1)
        circles = [circle[:, [0, 2, 1]], circle[:, [2, 0, 1]]]
        for latitude in (-60.0, -30.0, 0.0, 30.0, 60.0):
            height = math.sin(math.radians(latitude))
            circles.append(circle * math.cos(math.radians(latitude)) + [0.0, 0.0, height])
        # The outline, then the circles of latitude and two of longitude.
        self._line(list(circle @ self.frame), SPHERE, 1)
        for points in circles:
            for a, b in itertools.pairwise(points):
                self._line([a, b], self._shade(SPHERE, (a + b) / 2.0), 1)

    def _axes(self) -> None:
        for axis, end in zip("xyz", np.eye(3), strict=True):
            self._line([np.zeros(3), end * 0.5], AXES[axis], 2)

    def _line(self, points: list[np.ndarray], colour: Colour, width: int) -> None:
        pixels = [tuple(self._pixel(point) * OVERSAMPLING) for point in points]
        self.draw.line(pixels, fill=colour, width=width * OVERSAMPLING, joint="curve")

    def _text(
        self, draw: Any, point: np.ndarray, text: str, colour: Colour, away: float = 0.0
    ) -> None:
        """Draw a text at a point, moved `away` pixels outwards from the middle of the picture."""
        place = self._pixel(point)
        outwards = place - self.size / 2.0
        distance = float(np.linalg.norm(outwards))
        # Near the middle there is no outward direction: move the text up.
        if distance < 0.1 * self.size:
            outwards, distance = np.array([0.0, -1.0]), 1.0
        x, y = place + outwards / distance * away
        left, top, right, bottom = draw.textbbox((0, 0), text)
        draw.text((x - (left + right) / 2.0, y - (top + bottom) / 2.0), text, fill=colour)

    def _pixel(self, point: np.ndarray) -> np.ndarray:
        x, y, _ = self.frame @ point * self.scale
        return np.array([(1.0 + x) / 2.0, (1.0 - y) / 2.0]) * self.size

    def _nearness(self, points: np.ndarray) -> Any:
        """Return how near points are to the viewer: above 0 in front of the origin."""
        return points @ self.frame[2]

    def _shade(self, colour: Colour, point: np.ndarray) -> Colour:
        if self._nearness(point) >= 0.0:
            return colour
        red, green, blue = (round(c + (255 - c) * FADED) for c in colour)
        return red, green, blue


def _labels(tips: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """Return the numbers of cameras; one text for consecutive cameras in the same place."""
    labels = []
    first = 0
    for view in range(1, len(tips) + 1):
        if view == len(tips) or (tips[view] != tips[first]).any():
            last = view - 1
            labels.append((tips[first], f"{first}" if first == last else f"{first}-{last}"))
            first = view
    return labels


def _frusta(cameras: Cameras, length: float) -> np.ndarray:
    """Return the points of each camera's frustum, (n_views, 9, 3), in units.

    These are the centre; the corners of the image (top left, top right, bottom right, bottom left)
    at `length` in front of it; and the starts of their rays. Models without four such rays get a
    frustum of 53 degrees.
    """
    n, rotation = len(cameras), cameras.world_from_camera[:, :3, :3]
    points = np.repeat(cameras.centres[:, None], 9, axis=1)
    if cameras.model in ("perspective", "orthographic"):
        width, height = cameras.width, cameras.height
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
        origins, directions = cameras.rays(np.broadcast_to(corners, (n, 4, 2)))
    else:
        fixed = np.array([(-0.5, -0.5, 1), (0.5, -0.5, 1), (0.5, 0.5, 1), (-0.5, 0.5, 1)])
        directions = fixed @ np.swapaxes(rotation, 1, 2)
        origins = points[:, 1:5]
    points[:, 1:5] = origins + directions * length
    points[:, 5:9] = origins
    return points
