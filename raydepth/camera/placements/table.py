"""All placements by name, for the command line and the tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

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

# Placements that repeat each direction: the number of rolls, if `rolls` is not given.
ROLLS = {"mvcnn80": 4}
