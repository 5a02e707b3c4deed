"""Rendering through every camera model, and near and far limits: exact, on every path."""

from __future__ import annotations

import functools
import json
import math

import numpy as np
import pytest
import shapes
from mesh_files import write_obj
from oracle import brute_force_rays, ulps

import raydepth as rd
from raydepth.bench.peers import Rays
from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import (
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)
from raydepth.camera.poses import look_at
from raydepth.cli import commands
from raydepth.comparison.blender.reference import blender_job
from raydepth.dataset.settings import Settings, difference
from raydepth.rendering import affine_views, ray_views
from raydepth.rendering.frames import frames_of
from raydepth.runs.verify import verify_dataset
from raydepth.trace import view_frame

FIVE = [-0.25, 0.08, 2e-3, -1e-3, 0.01]
EIGHT = [0.21, -0.08, 9e-4, 1.7e-3, 0.013, 0.35, -0.05, 7e-3]
FOUR = [0.05, -0.012, 0.004, -0.0008]
SKEW = np.array([[0, 1.5, 2.0], [0, 2.0, -1.0], [0, 0, 0]])

# Name: model, intrinsics, distortion, size.
MODELS = {
    "perspective": ("perspective", perspective_intrinsics(80, (45, 38)) + SKEW, None, (45, 38)),
    "orthographic": ("orthographic", orthographic_intrinsics(1.5, (45, 38)) + SKEW, None, (45, 38)),
    "five": ("perspective", perspective_intrinsics(80, (45, 38)) + SKEW, FIVE, (45, 38)),
    "eight": ("perspective", perspective_intrinsics(80, (45, 38)), EIGHT, (45, 38)),
    "equidistant": ("fisheye", fisheye_intrinsics(280, (45, 38)) + SKEW, None, (45, 38)),
    "kannala": ("fisheye", fisheye_intrinsics(200, 41), FOUR, (41, 41)),
    "panorama": ("equirectangular", equirectangular_intrinsics((60, 30)), None, (60, 30)),
    "cubemap": ("cubemap", cubemap_intrinsics((96, 16)), None, (96, 16)),
}
NOT_AFFINE = [name for name in MODELS if name not in ("perspective", "orthographic")]


def cameras_of(name: str, poses=None, **more) -> Cameras:
    model, intrinsics, distortion, size = MODELS[name]
    if poses is None:
        eyes = [[0.02, -0.03, 0.05], [0.9, 0.5, -0.4], [0.0, 0.0, 2.0]]
        poses = look_at(eyes, [[1.0, 0.3, 0.2], [0, 0, 0], [0.1, 0, 0]])
    return Cameras(intrinsics, poses, size, model=model, distortion=distortion, **more)


@functools.cache
def directions_by_hand(name: str) -> np.ndarray:
    """Camera directions of all pixels by other means than lenses: (height, width, 3), 0 outside.

    Bisection for fisheyes, OpenCV's fixed-point iteration for distorted perspective.
    """
    model, intrinsics, distortion, (width, height) = MODELS[name]
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    result = np.zeros((height, width, 3))
    k = distortion or [0] * 4

    def image(t: float) -> float:
        return t * (1 + sum(k[i] * t ** (2 * i + 2) for i in range(4)))

    # A fisheye's image is looked for as far as it grows.
    angles = np.linspace(0, math.pi, 400001)
    grows = 1 + sum((2 * i + 3) * k[i] * angles ** (2 * i + 2) for i in range(4)) > 0
    end = math.pi if grows.all() else angles[np.argmin(grows)]
    for row in range(height):
        for column in range(width):
            b = (row + 0.5 - cy) / fy
            a = (column + 0.5 - cx - skew * b) / fx
            if model == "perspective":
                k1, k2, p1, p2, k3, k4, k5, k6 = [*(distortion or [0] * 5), 0, 0, 0][:8]
                x, y = a, b
                for _ in range(100):
                    r = x * x + y * y
                    q = (1 + r * (k1 + r * (k2 + r * k3))) / (1 + r * (k4 + r * (k5 + r * k6)))
                    x, y = (
                        (a - 2 * p1 * x * y - p2 * (r + 2 * x * x)) / q,
                        (b - p1 * (r + 2 * y * y) - 2 * p2 * x * y) / q,
                    )
                result[row, column] = x, y, 1.0
            elif model == "fisheye":
                radius = math.hypot(a, b)
                low, high = 0.0, end
                if radius >= image(end):
                    continue
                for _ in range(100):
                    middle = 0.5 * (low + high)
                    low, high = (middle, high) if image(middle) < radius else (low, middle)
                sine = math.sin(low) / (radius or 1.0)
                result[row, column] = a * sine, b * sine, math.cos(low)
            elif model == "equirectangular":
                if abs(b) < math.pi / 2 and -math.pi <= a < math.pi:
                    level = math.cos(b)
                    result[row, column] = math.sin(a) * level, math.sin(b), math.cos(a) * level
            elif model == "cubemap":
                side = height
                face, place = divmod(column, side)
                u, v = 2 * (place + 0.5) / side - 1, 2 * (row + 0.5) / side - 1
                x, y, z = (
                    (1, v, -u), (-1, v, u), (u, -1, v), (u, 1, -v), (u, v, 1), (-u, v, -1),
                )[face]  # fmt: skip
                result[row, column] = np.array([x, y, z]) / math.sqrt(u * u + v * v + 1)
    return result


