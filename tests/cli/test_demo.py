"""The shape that the demo renders."""

from __future__ import annotations

from collections import Counter

import numpy as np

import raydepth as rd
from raydepth.mesh.shapes import torus_knot


def test_the_knot_is_closed_and_faces_outwards():
    mesh = torus_knot(96, 12)
    edges = [(int(f[i]), int(f[(i + 1) % 3])) for f in mesh.faces for i in range(3)]
    assert max(Counter(edges).values()) == 1
    assert {(b, a) for a, b in edges} == set(edges)
    assert mesh.zero_area_faces == 0
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    assert volume > 0


def test_the_knot_fits_the_sphere():
    mesh = torus_knot()
    assert (mesh.name, len(mesh.faces), mesh.normalization) == ("torus_knot", 73_728, "sphere")
    assert np.isclose(np.linalg.norm(mesh.vertices, axis=1).max(), 0.5, rtol=1e-12)


def test_the_tube_is_round_and_does_not_touch_itself():
    """Each ring lies on a circle around the knot, and no ray passes from outside to inside."""
    mesh = torus_knot(384, 24)
    rings = mesh.vertices.reshape(384, 24, 3)
    radii = np.linalg.norm(rings - rings.mean(axis=1, keepdims=True), axis=2)
    np.testing.assert_allclose(radii, radii[0, 0], rtol=1e-9)
    # Seen from outside, every face that is met shows its front.
    cameras = rd.cameras.fibonacci(4, size=64)
    result = rd.render(mesh, cameras)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    for view in range(4):
        met = np.unique(result.triangle_id[view])[1:]
        towards = cameras.centres[view] - a[met]
        assert (np.einsum("ij,ij->i", normals[met], towards) > 0).all()
