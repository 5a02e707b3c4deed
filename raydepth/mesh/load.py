"""Load a mesh file as a `Mesh`, or refuse it with one line that says why."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from raydepth.errors import MeshError
from raydepth.mesh.contents import Contents, counted, plain
from raydepth.mesh.mesh import Mesh
from raydepth.mesh.readers import collada, gltf, obj, off, ply, stl, threemf

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Format(NamedTuple):
    """A file format that can be loaded."""

    name: str
    read: Callable[..., Contents]
    has_uv: bool = False  # True if its reader takes uv=True


FORMATS = {
    ".obj": Format("OBJ", obj.read, has_uv=True),
    ".ply": Format("PLY", ply.read, has_uv=True),
    ".stl": Format("STL", stl.read),
    ".off": Format("OFF", off.read),
    ".glb": Format("GLB", gltf.read, has_uv=True),
    ".gltf": Format("glTF", gltf.read, has_uv=True),
    ".3mf": Format("3MF", threemf.read),
    ".dae": Format("COLLADA", collada.read, has_uv=True),
}

# The beginnings of kinds of files, as patterns for the first 1024 bytes.
SIGNATURES = (
    ("PLY", re.compile(rb"ply[ \t]*[\r\n]")),
    ("GLB", re.compile(rb"glTF")),
    ("OFF", re.compile(rb"(ST)?C?N?4?n?OFF\s*[\d#]")),
    ("COLLADA", re.compile(rb"\s*<[^\0]*<COLLADA\b|\s*<COLLADA\b")),
    ("glTF", re.compile(rb"\s*\{[^\0]*\"asset\"")),
    ("STL", re.compile(rb"\s*solid\b[^\0]*\bfacet\s+normal\b", re.IGNORECASE)),
    ("a Git LFS pointer, not the file itself", re.compile(rb"version https://git-lfs")),
    ("a web page", re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)),
    ("a gzip archive", re.compile(rb"\x1f\x8b")),
    ("3MF", re.compile(rb"PK\x03\x04")),
)


def load_mesh(path: str | os.PathLike[str], *, normalize: str = "none", uv: bool = False) -> Mesh:
    """Load the triangles of a mesh file, in the file's order, with nothing merged or dropped.

    Polygons are triangulated. Scenes are flattened: every instance is put in its place with the
    transforms of its nodes, in float64. `Mesh.notes` says what was done.

    Parameters
    ----------
    path : str or path
        A file named .obj, .ply, .stl, .off, .glb, .gltf, .3mf or .dae, in upper or lower case.
    normalize : {"none", "sphere", "cube"}
        See `Mesh.normalized`.
    uv : bool
        True to read texture coordinates into `Mesh.texture`, if the file is OBJ, PLY, glTF or
        COLLADA and has them. They stay as in the file, so v points up in OBJ and down in glTF.

    Returns
    -------
    Mesh

    Raises
    ------
    MeshError
        If the file is missing, is a directory, is of an unknown format or of another one than its
        name says, is truncated, is compressed and no decoder is available, or holds nothing
        renderable, non-finite vertices or indices out of range. The message is one line with the
        file and the reason.
    ValueError
        If `normalize` is none of the three words.
    """
    path = Path(path)
    try:
        mesh_format, data = _open(path)
        contents = _read(mesh_format, data, path, uv)
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from None
    mesh = Mesh(
        contents.vertices,
        contents.faces,
        name=path.stem,
        source=str(path),
        source_sha256=hashlib.sha256(data).hexdigest(),
        notes=tuple(plain(contents.notes)),
        parts=contents.parts,
        texture=contents.texture,
    )
    n_flat = mesh.zero_area_faces
    if n_flat:
        note = f"{counted(n_flat, 'zero-area face')} {'is' if n_flat == 1 else 'are'} never hit"
        mesh = replace(mesh, notes=(*mesh.notes, note))
    return mesh.normalized(normalize)


def _open(path: Path) -> tuple[Format, bytes]:
    """Find the format by the file's name and read the file; refuse one that clearly has another."""
    if path.is_dir():
        raise MeshError("is a directory; expected a mesh file")
    if not path.exists():
        raise MeshError("no such file")
    suffix = path.suffix.lower()
    if suffix == ".blend":
        raise MeshError("is a Blender scene; expected a mesh file, or use blender.load_scene")
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise MeshError(f"unknown mesh format {suffix!r}; expected one of {known}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeshError(f"cannot be read ({error.strerror})") from None
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        raise MeshError("the file is empty")
    expected, found = FORMATS[suffix].name, _content_format(data)
    if found not in (None, expected):
        raise MeshError(f"named like {expected}, but its content is {found}")
    return FORMATS[suffix], data


def _content_format(data: bytes) -> str | None:
    """Return the name of the format that a file's content shows, or None if it is not clear."""
    if stl.is_binary(data):
        return "STL"
    head = data[:1024]
    return next((name for name, signature in SIGNATURES if signature.match(head)), None)


def _read(mesh_format: Format, data: bytes, path: Path, uv: bool) -> Contents:
    """Run a reader, and report any unexpected error in it as damage of the file."""
    try:
        if uv and mesh_format.has_uv:
            return mesh_format.read(data, path, uv=True)
        return mesh_format.read(data, path)
    except MeshError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise MeshError(f"damaged or not {mesh_format.name} ({reason})") from error