def rays_by_hand(name: str, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """World rays (n, 3) of one view."""
    pose = camera.world_from_camera[0]
    if name != "orthographic":
        directions = directions_by_hand(name).reshape(-1, 3) @ pose[:3, :3].T
        return np.broadcast_to(pose[:3, 3], directions.shape), directions
    (fx, skew, cx), (_, fy, cy), _ = camera.intrinsics[0]
    y, x = (np.indices((camera.height, camera.width)).reshape(2, -1) + 0.5) - [[cy], [cx]]
    y = y / fy
    x = (x - skew * y) / fx
    origins = np.stack([x, y, 0 * x], axis=1) @ pose[:3, :3].T + pose[:3, 3]
    return origins, np.broadcast_to(pose[:3, 2], origins.shape)


# --- against the oracle ---------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"near": 0.45, "far": 1.1}], ids=["unlimited", "limited"])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exact(name, limits):
    """Hits, faces and depth of every pixel, from within the mesh and from outside."""
    vertices, faces = shapes.soup(21, n=150)
    cameras = cameras_of(name, **limits)
    kinds = ("z", "ray") if cameras.has_z else ("ray",)
    result = rd.render(rd.Mesh(vertices, faces), cameras, kind=kinds)
    n_hits = 0
    for view in range(len(cameras)):
        origins, directions = rays_by_hand(name, cameras[view])
        truth = brute_force_rays(
            vertices, faces, origins, directions, limits.get("near", 0.0),
            limits.get("far", np.inf),
        )  # fmt: skip
        sure = ~truth.uncertain
        assert sure.mean() > 0.99
        ids = result.triangle_id[view].ravel()
        assert (ids == truth.triangle_id)[sure].all()
        hit = (ids >= 0) & sure
        n_hits += hit.sum()
        length = np.linalg.norm(directions, axis=1)
        for kind in kinds:
            depth = getattr(result, f"{kind}_depth")[view].ravel()
            assert (np.isinf(depth) == (ids < 0)).all()
            expected = truth.t[hit] * (length[hit] if kind == "ray" else 1.0)
            assert ulps(depth[hit], expected).max(initial=0) <= 1
    assert n_hits > 100


@pytest.mark.parametrize("name", MODELS)
def test_a_closed_surface_has_no_leaks(name):
    mesh = rd.Mesh(*shapes.icosphere(levels=3))
    cameras = cameras_of(name, look_at([0.1, 0.05, -0.1], [1.0, 0.2, 0.3]))
    if name == "orthographic":
        return  # its rays begin outside
    field = (cameras.rays()[1] != 0).any(axis=-1)
    result = rd.render(mesh, cameras, kind="ray")
    assert ((result.triangle_id >= 0) == field).all()
    assert field.mean() > 0.5


def test_inside_a_cube_a_panorama_sees_its_walls():
    """The wall at distance 1/2 is met at 1 / (2 max |direction|)."""
    camera = Cameras(
        equirectangular_intrinsics((128, 64)), look_at([0, 0, 0], [1, 2, 3]), (128, 64),
        model="equirectangular",
    )  # fmt: skip
    depth = rd.render(rd.Mesh(*shapes.cube()), camera, kind="ray", dtype=np.float64).depth[0]
    longitude = (np.arange(128) + 0.5 - 64) * np.pi / 64
    latitude = (np.arange(64) + 0.5 - 32)[:, None] * np.pi / 64
    in_camera = np.stack(
        [
            np.sin(longitude) * np.cos(latitude),
            np.sin(latitude) + 0 * longitude,
            np.cos(longitude) * np.cos(latitude),
        ],
        axis=-1,
    )
    largest = np.abs(in_camera @ camera.world_from_camera[0, :3, :3].T).max(axis=-1)
    assert np.allclose(depth, 0.5 / largest, rtol=1e-14)


def test_z_of_a_distorted_view_is_a_distance_from_a_plane():
    camera = Cameras(perspective_intrinsics(80, 32), np.eye(4), 32, distortion=FIVE)
    mesh = rd.Mesh(*shapes.square(half=50.0, z=3.0))
    result = rd.render(mesh, camera, kind=("z", "ray"), dtype=np.float64)
    assert np.allclose(result.z_depth, 3.0, rtol=1e-15)
    directions = camera.rays()[1]
    assert np.allclose(result.ray_depth, 3.0 * np.linalg.norm(directions, axis=-1), rtol=1e-15)


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_the_same_bits_whatever_the_threads_and_views(name, monkeypatch):
    mesh = rd.Mesh(*shapes.soup(5, n=300))
    cameras = cameras_of(name)
    kinds = ("z", "ray") if cameras.has_z else ("ray",)
    one = rd.render(mesh, cameras, kind=kinds, threads=1)
    assert (one.triangle_id >= 0).mean() > 0.01
    for view in range(3):
        alone = rd.render(mesh, cameras[view], kind=kinds, threads=3)
        assert (alone.triangle_id[0] == one.triangle_id[view]).all()
        assert (alone.ray_depth[0] == one.ray_depth[view]).all()
    # Bands and tasks of few rows, such as large images have.
    monkeypatch.setattr(ray_views, "BAND_PIXELS", 10 * cameras.width)
    monkeypatch.setattr(ray_views.render_ray_by_ray, "__kwdefaults__", {"task_pixels": 200})
    small = rd.render(mesh, cameras, kind=kinds, threads=2, miss=-1.0)
    assert (small.triangle_id == one.triangle_id).all()
    hit = one.triangle_id >= 0
    assert (small.ray_depth[hit] == one.ray_depth[hit]).all()
    assert (small.ray_depth[~hit] == -1).all()


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_the_device_gives_the_same_bits(name, fake_cuda):
    mesh = rd.Mesh(*shapes.soup(5, n=300))
    cameras = cameras_of(name)
    kinds = ("z", "ray") if cameras.has_z else ("ray",)
    here = rd.render(mesh, cameras, kind=kinds, device="cpu")
    there = rd.render(mesh, cameras, kind=kinds, device="cuda")
    assert there.device == "cuda"
    assert "cast_rays" in [name for name, *_ in fake_cuda.launches]
    assert (there.triangle_id == here.triangle_id).all()
    assert (there.ray_depth == here.ray_depth).all()
    with pytest.raises(ValueError, match=r"to is 'device', but .* views go to main memory"):
        rd.render(mesh, cameras, kind="ray", device="cuda", to="device")
    flat = rd.cameras.fibonacci(1, size=16)
    pairs = [(mesh, views) for views in (flat, cameras, cameras, flat)]
    for options in ({}, {"values_per_unit": 9000}):
        found = list(rd.render_many(pairs, kind="ray", device="cuda", **options))
        expected = rd.render_many(pairs, kind="ray", device="cpu", **options)
        for our, their in zip(found, expected, strict=True):
            assert our.device == "cuda"
            assert our.depth.dtype == their.depth.dtype
            assert (our.depth == their.depth).all()


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_render_many_on_the_cpu(name):
    mesh, cameras = rd.Mesh(*shapes.cube()), cameras_of(name)
    (many,) = rd.render_many([(mesh, cameras)], kind="ray", device="cpu")
    assert (many.depth == rd.render(mesh, cameras, kind="ray").depth).all()


# --- near and far ---------------------------------------------------------------------------------


def walls(*z: float) -> rd.Mesh:
    squares = [shapes.square(half=60.0, z=at) for at in z]
    vertices = np.concatenate([v for v, _ in squares])
    faces = np.concatenate([f + 4 * i for i, (_, f) in enumerate(squares)])
    return rd.Mesh(vertices, faces)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["perspective", "orthographic", "five"])
