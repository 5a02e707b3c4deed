"""The hierarchies of meshes, each built once and kept as long as its mesh."""

from __future__ import annotations

import weakref

from raydepth import bvh as bvh_module
from raydepth.bvh import Bvh
from raydepth.mesh.mesh import Mesh

# A hierarchy lives as long as the mesh it was built for.
_built: weakref.WeakKeyDictionary[Mesh, Bvh] = weakref.WeakKeyDictionary()


def build_bvh(mesh: Mesh, *, threads: int | None = None) -> Bvh:
    """Return the mesh's bounding volume hierarchy; it is built once and kept as long as the mesh.

    Parameters
    ----------
    mesh : Mesh
    threads : int, optional
        By default one per processor. The hierarchy is the same for any number.

    Returns
    -------
    Bvh
    """
    bvh = _built.get(mesh)
    if bvh is None:
        bvh = _built[mesh] = bvh_module.build(mesh.vertices, mesh.faces, threads=threads)
    return bvh


def hierarchy_of(mesh: Mesh | Bvh) -> Bvh:
    """Return the hierarchy itself, or the one built for a mesh."""
    if isinstance(mesh, Bvh):
        return mesh
    if isinstance(mesh, Mesh):
        return build_bvh(mesh)
    raise TypeError(
        f"mesh is a {type(mesh).__name__}; expected a raydepth.Mesh, for example from "
        "raydepth.load_mesh or raydepth.Mesh.from_trimesh"
    )
