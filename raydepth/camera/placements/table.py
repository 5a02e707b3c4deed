"""Where cameras stand: unit directions from the centre to each camera, and where "up" is.

Every placement returns directions of shape (n_views, 3) float64 in a z-up frame with azimuth 0 at
+x; `up_frame` turns them to another up axis. `words` reads placements from the command line.
`raydepth.cameras` makes cameras of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raydepth.camera.placements.changes import checked_radii, checked_rolls, jittered, turned
from raydepth.camera.placements.frames import MAX_VIEWS, up_frame
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

PLACEMENTS: dict[str, Callable[..., np.ndarray]] = {
    f.__name__: f
    for f in (
        fibonacci,
        hammersley,
        ring,
        latlong,
        icosphere,
        tetrahedron,
        cube,
        octahedron,
        dodecahedron,
        icosahedron,
        rotationnet,
        mvcnn12,
        mvcnn80,
        r2n2,
        random,
        hemisphere,
    )
}

# Placements that repeat each direction, if nothing else is said.
ROLLS = {"mvcnn80": 4}

__all__ = [
    "MAX_VIEWS",
    "PLACEMENTS",
    "ROLLS",
    "checked_radii",
    "checked_rolls",
    "cube",
    "dodecahedron",
    "fibonacci",
    "hammersley",
    "hemisphere",
    "icosahedron",
    "icosphere",
    "jittered",
    "latlong",
    "mvcnn12",
    "mvcnn80",
    "octahedron",
    "r2n2",
    "random",
    "ring",
    "rotationnet",
    "tetrahedron",
    "turned",
    "up_frame",
]