def test_limits_act_on_z(name, device, fake_cuda):
    mesh = walls(1.0, 2.0, 3.0, -2.0)
    intrinsics = MODELS[name][1]
    for near, far, seen in (
        (None, None, 1.0), (1.5, None, 2.0), (1.5, 2.5, 2.0), (2.5, None, 3.0), (None, 2.5, 1.0),
        (3.5, None, np.inf), (1.2, 1.8, np.inf), (None, 0.5, np.inf), (1.9999, 2.0001, 2.0),
        (0.0, 1.0001, 1.0),
    ):  # fmt: skip
        model, _, distortion, size = MODELS[name]
        camera = Cameras(
            intrinsics, np.eye(4), size, model=model, distortion=distortion, near=near, far=far
        )
        result = rd.render(mesh, camera, kind=("z", "ray"), dtype=np.float64, device=device)
        assert np.allclose(result.z_depth, seen, rtol=1e-14), (near, far)
        assert (np.isinf(result.ray_depth) == np.isinf(seen)).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["equidistant", "panorama", "cubemap"])
def test_limits_act_on_ray_depth_where_there_is_no_z(name, device, fake_cuda):
    """Spheres in one another: each is met at about its radius."""
    parts = [shapes.icosphere(radius, levels=3) for radius in (1.0, 2.0, 3.0)]
    n = len(parts[0][0])
    mesh = rd.Mesh(
        np.concatenate([v for v, _ in parts]),
        np.concatenate([f + i * n for i, (_, f) in enumerate(parts)]),
    )
    for near, far, seen in ((None, None, 1), (1.5, 2.5, 2), (2.5, None, 3), (3.5, None, None)):
        camera = cameras_of(name, np.eye(4), near=near, far=far)
        result = rd.render(mesh, camera, kind="ray", device=device)
        field = (camera.rays()[1] != 0).any(axis=-1)
        if seen is None:
            assert np.isinf(result.depth).all()
            continue
        assert (np.isfinite(result.depth) == field).all()
        assert np.abs(result.depth[field] - seen).max() < 0.02 * seen


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_limits_are_each_views_own(device, fake_cuda):
    mesh = walls(1.0, 2.0, 3.0)
    camera = Cameras(
        perspective_intrinsics(50, 20), [np.eye(4)] * 3, 20, near=[0.0, 1.5, 2.5], far=9.0
    )
    depth = rd.render(mesh, camera, device=device).depth
    assert np.allclose(depth, np.array([1.0, 2.0, 3.0])[:, None, None])
    assert camera[1].near.tolist() == [1.5]
    assert camera[[2, 0]].near.tolist() == [2.5, 0.0]
    assert camera.far.tolist() == [9.0] * 3


