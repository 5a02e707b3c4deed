"""Where cameras stand: unit directions from the centre to each camera, and where "up" is.

Every function here returns directions of shape (n_views, 3) float64 in a z-up frame with
azimuth 0 at +x; `up_frame` turns them to another up axis. `raydepth.cameras` makes cameras of them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

import numpy as np

GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))
MAX_VIEWS = 1_000_000


def fibonacci(n: int) -> np.ndarray:
    """Spherical Fibonacci lattice: n nearly evenly spread directions, none of them a pole.

    Source: Swinbank and Purser, "Fibonacci grids: a novel approach to global modelling", 2006.
    """
    i = np.arange(_count(n))
    return _from_height(1.0 - (2.0 * i + 1.0) / n, i * GOLDEN_ANGLE)


def ring(n: int, elevation: float = 30.0) -> np.ndarray:
    """n directions at one elevation (degrees above the horizon), evenly spaced from azimuth 0."""
    if not (math.isfinite(elevation) and -90.0 <= elevation <= 90.0):
        raise ValueError(f"elevation is {elevation}; expected degrees from -90 to 90")
    azimuth = 2.0 * math.pi * np.arange(_count(n)) / n
    radians = math.radians(elevation)
    across = 0.0 if abs(elevation) == 90.0 else math.cos(radians)
    return np.stack(
        [across * np.cos(azimuth), across * np.sin(azimuth), np.full(n, math.sin(radians))], axis=1
    )


def dodecahedron() -> np.ndarray:
    """The 20 vertices of a regular dodecahedron.

    Order: the 8 corners of a cube (x slowest, z fastest, minus before plus), then the 12 of the
    three golden rectangles, those with x = 0, with y = 0 and with z = 0, minus before plus.
    """
    golden = (1.0 + math.sqrt(5.0)) / 2.0
    signs = [(a, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    cube = [(x, y, z) for x in (-1.0, 1.0) for (y, z) in signs]
    rectangles = (
        [(0.0, a / golden, b * golden) for a, b in signs]
        + [(a * golden, 0.0, b / golden) for a, b in signs]
        + [(a / golden, b * golden, 0.0) for a, b in signs]
    )
    return np.array(cube + rectangles) / math.sqrt(3.0)


def random(n: int, seed: int = 0) -> np.ndarray:
    """n directions drawn uniformly from the sphere; the same seed gives the same directions.

    The height is uniform because equal slabs of a sphere have equal areas (Archimedes).
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected a whole number from 0")
    u = np.random.Generator(np.random.PCG64(seed)).random((_count(n), 2))
    return _from_height(2.0 * u[:, 0] - 1.0, 2.0 * math.pi * u[:, 1])


PLACEMENTS: dict[str, Callable[..., np.ndarray]] = {
    f.__name__: f for f in (fibonacci, ring, dodecahedron, random)
}


def parse(spec: str) -> tuple[str, dict[str, float | int | str]]:
    """Read a placement written as `name`, `name:N` or `name:N,key=value,...`.

    `parse("ring:12,elevation=30")` is `("ring", {"n": 12, "elevation": 30.0})`. Besides the
    placement's own parameters every placement takes `up=x|y|z`.

    Raises
    ------
    ValueError
        The name, a parameter or a value is unknown; the message says what was expected.
    """
    name, _, rest = spec.partition(":")
    if name not in PLACEMENTS:
        raise ValueError(f"unknown placement {name!r}; expected one of {', '.join(PLACEMENTS)}")
    known = {p.name: p for p in inspect.signature(PLACEMENTS[name]).parameters.values()}
    arguments: dict[str, float | int | str] = {}
    for position, word in enumerate(rest.split(",") if rest else []):
        key, equals, value = word.partition("=")
        if not equals and position == 0 and "n" in known:
            key, value = "n", word
        if key == "up" and value in ("x", "y", "z"):
            arguments["up"] = value
            continue
        if key not in known or not value:
            expected = ", ".join([*known, "up"])
            raise ValueError(f"{spec!r}: {word!r} is not understood; {name} takes {expected}")
        number = float if known[key].annotation == "float" else int
        try:
            arguments[key] = number(value)
        except ValueError:
            kind = "a number" if number is float else "a whole number"
            raise ValueError(f"{spec!r}: {key} is {value!r}; expected {kind}") from None
    if "n" in known and "n" not in arguments:
        raise ValueError(f"{spec!r} lacks its number of views; expected for example {name}:24")
    return name, arguments


def up_frame(up: str | Sequence[float] = "z") -> np.ndarray:
    """The (3, 3) rotation whose columns are the azimuth-0 axis, the azimuth-90 axis and up.

    `up` is "x", "y" or "z", or any vector of three. Named axes turn cyclically: up "y" has its
    azimuth 0 at +z, up "z" at +x.
    """
    if isinstance(up, str):
        if up not in ("x", "y", "z"):
            raise ValueError(f"up is {up!r}; expected 'x', 'y', 'z' or three numbers")
        axis = np.eye(3)["xyz".index(up)]
    else:
        axis = np.asarray(up, dtype=np.float64)
        if axis.shape != (3,) or not np.isfinite(axis).all() or not axis.any():
            raise ValueError(f"up is {up!r}; expected 'x', 'y', 'z' or three numbers, not all 0")
        axis = axis / np.abs(axis).max()
        axis = axis / np.linalg.norm(axis)
    azimuth_0 = np.eye(3)[(int(np.argmax(np.abs(axis))) + 1) % 3]
    azimuth_0 = azimuth_0 - axis * (axis @ azimuth_0)
    azimuth_0 = azimuth_0 / np.linalg.norm(azimuth_0)
    return np.stack([azimuth_0, np.cross(axis, azimuth_0), axis], axis=1)


def _from_height(z: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    across = np.sqrt(np.maximum(0.0, 1.0 - z * z))
    return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=1)


def _count(n: int) -> int:
    if int(n) != n or not 1 <= n <= MAX_VIEWS:
        raise ValueError(f"the number of views is {n}; expected 1 to {MAX_VIEWS}, a whole number")
    return int(n)
