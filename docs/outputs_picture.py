"""The picture of docs/outputs.md: python docs/outputs_picture.py FILE.png"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import raydepth as rd
from raydepth.mesh.contents import Part, Texture
from raydepth.mesh.shapes import torus_knot
from raydepth.pictures.contact_sheet import MISS_COLOUR, VIRIDIS

SIDE, GAP, TEXT = 200, 6, 22
PANELS = (
    "z", "disparity", "coverage", "thickness", "hits",
    "normal", "normal_camera", "smooth_normal", "point", "barycentric",
    "uv", "triangle_id", "instance", "facing", "hit",
)  # fmt: skip
SHOWN_HIT = 1  # of "hits" the second: what lies behind what z sees


def scene() -> rd.Mesh:
    """A torus knot of 8000 faces on an open bowl, whose inside is its back."""
    knot = torus_knot(200, 20)
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, 1, 9))
    radius = 0.25 + 0.35 * height
    bowl = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.3 * height - 0.52], axis=-1)
    i = (np.arange(8)[:, None] * 25 + np.arange(24)).reshape(-1)
    quads = np.concatenate([np.stack([i, i + 1, i + 26], 1), np.stack([i, i + 26, i + 25], 1)])
    vertices = np.concatenate([knot.vertices * 0.8, bowl.reshape(-1, 3)])
    faces = np.concatenate([knot.faces, quads + len(knot.vertices)])
    turn = np.arctan2(vertices[:, 1], vertices[:, 0]) / (2 * np.pi)
    uv = np.stack([turn, vertices[:, 2]], axis=1)
    parts = (Part("knot", 0), Part("bowl", len(knot.faces)))
    return rd.Mesh(vertices, faces, parts=parts, texture=Texture(uv, faces))


def coloured(name: str, values: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8: numbers in viridis, vectors as red, green and blue."""
    if name == "triangle_id" or name == "instance":
        values = (values * 7 % 17) / 16.0 if name == "triangle_id" else values
    if values.ndim == 3:
        seen = values if values.shape[2] == 3 else np.dstack([values % 1, 0 * values[..., :1]])
        if "normal" in name:
            seen = (seen + 1) / 2
        elif name == "point":
            seen = seen + 0.5
        picture = np.clip(255 * np.nan_to_num(seen), 0, 255)
    else:
        shown = np.isfinite(values) & (hit | (name == "coverage"))
        numbers = np.where(shown, values, 0).astype(float)
        low, high = numbers[shown].min(), numbers[shown].max()
        if high > low:
            numbers = (numbers - low) / (high - low)
        ramp = np.asarray(VIRIDIS, float)
        place = np.clip(numbers, 0, 1) * (len(ramp) - 1)
        picture = np.stack([np.interp(place, np.arange(len(ramp)), c) for c in ramp.T], axis=-1)
        hit = shown
    return np.where(hit[..., None], picture, MISS_COLOUR).astype(np.uint8)


def picture() -> np.ndarray:
    """All panels with their names."""
    pose = rd.cameras.look_at([[0.55, -1.1, 0.75]], [0, 0, -0.1])
    camera = rd.Cameras(rd.camera.perspective_intrinsics(48, SIDE), pose, SIDE)
    rendering = rd.render(scene(), camera, outputs=PANELS, hits=SHOWN_HIT + 1)
    hit = rendering["hit"][0]
    columns, rows = 5, -(-len(PANELS) // 5)
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (SIDE + TEXT + GAP) + GAP),
                      (22, 23, 26))  # fmt: skip
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for number, name in enumerate(PANELS):
        row, column = divmod(number, columns)
        x, y = GAP + column * (SIDE + GAP), GAP + row * (SIDE + TEXT + GAP)
        values = rendering[name][0][SHOWN_HIT] if name == "hits" else rendering[name][0]
        title = f"hits[{SHOWN_HIT}]" if name == "hits" else name
        draw.text((x + 2, y + 2), title, (226, 227, 230), font=font)
        sheet.paste(Image.fromarray(coloured(name, values, hit)), (x, y + TEXT))
    return np.asarray(sheet)


if __name__ == "__main__":
    imageio.v3.imwrite(Path(sys.argv[1]), picture())
