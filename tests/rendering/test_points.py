"""Conversions between kinds of depth and points, and point clouds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from shapes import icosphere, soup

import raydepth as rd
from raydepth.camera.intrinsics import (
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)
from raydepth.rendering.point_cloud import ply_bytes

POSES = rd.cameras.look_at([[0.9, 0.5, 1.4], [-1.2, 0.1, 0.8]], [0, 0, 0])


def cameras_of(model):
    """Two views of a model."""
    size = (30, 24)
    match model:
        case "skewed":
            intrinsics = perspective_intrinsics(50, size)
            intrinsics[0, 1] = 2.0
            return rd.Cameras(intrinsics, POSES, size)
        case "distorted":
            distortion = [-0.2, 0.05, 0.001, -0.002, 0.01]
            return rd.Cameras(perspective_intrinsics(50, size), POSES, size, distortion=distortion)
        case "orthographic":
            return rd.Cameras(orthographic_intrinsics(1.5, size), POSES, size, model=model)
        case "fisheye":
            return rd.Cameras(fisheye_intrinsics(150, size), POSES, size, model=model)
        case "equirectangular":
            size = (48, 24)
            return rd.Cameras(equirectangular_intrinsics(size), POSES, size, model=model)
    return rd.Cameras(cubemap_intrinsics((72, 12)), POSES, (72, 12), model="cubemap")


WITH_Z = ["skewed", "distorted", "orthographic"]
MODELS = [*WITH_Z, "fisheye", "equirectangular", "cubemap"]


@pytest.mark.parametrize("model", WITH_Z)
def test_z_to_ray_and_back(model):
    cameras = cameras_of(model)
    rendering = rd.render(rd.Mesh(*soup(1)), cameras, kind=("z", "ray"), dtype=np.float64)
    z, ray = rendering.z_depth, rendering.ray_depth
    assert np.isfinite(z).any()
    np.testing.assert_allclose(rd.ray_from_z(z, cameras), ray, rtol=1e-14)
    np.testing.assert_allclose(rd.z_from_ray(ray, cameras), z, rtol=1e-14)
    # One view, without the axis of the views; NaN is a miss, too.
    one = np.where(np.isinf(z[1]), np.nan, z[1])
    np.testing.assert_allclose(rd.ray_from_z(one, cameras[1]), ray[1], rtol=1e-14)


@pytest.mark.parametrize("model", ["fisheye", "equirectangular", "cubemap"])
def test_what_has_no_z_says_so(model):
    cameras = cameras_of(model)
    depth = np.ones((2, cameras.height, cameras.width))
    for call in (rd.ray_from_z, rd.z_from_ray, lambda d, c: rd.points_from_depth(d, c, "z")):
        with pytest.raises(ValueError, match="have no z depth"):
            call(depth, cameras)


@pytest.mark.parametrize("model", MODELS)
def test_depth_to_points_and_back(model):
    cameras = cameras_of(model)
    kinds = ("z", "ray") if cameras.has_z else ("ray",)
    rendering = rd.render(
        rd.Mesh(*soup(2)), cameras, outputs=(*kinds, "point", "hit"), dtype=np.float64
    )
    hit = rendering["hit"]
    assert hit.any()
    for kind in kinds:
        points = rd.points_from_depth(rendering[kind], cameras, kind)
        assert np.isnan(points[~hit]).all()
        np.testing.assert_allclose(points[hit], rendering["point"][hit], atol=1e-12)
        for view in range(2):
            seen = points[view][hit[view]]
            depth = rd.depth_from_points(seen, cameras, kind)
            assert depth.shape == (2, len(seen))
            np.testing.assert_allclose(depth[view], rendering[kind][view][hit[view]], rtol=1e-12)


def test_points_behind_a_camera_have_no_depth():
    cameras = cameras_of("skewed")[0]
    behind = cameras.centres[0] - 2.0 * cameras.world_from_camera[0, :3, 2]
    assert rd.depth_from_points(behind, cameras, "z").tolist() == [np.inf]
    assert rd.depth_from_points(behind, cameras, "ray").tolist() == [np.inf]
    np.testing.assert_allclose(rd.depth_from_points(behind, cameras_of("fisheye")[0], "ray"), [2])
    assert rd.depth_from_points([np.nan, 0, 0], cameras, "z").tolist() == [np.inf]


@pytest.mark.parametrize("model", MODELS)
def test_a_cloud_holds_each_hit_once(model):
    cameras = cameras_of(model)
    mesh = rd.Mesh(*icosphere(0.4, 3))
    kind = "z" if cameras.has_z else "ray"
    rendering = rd.render(mesh, cameras, outputs=(kind, "normal"), dtype=np.float64)
    cloud = rendering.points(normals=True)
    assert len(cloud.points) == (rendering.triangle_id >= 0).sum() > 10
    # On the sphere, or on a chord of it.
    assert np.abs(np.linalg.norm(cloud.points, axis=1) - 0.4).max() < 0.01
    assert ((cloud.normals * cloud.points).sum(axis=1) > 0.39).all()
    pixels = cameras.project(cloud.points)[cloud.view, np.arange(len(cloud.view))]
    np.testing.assert_allclose(pixels, cloud.pixel[:, ::-1] + 0.5, atol=1e-6)
    assert rendering.points().normals is None


def test_points_need_something_to_come_from():
    mesh, cameras = rd.Mesh(*icosphere(0.4, 1)), cameras_of("skewed")
    rendering = rd.render(mesh, cameras, outputs="normal")
    with pytest.raises(
        ValueError, match="no points or depth were rendered; expected 'point', 'z' or 'ray'"
    ):
        rendering.points()
    with pytest.raises(ValueError, match="'normal' was not rendered; expected it"):
        rd.render(mesh, cameras).points(normals=True)


def test_a_ply_file_is_read_by_trimesh(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    rendering = rd.render(
        rd.Mesh(*icosphere(0.4, 3)), cameras_of("skewed"), outputs=("point", "normal")
    )
    cloud = rendering.points(normals=True)
    cloud.write_ply(tmp_path / "cloud.ply")
    read = trimesh.load(tmp_path / "cloud.ply")
    assert type(read).__name__ == "PointCloud"
    np.testing.assert_array_equal(read.vertices, cloud.points.astype(np.float32))
    raw = read.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(raw["ny"].ravel(), cloud.normals[:, 1].astype(np.float32))
    np.testing.assert_array_equal(raw["view"].ravel(), cloud.view)
    np.testing.assert_array_equal(raw["column"].ravel(), cloud.pixel[:, 1])
    wide = trimesh.load(io.BytesIO(ply_bytes(cloud, dtype=np.float64)), file_type="ply")
    np.testing.assert_array_equal(wide.vertices, cloud.points)
    with pytest.raises(ValueError, match=r"expected a name that ends in \.ply"):
        cloud.write_ply(tmp_path / "cloud.txt")


def test_a_written_16_bit_file_lies_on_the_mesh(tmp_path):
    """Back-projected, no point is further from the mesh than half a step along its ray."""
    mesh = rd.Mesh(*soup(4))
    camera = cameras_of("skewed")[0]
    rendering = rd.render(mesh, camera)
    rd.write_depth(tmp_path / "a.png", rendering.depth[0], kind="z", camera=camera)
    image = rd.read_depth(tmp_path / "a.png")
    points = rd.points_from_depth(image.depth, image.camera, image.kind)
    hit = rendering.triangle_id[0] >= 0
    assert hit.sum() > 200
    corners = mesh.vertices[mesh.faces]
    step = 0.5 / image.values_per_unit
    lengths = np.linalg.norm(camera.rays()[1][0][hit], axis=-1)
    for point, length in zip(points[hit], lengths, strict=True):
        # A step in z is longer along the ray; and float32 has 2^-24 of 2 units.
        assert closest_distance(point, corners) <= step * length + 2e-7
    assert np.isnan(points[~hit]).all()


def closest_distance(point, corners):
    """Distance from a point to the nearest of (n, 3, 3) triangles, in float64: planes and edges."""
    a, b, c = np.moveaxis(corners, 1, 0)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    height = ((point - a) * normal).sum(axis=1)
    foot = point - height[:, None] * normal
    inside = np.ones(len(a), bool)
    nearest = np.inf
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (np.cross(q - p, foot - p) * normal).sum(axis=1) >= 0
        edge = q - p
        t = np.clip(((point - p) * edge).sum(axis=1) / (edge * edge).sum(axis=1), 0, 1)
        nearest = min(nearest, np.linalg.norm(point - p - t[:, None] * edge, axis=1).min())
    return min(nearest, np.abs(height[inside]).min(initial=np.inf))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda c: rd.ray_from_z(np.ones((3, 24, 30)), c), r"z has shape \(3, 24, 30\); expected"),
        (lambda c: rd.z_from_ray(np.ones((24, 30)), c), r"ray has shape \(24, 30\); expected"),
        (lambda c: rd.points_from_depth(np.ones((2, 24, 30)), c, "x"), "kind is 'x'; expected"),
        (lambda c: rd.depth_from_points(np.ones(2), c, "z"), r"points have shape \(2,\); expected"),
        (lambda c: rd.depth_from_points(np.ones(3), c, "x"), "kind is 'x'; expected"),
    ],
)
def test_bad_input_is_one_clear_line(call, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        call(cameras_of("skewed"))
    assert "\n" not in str(raised.value)


def test_cameras_must_be_cameras():
    with pytest.raises(TypeError, match="cameras is a list; expected raydepth"):
        rd.points_from_depth(np.ones((2, 2)), [], "z")
