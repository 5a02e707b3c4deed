"""A checked mesh, and the readers of mesh files."""

from raydepth.mesh.mesh import NORMALIZATIONS, Mesh

__all__ = ["NORMALIZATIONS", "Mesh"]
