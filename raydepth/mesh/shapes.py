"""A shape made in code, so that raydepth can be tried without a mesh file."""

from __future__ import annotations

import numpy as np

from raydepth.mesh.mesh import Mesh


def torus_knot(n_along: int = 768, n_around: int = 48, tube: float = 0.28) -> Mesh:
    """A closed tube around a (2, 3) torus knot, normalised into the sphere of radius 0.5.

    Parameters
    ----------
    n_along, n_around : int
        Numbers of quads along and around the tube; each quad is two faces.
    tube : float
        Radius of the tube, in units in which the torus of the knot has radii 1 and 0.4.
    """
    s = np.linspace(0.0, 2.0 * np.pi, n_along, endpoint=False)
    radius = 1.0 + 0.4 * np.cos(3.0 * s)
    knot = np.stack([radius * np.cos(2 * s), radius * np.sin(2 * s), 0.6 * np.sin(3 * s)], axis=1)
    tangent = np.roll(knot, -1, axis=0) - np.roll(knot, 1, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # The direction away from the axis is never parallel to this knot, so it gives a closed frame.
    outward = knot * [1.0, 1.0, 0.0]
    side = np.cross(tangent, outward)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(side, tangent)
    angle = np.linspace(0.0, 2.0 * np.pi, n_around, endpoint=False)[None, :, None]
    ring = np.cos(angle) * other[:, None] + np.sin(angle) * side[:, None]
    vertices = (knot[:, None] + tube * ring).reshape(-1, 3)

    i, j = np.meshgrid(np.arange(n_along), np.arange(n_around), indexing="ij")
    a = i * n_around + j
    b = (i + 1) % n_along * n_around + j
    c = (i + 1) % n_along * n_around + (j + 1) % n_around
    d = i * n_around + (j + 1) % n_around
    faces = np.stack([a, c, b, a, d, c], axis=-1).reshape(-1, 3)
    return Mesh(vertices, faces, name="torus_knot").normalized("sphere")
