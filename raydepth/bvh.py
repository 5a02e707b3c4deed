"""The bounding volume hierarchy (BVH): a binary tree over triangles in flat arrays.

All coordinates are in the mesh's local frame (local_frame.py). builder.py builds the tree, and
wide.py collapses it to the eight-wide tree of the tile kernel and of single rays.

Node layout: `nodes[i]` is (4, 4) float32, 64 bytes; the last column holds int32 bit patterns.
A node holds the boxes of its two children:

    row  columns 0-2           column 3 (int32)
    0    child 0 box, minimum  child 0: inner: index of its node;  leaf: index of its first slot
    1    child 0 box, maximum  child 0: inner: 0;                  leaf: number of slots, >= 1
    2    child 1 box, minimum  child 1: as above
    3    child 1 box, maximum  child 1: as above

Boxes are rounded outwards from float64. Node 0 is the root; parents come before their children.
A tree of one leaf has one node. Its second child has an empty box (minimum +inf, maximum -inf),
which no ray meets.

A *slot* is a place in leaf order: `slot_face[slot]` is the index of the face in the mesh as the
user gave it. The slots below a node are consecutive. The vertices of a face are in lexicographic
order of their coordinates, so that coincident faces give the same bits, even if their
windings differ.
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
    """A mesh ready for ray casting, made by `build`: flat arrays, see the top of this file.

    Attributes
    ----------
    nodes : (n_nodes, 4, 4) float32
    slot_face : (n_slots,) int32
    wide : Wide
        The same tree, eight-wide; see wide.py.
    vertices : (n_vertices, 3) float64
        In the local frame: `(world - centre) * scale`.
    faces : (n_faces, 3) int32
        The vertex indices of each face, in lexicographic order of the vertices' coordinates. The
        faces are in the user's order.
    mesh_faces : (n_faces, 3) int32
        The same faces, with the vertex indices in the user's order.
    centre : (3,) float64
        The place of the local frame's origin, in world coordinates.
    scale : float
        A power of two: local lengths per world length.
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
        """Return the hierarchy of the same faces with moved vertices, in half the time of `build`.

        Rays meet exactly the faces that they would meet after `build` with these vertices. The
        tree is kept and only its boxes are new, so rays take longer the more the vertices move
        apart.

        Parameters
        ----------
        vertices : (n_vertices, 3) float
            As many as the hierarchy was built with, in world coordinates.
        threads : int, optional
            By default one per processor.

        Returns
        -------
        Bvh
            A new hierarchy; this one is not changed.

        Raises
        ------
        ValueError
            If the shape differs, if a coordinate is not finite or is beyond 1e30, if no face has
            an area, or if a face that `build` left out has become visible.
        """
        vertices = np.ascontiguousarray(vertices, np.float64)
        if vertices.shape != self.vertices.shape:
            raise ValueError(
                f"vertices have shape {vertices.shape}; expected {self.vertices.shape}, as at build"
            )
        # "not <=" instead of ">": NaN must fail, too.
        if not np.abs(vertices).max() <= MAX_COORDINATE:
            raise ValueError(
                f"vertices hold NaN or numbers beyond {MAX_COORDINATE:g}; expected finite ones"
            )
        threads = threads or parallel.default_threads()
        mesh = prepare(vertices, self.mesh_faces, threads)
        if mesh.n_live == 0:
            raise ValueError("with these vertices no face has an area; expected at least one")
        # The kept tree has no slot for a face that `build` left out, so no ray could meet it.
        check_absent(self.slot_face, mesh)
        nodes = fit_boxes(self.nodes, self.slot_face, mesh, threads)
        return _bvh(mesh, self.mesh_faces, Tree(nodes, self.slot_face, self.depth), threads)


def build(vertices: np.ndarray, faces: np.ndarray, *, threads: int | None = None) -> Bvh:
    """Build the hierarchy of a checked mesh. The same input gives the same tree.

    Faces without area are left out, because no ray hits them. Where coincident faces pile up
    beyond one leaf, all but the first of them are left out, too.

    Parameters
    ----------
    vertices : (n_vertices, 3) float64
        In world coordinates, all finite.
    faces : (n_faces, 3) int32
        Every index is valid, and at least one face has an area.
    threads : int, optional
        By default one per processor. The tree is the same for any number.

    Returns
    -------
    Bvh
    """
    threads = threads or parallel.default_threads()
    mesh = prepare(vertices, faces, threads)
    tree = build_tree(mesh.references, mesh.n_live, mesh.box, mesh.vertices, mesh.corners, threads)
    return _bvh(mesh, faces, tree, threads)


def _bvh(mesh: Prepared, faces: np.ndarray, tree: Tree, threads: int) -> Bvh:
    """Collapse the tree and put all arrays together."""
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
