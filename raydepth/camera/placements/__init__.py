"""Placements of cameras: unit directions from the centre to each camera, and the up axis.

Each placement returns directions of shape (n_views, 3) float64 in a z-up frame with azimuth 0 at
+x; `frames.up_frame` turns them to another up axis. `words` reads placements from the command line.
`raydepth.cameras` makes cameras from them.
"""

from raydepth.camera.placements.rings import latlong, mvcnn12, r2n2, ring
from raydepth.camera.placements.solids import (
    cube,
    dodecahedron,
    icosahedron,
    icosphere,
    mvcnn80,
    octahedron,
    rotationnet,
    tetrahedron,
)
from raydepth.camera.placements.spread import fibonacci, hammersley, hemisphere, random
from raydepth.camera.placements.table import PLACEMENTS, ROLLS

__all__ = [
    "PLACEMENTS",
    "ROLLS",
    "cube",
    "dodecahedron",
    "fibonacci",
    "hammersley",
    "hemisphere",
    "icosahedron",
    "icosphere",
    "latlong",
    "mvcnn12",
    "mvcnn80",
    "octahedron",
    "r2n2",
    "random",
    "ring",
    "rotationnet",
    "tetrahedron",
]
