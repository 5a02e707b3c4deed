"""Single rays: against all faces and the tile kernel bit for bit, closed forms, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import every_face
import numpy as np
import pytest
import shapes
from oracle import ulps

import raydepth as rd
from raydepth.trace import rays, tiles

SHAPES = {
    "one": lambda: (np.eye(3), [(0, 1, 2)]),
    "cube": shapes.cube,
    "icosphere": lambda: shapes.icosphere(levels=4),
    "soup": lambda: shapes.soup(11, n=600),
    "dust": lambda: shapes.soup(12, n=40000, size=0.004),
    "needles": lambda: shapes.needles(1, n=2000),
    "terrain": shapes.terrain_with_screw,
    # Large enough for leaves to wait for their data.
    "large": lambda: shapes.icosphere(levels=7),
}


def camera_rays(cameras: rd.Cameras):
    """Origins and directions of every pixel, (n_views, height, width, 3)."""
    o, ox, oy, d, dx, dy = np.moveaxis(cameras.ray_basis()[:, :, None, None], 1, 0)
    x = (np.arange(cameras.width) + 0.5)[:, None]
    y = (np.arange(cameras.height) + 0.5)[:, None, None]
    return o + x * ox + y * oy, d + x * dx + y * dy


def stepped_rays(cameras: rd.Cameras, bvh):
    """The same rays, computed with the kernel's own order of operations, in the local frame."""
    from raydepth.rendering.frames import frames_of

    basis = frames_of(cameras, bvh).basis[:, :, None, None]
    x = (np.arange(cameras.width) + 0.5)[:, None]
    y = (np.arange(cameras.height) + 0.5)[:, None, None]
    origin = basis[:, 0] + x * basis[:, 1] + y * basis[:, 2]
    return origin, basis[:, 3] + x * basis[:, 4] + y * basis[:, 5]


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.5, 300.0])
@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("name", SHAPES)
def test_tiles_see_what_single_rays_see(name, model, radius):
    """Two kernels of different bounds on their float32: the same faces, or one is wrong."""
    vertices, faces = SHAPES[name]()
    vertices = vertices / np.abs(vertices).max() / 2
    mesh = rd.Mesh(vertices, faces)
    bvh = rd.build_bvh(mesh)
    assert (bvh.wide.leaves.nbytes > tiles.BIG) == (name == "large")
    fov = 60.0 if radius < 10 else 0.2
    lens = {"fov_deg": fov} if model == "perspective" else {"ortho_width": 1.1}
    eyes = np.array([[0.6, -0.5, 0.4], [-0.1, 0.9, -0.6], [0.0, 0.0, 1.0]]) * max(radius, 1e-3)
    poses = rd.cameras.look_at(eyes, [0.01, 0.02, 0.0])
    placed = rd.cameras.fibonacci(3, size=(75, 50), **lens)
    cameras = rd.Cameras(placed.intrinsics, poses, (75, 50), model=model)

    result = rd.render(mesh, cameras)
    origin, direction = stepped_rays(cameras, bvh)
    shape = np.broadcast_shapes(origin.shape, direction.shape)
    n = int(np.prod(shape[:-1]))
    origin = np.ascontiguousarray(np.broadcast_to(origin, shape).reshape(-1, 3))
    direction = np.ascontiguousarray(np.broadcast_to(direction, shape).reshape(-1, 3))
    distance, ids, weights = np.empty(n), np.empty(n, np.int32), np.empty((n, 3))
    rays.cast(*bvh.wide, bvh.vertices, bvh.faces, origin, direction, distance, ids, weights)
    assert (result.triangle_id.ravel() == ids).all()
    hit = ids >= 0
    assert ulps(result.depth.ravel()[hit], distance[hit] / bvh.scale).max(initial=0) <= 1


