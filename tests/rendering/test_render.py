"""Rendered depth against closed forms and the brute-force oracle, promise by promise."""

from __future__ import annotations

import numpy as np
import pytest
import shapes
from oracle import assert_exact, brute_force, ulps

import raydepth as rd

SEEDS = range(4)


def view_cameras(model: str, n: int = 3, *, radius: float = 1.5, size=(48, 40), seed: int = 1):
    """Cameras all around, with an off-centre principal point, skew and non-square pixels."""
    lens = {"fov_deg": 45.0} if model == "perspective" else {"ortho_width": 1.3}
    cameras = rd.cameras.random(n, seed=seed, radius=radius, size=size, **lens)
    intrinsics = cameras.intrinsics.copy()
    intrinsics[:, 0, 1] = 0.02 * intrinsics[:, 0, 0]
    intrinsics[:, 1, 1] *= 1.1
    intrinsics[:, :2, 2] += [1.7, -2.3]
    return rd.Cameras(intrinsics, cameras.world_from_camera, size, model=model)


def moved(cameras: rd.Cameras, scale: float, offset: np.ndarray) -> rd.Cameras:
    """The cameras that see a scaled and shifted world as these see the original."""
    poses = cameras.world_from_camera.copy()
    poses[:, :3, 3] = poses[:, :3, 3] * scale + offset
    intrinsics = cameras.intrinsics.copy()
    if cameras.model == "orthographic":
        intrinsics[:, :2, :2] /= scale
    return rd.Cameras(intrinsics, poses, (cameras.width, cameras.height), model=cameras.model)


def check(vertices, faces, cameras, **limits) -> rd.Rendering:
    """Render both kinds and hold every view against the oracle."""
    result = rd.render(rd.Mesh(vertices, faces), cameras, kind=("z", "ray"))
    for view in range(len(cameras)):
        assert_exact(result, view, brute_force(vertices, faces, cameras[view]), **limits)
    return result


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("seed", SEEDS)
def test_soup_matches_brute_force(model, seed):
    vertices, faces = shapes.soup(seed)
    result = check(vertices, faces, view_cameras(model), max_uncertain=0.05)
    assert 0.1 < (result.triangle_id >= 0).mean() <= 1


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_the_face_is_the_oracles(model):
    vertices, faces = shapes.soup(7)
    cameras = view_cameras(model, 1)
    truth = brute_force(vertices, faces, cameras)
    found = rd.render(rd.Mesh(vertices, faces), cameras).triangle_id[0]
    assert (found == truth.triangle_id)[~truth.uncertain].all()


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize(
    ("scale", "offset"),
    [(s, 0.0) for s in (1e-9, 1e-4, 1e4, 1e9)] + [(1.0, 1e4), (1.0, 1e7), (1e-2, 1e4), (1e9, 1e7)],
)
def test_any_scale_and_offset(model, scale, offset):
    """The bound does not depend on the units nor on where the mesh stands."""
    vertices, faces = shapes.soup(3)
    shift = offset * np.array([1.0, -0.7, 0.4])
    cameras = moved(view_cameras(model), scale, shift)
    check(vertices * scale + shift, faces, cameras, max_uncertain=0.05)


@pytest.mark.parametrize("make", [shapes.cube, shapes.icosphere, shapes.terrain_with_screw])
def test_solid_shapes_match_brute_force(make):
    vertices, faces = make()
    size = np.abs(vertices).max()
    check(vertices, faces, moved(view_cameras("perspective"), 2 * size, np.zeros(3)))


def test_needles_match_brute_force():
    vertices, faces = shapes.needles(0)
    check(vertices, faces, view_cameras("perspective"), max_uncertain=0.05)


def test_screw_on_terrain_is_seen():
    vertices, faces = shapes.terrain_with_screw()
    camera = rd.Cameras(
        rd.cameras.perspective_intrinsics(10, 32),
        rd.cameras.look_at([10.0, 10.002, 3.01], [10.0, 10.0, 3.0]),
        32,
    )
    result = check(vertices, faces, camera)
    assert (result.triangle_id >= len(faces) - 12).any()


