"""A triangle mesh that is checked when it is made, so that later code need not check it again."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from raydepth.errors import MeshError
from raydepth.limits import MAX_COORDINATE
from raydepth.mesh.contents import Instance, Notes, Part, Texture, check_indices, flatten, plain
from raydepth.system.real_arrays import real_array, write_protected

NORMALIZATIONS = ("none", "sphere", "cube")

# With a smaller extent, depth could become 0 in float32.
MIN_EXTENT = 1e-30


def checked_normalization(normalize: Any) -> str:
    """Return the name of a normalisation; ValueError if it is not one of NORMALIZATIONS."""
    if normalize not in NORMALIZATIONS:
        expected = ", ".join(NORMALIZATIONS)
        raise ValueError(f"normalize is {normalize!r}; expected one of {expected}")
    return normalize


@dataclass(frozen=True, eq=False, repr=False)
class Mesh:
    """An immutable triangle mesh in float64, with a record of where it came from.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
        Finite positions in the mesh's own units.
    faces : (n_faces, 3) int32
        Three vertex indices per face, counted from 0. ``triangle_id`` indexes these rows.
    name : str
        What the mesh is called in file names and sidecars.
    source : str or None
        The file it was loaded from.
    source_sha256 : str or None
        Hex SHA-256 of that file's bytes (of the main file if there are several).
    normalization : {"none", "sphere", "cube"}
        The normalisation that `normalized` applied last.
    mesh_from_source : (4, 4) float64
        Maps a point from the source's coordinates to this mesh's coordinates.
    notes : tuple of str
        The changes that loading made to the file's contents, one sentence each.
    parts : tuple of Part
        The scene nodes that the faces come from, as (name, first_face) in the order of the faces;
        a single part if there is no scene.
    texture : Texture or None
        Texture coordinates (n_uv, 2) float64 and the indices of each face's corners into them;
        None if they were not loaded or the file has none.

    Attributes
    ----------
    bounds : (2, 3) float64
        Lowest and highest corner of the bounding box of all vertices that faces use.

    Raises
    ------
    MeshError
        If the arrays are not a renderable mesh: they have the wrong shape, no faces, coordinates
        that are not finite or beyond 1e30, an extent below 1e-30, indices out of range, or no face
        with an area.
    """

    vertices: np.ndarray
    faces: np.ndarray
    _: KW_ONLY
    name: str = "mesh"
    source: str | None = None
    source_sha256: str | None = None
    normalization: str = "none"
    mesh_from_source: np.ndarray = field(default_factory=lambda: np.eye(4))
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    texture: Texture | None = None
    bounds: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        try:
            vertices = _checked_vertices(self.vertices)
            faces = _checked_faces(self.faces, len(vertices))
            bounds = _bounds(_used(vertices, faces))
            _check_visible(vertices, faces, bounds)
            parts = _checked_parts(self.parts or (Part(self.name, 0),), len(faces))
            texture = None if self.texture is None else _checked_texture(self.texture, len(faces))
        except MeshError as error:
            raise MeshError(f"{self.source or self.name}: {error}") from None
        matrix = np.array(self.mesh_from_source, dtype=np.float64)
        # The dataclass is frozen, so the checked arrays are set past its __setattr__, once.
        for key, array in (
            ("vertices", vertices),
            ("faces", faces),
            ("mesh_from_source", matrix),
            ("bounds", bounds),
        ):
            array.flags.writeable = False
            object.__setattr__(self, key, array)
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "texture", texture)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy's arrays are new, and writable until here.
        self.__dict__.update(write_protected(state))

    def __repr__(self) -> str:
        return f"Mesh({self.name!r}, {len(self.vertices)} vertices, {len(self.faces)} faces)"

    @cached_property
    def zero_area_faces(self) -> int:
        """The number of faces without an area. No ray hits them."""
        return int(np.count_nonzero(_without_area(self.vertices, self.faces)))

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of the scene's nodes; the output "instance" is an index into them."""
        return tuple(part.name for part in self.parts)

    @cached_property
    def instance_of_faces(self) -> np.ndarray:
        """(n_faces,) int32: the index of each face's node in `instances`."""
        ends = [*(part.first_face for part in self.parts), len(self.faces)]
        return np.repeat(np.arange(len(self.parts), dtype=np.int32), np.diff(ends))

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 over the vertices (little-endian float64), then the faces (int32)."""
        digest = hashlib.sha256(self.vertices.astype("<f8", copy=False).data)
        digest.update(self.faces.astype("<i4", copy=False).data)
        return digest.hexdigest()

    def normalized(self, normalization: str) -> Mesh:
        """Move and scale the mesh uniformly to a standard place and size.

        Parameters
        ----------
        normalization : {"none", "sphere", "cube"}
            "sphere": the centre of the bounding box moves to the origin, and the vertex farthest
            from it to distance 0.5. "cube": the centre moves likewise, and the longest side of the
            box becomes 1. Both ignore vertices that no face uses. "none": the mesh stays as it is.

        Returns
        -------
        Mesh
            Its `mesh_from_source` includes the change, so that depth can be converted back to
            source units.

        Raises
        ------
        ValueError
            If `normalization` is none of the three words.
        """
        if checked_normalization(normalization) == "none":
            return self
        low, high = self.bounds
        half = (high - low) / 2
        # Subtract the corner first: far from the origin the centre itself would lose digits.
        vertices = self.vertices - low - half
        if normalization == "sphere":
            x, y, z = np.square(_used(vertices, self.faces)).T
            size = 2 * np.sqrt((x + y + z).max())
        else:
            size = (high - low).max()
        matrix = np.eye(4)
        matrix[:3, :3] /= size
        matrix[:3, 3] = -(low + half) / size
        return replace(
            self,
            vertices=vertices / size,
            normalization=normalization,
            mesh_from_source=matrix @ self.mesh_from_source,
        )

    @classmethod
    def from_trimesh(cls, geometry: Any, *, name: str = "mesh", normalize: str = "none") -> Mesh:
        """Convert a ``trimesh.Trimesh``, or a ``trimesh.Scene`` with every instance in its place.

        Texture coordinates are kept if the visual of a geometry has them.

        Parameters
        ----------
        geometry : trimesh.Trimesh or trimesh.Scene
        name : str
        normalize : {"none", "sphere", "cube"}

        Raises
        ------
        MeshError
            If `geometry` is of another type or holds nothing renderable; see `Mesh`.
        """
        if hasattr(geometry, "faces"):
            uv = _trimesh_uv(geometry)
            texture = None if uv is None else Texture(uv, geometry.faces)
            mesh = cls(geometry.vertices, geometry.faces, name=name, texture=texture)
            return mesh.normalized(normalize)
        if not hasattr(geometry, "graph"):
            kind = type(geometry).__name__
            raise MeshError(f"{name}: expected a trimesh.Trimesh or trimesh.Scene, got {kind}")
        placed, notes = [], Notes()
        for node in geometry.graph.nodes_geometry:
            world_from_geometry, key = geometry.graph[node]
            part = geometry.geometry[key]
            if hasattr(part, "faces"):
                placed.append(
                    Instance(
                        key,
                        part.vertices,
                        part.faces,
                        world_from_geometry,
                        str(node),
                        uv=_trimesh_uv(part),
                    )
                )
            else:
                notes["geometry", "without faces skipped"] += 1
        try:
            contents = flatten(placed, notes)
        except MeshError as error:
            raise MeshError(f"{name}: {error}") from None
        return cls(
            contents.vertices,
            contents.faces,
            name=name,
            notes=tuple(plain(contents.notes)),
            parts=contents.parts,
            texture=contents.texture,
        ).normalized(normalize)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON description of the mesh for sidecar files, without its arrays."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "n_vertices": len(self.vertices),
            "n_faces": len(self.faces),
            "normalization": self.normalization,
            "mesh_from_source": self.mesh_from_source.tolist(),
        }


def _checked_vertices(vertices: Any) -> np.ndarray:
    try:
        vertices = np.array(real_array(vertices, "vertices"), order="C")
    except ValueError as error:
        raise MeshError(str(error)) from None
    if vertices.size == 0:
        raise MeshError("no vertices")
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise MeshError(f"vertices have shape {vertices.shape}; expected (n_vertices, 3)")
    largest = np.abs(vertices).max()
    if not np.isfinite(largest):
        finite = np.isfinite(vertices).all(axis=1)
        n_bad = np.count_nonzero(~finite)
        raise MeshError(
            f"non-finite vertices: {n_bad} of {len(vertices)}, the first is vertex "
            f"{np.argmin(finite)} {tuple(vertices[np.argmin(finite)].tolist())}"
        )
    if largest > MAX_COORDINATE:
        raise MeshError(f"a coordinate is {largest:g}; expected at most {MAX_COORDINATE:g}")
    return vertices


def _checked_faces(faces: Any, n_vertices: int) -> np.ndarray:
    if isinstance(faces, np.ma.MaskedArray):
        raise MeshError("faces: masked array; expected plain numbers")
    try:
        faces = np.asarray(faces)
    except ValueError:
        raise MeshError("faces are not rows of three vertex indices") from None
    if faces.size == 0:
        raise MeshError("no faces")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise MeshError(f"faces have shape {faces.shape}; expected (n_faces, 3)")
    if faces.dtype.kind not in "iu":
        raise MeshError(f"faces are {faces.dtype}; expected integers")
    if max(n_vertices, len(faces)) > np.iinfo(np.int32).max:
        raise MeshError(f"{n_vertices} vertices and {len(faces)} faces do not fit int32 indices")
    check_indices(faces, n_vertices)
    return np.array(faces, dtype=np.int32, order="C")


def _checked_parts(parts: Any, n_faces: int) -> tuple[Part, ...]:
    parts = tuple(Part(str(name), int(first_face)) for name, first_face in parts)
    firsts = [part.first_face for part in parts]
    if firsts[0] != 0 or firsts != sorted(firsts) or firsts[-1] > n_faces:
        raise MeshError(f"parts begin at faces {firsts[:8]}; expected 0 first, then ascending")
    return parts


def _checked_texture(texture: Any, n_faces: int) -> Texture:
    uv, faces = (np.array(array) for array in texture)
    if uv.ndim != 2 or uv.shape[1] != 2 or faces.shape != (n_faces, 3):
        raise MeshError(
            f"texture coordinates have shapes {uv.shape} and {faces.shape}; expected (n_uv, 2) "
            f"and {(n_faces, 3)}"
        )
    if faces.min() < 0 or faces.max() >= len(uv):
        raise MeshError(
            f"faces use texture coordinates {faces.min()} to {faces.max()}; there are {len(uv)}"
        )
    checked = Texture(uv.astype(np.float64), faces.astype(np.int32))
    for array in checked:
        array.flags.writeable = False
    return checked


def _trimesh_uv(geometry: Any) -> np.ndarray | None:
    """Return the texture coordinates of each vertex, (n_vertices, 2), or None if there are none."""
    uv = getattr(geometry.visual, "uv", None)
    return None if uv is None or len(uv) != len(geometry.vertices) else np.asarray(uv)[:, :2]


def _bounds(points: np.ndarray) -> np.ndarray:
    """Return the lowest and the highest coordinates of points, (2, 3)."""
    # Column by column: NumPy takes ten times as long to reduce rows of three.
    return np.array([[x.min() for x in points.T], [x.max() for x in points.T]])


def _check_visible(vertices: np.ndarray, faces: np.ndarray, bounds: np.ndarray) -> None:
    extent = (bounds[1] - bounds[0]).max()
    if extent < MIN_EXTENT:
        raise MeshError(f"the faces span {extent:g}; expected at least {MIN_EXTENT:g}")
    # In nearly every mesh one of the first faces has an area, so the full test is rarely needed.
    if _without_area(vertices, faces[:256]).all() and _without_area(vertices, faces).all():
        raise MeshError(f"nothing renderable: none of its {len(faces)} faces has an area")


def _used(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the vertices that faces use, (n_used, 3)."""
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return vertices if used.all() else vertices[used]


def _without_area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (n_faces,) bool, True if the cross product of two edges is exactly zero."""
    a, b, c = (vertices.take(faces[:, corner], axis=0).T for corner in range(3))
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    return (uy * vz == uz * vy) & (uz * vx == ux * vz) & (ux * vy == uy * vx)