@pytest.mark.parametrize("name", SHAPES)
def test_any_rays_meet_what_every_face_was_asked_about(name):
    """Within, around and far from the mesh, of any length, along axes, through vertices."""
    vertices, faces = SHAPES[name]()
    bvh = rd.build_bvh(rd.Mesh(vertices, faces))
    rng = np.random.default_rng(7)
    n = min(10_000, 60_000_000 // len(faces))
    sizes = 10.0 ** rng.choice([-2, 0, 0.5, 3, 9], (n, 1))
    origins = rng.normal(size=(n, 3)) * sizes
    targets = bvh.vertices[rng.integers(0, len(bvh.vertices), n)]
    targets = targets + rng.normal(size=(n, 3)) * rng.choice([0.0, 1e-7, 1e-3, 1.0], (n, 1))
    directions = (targets - origins) * rng.choice([1.0, -1.0], (n, 1), p=[0.9, 0.1])
    # Along an axis, or in a plane of two, or nearly so.
    directions *= rng.choice([0.0, 1e-40, 1e-9, 1.0], (n, 3), p=[0.15, 0.05, 0.05, 0.75])
    directions *= 10.0 ** rng.choice([-300.0, -40.0, 0.0, 0.0, 40.0, 150.0], (n, 1))
    for t_min in (0.0, 1.0):
        distance, ids = every_face.nearest(bvh, origins, directions, t_min)
        found = np.empty(n), np.empty(n, np.int32), np.empty((n, 3))
        rays.cast(*bvh.wide, bvh.vertices, bvh.faces, origins, directions, *found, t_min)
        np.testing.assert_array_equal(found[1], ids)
        np.testing.assert_array_equal(found[0], distance)
        assert 0 < (ids >= 0).sum() < n


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_cast_rays_gives_the_rendered_depth(model):
    lens = {} if model == "perspective" else {"ortho_width": 1.2}
    mesh = rd.Mesh(*shapes.icosphere(levels=4))
    cameras = rd.cameras.random(2, size=(40, 30), **lens)
    result = rd.render(mesh, cameras, dtype=np.float64)
    hits = rd.cast_rays(mesh, *camera_rays(cameras))
    assert hits.distance.shape == (2, 30, 40)
    same = hits.triangle_id == result.triangle_id
    assert same.mean() > 0.999, "rounding of the rays may tip pixels on an edge"
    finite = same & np.isfinite(hits.distance)
    assert np.allclose(hits.distance[finite], result.depth[finite], rtol=1e-13, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_barycentric_weights_give_the_hit(seed):
    vertices, faces = shapes.soup(seed)
    rng = np.random.default_rng(seed)
    faces = rng.permuted(faces, axis=1)
    mesh = rd.Mesh(vertices, faces)
    origins, directions = rng.uniform(-1, 1, (2, 5, 200, 3))
    distance, ids, weights = rd.cast_rays(mesh, origins, directions)
    hit = ids >= 0
    assert 0.1 < hit.mean() < 1
    assert (np.isinf(distance) == ~hit).all()
    assert np.isnan(weights[~hit]).all()
    assert np.allclose(weights[hit].sum(axis=-1), 1)
    assert (weights[hit] >= 0).all()
    points = np.einsum("nc,nck->nk", weights[hit], vertices[faces[ids[hit]]])
    assert np.allclose(points, (origins + distance[..., None] * directions)[hit], atol=1e-12)
    # A hierarchy, refitted or not, knows the order of the mesh's vertices, too.
    for bvh in (rd.build_bvh(mesh), rd.build_bvh(mesh).refit(vertices)):
        again = rd.cast_rays(bvh, origins, directions)
        assert (again.triangle_id == ids).all()
        assert np.array_equal(again.barycentric, weights, equal_nan=True)


def test_shapes_broadcast():
    mesh = rd.Mesh(*shapes.cube())
    one = rd.cast_rays(mesh, [0, 0, 2], [0, 0, -2])
    assert one.distance.shape == ()
    assert one.distance == 0.75
    many = rd.cast_rays(mesh, [0, 0, 2], np.tile([0.0, 0.0, -1.0], (4, 5, 1)), threads=3)
    assert (many.distance == 1.5).all()
    assert many.barycentric.shape == (4, 5, 3)
    assert rd.cast_rays(mesh, np.empty((0, 3)), [0, 0, 1]).distance.shape == (0,)


def test_a_direction_of_length_0_hits_nothing():
    hits = rd.cast_rays(rd.Mesh(*shapes.cube()), [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]])
    assert hits.triangle_id[0] == -1
    assert hits.distance[1] == 0.5


def test_axis_parallel_rays_in_the_faces_of_boxes():
    """Zero direction components, origins exactly in the planes of node boxes."""
    vertices, faces = shapes.cube()
    grid = np.linspace(-0.5, 0.5, 9)
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    for axis in range(3):
        origins = np.insert(np.stack([x, y], axis=1), axis, 2.0, axis=1)
        hits = rd.cast_rays(rd.Mesh(vertices, faces), origins, -np.eye(3)[axis])
        assert (hits.distance == 1.5).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_any_scale(scale):
    vertices, faces = shapes.cube(0.5 * scale)
    hits = rd.cast_rays(rd.Mesh(vertices, faces), [0, 0, 2 * scale], [0, 0, -1])
    assert hits.distance == pytest.approx(1.5 * scale, rel=1e-15)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mesh": None}, TypeError, "mesh is a NoneType"),
        ({"origins": [0, 0]}, ValueError, r"origins has shape \(2,\); expected"),
        ({"directions": 3.0}, ValueError, r"directions has shape \(\)"),
        ({"origins": "here"}, ValueError, "origins is not an array of numbers"),
        (
            {"origins": np.zeros((2, 3)), "directions": np.ones((4, 3))},
            ValueError,
            "expected shapes that broadcast",
        ),
        ({"threads": 0}, ValueError, "threads is 0"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"mesh": rd.Mesh(*shapes.cube()), "origins": [0, 0, 2], "directions": [0, 0, 1]}
    with pytest.raises(error, match=message) as caught:
        rd.cast_rays(**arguments | change)
    assert "\n" not in str(caught.value)


# --- extremes -------------------------------------------------------------------------------------

TRIANGLE = rd.Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])


