"""All placements by name, for the command line and the tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raydepth.camera.placements import rings, solids, spread

PLACEMENTS: dict[str, Callable[..., np.ndarray]] = {
    f.__name__: f
    for f in (
        spread.fibonacci,
        spread.hammersley,
        rings.ring,
        rings.latlong,
        solids.icosphere,
        solids.tetrahedron,
        solids.cube,
        solids.octahedron,
        solids.dodecahedron,
        solids.icosahedron,
        solids.rotationnet,
        rings.mvcnn12,
        solids.mvcnn80,
        rings.r2n2,
        spread.random,
        spread.hemisphere,
    )
}

# Placements that repeat each direction: the number of rolls, if `rolls` is not given.
ROLLS = {"mvcnn80": 4}
