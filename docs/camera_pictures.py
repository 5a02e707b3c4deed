"""Draws the pictures of docs/cameras.md: `python docs/camera_pictures.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from raydepth.camera.placements import words
from raydepth.camera.placements.table import PLACEMENTS
from raydepth.cameras import from_spec
from raydepth.pictures.camera_plot import plot_png

SIZE = 320
# What every placement may be changed by, shown on one of them.
CHANGED = {
    "radii": "fibonacci:12,radii=1.5+2.5",
    "rolls": "cube:rolls=4",
    "jitter": "ring:24,elevation=0,jitter=8,seed=1",
}
SPECS = {
    **{name: words.example(name) for name in PLACEMENTS},
    "ring": "ring:12,elevation=30",
    "latlong": "latlong:3,columns=8",
    "random": "random:24,lowest=-20,highest=20",
    **CHANGED,
}


def draw(folder: Path) -> None:
    """Write a picture of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, spec in SPECS.items():
        cameras = from_spec(spec, size=(64, 48))
        (folder / f"{name}.png").write_bytes(plot_png(cameras, size=SIZE))


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "cameras")