def test_camera_inside():
    vertices, faces = shapes.icosphere(2.0)
    result = check(vertices, faces, view_cameras("perspective"), max_uncertain=0.05)
    assert (result.triangle_id >= 0).all()


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_grazing_plane(model):
    """A plane seen at a thousandth of a radian: depth varies fastest, the bound stays."""
    vertices, faces = shapes.square(half=1000.0)
    lens = {"fov_deg": 20.0} if model == "perspective" else {"ortho_width": 1.0}
    camera = rd.cameras.on_sphere(
        [[np.cos(1e-3), 0.0, np.sin(1e-3)]], radius=100.0, size=(40, 41), **lens
    )
    check(vertices, faces, camera, max_uncertain=0.1)


def test_tilted_plane_closed_form():
    """z = z0 / (1 - n . (x, y)) for a plane through (0, 0, z0), to the last bit but one."""
    corners = np.array([(-9.0, -9.0), (9.0, -9.0), (9.0, 9.0), (-9.0, 9.0)])
    slope = np.array([0.3, -0.2])
    vertices = np.column_stack([corners, 2.0 + corners @ slope])
    camera = rd.Cameras(rd.cameras.perspective_intrinsics(60, 64), np.eye(4), 64)
    result = rd.render(rd.Mesh(vertices, [(0, 1, 2), (0, 2, 3)]), camera, kind=("z", "ray"))
    pixel = (np.arange(64) + 0.5 - 32) * np.tan(np.radians(30)) / 32
    x, y = np.meshgrid(pixel, pixel)
    z = 2.0 / (1.0 - slope[0] * x - slope[1] * y)
    assert ulps(result.z_depth[0], z).max() <= 1
    assert ulps(result.ray_depth[0], z * np.sqrt(x * x + y * y + 1)).max() <= 1


def test_sphere_closed_form():
    """Between the inscribed and the circumscribed sphere of the tessellation."""
    vertices, faces = shapes.icosphere(0.5, levels=5)
    cameras = rd.cameras.fibonacci(6, size=64)
    result = rd.render(rd.Mesh(vertices, faces), cameras, kind="ray")
    inner = np.linalg.norm(vertices[faces].mean(axis=1), axis=1).min()
    half = np.tan(np.radians(20)) * (np.arange(64) + 0.5 - 32) / 32
    x, y = np.meshgrid(half, half)
    cosine = 1 / np.sqrt(x * x + y * y + 1)
    outer_hit = 1.5 * cosine - np.sqrt(np.maximum(0, 0.25 - 2.25 * (1 - cosine**2)))
    inner_room = inner**2 - 2.25 * (1 - cosine**2)
    inner_hit = 1.5 * cosine - np.sqrt(np.maximum(0, inner_room))
    sure = inner_room > 0
    for depth in result.depth:
        assert (depth[sure] >= outer_hit[sure] - 1e-6).all()
        assert (depth[sure] <= inner_hit[sure] + 1e-6).all()
        assert np.isinf(depth[2.25 * (1 - cosine**2) > 0.25]).all()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_ray_leaks_through_vertices_and_edges(inside, seed):
    """Rays aimed at every vertex and edge midpoint of a closed shape, from in and outside."""
    vertices, faces = shapes.icosphere(0.5, levels=3)
    eye = np.random.default_rng(seed).normal(size=3)
    eye *= (0.3 if inside else 1.5) / np.linalg.norm(eye)
    # A ray through the silhouette may pass by; keep vertices all of whose faces are turned to us.
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    facing = np.einsum("ij,ij->i", np.cross(b - a, c - a), eye - a)
    least = np.full(len(vertices), np.inf)
    np.minimum.at(least, faces, (-facing if inside else facing)[:, None])
    edges = np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]])
    targets = np.concatenate(
        [vertices[least > 0], vertices[edges[(least[edges] > 0).all(axis=1)]].mean(axis=1)]
    )
    assert len(targets) > 300
    # One camera per target; its image of one pixel has its only ray straight ahead.
    poses = rd.cameras.look_at(np.broadcast_to(eye, targets.shape), targets)
    cameras = rd.Cameras([[1e3, 0, 0.5], [0, 1e3, 0.5], [0, 0, 1]], poses, 1)
    result = rd.render(rd.Mesh(vertices, faces), cameras, kind="ray")
    assert (result.triangle_id >= 0).all()
    # And nothing is seen through the surface, either.
    assert np.allclose(result.depth.ravel(), np.linalg.norm(targets - eye, axis=1), rtol=1e-6)


