"""The outputs: names, shapes, dtypes, values of a miss, and how each is filled and stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydepth.camera.kinds import KINDS, checked_kinds

MOST_HITS = 64


@dataclass(frozen=True)
class Output:
    """The properties of one output.

    Attributes
    ----------
    dtype : str
        "float" stands for float32 or float64, as requested from `render`.
    channels : int
        Numbers per pixel; 1 adds no axis.
    miss : str
        The value of a miss. "miss" stands for the number given to `render`, +inf by default.
    filler : str
        The pass that fills it, one of `resolver.FILLERS`.
    meaning : str
        A phrase that describes the values.
    stored : "npy" or "grey"
        The form of its files: numbers as they are, or a grey PNG (see storage/output_files.py).
    """

    dtype: str
    channels: int
    miss: str
    filler: str
    meaning: str
    stored: str = "npy"


OUTPUTS = {
    "z": Output("float", 1, "miss", "depth", "distance along the camera's z axis, in units"),
    "ray": Output("float", 1, "miss", "depth", "distance from the camera's centre, in units"),
    "disparity": Output("float", 1, "0", "depth", "1 / z, or 1 / ray where a camera has no z"),
    "triangle_id": Output("int32", 1, "-1", "visibility", "the face, as the mesh counts them"),
    "instance": Output(
        "int32", 1, "-1", "look_up", "the place in the scene, an index into mesh.instances", "grey"
    ),
    "hit": Output("bool", 1, "false", "look_up", "whether anything is seen", "grey"),
    "facing": Output(
        "int8", 1, "0", "describe", "1 where a face's front is seen, -1 where its back is", "grey"
    ),
    "barycentric": Output(
        "float", 3, "nan", "describe", "weights of the face's three corners, sum 1"
    ),
    "uv": Output("float", 2, "nan", "describe", "texture coordinates, as the file has them"),
    "normal": Output(
        "float", 3, "0", "describe", "unit normal of the face, by its winding, in the world"
    ),
    "normal_camera": Output("float", 3, "0", "describe", "the same along the camera's axes"),
    "smooth_normal": Output(
        "float", 3, "0", "describe", "unit normal between the vertices', in the world"
    ),
    "smooth_normal_camera": Output("float", 3, "0", "describe", "the same along the camera's axes"),
    "point": Output("float", 3, "nan", "depth", "where the surface is, in the world"),
    "point_camera": Output(
        "float", 3, "nan", "depth", "the same along the camera's axes from its centre"
    ),
    "thickness": Output(
        "float", 1, "nan", "crossings", "ray depth of the last hit minus that of the first"
    ),
    "hits": Output(
        "float", 1, "miss", "crossings", "ray depth of the first hits, an axis before the rows"
    ),
    "coverage": Output(
        "float", 1, "0", "coverage", "share of the pixel that is covered, in sixteenths", "grey"
    ),
}

# The outputs that a CUDA device computes. The host computes the others from the faces that the
# device found.
ON_DEVICE = ("z", "ray", "triangle_id")


def checked_outputs(kind: str | Sequence[str], outputs: Any) -> tuple[str, ...]:
    """Return the requested outputs, from `outputs` or from `kind` alone, in the order given.

    Raises
    ------
    ValueError
        A name is unknown or given twice, there is none, or `outputs` is given and `kind` is not
        the default, "z".
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


def depth_and_others(kind: str, outputs: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Split the outputs of a data set into the kind of depth and the others.

    `kind` is the kind of depth if `outputs` names none: ("z", "hit") gives "z" and ("hit",).

    Raises
    ------
    ValueError
        More than one kind is requested.
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    kinds = {name for name in names if name in KINDS}
    if len(kinds) > 1 or (kinds and kind != "z" and kind not in kinds):
        asked = " and ".join(sorted(kinds | {kind}))
        raise ValueError(f"{asked} depth are asked for; expected one kind in a data set")
    return next(iter(kinds), kind), tuple(name for name in names if name not in KINDS)


def checked_hits(hits: int) -> int:
    """Return the requested number of hits of a ray, checked."""
    if not isinstance(hits, (int, np.integer)) or not 1 <= hits <= MOST_HITS:
        raise ValueError(f"hits is {hits!r}; expected a whole number from 1 to {MOST_HITS}")
    return int(hits)


def shape_of(name: str, n_views: int, height: int, width: int, hits: int) -> tuple[int, ...]:
    """Return the shape of an output's array."""
    if name == "hits":
        return n_views, hits, height, width
    channels = OUTPUTS[name].channels
    return (n_views, height, width) if channels == 1 else (n_views, height, width, channels)
