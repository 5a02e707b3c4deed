"""Coverage from contours against a ray for every sample, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from shapes import cube, icosphere, soup

import raydepth as rd
from raydepth.camera.intrinsics import perspective_intrinsics
from raydepth.outputs import contours, coverage, scanlines


def by_rays(mesh, cameras, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(coverage, "MOST_SLACK", -1.0)
        return rd.render(mesh, cameras, outputs="coverage")["coverage"]


class Spied:
    """`scanlines.cover`, and what it returned."""

    def __init__(self, monkeypatch):
        self.results = []
        self.cover = scanlines.cover
        monkeypatch.setattr(scanlines, "cover", self)

    def __call__(self, *args):
        self.results.append(self.cover(*args))
        return self.results[-1]


def check(mesh, cameras, monkeypatch, contoured=True):
    """Contours and rays agree; returns the coverage and what contours returned of each band."""
    with monkeypatch.context() as patch:
        spied = Spied(patch)
        found = rd.render(mesh, cameras, outputs="coverage", threads=1)["coverage"]
    assert bool(spied.results) == contoured
    assert found.tobytes() == by_rays(mesh, cameras, monkeypatch).tobytes()
    return found, spied.results


def apart(vertices, faces):
    """Faces that share no vertices, as in an STL file."""
    return vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3)


def some(vertices, faces, seed=0):
    """With holes, of all sizes."""
    return vertices, faces[np.random.default_rng(seed).random(len(faces)) < 0.8]


def turned_about(vertices, faces, seed=0):
    """Half of the faces the other way round."""
    flipped = np.random.default_rng(seed).random(len(faces)) < 0.5
    return vertices, np.where(flipped[:, None], faces[:, ::-1], faces)


def with_more_on_its_edges(vertices, faces, seed=0):
    """Edges with three faces and more, faces that stand twice, corners that are one."""
    rng = np.random.default_rng(seed)
    further = rng.integers(len(vertices), size=(20, 3))
    return vertices, np.concatenate([faces, further, faces[:9], faces[9:15, [0, 0, 1]]])


def needles(width, seed=0, n=40):
    """Long faces, `width` wide."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-0.5, 0.5, (2, n, 3))
    return apart(
        np.concatenate([a, b, a + width * rng.normal(size=(n, 3))]),
        np.arange(3 * n).reshape(3, n).T,
    )


def waves(seed=0):
    """A sheet that hides parts of itself."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 24), np.linspace(-0.5, 0.5, 24), indexing="ij")
    z = 0.1 * np.sin(14 * x) * np.cos(9 * y + x)
    i = np.arange(23 * 24).reshape(23, 24)[:, :-1].ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 25], 1), np.stack([i, i + 25, i + 24], 1)])
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), faces


SHAPES = {
    "closed": icosphere(0.5, 3),
    "apart": apart(*icosphere(0.5, 2)),
    "with holes": some(*icosphere(0.5, 3)),
    "turned about": turned_about(*some(*icosphere(0.5, 3))),
    "not a surface": with_more_on_its_edges(*icosphere(0.5, 2)),
    "one face": soup(1, n=1),
    "soup": soup(4, n=40),
    "waves": waves(),
    "needles of a sample": needles(2e-3),
    "needles of a thousandth": needles(2e-6),
    "needles of nothing": needles(1e-13),
    "tiny": (1e-9 * icosphere(0.5, 2)[0], icosphere(0.5, 2)[1]),
    "far away": (icosphere(0.5, 2)[0] + [3e5, -2e5, 1e5], icosphere(0.5, 2)[1]),
}


def around(vertices, model, size=(90, 70)):
    """Views from outside: one of all of the shape, and one of a part of it."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    centre, radius = (low + high) / 2, np.linalg.norm(high - low) / 2
    towards = np.array([[0.3, -0.5, 0.8], [-0.7, 0.4, 0.3]])
    poses = rd.cameras.look_at(centre + 3 * radius * towards, [centre, centre + radius / 2])
    intrinsics = perspective_intrinsics(45, size)
    if model == "orthographic":
        intrinsics[:2, :2] *= 0.4 / radius
    return rd.Cameras(intrinsics, poses, size, model=model)


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_contours_say_what_rays_say(shape, model, monkeypatch):
    vertices, faces = SHAPES[shape]
    found, _ = check(rd.Mesh(vertices, faces), around(vertices, model), monkeypatch)
    # All that is seen of these is below what 4 x 4 samples find.
    if shape not in ("needles of a thousandth", "needles of nothing"):
        assert ((found > 0) & (found < 1)).any()


@pytest.mark.parametrize(
    "mesh", ["scans/bunny_3k.off", "scans/stanford_bunny.obj", "formats/multibody.stl"]
)
def test_real_meshes(mesh, shared_meshes, monkeypatch):
    mesh = rd.load_mesh(shared_meshes / mesh, normalize="sphere")
    check(mesh, rd.cameras.fibonacci(3, size=160), monkeypatch)


def test_edges_on_samples_are_left_to_rays(monkeypatch):
    # Every edge of the cube runs along a row or a column of samples.
    camera = rd.Cameras(
        np.array([[8.0, 0, 8.125], [0, 8, 8.125], [0, 0, 1]]),
        rd.cameras.look_at([[0, 0, -3.0]], [0, 0, 0]),
        16,
        model="orthographic",
    )
    found, results = check(rd.Mesh(*cube(0.5)), camera, monkeypatch)
    assert results == [True]
    assert (found == 1).any()


