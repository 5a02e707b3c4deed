"""A script for the user's own Blender: the same mesh, the same cameras, exact depth."""

from __future__ import annotations

import ast
import base64
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raydepth.blender.convert import blender_from_cameras
from raydepth.blender.process import INSIDE
from raydepth.camera.camera import Cameras
from raydepth.mesh.mesh import Mesh
from raydepth.system.atomic_files import write_whole
from raydepth.version import __version__

TEMPLATE = Path(__file__).with_name("template.py")
LINE = 100


def script(mesh: Mesh, cameras: Cameras, path: str | os.PathLike[str] | None = None) -> str:
    """Return a Python script that sets up a mesh, cameras and exact depth output in Blender.

    The script holds the arrays themselves and needs only Blender, 3.4 or newer. Run it in Blender's
    text editor, or with `blender -b --factory-startup -P scene.py -- FOLDER`, which renders every
    view to FOLDER/000.exr and so on (float32, z depth in units, 1e10 for a miss).

    Parameters
    ----------
    mesh : Mesh
        Its vertices are rounded to float32, as Blender does.
    cameras : Cameras
    path : path, optional
        A file to write the script to as well; it appears complete or not at all.

    Returns
    -------
    str
        The script.

    Raises
    ------
    ValueError
        Blender has no such cameras (see `blender_from_cameras`), or the views differ in the shape
        of their pixels; a Blender scene has one shape for all cameras.
    OSError
        The file cannot be written.
    """
    described = blender_from_cameras(cameras)
    aspects = np.array([(c.pixel_aspect_x, c.pixel_aspect_y) for c in described], np.float32)
    other = int(np.argmax((aspects != aspects[0]).any(axis=1)))
    if other:
        raise ValueError(
            f"view {other} has pixels of {described[other].pixel_aspect_x:.9g} x "
            f"{described[other].pixel_aspect_y:.9g}, view 0 of {described[0].pixel_aspect_x:.9g} x "
            f"{described[0].pixel_aspect_y:.9g}; expected one shape for all, as in Blender's scenes"
        )
    template = TEMPLATE.read_text(encoding="utf-8")
    title = f"{mesh.name}, {len(cameras)} {cameras.model} views"
    values = {
        "VERTICES": _packed(mesh.vertices.astype("<f4")),
        "FACES": _packed(mesh.faces.astype("<i4")),
        "CAMERAS": json.dumps([camera.to_json() for camera in described]),
    }
    text = template.replace("VERSION", __version__).replace("TITLE", _plain(title))
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            text = _with_lines(text, node, f"{name} = {_literal(values[name])}")
        elif isinstance(node, ast.ImportFrom) and node.module == INSIDE.stem:
            text = _with_lines(text, node, _sources([alias.name for alias in node.names]))
    if path is not None:
        write_whole({Path(path): text.encode()})
    return text


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()


def _plain(text: str) -> str:
    """Replace the characters that would break a docstring; a mesh may have any name."""
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in text)


def _literal(text: str) -> str:
    """Return a string as Python source, in lines short enough for an editor."""
    width = LINE - 6
    lines = [repr(text[i : i + width]) for i in range(0, len(text), width)]
    return "(\n    " + "\n    ".join(lines) + "\n)"


def _with_lines(text: str, node: ast.stmt, new: str) -> str:
    """Return the text with a statement's lines replaced by new ones."""
    lines = text.splitlines(keepends=True)
    assert node.end_lineno is not None
    return "".join(lines[: node.lineno - 1]) + new + "\n" + "".join(lines[node.end_lineno :])


def _sources(names: Sequence[str]) -> str:
    """Return the source of functions of `inside.py`, with the functions and constants they use."""
    text = INSIDE.read_text(encoding="utf-8")
    defined: dict[str, ast.stmt] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
        elif isinstance(node, ast.ImportFrom):
            defined |= {alias.asname or alias.name: node for alias in node.names}
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in defined and name not in needed:
            needed.add(name)
            waiting += [n.id for n in ast.walk(defined[name]) if isinstance(n, ast.Name)]
    chosen = sorted({defined[name] for name in needed}, key=lambda node: node.lineno)
    return "\n\n\n".join(ast.get_source_segment(text, node) or "" for node in chosen)