def test_no_ray_leaks_through_a_grid_of_exact_edges():
    """Pixel centres that fall exactly on the edges and vertices of a cube's faces."""
    vertices, faces = shapes.cube(0.5)
    for axis in np.vstack([np.eye(3), -np.eye(3)]):
        camera = rd.cameras.on_sphere([axis], radius=2.0, ortho_width=1.0, size=65)
        inner = rd.render(rd.Mesh(vertices, faces), camera).depth[0]
        assert (inner == 1.5).all()


def test_same_bits_for_any_threads_and_batch():
    vertices, faces = shapes.soup(5, n=1000)
    mesh, cameras = rd.Mesh(vertices, faces), view_cameras("perspective", 5, size=(70, 50))
    one = rd.render(mesh, cameras, threads=1)
    many = rd.render(mesh, cameras, threads=7)
    assert one.depth.tobytes() == many.depth.tobytes()
    assert one.triangle_id.tobytes() == many.triangle_id.tobytes()
    for view in (4, 0, 2):
        alone = rd.render(mesh, cameras[view])
        assert alone.depth[0].tobytes() == one.depth[view].tobytes()


def test_lowest_of_coincident_faces():
    """Whatever the winding, the first vertex, and whether vertices are shared."""
    rng = np.random.default_rng(0)
    vertices, faces = shapes.icosphere(0.5, levels=2)
    copies = [rng.permuted(faces, axis=1) for _ in range(3)]
    apart = np.concatenate([vertices, vertices])
    all_faces = np.concatenate([*copies, faces + len(vertices)])
    order = rng.permutation(len(all_faces))
    shuffled = all_faces[order]
    lowest = np.full(len(faces), len(shuffled))
    np.minimum.at(lowest, order % len(faces), np.arange(len(shuffled)))
    found = rd.render(rd.Mesh(apart, shuffled), view_cameras("perspective")).triangle_id
    assert np.isin(found[found >= 0], lowest).all()
    assert (found >= 0).any()


def test_zero_area_faces_are_never_hit():
    vertices, faces = shapes.square()
    lines = np.array([(0, 0, 2), (1, 3, 3), (2, 2, 2)], np.int32)
    camera = rd.cameras.on_sphere([(0, 0, 1)], size=33)
    mesh = rd.Mesh(vertices, np.concatenate([lines, faces]))
    result = rd.render(mesh, camera)
    assert mesh.zero_area_faces == 3
    assert (result.triangle_id >= 3).all()


def test_both_sides_are_seen():
    vertices, faces = shapes.square()
    cameras = rd.cameras.on_sphere([(0, 0, 1), (0, 0, -1)], radius=2.0, size=8)
    assert (rd.render(rd.Mesh(vertices, faces), cameras).depth == 2.0).all()


def test_nothing_behind_the_camera_is_seen():
    vertices, faces = shapes.square(z=-1.0)
    for lens in ({"fov_deg": 40.0}, {"ortho_width": 1.0}):
        camera = rd.cameras.on_sphere([(0, 0, -1)], radius=2.0, size=8, **lens)
        away = rd.Cameras(
            camera.intrinsics,
            rd.cameras.look_at([0, 0, -2], [0, 0, -3]),
            8,
            model=camera.model,
        )
        mesh = rd.Mesh(vertices, faces)
        assert (rd.render(mesh, camera).triangle_id >= 0).any()
        assert (rd.render(mesh, away).triangle_id == -1).all()


def test_miss_dtype_and_kinds():
    mesh = rd.Mesh(*shapes.icosphere())
    cameras = rd.cameras.ring(2, size=(20, 16))
    default = rd.render(mesh, cameras)
    assert default.depth.shape == (2, 16, 20)
    assert default.depth.dtype == np.float32
    assert (np.isinf(default.depth) == (default.triangle_id == -1)).all()
    zero = rd.render(mesh, cameras, miss=0.0, dtype=np.float64)
    assert zero.depth.dtype == np.float64
    assert ((zero.depth == 0) == (zero.triangle_id == -1)).all()
    hit = default.triangle_id >= 0
    assert (zero.depth[hit].astype(np.float32) == default.depth[hit]).all()
    assert np.isnan(rd.render(mesh, cameras, miss=np.nan).depth[~hit]).all()
    both = rd.render(mesh, cameras, kind=("ray", "z"))
    assert (both.z_depth == default.depth).all()
    assert (both.ray_depth[hit] > both.z_depth[hit]).all()
    with pytest.raises(ValueError, match="use z_depth or ray_depth"):
        _ = both.depth
    with pytest.raises(ValueError, match="ray depth was not rendered"):
        _ = default.ray_depth