def test_what_is_seen_edge_on_is_left_to_rays(monkeypatch):
    vertices, faces = cube(0.5)
    camera = rd.Cameras(
        np.array([[8.0, 0, 8.3], [0, 8, 8.3], [0, 0, 1]]),
        rd.cameras.look_at([[0, 0, -3.0]], [0, 0, 0]),
        16,
        model="orthographic",
    )
    # The four sides have no width in the image, and so much as rounding gives them in the second.
    for bent in (0.0, 1e-16):
        moved = vertices + bent * np.arange(24).reshape(8, 3)
        check(rd.Mesh(moved, faces), camera, monkeypatch)


def test_bands_of_one_view_share_its_contours(monkeypatch):
    mesh, cameras = rd.Mesh(*some(*icosphere(0.5, 3))), rd.cameras.fibonacci(2, size=(300, 200))
    with monkeypatch.context() as patch:
        spied = Spied(patch)
        found = rd.render(mesh, cameras, outputs="coverage", threads=3)["coverage"]
    assert len(spied.results) > 4
    assert found.tobytes() == by_rays(mesh, cameras, monkeypatch).tobytes()


def test_views_among_the_faces_and_limits_take_rays(monkeypatch):
    vertices, faces = some(*icosphere(0.5, 2))
    mesh = rd.Mesh(vertices, faces)
    inside = rd.Cameras(
        perspective_intrinsics(100, 40), rd.cameras.look_at([[0.1, 0, 0.2]], [0.3, 0, 0]), 40
    )
    check(mesh, inside, monkeypatch, contoured=False)
    outside = around(vertices, "perspective")
    limited = rd.Cameras(
        outside.intrinsics, outside.world_from_camera, (90, 70), near=2.3, far=2.6
    )  # fmt: skip
    found, _ = check(mesh, limited, monkeypatch, contoured=False)
    assert found.any()


def test_more_contours_than_pay_take_rays(monkeypatch):
    mesh = rd.Mesh(*soup(3, n=3000, size=0.5))
    check(mesh, rd.cameras.fibonacci(1, size=24), monkeypatch, contoured=False)


def test_more_faces_than_can_be_counted_take_rays(monkeypatch):
    n = scanlines.FIELD_BIAS
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    height = np.repeat(np.linspace(-0.5, 0.5, n), 4)
    vertices = np.column_stack([np.tile(square, (n, 1)), height])
    faces = (4 * np.arange(n)[:, None, None] + [[0, 1, 2], [0, 2, 3]]).reshape(-1, 3)
    camera = rd.Cameras(
        np.array([[40.0, 0, 600], [0, 2.0, 2], [0, 0, 1]]),
        rd.cameras.look_at([[0, 0, -3.0]], [0, 0, 0]),
        (1200, 900),
        model="orthographic",
    )
    check(rd.Mesh(vertices, faces), camera, monkeypatch, contoured=False)
    # Each square has two sides; of half of the squares they can be.
    check(rd.Mesh(vertices, faces[: 2 * (n // 2)]), camera, monkeypatch)


def test_vertices_at_one_place_are_one():
    vertices, faces = icosphere(0.5, 2)
    for shape in ((vertices, faces), apart(vertices, faces), apart(vertices * [1, 1, -1], faces)):
        edges = contours.edges_of(*shape)
        # All but those for which neither face has room.
        assert (edges.steps != 0).sum() + len(edges.other_ends) == len(faces) * 3 // 2
        assert len(edges.other_ends) < 0.1 * len(faces)
        assert set(np.diff(edges.firsts)) <= {2}


def test_edges_of_one_face_and_of_many():
    vertices, faces = cube(0.5)
    whole = contours.edges_of(vertices, faces)
    assert (whole.steps != 0).sum() + len(whole.other_ends) == 18
    # Without one face, and with a fin on the edge of two others.
    (start, end), apex = whole.ends[6, 0], len(vertices)
    assert not {start, end} <= set(faces[0])
    changed = np.concatenate([faces[1:], [[start, end, apex]]])
    edges = contours.edges_of(np.append(vertices, [[2.0, 2, 2]], axis=0), changed)
    counts = np.diff(edges.firsts)
    assert sorted(counts[counts != 2]) == [1, 1, 1, 1, 1, 3]
    assert 2 * (edges.steps != 0).sum() + edges.firsts[-1] == 3 * len(changed)


def test_neighbours_far_apart_in_the_file(monkeypatch):
    # Steps between them do not fit into 16 bits.
    vertices, faces = waves()
    n = 40_000
    rng = np.random.default_rng(0)
    corner = rng.uniform(-0.5, 0.5, (n, 1, 3))
    speckles = (corner + 1e-3 * rng.normal(size=(n, 3, 3))).reshape(-1, 3)
    between = np.arange(3 * n).reshape(n, 3) + len(vertices)
    shuffled = np.concatenate([faces[::2], between, faces[1::2]])
    edges = contours.edges_of(np.concatenate([vertices, speckles]), shuffled)
    assert np.diff(edges.firsts).tolist().count(2) > 500
    mesh = rd.Mesh(np.concatenate([vertices, speckles]), shuffled)
    check(mesh, rd.cameras.fibonacci(2, size=500), monkeypatch)