def test_a_ray_that_starts_on_a_face_hits_it_at_0():
    hits = rd.cast_rays(TRIANGLE, [0.2, 0.3, 0.0], [[0, 0, -1], [0, 0, 2]], device="cpu")
    assert hits.distance.tolist() == [0.0, 0.0]
    assert not np.signbit(hits.distance).any()
    at_1 = rd.cast_rays(TRIANGLE, [0.2, 0.3, 1.0], [0, 0, -1], t_min=1.0, device="cpu")
    assert (at_1.distance, at_1.triangle_id) == (1.0, 0)
    beyond = np.nextafter(1.0, 2.0)
    missed = rd.cast_rays(TRIANGLE, [0.2, 0.3, 1.0], [0, 0, -1], t_min=beyond, device="cpu")
    assert missed.distance == np.inf


def test_a_pixel_sees_nothing_at_0():
    """A camera whose centre lies on a face: depth is above 0, as ever."""
    pose = np.eye(4)
    pose[:3, 3] = 0.2, 0.3, 0.0
    cameras = rd.Cameras(rd.cameras.perspective_intrinsics(60, 16), pose, 16)
    assert (rd.render(TRIANGLE, cameras, device="cpu").triangle_id == -1).all()


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rays_that_are_not_finite_miss(part, value):
    """Such as raydepth's own output "point", whose misses are NaN."""
    rays_in = np.array([[[0.2, 0.3, 1.0]] * 3, [[0.0, 0.0, -1.0]] * 3])
    rays_in[part, 1, 2] = value
    hits = rd.cast_rays(TRIANGLE, *rays_in, device="cpu")
    assert hits.triangle_id.tolist() == [0, -1, 0]
    assert np.isnan(hits.barycentric[1]).all()


FUZZ = """
import sys, warnings
import numpy as np
import raydepth as rd
warnings.simplefilter("error")
rng = np.random.default_rng(int(sys.argv[1]))
for _ in range(6):
    size = 10.0 ** rng.uniform(-30, 29)
    mesh = rd.Mesh(rng.normal(size=(90, 3)) * size, np.arange(90).reshape(-1, 3))
    scales = 10.0 ** rng.uniform(-300, 300, (2, 200, 1))
    origins, directions = rng.normal(size=(2, 200, 3)) * scales
    for t_min in (0.0, 10.0 ** rng.uniform(-300, 300)):
        hits = rd.cast_rays(mesh, origins, directions, t_min=t_min, device="cpu")
        assert ((hits.triangle_id >= 0) == np.isfinite(hits.distance)).all()
        assert (hits.distance >= t_min).all()
    poses = rd.cameras.look_at(rng.normal(size=(2, 3)) * 10.0 ** rng.uniform(-30, 29), [0, 0, 0])
    for model, kind, lens, shape in (
        ("perspective", "z", rd.cameras.perspective_intrinsics(40, (24, 16)), (24, 16)),
        ("orthographic", "z", rd.cameras.orthographic_intrinsics(size, (24, 16)), (24, 16)),
        ("fisheye", "ray", rd.cameras.fisheye_intrinsics(170, (24, 16)), (24, 16)),
        ("equirectangular", "ray", rd.cameras.equirectangular_intrinsics((24, 16)), (24, 16)),
        ("cubemap", "ray", rd.cameras.cubemap_intrinsics((24, 4)), (24, 4)),
    ):
        for limits in ({}, {"near": size / 2, "far": size * 2}):
            cameras = rd.Cameras(lens, poses, shape, model=model, **limits)
            outputs = (kind, "hits", "thickness", "coverage", "smooth_normal", "point")
            seen = rd.render(mesh, cameras, outputs=outputs, device="cpu")
            assert ((seen.triangle_id >= 0) == np.isfinite(seen[kind])).all()
"""


@pytest.mark.parametrize("seed", range(3))
def test_no_finite_input_ends_the_interpreter(seed):
    """Origins 1e-300 to 1e300, meshes 1e-30 to 1e29, in a child process; `cast_rays` from 1e100."""
    result = subprocess.run(
        [sys.executable, "-c", FUZZ, str(seed)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    far = rd.cast_rays(TRIANGLE, [0.2, 0.3, 1e100], [0, 0, -1], device="cpu")
    assert far.triangle_id in (-1, 0)