@pytest.mark.parametrize("radius", [0.05, 0.4, 1.4])
@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_among_the_faces_nothing_changes(model, radius, monkeypatch):
    """Views that the tile kernel would be slow at are cast ray by ray, with the same result."""
    mesh = rd.Mesh(*shapes.soup(8, n=3000))
    name = "perspective" if model == "perspective" else "orthographic"
    poses = look_at(np.array([[1.0, 0.2, 0.1], [-0.3, 0.8, 0.5]]) * radius, [[0, 0, 0], [2, 0, 0]])
    cameras = cameras_of(name, poses)
    limited = cameras_of(name, poses, near=0.3, far=0.9)
    bvh = rd.build_bvh(mesh)
    nearest, farthest = view_frame.z_ranges(*bvh.box, frames_of(cameras, bvh).projection)
    box = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    corners = np.where(np.indices((2, 2, 2)).reshape(3, -1).T, box[1], box[0])
    z = ((corners - cameras.centres[:, None]) * cameras.world_from_camera[:, None, :3, 2]).sum(-1)
    assert np.allclose(nearest / bvh.scale, z.min(axis=1), atol=1e-6)
    assert np.allclose(farthest / bvh.scale, z.max(axis=1), atol=1e-6)
    assert (nearest / bvh.scale <= z.min(axis=1) + 1e-12).all(), "its box may be larger only"
    first = [rd.render(mesh, views) for views in (cameras, limited)]
    for range_ in ((-9.0, 9.0), (1e-9, 9.0)):  # ray by ray, in tiles
        monkeypatch.setattr(affine_views, "z_ranges", lambda *_, r=range_: np.tile(r, (2, 1)).T)
        for views, expected in zip((cameras, limited), first, strict=True):
            again = rd.render(mesh, views)
            assert (again.triangle_id == expected.triangle_id).all()
            assert (again.depth == expected.depth).all()


