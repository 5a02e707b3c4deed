"""Cameras on a sphere around the origin, made from placements by functions or from a spec string.

Each placement in `placements` has a function of the same name here, which also takes ViewOptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import (
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)
from raydepth.camera.placements import changes, frames, rings, solids, spread, table, words
from raydepth.camera.poses import look_at, opencv_from_opengl, opengl_from_opencv, rolled

__all__ = [
    "Cameras",
    "SeededOptions",
    "ViewOptions",
    "cube",
    "cubemap_intrinsics",
    "dodecahedron",
    "equirectangular_intrinsics",
    "fibonacci",
    "fisheye_intrinsics",
    "from_spec",
    "hammersley",
    "hemisphere",
    "icosahedron",
    "icosphere",
    "latlong",
    "look_at",
    "mvcnn12",
    "mvcnn80",
    "octahedron",
    "on_sphere",
    "opencv_from_opengl",
    "opengl_from_opencv",
    "orthographic_intrinsics",
    "perspective_intrinsics",
    "r2n2",
    "random",
    "ring",
    "rolled",
    "rotationnet",
    "tetrahedron",
]

RADIUS = 1.5
FOV_DEG = 40.0


def on_sphere(
    directions: Any,
    *,
    radius: float | None = None,
    radii: float | Sequence[float] | None = None,
    rolls: int | Sequence[float] = 1,
    fov_deg: float | None = None,
    ortho_width: float | None = None,
    size: int | Sequence[int] = 512,
    up: str | Sequence[float] = "z",
) -> Cameras:
    """Cameras on a sphere around the origin, all looking at its centre.

    Views are ordered by radius, then by direction, then by roll.

    Parameters
    ----------
    directions : (n_directions, 3) float
        Unit vectors from the origin to the cameras, in the world.
    radius : float
        Distance of the cameras from the origin, in units; 1.5 if neither this nor `radii` is given.
    radii : (n_shells,) float
        Several distances instead of `radius`, in units: a shell of cameras at each.
    rolls : int or (n_rolls,) float
        A whole number repeats each camera that many times, rolled around its axis in equal steps of
        the full turn. A sequence repeats it once for each of these angles in degrees. Rolls are
        clockwise as seen from behind the camera (the image turns the other way).
    fov_deg : float
        Full field of view in degrees across the longer side of the image; 40 if neither this nor
        `ortho_width` is given.
    ortho_width : float
        Width in units across the longer side of the image; makes the cameras orthographic.
    size : int or (width, height)
        Image size in pixels; one number means a square.
    up : "x", "y", "z" or three numbers
        The direction of the world that is up in the images.

    Returns
    -------
    Cameras
        n_shells * n_directions * n_rolls views.

    Raises
    ------
    ValueError
        A value is out of range, two options exclude each other, or there are too many views.
    """
    if radius is not None and radii is not None:
        raise ValueError(f"radius is {radius} and radii {radii}; expected one of them")
    if fov_deg is not None and ortho_width is not None:
        raise ValueError("fov_deg and ortho_width are both given; expected one of them")
    distances = changes.checked_radii(
        radii if radii is not None else RADIUS if radius is None else radius
    )
    angles = changes.checked_rolls(rolls)
    directions = np.asarray(directions, dtype=np.float64)
    n_views = len(distances) * len(directions) * len(angles)
    if n_views > frames.MAX_VIEWS:
        raise ValueError(
            f"{len(distances)} radii, {len(directions)} directions and {len(angles)} rolls are "
            f"{n_views} views; expected {frames.MAX_VIEWS} at most"
        )
    poses = np.concatenate([look_at(directions * distance, up=up) for distance in distances])
    poses = rolled(np.repeat(poses, len(angles), axis=0), np.tile(angles, n_views // len(angles)))
    if ortho_width is not None:
        intrinsics = orthographic_intrinsics(ortho_width, size)
        return Cameras(intrinsics, poses, size, model="orthographic")
    return Cameras(
        perspective_intrinsics(FOV_DEG if fov_deg is None else fov_deg, size), poses, size
    )


class ViewOptions(TypedDict, total=False):
    """The keywords that all placements share; see `on_sphere`. Angles are in degrees.

    `azimuth` turns all directions around the up axis. `jitter` moves each direction at random, by
    at most this angle.
    """

    radius: float | None
    radii: float | Sequence[float] | None
    rolls: int | Sequence[float]
    azimuth: float
    jitter: float | None
    fov_deg: float | None
    ortho_width: float | None
    size: int | Sequence[int]
    up: str | Sequence[float]


class SeededOptions(ViewOptions, total=False):
    """ViewOptions and a `seed`, for placements that draw nothing at random but the jitter.

    `seed` is a whole number from 0.
    """

    seed: int


def fibonacci(n: int, **view: Unpack[SeededOptions]) -> Cameras:
    """n cameras spread evenly over the sphere; see `placements.fibonacci` and `on_sphere`."""
    return _placed(spread.fibonacci(n), **view)


def hammersley(n: int, **view: Unpack[SeededOptions]) -> Cameras:
    """n cameras of low discrepancy; see `placements.hammersley` and `on_sphere`."""
    return _placed(spread.hammersley(n), **view)


def ring(n: int, elevation: float = 30.0, **view: Unpack[SeededOptions]) -> Cameras:
    """n cameras around the up axis, `elevation` in degrees; see `placements.ring`, `on_sphere`."""
    return _placed(rings.ring(n, elevation), **view)


def latlong(
    rows: int,
    columns: int,
    lowest: float = -90.0,
    highest: float = 90.0,
    **view: Unpack[SeededOptions],
) -> Cameras:
    """A grid of latitudes and longitudes; see `placements.latlong` and `on_sphere`."""
    return _placed(rings.latlong(rows, columns, lowest, highest), **view)


def icosphere(levels: int, **view: Unpack[SeededOptions]) -> Cameras:
    """10 x 4^levels + 2 cameras; see `placements.icosphere` and `on_sphere`."""
    return _placed(solids.icosphere(levels), **view)


def tetrahedron(**view: Unpack[SeededOptions]) -> Cameras:
    """4 cameras at a tetrahedron's vertices; see `placements.tetrahedron` and `on_sphere`."""
    return _placed(solids.tetrahedron(), **view)


