"""Cameras between Blender and raydepth, against how Blender itself projects."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from blender_runs import GOLDEN

import raydepth as rd
from raydepth.blender.convert import BlenderCamera, blender_from_cameras, cameras_from_blender

VIEWS = json.loads((GOLDEN / "projections.json").read_text())["views"]
POSE = rd.cameras.opengl_from_opencv(rd.cameras.look_at((1.0, -2.0, 0.5)))[0]
VIEW = {"matrix_world": POSE, "resolution_x": 640, "resolution_y": 480}

# Blender's own numbers are float32, and so are the products they enter.
FEW_ULPS = 4 * 2.0**-24


def as_float32(camera: BlenderCamera) -> BlenderCamera:
    """The camera as Blender's fields hold it."""
    rounded = {
        name: float(np.float32(value))
        for name, value in vars(camera).items()
        if isinstance(value, float)
    }
    return dataclasses.replace(
        camera, matrix_world=np.float32(camera.matrix_world).astype(float), **rounded
    )


def blender_pixels(view: dict, points: np.ndarray) -> np.ndarray:
    """Where Blender's projection matrix puts points given in its camera's axes."""
    camera = BlenderCamera(matrix_world=np.eye(4), **view["camera"])
    x, y, w = np.array(view["projection"]) @ np.column_stack([points, np.ones(len(points))]).T
    return np.stack(
        [camera.width / 2 * (1 + x / w), camera.height / 2 * (1 - y / w)], axis=1
    )  # rows count downwards


@pytest.mark.parametrize("i", range(54))
def test_as_blender_projects(i):
    view = VIEWS[i]
    camera = BlenderCamera(matrix_world=np.eye(4), **view["camera"])
    cameras = cameras_from_blender(camera)
    points = np.random.default_rng(i).uniform(-3, 3, (50, 3)) - (0, 0, 5)
    in_camera = points * (1, -1, -1)
    if cameras.model == "perspective":
        in_camera = in_camera / in_camera[:, 2:]
    in_camera[:, 2] = 1
    ours = (in_camera @ cameras.intrinsics[0].T)[:, :2]
    theirs = blender_pixels(view, points)
    assert (cameras.width, cameras.height) == (camera.width, camera.height)
    scale = np.abs(theirs).max() + max(camera.width, camera.height)
    assert np.abs(ours - theirs).max() <= FEW_ULPS * scale


def test_the_golden_file_covers_the_combinations():
    seen = {
        (c["type"], c["sensor_fit"], c["pixel_aspect_x"], c["pixel_aspect_y"], c["resolution_x"])
        for c in (view["camera"] for view in VIEWS)
    }
    assert len(seen) == 54
    assert all(view["camera"]["shift_y"] for view in VIEWS)


@pytest.mark.parametrize("i", range(54))
def test_from_blender_and_back_is_exact_to_float32(i):
    """Through raydepth's cameras, and Blender's float32 fields, to the same rays."""
    camera = dataclasses.replace(BlenderCamera(matrix_world=POSE, **VIEWS[i]["camera"]), name="A")
    cameras = cameras_from_blender(camera)
    (back,) = blender_from_cameras(cameras)
    again = cameras_from_blender(as_float32(back))
    assert (again.width, again.height, again.model) == (
        cameras.width,
        cameras.height,
        cameras.model,
    )
    before, after = cameras.intrinsics[0], again.intrinsics[0]
    assert np.abs(np.diag(after) / np.diag(before) - 1).max() <= FEW_ULPS
    size = max(cameras.width, cameras.height)
    assert np.abs(after - before)[:2, 2].max() <= FEW_ULPS * size
    assert np.abs(again.world_from_camera - cameras.world_from_camera).max() <= FEW_ULPS * 2


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("seed", range(10))
def test_from_raydepth_and_back_is_exact_to_float32(model, seed):
    rng = np.random.default_rng(seed)
    width, height = rng.integers(4, 2000, 2).tolist()
    n = 5
    intrinsics = np.tile(np.eye(3), (n, 1, 1))
    intrinsics[:, [0, 1], [0, 1]] = 10 ** rng.uniform(0, 4, (n, 1)) * rng.uniform(0.5, 2, (n, 2))
    intrinsics[:, :2, 2] = rng.uniform(-1, 2, (n, 2)) * (width, height)
    poses = rd.cameras.look_at(rng.normal(size=(n, 3)) * 10)
    cameras = rd.Cameras(intrinsics, poses, (width, height), model=model)
    blender = blender_from_cameras(cameras, "view")
    assert [camera.name for camera in blender] == [f"view_{i:03}" for i in range(n)]
    exact, rounded = (
        cameras_from_blender([change(camera) for camera in blender])
        for change in (lambda camera: camera, as_float32)
    )
    for again, tolerance in ((exact, 1e-14), (rounded, FEW_ULPS)):
        error = np.abs(again.intrinsics - intrinsics)
        assert (error[:, [0, 1], [0, 1]] <= tolerance * intrinsics[:, [0, 1], [0, 1]]).all()
        offsets = np.abs(intrinsics[:, :2, 2] - (width / 2, height / 2))
        assert (error[:, :2, 2] <= tolerance * np.add(offsets, (width, height))).all()
        error = np.abs(again.world_from_camera - poses)
        assert error[:, :3, :3].max() <= tolerance
        assert error[:, :3, 3].max() <= tolerance * 40