# --- files and data sets --------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_json_round_trips_are_exact(name):
    rng = np.random.default_rng(1)
    cameras = cameras_of(name, near=rng.uniform(0, 1, 3), far=rng.uniform(2, 3, 3))
    text = json.dumps([cameras[i].to_json() for i in range(3)], allow_nan=False)
    again = Cameras.from_json(json.loads(text))
    assert again.model == cameras.model
    for field in ("intrinsics", "world_from_camera", "distortion", "near", "far"):
        ours, theirs = getattr(cameras, field), getattr(again, field)
        assert (ours is None and theirs is None) or ours.tobytes() == theirs.tobytes()
    plain = cameras_of(name)[0].to_json()
    assert ("distortion" in plain) == (MODELS[name][2] is not None)
    assert not {"near", "far"} & set(plain)


@pytest.mark.parametrize("name", ["five", "kannala", "panorama", "cubemap", "perspective"])
def test_data_sets_with_every_model(name, tmp_path, monkeypatch, compiled, capsys):
    monkeypatch.chdir(tmp_path)
    write_obj(tmp_path / "ball.obj", *shapes.icosphere(levels=3))
    limits = {"near": 0.2, "far": 1.6}
    cameras = cameras_of(name, **limits)
    (tmp_path / "cameras.json").write_text(json.dumps([c.to_json() for c in cameras]))
    command = ["render", "ball.obj", "-o", "out", "--views", "cameras.json"]
    if not cameras.has_z:
        assert commands.main(command) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert f"kind is 'z', but {cameras.model} cameras have no z depth; ask for" in said[0]
        assert not (tmp_path / "out").exists()
    assert commands.main([*command, "--kind", "ray"]) == 0
    (stored,) = rd.open_dataset("out")
    assert stored.cameras.model == cameras.model
    expected = rd.render(rd.load_mesh("ball.obj"), cameras, kind="ray").depth
    for view in range(3):
        depth = stored.depth(view)
        hit = np.isfinite(depth)
        assert (hit == np.isfinite(expected[view])).all()
        assert np.abs(depth[hit] - expected[view][hit]).max(initial=0) <= 0.5001e-4
    found = verify_dataset("out", n_samples=500)
    assert found.problems == []
    assert found.n_pixels == 500
    # Files that were rendered with other limits are found out.
    for path in (tmp_path / "out").rglob("*.json"):
        path.write_text(
            path.read_text()
            .replace('"near": 0.2', '"near": 0.3')
            .replace('"far": 1.6', '"far": 0.4')
        )
    assert verify_dataset("out", n_samples=500).problems != []


def test_files_know_their_camera(tmp_path):
    camera = cameras_of("kannala", near=0.1)[1]
    depth = rd.render(rd.Mesh(*shapes.cube()), camera, kind="ray").depth[0]
    rd.write_depth(tmp_path / "a.png", depth, kind="ray", camera=camera)
    read = rd.read_depth(tmp_path / "a.png").camera
    assert read.to_json() == camera.to_json()
    with pytest.raises(ValueError, match="fisheye cameras have no z depth"):
        rd.write_depth(tmp_path / "b.png", depth, kind="z", camera=camera)
    assert not (tmp_path / "b.png").exists()


def test_a_data_set_with_other_limits_is_another():
    with_limits, without = (
        Settings(cameras_of("panorama", **limits), kind="ray").to_json()
        for limits in ({"near": 0.1}, {})
    )
    for there, here in ((with_limits, without), (without, with_limits)):
        assert difference(there, here) == "other cameras (view 0 differs in near)"
    with pytest.raises(ValueError, match="equirectangular cameras have no z depth"):
        Settings(cameras_of("panorama"))


def test_info_names_the_model(tmp_path, capsys):
    camera = cameras_of("kannala", near=0.1)[1]
    depth = rd.render(rd.Mesh(*shapes.cube()), camera, kind="ray").depth[0]
    rd.write_depth(tmp_path / "a.png", depth, kind="ray", camera=camera)
    assert commands.main(["info", str(tmp_path / "a.png")]) == 0
    said = capsys.readouterr().out
    assert "distorted fisheye at (0.9, 0.5, -0.4), fx " in said
    assert "near 0.1 units" in said


# --- what is refused ------------------------------------------------------------------------------

