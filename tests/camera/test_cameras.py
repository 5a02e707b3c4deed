"""Cameras: geometry, placements, axes, JSON, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import raydepth as rd
from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import perspective_intrinsics
from raydepth.camera.placements import frames, rings, solids, spread, table
from raydepth.camera.poses import look_at
from raydepth.cameras import from_spec, on_sphere

K = perspective_intrinsics(40, 64)


def rays(cameras: Cameras, x: float, y: float):
    basis = cameras.ray_basis()
    return basis[:, 0] + x * basis[:, 1] + y * basis[:, 2], basis[:, 3] + x * basis[
        :, 4
    ] + y * basis[:, 5]


def test_intrinsics_from_field_of_view():
    k = perspective_intrinsics(90, (640, 480))
    assert k[0, 0] == pytest.approx(320)
    assert (k[0, 2], k[1, 2]) == (320, 240)
    tall = perspective_intrinsics(90, (480, 640))
    assert tall[1, 1] == pytest.approx(320), "across the longer side"


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_rays_pass_through_the_points_they_image(model):
    """Project random points with the matrices; the ray of that pixel passes through them."""
    rng = np.random.default_rng(0)
    lens = {"fov_deg": 50.0} if model == "perspective" else {"ortho_width": 2.0}
    placed = rd.cameras.random(20, seed=3, size=(64, 48), **lens)
    intrinsics = placed.intrinsics + np.array([[0, 1.5, 3.0], [0, 2.0, -4.0], [0, 0, 0]])
    cameras = Cameras(intrinsics, placed.world_from_camera, (64, 48), model=model)
    for view in range(20):
        point = rng.uniform(-0.5, 0.5, 3)
        c = cameras.camera_from_world[view] @ [*point, 1.0]
        image = cameras.intrinsics[view] @ (
            [*(c[:2] / c[2]), 1] if model[0] == "p" else [*c[:2], 1]
        )
        origin, direction = rays(cameras[view], *image[:2])
        assert np.allclose(origin[0] + c[2] * direction[0], point, atol=1e-14)


def test_first_row_is_up_and_columns_go_right():
    camera = rd.cameras.ring(1, elevation=0.0)  # at +x, looking along -x, z up
    right, down = camera.world_from_camera[0, :3, 0], camera.world_from_camera[0, :3, 1]
    assert np.allclose(right, [0, 1, 0])
    assert np.allclose(down, [0, 0, -1])


@pytest.mark.parametrize("up", ["x", "y", "z", (1.0, 2.0, -0.5)])
def test_look_at_is_a_rotation_everywhere(up):
    directions = spread.fibonacci(500)
    axis = frames.up_frame(up)[:, 2]
    poles = [sign * axis for sign in (1, -1)]
    near = [
        p + d * size
        for p, d, size in itertools.product(poles, directions[::50], (1e-3, 1e-9, 1e-17))
    ]
    eyes = np.concatenate([directions, poles, near]) * 1.5
    poses = look_at(eyes, up=up)
    rotation = poses[:, :3, :3]
    assert np.isfinite(poses).all()
    assert np.abs(np.swapaxes(rotation, 1, 2) @ rotation - np.eye(3)).max() < 1e-14
    assert np.allclose(np.linalg.det(rotation), 1)
    forward = -eyes / np.linalg.norm(eyes, axis=1, keepdims=True)
    assert np.allclose(rotation[:, :, 2], forward, atol=1e-15)
    # The image's up has no sideways part, except within the caps at the poles.
    outside = np.linalg.norm(np.cross(forward, axis), axis=1) > 1e-3
    assert np.abs(rotation[outside, :, 0] @ axis).max() < 1e-12
    assert (rotation[outside, :, 1] @ axis < 0).all()


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("sign", [1, -1])
def test_look_at_is_continuous_at_the_poles(up, sign):
    frame = frames.up_frame(up)
    pole = sign * frame[:, 2]
    at_pole = look_at(pole, up=up)
    for azimuth in np.linspace(0, 2 * np.pi, 16):
        towards = frame[:, 0] * np.cos(azimuth) + frame[:, 1] * np.sin(azimuth)
        for tilt in (1e-6, 1e-9, 1e-12):
            near = look_at(pole * np.cos(tilt) + towards * np.sin(tilt), up=up)
            assert np.abs(near - at_pole).max() < 2e3 * tilt + 1e-14


def test_look_at_comes_to_the_pole_along_azimuth_0():
    """Coming from +x, z up, nothing turns at all."""
    for tilt in np.geomspace(1e-8, 0.1, 30):
        pose = look_at([np.sin(tilt), 0, np.cos(tilt)])[0]
        assert np.allclose(pose[:3, 0], [0, 1, 0], atol=1e-12)


def test_placements():
    for n in (1, 2, 7, 100):
        assert len(rd.cameras.fibonacci(n)) == n
    for name, arguments in (
        ("fibonacci", {"n": 200}),
        ("ring", {"n": 12, "elevation": -20.0}),
        ("dodecahedron", {}),
        ("random", {"n": 50}),
    ):
        directions = table.PLACEMENTS[name](**arguments)
        assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-15)
    assert np.allclose(spread.fibonacci(1000).mean(axis=0), 0, atol=1e-3)
    ring = rings.ring(12, 30.0)
    assert np.allclose(ring[:, 2], 0.5)
    assert np.allclose(ring[0, 1], 0)
    assert ring[3, 1] > 0.8
    dots = solids.dodecahedron() @ solids.dodecahedron().T
    assert ((dots > 0.74) & (dots < 0.75)).sum(axis=1).tolist() == [3] * 20, "3 neighbours each"


def test_fibonacci_spreads_evenly():
    d = spread.fibonacci(200)
    nearest = np.sort(np.arccos(np.clip(d @ d.T, -1, 1)), axis=1)[:, 1]
    assert nearest.min() > 0.6 * np.sqrt(4 * np.pi / 200)


def test_random_is_seeded_and_uniform():
    a, b, c = (spread.random(20000, seed) for seed in (5, 5, 6))
    assert (a == b).all()
    assert (a != c).any()
    assert np.abs(a.mean(axis=0)).max() < 0.02
    assert np.allclose((a**2).mean(axis=0), 1 / 3, atol=0.01)


def test_up_turns_the_placement():
    z_up, y_up = rd.cameras.ring(4), rd.cameras.ring(4, up="y")
    assert np.allclose(z_up.centres[:, 2], 0.75)
    assert np.allclose(y_up.centres[:, 1], 0.75)
    assert np.allclose(y_up.world_from_camera[:, 1, 1], -np.cos(np.radians(30))), "y is up"


def test_on_sphere_distance_and_aim():
    cameras = rd.cameras.fibonacci(30, radius=2.5, size=(10, 6))
    assert np.allclose(np.linalg.norm(cameras.centres, axis=1), 2.5)
    origin, direction = rays(cameras, 5, 3)
    assert np.allclose(origin + 2.5 * direction, 0, atol=1e-14)


def test_indexing_and_length():
    cameras = rd.cameras.fibonacci(6)
    assert len(cameras) == 6
    assert len(cameras[2]) == 1
    assert (cameras[-1].centres == cameras.centres[5:]).all()
    assert (cameras[1:3].centres == cameras.centres[1:3]).all()
    assert (cameras[[4, 0]].centres == cameras.centres[[4, 0]]).all()
    assert len(list(cameras)) == 6
    with pytest.raises(IndexError):
        cameras[6]


def test_cameras_cannot_be_changed():
    cameras = rd.cameras.fibonacci(2)
    with pytest.raises(ValueError, match="read-only"):
        cameras.world_from_camera[0, 0, 0] = 2


def test_axes_convert_both_ways():
    pose = look_at([1.0, 2.0, 3.0])
    opengl = rd.cameras.opengl_from_opencv(pose)
    assert np.allclose(opengl[0, :3, 2], -pose[0, :3, 2]), "looks along -z"
    assert np.allclose(opengl[0, :3, 1], -pose[0, :3, 1]), "y up"
    assert (rd.cameras.opencv_from_opengl(opengl) == pose).all()


def test_json_round_trip_is_exact():
    cameras = rd.cameras.random(5, size=(30, 20), fov_deg=33.3)
    again = Cameras.from_json([cameras[i].to_json() for i in range(5)])
    assert again.world_from_camera.tobytes() == cameras.world_from_camera.tobytes()
    assert again.intrinsics.tobytes() == cameras.intrinsics.tobytes()
    assert (again.width, again.height, again.model) == (30, 20, "perspective")
    assert len(Cameras.from_json(cameras[0].to_json())) == 1


def test_from_spec():
    assert len(from_spec("fibonacci:24")) == 24
    assert len(from_spec("dodecahedron", size=8)) == 20
    assert np.allclose(from_spec("ring:4,elevation=0,up=y").centres[:, 1], 0)
    same = rd.cameras.random(3, seed=9).centres == from_spec("random:3,seed=9").centres
    assert same.all()


def bad_pose(**change):
    pose = np.eye(4)
    for index, value in change.items():
        pose[int(index[1]), int(index[2])] = value
    return pose


def text(camera, **change):
    return camera.to_json() | change


ONE = rd.cameras.ring(1)

BAD = [
    (lambda: Cameras(K, np.eye(4), 64, model="pinhole"), "model is 'pinhole'; expected"),
    (lambda: Cameras(K, np.eye(4), 0), "size is 0; expected"),
    (lambda: Cameras(K, np.eye(4), (64, 64.5)), "size is"),
    (lambda: Cameras(K, np.eye(4), (64, 65536)), "1 to 65535"),
    (lambda: Cameras(K, np.eye(3), 64), r"world_from_camera has shape \(1, 3, 3\)"),
    (lambda: Cameras(K, bad_pose(m03=np.nan), 64), "world_from_camera of view 0 is not finite"),
    (lambda: Cameras(K, bad_pose(m00=1.1), 64), r"not orthonormal \(by 0\.21\)"),
    (lambda: Cameras(K, bad_pose(m22=-1), 64), "mirrored"),
    (lambda: Cameras(K, bad_pose(m30=1), 64), "last row other than 0 0 0 1"),
    (lambda: Cameras(K, bad_pose(m03=1e31), 64), r"beyond 1e\+30"),
    (lambda: Cameras(K * [0, 1, 1], np.eye(4), 64), "fx of view 0 is 0.0; expected"),
    (lambda: Cameras(K * [[1], [-1], [1]], np.eye(4), 64), "fy of view 0 is -"),
    (lambda: Cameras(K + np.eye(3)[[1, 0, 2]], np.eye(4), 64), "intrinsics do not have the form"),
    (lambda: Cameras(np.full((3, 3), np.inf), np.eye(4), 64), "intrinsics of view 0 is not finite"),
    (lambda: Cameras([K] * 3, [np.eye(4)] * 2, 64), "are given for 3 views, poses for 2"),
    (lambda: Cameras("K", np.eye(4), 64), "intrinsics is not an array of numbers"),
    (lambda: perspective_intrinsics(180, 64), "fov_deg is 180; expected"),
    (lambda: rd.cameras.orthographic_intrinsics(0, 64), "ortho_width is 0; expected"),
    (lambda: look_at([0, 0]), "eye has shape"),
    (lambda: look_at([0, 0, np.nan]), "not finite"),
    (lambda: look_at([1, 2, 3], [1, 2, 3]), "same point"),
    (lambda: look_at([1, 2, 3], up="w"), "up is 'w'; expected"),
    (lambda: look_at([1, 2, 3], up=(0, 0, 0)), r"up is \(0, 0, 0\); expected"),
    (lambda: on_sphere([(0, 0, 1)], radius=-1), "radius is -1; expected"),
    (lambda: on_sphere([(0, 0, 1)], fov_deg=40, ortho_width=1), "both given"),
    (lambda: rd.cameras.fibonacci(0), "number of views is 0"),
    (lambda: from_spec("fibonacci:99999999999999999999"), "expected 1 to 1000000"),
    (lambda: rd.cameras.ring(3, elevation=91), "elevation is 91"),
    (lambda: rd.cameras.random(3, seed=-1), "seed is -1"),
    (lambda: from_spec("spiral:3"), "unknown placement 'spiral'; expected one of fibonacci"),
    (lambda: from_spec("fibonacci"), "lacks its number of views"),
    (lambda: from_spec("fibonacci:x"), "n is 'x'; expected a whole number"),
    (lambda: from_spec("ring:3,tilt=2"), "'tilt=2' is not understood; ring takes n, elevation, "),
    (lambda: from_spec("ring:3,elevation=up"), "elevation is 'up'; expected a number"),
    (lambda: from_spec("ring:3,elevation="), "is not understood"),
    (lambda: rd.cameras.fibonacci(2).to_json(), "one view, got 2"),
    (lambda: Cameras.from_json([]), "no cameras"),
    (lambda: Cameras.from_json({"model": "perspective"}), "camera 0 lacks width"),
    (lambda: Cameras.from_json([ONE.to_json(), text(ONE, width=3)]), "camera 1 has width 3"),
    (lambda: Cameras.from_json(text(ONE, axes="opengl")), "axes 'opengl'"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_cameras(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
