"""The judge of single pixels, held against the oracle's brute force, and with planted claims."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from shapes import cube, icosphere, soup, square

import raydepth as rd
from raydepth.comparison.outline_judge import BAND, judge


def corners_of(vertices, faces, camera: rd.Cameras) -> np.ndarray:
    matrix = camera.camera_from_world[0]
    return (np.asarray(vertices) @ matrix[:3, :3].T + matrix[:3, 3])[faces]


def all_pixels(camera: rd.Cameras) -> np.ndarray:
    return np.argwhere(np.ones((camera.height, camera.width), bool))


def cameras(model: str) -> rd.Cameras:
    views = rd.cameras.fibonacci(3, radius=1.3, size=(20, 16))
    if model == "perspective":
        intrinsics = views.intrinsics + np.array([[0, 0.7, 1.9], [0, 3, -1.3], [0, 0, 0]])
    else:
        intrinsics = np.array([[14.0, 0.5, 9.1], [0.0, 17.0, 8.3], [0.0, 0.0, 1.0]])
    return rd.Cameras(intrinsics, views.world_from_camera, (20, 16), model=model)


SHAPES = {"ball": icosphere(levels=2), "soup": soup(5, 80), "around the camera": cube(1.7)}


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("name", SHAPES)
def test_judge_and_oracle_say_the_same(name, model):
    vertices, faces = SHAPES[name]
    for view in range(3):
        camera = cameras(model)[view]
        truth = oracle.brute_force(vertices, faces, camera)
        claimed = truth.z.astype(np.float32).ravel()
        arguments = corners_of(vertices, faces, camera), camera.intrinsics[0], model
        found = judge(all_pixels(camera), claimed, *arguments)
        sure = ~truth.uncertain.ravel()
        assert sure.mean() > 0.97
        assert (found.face == truth.triangle_id.ravel())[sure].all()
        np.testing.assert_allclose(found.z[sure], truth.z.ravel()[sure], rtol=1e-12)
        assert found.right.all()
        assert not found.in_band[sure].any()

        # Claims that are not so: deeper by a little, missing, or hit where nothing is.
        off = np.where(np.isfinite(claimed), claimed * np.float32(1 + 1e-6), 1.0)
        assert not judge(all_pixels(camera), off, *arguments).right[sure].any()
        missed = np.full_like(claimed, np.inf)
        right = judge(all_pixels(camera), missed, *arguments).right
        assert (right == np.isinf(truth.z.ravel()))[sure].all()


def edge_case(offset: float):
    """A pixel whose centre lies `offset` pixels inside the left outline of a square."""
    camera = rd.Cameras(
        [[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]], np.eye(4), 8, model="orthographic"
    )
    vertices, faces = square(1.0, z=2.0)
    vertices = vertices * [0.25, 1.0, 1.0]
    vertices[:, 0] += (2.5 - offset) / 8
    return corners_of(vertices, faces, camera), camera


@pytest.mark.parametrize("offset", [0.98 * BAND, 0.3 * BAND, -0.3 * BAND, -0.98 * BAND])
def test_inside_the_band(offset):
    corners, camera = edge_case(offset)
    left = corners[..., 0].min() * 8 + 4
    pixel = np.array([[3, int(left + offset)]])
    assert abs(pixel[0, 1] + 0.5 - left - offset) < 1e-9
    found = judge(pixel, np.array([2.0]), corners, camera.intrinsics[0], camera.model)
    assert found.in_band.tolist() == [True]
    assert found.right.tolist() == [offset > 0]


@pytest.mark.parametrize("offset", [1.001 * BAND, -1.001 * BAND, 0.2])
def test_outside_the_band(offset):
    corners, camera = edge_case(offset)
    left = corners[..., 0].min() * 8 + 4
    pixel = np.array([[3, int(left + offset)]])
    found = judge(pixel, np.array([2.0]), corners, camera.intrinsics[0], camera.model)
    assert found.in_band.tolist() == [False]


def test_a_leak_between_two_faces_is_not_right():
    # The centre lies exactly on the diagonal that the square's triangles share.
    camera = rd.Cameras([[4.0, 0, 2.5], [0, 4.0, 2.5], [0, 0, 1]], np.eye(4), 5)
    corners = corners_of(*square(1.0, z=3.0), camera)
    claims = np.array([3.0, np.inf])
    found = judge(np.array([[2, 2]] * 2), claims, corners, camera.intrinsics[0], "perspective")
    assert found.z.tolist() == [3.0, 3.0]
    assert found.right.tolist() == [True, False]
    assert found.in_band.tolist() == [True, True]  # which excuses others, see the oracle


def test_nothing_there():
    camera = rd.Cameras([[4.0, 0, 2.5], [0, 4.0, 2.5], [0, 0, 1]], np.eye(4), 5)
    behind = corners_of(*square(1.0, z=-3.0), camera)
    found = judge(
        np.array([[2, 2]]), np.array([np.inf]), behind, camera.intrinsics[0], "perspective"
    )
    assert (found.z.tolist(), found.face.tolist()) == ([np.inf], [-1])
    assert (found.in_band.tolist(), found.right.tolist()) == ([False], [True])