K, EYE = perspective_intrinsics(60, 16), np.eye(4)
CUBE = rd.Mesh(*shapes.cube())
FISH = cameras_of("kannala")
LIMITED = cameras_of("perspective", near=0.5)

REFUSED = [
    (lambda: rd.render(CUBE, FISH), "kind is 'z', but fisheye cameras have no z"),
    (lambda: rd.render(CUBE, FISH, kind=("ray", "z")), "ask for kind 'ray'"),
    (lambda: list(rd.render_many([(CUBE, FISH)])), "fisheye cameras have no z depth"),
    (lambda: FISH.unproject(None, 1.0), "fisheye cameras have no z depth"),
    (lambda: FISH.unproject(None, 1.0, "depth"), "kind is 'depth'; expected 'z' or 'ray'"),
    (lambda: FISH.unproject(None, [1.0, 2.0], "ray"), r"depth has shape \(2,\); expected \(3, 41"),
    (lambda: FISH.rays([[1.0, 2.0]] * 2), r"pixels has shape \(2, 2\); expected \(3, ..., 2\)"),
    (lambda: FISH.rays([1.0, 2.0]), r"pixels has shape \(2,\)"),
    (lambda: FISH.project([1.0, 2.0]), r"points has shape \(2,\); expected \(..., 3\)"),
    (lambda: FISH.project("here"), "points is not an array of numbers"),
    (lambda: FISH.ray_basis(), "the rays of distorted fisheye cameras are not affine"),
    (lambda: cameras_of("five").ray_basis(), "distorted perspective cameras are not affine"),
    (lambda: rd.blender.blender_from_cameras(FISH), "cameras are distorted fisheye; expected"),
    (
        lambda: rd.blender.blender_from_cameras(LIMITED),
        "near or far limits, which are not converted",
    ),
    (lambda: blender_job(CUBE, FISH, "camera", 1), "cameras are distorted fisheye; expected"),
    (
        lambda: blender_job(CUBE, LIMITED, "camera", 1),
        "near or far limits, which are not converted",
    ),
    (lambda: Rays.of(FISH), "the rays of distorted fisheye cameras are not affine"),
    (lambda: Cameras(K * [0, 1, 1], EYE, 16, model="fisheye"), "fx of view 0 is 0.0; expected"),
    (lambda: Cameras(K * np.nan, EYE, 16, model="fisheye"), "intrinsics of view 0 is not finite"),
    (lambda: Cameras(K, np.diag([1, 1, -1, 1.0]), 16, model="fisheye"), "mirrored"),
    (lambda: Cameras(K, np.diag([2, 1, 1, 1.0]), 16, model="equirectangular"), "not orthonormal"),
    (lambda: Cameras(K, EYE, 16, distortion=[0.1] * 4), r"shape \(4,\); expected 5 or 8 param"),
    (lambda: Cameras(K, EYE, 16, distortion=0.1), r"distortion has shape \(1,\); expected"),
    (
        lambda: Cameras(K, EYE, 16, model="fisheye", distortion=[0.1] * 5),
        r"distortion has shape \(5,\); expected 4 parameters for fisheye",
    ),
    (lambda: Cameras(K, EYE, 16, distortion=[[0.1] * 5] * 2), "is given for 2 views, poses for 1"),
    (lambda: Cameras(K, EYE, 16, distortion="none"), "distortion is not an array of numbers"),
    (lambda: Cameras(K, EYE, 16, distortion=[0, 0, np.inf, 0, 0]), "distortion of view 0 is .*inf"),
    (
        lambda: Cameras(K, EYE, 16, model="orthographic", distortion=[0.1] * 5),
        "distortion is given, but orthographic cameras have none",
    ),
    (lambda: Cameras(K, EYE, 16, near=2, far=2), "near of view 0 is 2.0, far 2.0; expected near"),
    (lambda: Cameras(K, EYE, 16, near=-1), "near of view 0 is -1.0; expected units, 0 or more"),
    (lambda: Cameras(K, EYE, 16, far=0), "far of view 0 is 0.0; expected units, above 0"),
    (lambda: Cameras(K, EYE, 16, near=np.nan), "near of view 0 is nan; expected finite"),
    (lambda: Cameras(K, EYE, 16, far=np.inf), "far of view 0 is inf; expected finite"),
    (lambda: Cameras(K, EYE, 16, near=[1, 2]), r"near has shape \(2,\); expected a number or"),
    (lambda: Cameras(K, EYE, 16, near="close"), "near is not a number"),
    (
        lambda: Cameras(K, EYE, (16, 16), model="cubemap"),
        "size of a cubemap is 16x16; expected six square faces side by side, such as 96x16",
    ),
    (
        lambda: Cameras(K, EYE, (96, 16), model="cubemap"),
        r"intrinsics of view 0 are \[\[.*; expected \[\[8.0, 0.0, 8.0\].* for cubemap faces of 16",
    ),
    (
        lambda: Cameras.from_json([LIMITED[0].to_json(), cameras_of("perspective")[0].to_json()]),
        "one of cameras 1 and 0 has near, the other does not",
    ),
    (lambda: rd.cast_rays(CUBE, [0, 0, 2], [0, 0, -1], t_min=-1), "t_min is -1; expected"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[m[:40] for _, m in REFUSED])
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_limits_on_the_device_are_the_cpus(seed, fake_cuda):
    """Seen from outside and from among the faces; what is too near, too far, and neither."""
    mesh = rd.Mesh(*shapes.soup(seed, n=400))
    rng = np.random.default_rng(seed)
    for radius in (0.2, 1.5):
        for options in ({}, {"ortho_width": 1.2}):
            given = rd.cameras.fibonacci(3, size=(50, 33), radius=radius, **options)
            near = radius + rng.uniform(-0.4, 0.3, 3)
            views = Cameras(
                given.intrinsics, given.world_from_camera, (50, 33), model=given.model,
                near=np.maximum(near, 0.0), far=np.maximum(near, 0.0) + rng.uniform(0.05, 0.6, 3),
            )  # fmt: skip
            kinds = ("z", "ray")
            ours = rd.render(mesh, views, kind=kinds, dtype=np.float64, device="cuda")
            theirs = rd.render(mesh, views, kind=kinds, dtype=np.float64, device="cpu")
            (of_many,) = rd.render_many([(mesh, views)], kind=kinds, dtype=float, device="cuda")
            free = rd.render(mesh, given, device="cpu")
            assert (theirs.triangle_id != free.triangle_id).any()
            assert (theirs.triangle_id >= 0).any()
            further = ("z", "coverage", "thickness", "hits", "normal")
            here = rd.render(mesh, views, outputs=further, device="cpu")
            there = rd.render(mesh, views, outputs=further, device="cuda")
            for name in further:
                np.testing.assert_array_equal(there[name], here[name])
            for found in (ours, of_many):
                assert (found.triangle_id == theirs.triangle_id).all()
                assert (found.z_depth == theirs.z_depth).all()
                assert (found.ray_depth == theirs.ray_depth).all()


def test_rays_on_the_device_begin_where_they_are_told_to(fake_cuda):
    rng = np.random.default_rng(0)
    mesh = rd.Mesh(*shapes.soup(4, n=400))
    origins, directions = rng.normal(size=(2, 500, 3))
    directions -= origins
    for t_min in (0.0, 0.7, 1.1):
        ours = rd.cast_rays(mesh, origins, directions, t_min=t_min, device="cuda")
        theirs = rd.cast_rays(mesh, origins, directions, t_min=t_min, device="cpu")
        assert (theirs.triangle_id >= 0).any()
        assert (theirs.distance >= t_min).all()
        for our, their in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(our, their)


@pytest.mark.parametrize("model", ["perspective", "fisheye"])
def test_sizes_beyond_memory(model):
    """Refused before memory is asked for, which a system may promise and not have."""
    views = Cameras(K, [EYE] * 10000, 65535, model=model)
    with pytest.raises(MemoryError, match=r"10000 .* 65535x65535\) need \d+\.\d GiB; render") as no:
        rd.render(CUBE, views, kind="ray")
    assert "\n" not in str(no.value)


def test_cast_rays_from_a_distance():
    """Each hit begins where the last one ended: all four walls of a cube in a cube."""
    vertices, faces = shapes.cube()
    mesh = rd.Mesh(np.concatenate([vertices, vertices / 2]), np.concatenate([faces, faces + 8]))
    t, found = 0.0, []
    for _ in range(5):
        t = float(
            rd.cast_rays(mesh, [0.1, 0.2, 2.0], [0, 0, -2.0], t_min=np.nextafter(t, 9)).distance
        )
        found.append(t)
    assert found == pytest.approx([0.75, 0.875, 1.125, 1.25, math.inf], rel=1e-15)
