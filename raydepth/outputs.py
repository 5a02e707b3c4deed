"""What can be rendered for each pixel: names, shapes, types, and what a miss is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("z", "ray")

MOST_HITS = 64


@dataclass(frozen=True)
class Output:
    """One output.

    Attributes
    ----------
    dtype : str
        "float" is float32 or float64, as `render` is asked.
    channels : int
        Numbers a pixel; 1 adds no axis.
    miss : str
        "miss" is the number that `render` is given, +inf by default.
    meaning : str
        Half a sentence.
    """

    dtype: str
    channels: int
    miss: str
    meaning: str


OUTPUTS = {
    "z": Output("float", 1, "miss", "distance along the camera's z axis, in units"),
    "ray": Output("float", 1, "miss", "distance from the camera's centre, in units"),
    "disparity": Output("float", 1, "0", "1 / z, or 1 / ray where a camera has no z"),
    "triangle_id": Output("int32", 1, "-1", "the face, as the mesh counts them"),
    "instance": Output("int32", 1, "-1", "the place in the scene, an index into mesh.instances"),
    "hit": Output("bool", 1, "false", "whether anything is seen"),
    "facing": Output("int8", 1, "0", "1 where a face's front is seen, -1 where its back is"),
    "barycentric": Output("float", 3, "nan", "weights of the face's three corners, sum 1"),
    "uv": Output("float", 2, "nan", "texture coordinates, as the file has them"),
    "normal": Output("float", 3, "0", "unit normal of the face, by its winding, in the world"),
    "normal_camera": Output("float", 3, "0", "the same along the camera's axes"),
    "smooth_normal": Output("float", 3, "0", "unit normal between the vertices', in the world"),
    "smooth_normal_camera": Output("float", 3, "0", "the same along the camera's axes"),
    "point": Output("float", 3, "nan", "where the surface is, in the world"),
    "point_camera": Output("float", 3, "nan", "the same along the camera's axes from its centre"),
    "thickness": Output("float", 1, "nan", "ray depth of the last hit minus that of the first"),
    "hits": Output("float", 1, "miss", "ray depth of the first hits, an axis before the rows"),
    "coverage": Output("float", 1, "0", "share of the pixel that is covered, in sixteenths"),
}

# What a device gives by itself; the rest comes from the faces that it found.
ON_DEVICE = ("z", "ray", "triangle_id")


def checked_outputs(kind: str | Sequence[str], outputs: Any) -> tuple[str, ...]:
    """The outputs asked for, by `outputs` or by `kind` alone, in that order.

    Raises
    ------
    ValueError
        Neither names what there is, each once.
    """
    if outputs is None:
        return checked_kinds(kind)
    if kind != "z":
        raise ValueError(
            f"kind is {kind!r} and outputs are given; expected the kind of depth among the outputs"
        )
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in names:
        if name not in OUTPUTS:
            raise ValueError(f"outputs hold {name!r}; expected some of {', '.join(OUTPUTS)}")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"outputs are {names}; expected at least one, and none twice")
    return names


def checked_kinds(kind: str | Sequence[str]) -> tuple[str, ...]:
    """The asked-for kinds of depth, in the order asked for."""
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kind is {kind!r}; expected 'z', 'ray' or ('z', 'ray')")
    return kinds


def depth_and_others(kind: str, outputs: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The kind of depth of a data set, and what else is stored; ("z", "hit") is "z" and "hit".

    Raises
    ------
    ValueError
        More than one kind is asked for.
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    kinds = {name for name in names if name in KINDS}
    if len(kinds) > 1 or (kinds and kind != "z" and kind not in kinds):
        asked = " and ".join(sorted(kinds | {kind}))
        raise ValueError(f"{asked} depth are asked for; expected one kind in a data set")
    return next(iter(kinds), kind), tuple(name for name in names if name not in KINDS)


def checked_hits(hits: int) -> int:
    """How many hits of a ray are asked for."""
    if not isinstance(hits, (int, np.integer)) or not 1 <= hits <= MOST_HITS:
        raise ValueError(f"hits is {hits!r}; expected a whole number from 1 to {MOST_HITS}")
    return int(hits)


def shape_of(name: str, n_views: int, height: int, width: int, hits: int) -> tuple[int, ...]:
    """The shape of an output's array."""
    if name == "hits":
        return n_views, hits, height, width
    channels = OUTPUTS[name].channels
    return (n_views, height, width) if channels == 1 else (n_views, height, width, channels)