def cube(**view: Unpack[SeededOptions]) -> Cameras:
    """8 cameras at a cube's corners; see `placements.cube` and `on_sphere`."""
    return _placed(solids.cube(), **view)


def octahedron(**view: Unpack[SeededOptions]) -> Cameras:
    """6 cameras, two on each axis; see `placements.octahedron` and `on_sphere`."""
    return _placed(solids.octahedron(), **view)


def dodecahedron(**view: Unpack[SeededOptions]) -> Cameras:
    """20 cameras at a dodecahedron's vertices; see `placements.dodecahedron` and `on_sphere`."""
    return _placed(solids.dodecahedron(), **view)


def icosahedron(**view: Unpack[SeededOptions]) -> Cameras:
    """12 cameras at an icosahedron's vertices; see `placements.icosahedron` and `on_sphere`."""
    return _placed(solids.icosahedron(), **view)


def rotationnet(**view: Unpack[SeededOptions]) -> Cameras:
    """A dodecahedron in RotationNet's order; see `placements.rotationnet` and `on_sphere`."""
    return _placed(solids.rotationnet(), **view)


def mvcnn12(**view: Unpack[SeededOptions]) -> Cameras:
    """MVCNN's 12 views of upright shapes; see `placements.mvcnn12` and `on_sphere`."""
    return _placed(rings.mvcnn12(), **view)


def mvcnn80(**view: Unpack[SeededOptions]) -> Cameras:
    """MVCNN's 80 views, 20 cameras in 4 rolls each; see `placements.mvcnn80` and `on_sphere`."""
    view.setdefault("rolls", table.ROLLS["mvcnn80"])
    return _placed(solids.mvcnn80(), **view)


def r2n2(seed: int = 0, **view: Unpack[ViewOptions]) -> Cameras:
    """3D-R2N2's 24 views; see `placements.r2n2` and `on_sphere`."""
    return _placed(rings.r2n2(seed), seed=seed, **view)


def random(
    n: int,
    seed: int = 0,
    lowest: float = -90.0,
    highest: float = 90.0,
    **view: Unpack[ViewOptions],
) -> Cameras:
    """n cameras drawn uniformly from the sphere or a band; see `placements.random`, `on_sphere`."""
    return _placed(spread.random(n, seed, lowest, highest), seed=seed, **view)


def hemisphere(n: int, seed: int = 0, **view: Unpack[ViewOptions]) -> Cameras:
    """n cameras drawn uniformly from the upper half; see `placements.hemisphere`, `on_sphere`."""
    return _placed(spread.hemisphere(n, seed), seed=seed, **view)


def from_spec(spec: str, **view: Unpack[SeededOptions]) -> Cameras:
    """Make cameras from a placement's spec, such as "fibonacci:24" or "ring:12,elevation=30,up=y".

    `placements.words` describes the grammar. The keywords are SeededOptions.

    Raises
    ------
    ValueError
        The spec is not valid, or an option is given both in it and as a keyword.
    """
    placement = words.parse(spec)
    given: Any = {key: value for key, value in view.items() if value is not None}
    for key in placement.changes:
        if key in given:
            raise ValueError(f"{spec!r}: {key} is also given as {given[key]!r}; expected it once")
    if "radii" in placement.changes and "radius" in given:
        raise ValueError(
            f"{spec!r} has radii, and radius is given as {given['radius']}; expected one of them"
        )
    if placement.name in table.ROLLS:
        given.setdefault("rolls", table.ROLLS[placement.name])
    directions = table.PLACEMENTS[placement.name](**placement.arguments)
    return _placed(directions, **(given | placement.changes))


def _placed(
    directions: np.ndarray,
    *,
    azimuth: float = 0.0,
    jitter: float | None = None,
    seed: int = 0,
    **view: Any,
) -> Cameras:
    """Change directions given in the z-up frame, and put cameras there with `on_sphere`."""
    directions = changes.turned(directions, azimuth)
    if jitter is not None:
        directions = changes.jittered(directions, jitter, seed)
    frame = frames.up_frame(view.get("up", "z"))
    return on_sphere(directions @ frame.T, **view)
