"""The bounding volume hierarchy (BVH): a binary tree over triangles in flat arrays.

Everything lives in the mesh's local frame (local_frame.py). The tree is built by builder.py and
collapsed to the eight-wide one of the tile kernel by wide.py.

Node layout, 64 bytes, `nodes[i]` is (4, 4) float32; the last column holds int32 bit patterns.
A node holds the boxes of its two children:

    row  columns 0-2           column 3 (int32)
    0    child 0 box, minimum  child 0: inner: index of its node;  leaf: index of its first slot
    1    child 0 box, maximum  child 0: inner: 0;                  leaf: number of slots, >= 1
    2    child 1 box, minimum  child 1: as above
    3    child 1 box, maximum  child 1: as above

Boxes are rounded outwards from float64. Node 0 is the root; parents stand before their children.
A tree of one leaf has one node whose second child has an empty box (minimum +inf, maximum -inf),
which no ray meets.

A *slot* is a place in leaf order: `slot_face[slot]` is the face's index in the mesh as the user
gave it. The slots below a node are consecutive. The vertices of a face stand in lexicographic
order of their coordinates, so that faces that coincide give the same bits whatever their winding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raydepth.accel.builder import Tree, build_tree
from raydepth.accel.local_frame import Prepared, prepare
from raydepth.accel.refit import check_absent, fit_boxes
from raydepth.accel.sah import MAX_LEAF
from raydepth.accel.subtree import MAX_DEPTH
from raydepth.accel.wide import Wide, collapse
from raydepth.limits import MAX_COORDINATE
from raydepth.system import parallel

__all__ = ["MAX_DEPTH", "MAX_LEAF", "Bvh", "build"]


@dataclass(frozen=True, eq=False)
class Bvh:
    """A mesh ready for ray casting. Made by `build`; flat arrays, see the top of this file.

    Attributes
    ----------
    nodes : (n_nodes, 4, 4) float32
    slot_face : (n_slots,) int32
    wide : Wide
        The same tree for the tile kernel; see wide.py.
    vertices : (n_vertices, 3) float64
        In the local frame: `(world - centre) * scale`.
    faces : (n_faces, 3) int32
        Vertex indices of every face, by the user's index, in lexicographic order of coordinates.
    mesh_faces : (n_faces, 3) int32
        The same as the user gave them.
    centre : (3,) float64
    scale : float
        A power of two.
    depth : int
        The number of inner nodes on the longest path from the root.
    """

    nodes: np.ndarray
    slot_face: np.ndarray
    wide: Wide
    vertices: np.ndarray
    faces: np.ndarray
    mesh_faces: np.ndarray
    centre: np.ndarray
    scale: float
    depth: int

    def __repr__(self) -> str:
        return f"Bvh({len(self.faces)} faces, {len(self.nodes)} nodes, depth {self.depth})"

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """The corners of the mesh's box, (3,) float64 each, in the local frame."""
        root = self.nodes[0]
        low, high = np.minimum(root[0, :3], root[2, :3]), np.maximum(root[1, :3], root[3, :3])
        return low.astype(np.float64), high.astype(np.float64)

    def refit(self, vertices: np.ndarray, *, threads: int | None = None) -> Bvh:
        """The hierarchy of the same faces with their vertices elsewhere, in half the time.

        What is found is exactly what `build` would give for these vertices. The tree stays and only
        its boxes are new; so the further vertices move apart, the slower it gets.

        Parameters
        ----------
        vertices : (n_vertices, 3) float
            As many as the hierarchy was built with, in world coordinates.
        threads : int, optional
            By default one a processor.

        Raises
        ------
        ValueError
            For another shape, for coordinates that are not finite or beyond 1e30, when no face has
            an area, and when a face has become visible that `build` had left out.
        """
        vertices = np.ascontiguousarray(vertices, np.float64)
        if vertices.shape != self.vertices.shape:
            raise ValueError(
                f"vertices have shape {vertices.shape}; expected {self.vertices.shape}, as at build"
            )
        if not np.abs(vertices).max() <= MAX_COORDINATE:
            raise ValueError(
                f"vertices hold NaN or numbers beyond {MAX_COORDINATE:g}; expected finite ones"
            )
        threads = threads or parallel.default_threads()
        mesh = prepare(vertices, self.mesh_faces, threads)
        if mesh.n_live == 0:
            raise ValueError("with these vertices no face has an area; expected at least one")
        check_absent(self.slot_face, mesh)
        nodes = fit_boxes(self.nodes, self.slot_face, mesh, threads)
        return _bvh(mesh, self.mesh_faces, Tree(nodes, self.slot_face, self.depth), threads)


def build(vertices: np.ndarray, faces: np.ndarray, *, threads: int | None = None) -> Bvh:
    """Build the hierarchy of a checked mesh. The same input gives the same tree.

    Zero-area faces are left out (no ray hits them), as are all but the first of faces that
    coincide where they pile up beyond one leaf.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64, finite
    faces : (n_faces, 3) int32, every index valid, at least one face of non-zero area
    threads : int, optional
        By default one a processor. The tree is the same for any number.
    """
    threads = threads or parallel.default_threads()
    mesh = prepare(vertices, faces, threads)
    tree = build_tree(mesh.references, mesh.n_live, mesh.box, mesh.vertices, mesh.corners, threads)
    return _bvh(mesh, faces, tree, threads)


def _bvh(mesh: Prepared, faces: np.ndarray, tree: Tree, threads: int) -> Bvh:
    """Everything in its place, and the tree collapsed."""
    return Bvh(
        nodes=tree.nodes,
        slot_face=tree.slot_face,
        wide=collapse(tree.nodes, tree.slot_face, mesh.vertices, mesh.corners, threads),
        vertices=mesh.vertices,
        faces=mesh.corners,
        mesh_faces=faces,
        centre=mesh.centre,
        scale=mesh.scale,
        depth=tree.depth,
    )