def test_a_wide_lens_stays_within_what_blender_takes():
    cameras = rd.Cameras([[10.0, 0, 500], [0, 10.0, 500], [0, 0, 1]], np.eye(4), 1000)
    (camera,) = blender_from_cameras(cameras)
    assert camera.lens >= 1
    assert cameras_from_blender(camera).intrinsics[0, 0, 0] == pytest.approx(10, rel=1e-15)


def test_the_pose_turns_only_the_axes():
    (camera,) = blender_from_cameras(rd.Cameras(np.eye(3), np.eye(4), 4))
    np.testing.assert_array_equal(camera.matrix_world, np.diag([1.0, -1, -1, 1]))


def test_scale_is_ignored_as_blender_does():
    scaled = POSE @ np.diag([2.0, 3.0, 0.5, 1.0])
    camera = BlenderCamera(**{**VIEW, "matrix_world": scaled})
    np.testing.assert_allclose(camera.matrix_world, POSE, rtol=0, atol=1e-15)


def test_json_round_trip():
    camera = BlenderCamera(**VIEW, lens=33.25, sensor_fit="VERTICAL", name="Döner")
    again = BlenderCamera(**json.loads(json.dumps(camera.to_json())))
    assert again.to_json() == camera.to_json()
    assert (again.matrix_world == camera.matrix_world).all()


SHEAR = np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
NAN = np.full((4, 4), np.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "PANO"}, ("panoramic", "perspective or an orthographic")),
        ({"type": "CUSTOM"}, ("custom (a shader)",)),
        ({"type": "FISH"}, ("'FISH'",)),
        ({"sensor_fit": "BOTH"}, ("sensor_fit 'BOTH'", "AUTO, HORIZONTAL, VERTICAL")),
        ({"lens": 0.0}, ("lens 0.0", "above 0")),
        ({"type": "ORTHO", "ortho_scale": -1.0}, ("ortho_scale -1.0",)),
        ({"pixel_aspect_y": float("inf")}, ("pixel_aspect_y inf",)),
        ({"shift_x": float("nan")}, ("shift_x nan", "finite")),
        ({"resolution_percentage": 0}, ("640x480 pixels at 0 %",)),
        ({"matrix_world": SHEAR}, ("sheared", "parent")),
        ({"matrix_world": np.diag([-1.0, 1, 1, 1])}, ("mirrored",)),
        ({"matrix_world": np.diag([1.0, 0, 1, 1])}, ("scaled to 0",)),
        ({"matrix_world": NAN}, ("4x4 finite numbers",)),
        ({"matrix_world": np.eye(3)}, ("4x4 finite numbers",)),
    ],
)
def test_unsupported_cameras_are_named(change, words):
    with pytest.raises(ValueError, match="camera 'Shot'") as error:
        BlenderCamera(**{**VIEW, "name": "Shot", **change})
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "ORTHO"}, ("type ORTHO", "PERSP", "'B'", "'A'")),
        ({"resolution_x": 100}, ("size (100, 480)", "(640, 480)", "'B'", "'A'")),
    ],
)
def test_views_share_model_and_size(change, words):
    cameras = [BlenderCamera(**VIEW, name="A"), BlenderCamera(**{**VIEW, **change}, name="B")]
    with pytest.raises(ValueError, match="expected the same") as error:
        cameras_from_blender(cameras)
    assert all(word in str(error.value) for word in words)


def test_no_camera():
    with pytest.raises(ValueError, match="at least one"):
        cameras_from_blender([])


@pytest.mark.parametrize(
    ("intrinsics", "size", "words"),
    [
        ([[500, 3, 256], [0, 500, 256], [0, 0, 1]], 512, ("view 1", "skew 3")),
        ([[5000, 0, 256], [0, 10, 256], [0, 0, 1]], 512, ("view 1", "fx 5000", "fy 10", "200")),
        ([[5, 0, 1], [0, 5, 1], [0, 0, 1]], (512, 3), ("512x3", "at least 4")),
    ],
)
def test_what_blender_does_not_have(intrinsics, size, words):
    plain = [[500, 0, 256], [0, 500, 256], [0, 0, 1]]
    cameras = rd.Cameras([plain, intrinsics], np.tile(np.eye(4), (2, 1, 1)), size)
    with pytest.raises(ValueError, match="Blender") as error:
        blender_from_cameras(cameras)
    assert all(word in str(error.value) for word in words)