def test_orthographic_kinds_are_equal():
    mesh = rd.Mesh(*shapes.icosphere())
    camera = rd.cameras.ring(1, ortho_width=1.2, size=16)
    both = rd.render(mesh, camera, kind=("z", "ray"), dtype=np.float64)
    assert np.allclose(both.z_depth, both.ray_depth, rtol=1e-15, atol=0)


def test_a_hierarchy_renders_like_its_mesh():
    mesh, cameras = rd.Mesh(*shapes.icosphere()), rd.cameras.ring(2, size=16)
    bvh = rd.build_bvh(mesh)
    assert rd.build_bvh(mesh) is bvh
    assert (rd.render(bvh, cameras).depth == rd.render(mesh, cameras).depth).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "depth"}, ValueError, r"kind is 'depth'; expected 'z' or 'ray'$"),
        ({"kind": ()}, ValueError, "kind is"),
        ({"kind": ("z", "z")}, ValueError, "kind is"),
        ({"device": "gpu"}, ValueError, r"device is 'gpu'; expected one of auto, cpu, cuda"),
        ({"dtype": np.float16}, ValueError, r"dtype is float16; expected float32 or float64"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"mesh": "bunny.ply"}, TypeError, r"mesh is a str; expected a raydepth\.Mesh"),
        ({"cameras": None}, TypeError, r"cameras is a NoneType"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"mesh": rd.Mesh(*shapes.cube()), "cameras": rd.cameras.ring(1, size=4)} | change
    with pytest.raises(error, match=message) as caught:
        rd.render(**arguments)
    assert "\n" not in str(caught.value)


REAL = {
    "scans/stanford_bunny.obj": ("sphere", 40),
    "scans/armadillo_29k.obj": ("sphere", 40),
    "scenes/race_field_instanced.glb": ("cube", 32),
}


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("path", REAL)
def test_real_meshes_match_brute_force(shared_meshes, path, model):
    normalize, size = REAL[path]
    mesh = rd.load_mesh(shared_meshes / path, normalize=normalize)
    cameras = view_cameras(model, 2, size=size)
    check(mesh.vertices, mesh.faces, cameras, max_uncertain=0.03)


def test_cornell_box_from_inside(shared_meshes):
    mesh = rd.load_mesh(shared_meshes / "scenes/CornellBox-Original.obj")
    middle = mesh.bounds.mean(axis=0)
    ways = np.array([(1, 0.1, 0.2), (-1, 0.3, 0), (0.1, -1, 0.1), (0.2, 0.1, -1)])
    eyes = np.broadcast_to(middle + np.array([0.1, 0.2, 0.3]), ways.shape)
    poses = rd.cameras.look_at(eyes, eyes + ways, up="y")
    cameras = rd.Cameras(rd.cameras.perspective_intrinsics(90, 48), poses, 48)
    result = check(mesh.vertices, mesh.faces, cameras, max_uncertain=0.05)
    assert (result.triangle_id >= 0).mean() > 0.5


def test_oracle_is_sensitive():
    """The comparison that every other test relies on does notice planted errors."""
    vertices, faces = shapes.icosphere()
    camera = rd.cameras.ring(1, size=32)
    truth = brute_force(vertices, faces, camera)
    result = rd.render(rd.Mesh(vertices, faces), camera, kind=("z", "ray"))
    row, column = np.argwhere((truth.triangle_id >= 0) & ~truth.uncertain)[0]

    def planted(array, value):
        array = array.copy()
        array[0, row, column] = value
        return array

    z = result.z_depth[0, row, column]
    off = np.nextafter(np.nextafter(z, np.float32(9)), np.float32(9))
    for triangle_id, depth, message in (
        (planted(result.triangle_id, -1), result.z_depth, "hit or miss wrongly"),
        (result.triangle_id, planted(result.z_depth, off), "ulps off"),
    ):
        wrong = rd.Rendering(
            triangle_id, ("z", "ray"), np.inf, "cpu", camera,
            {"z": depth, "ray": result.ray_depth},
        )  # fmt: skip
        with pytest.raises(AssertionError, match=message):
            assert_exact(wrong, 0, truth)
