"""Every output against the float64 oracle, closed forms and trimesh."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import all_crossings, brute_force, rays, surface, ulps
from shapes import cube, icosphere, soup, square

import raydepth as rd
from raydepth.camera.intrinsics import (
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    perspective_intrinsics,
)
from raydepth.mesh.contents import Part, Texture
from raydepth.outputs import resolve_affine
from raydepth.outputs.table import OUTPUTS

ALL = tuple(OUTPUTS)


def textured(vertices, faces, seed=0, **more):
    """A mesh with random texture coordinates, of which the corners share some."""
    rng = np.random.default_rng(seed)
    texture = Texture(rng.uniform(-2, 3, (50, 2)), rng.integers(50, size=np.shape(faces)))
    return rd.Mesh(vertices, faces, texture=texture, **more)


def tilted(size=(61, 45), model="perspective", skew=0.0):
    """A view whose rays run along another axis most at the left than at the right."""
    if model == "perspective":
        intrinsics = perspective_intrinsics(75, size)
    else:
        intrinsics = np.array([[30.0, 0, 30], [0, 30.0, 22], [0, 0, 1]])
    intrinsics[0, 1] = skew
    pose = rd.cameras.look_at([[1.1, 1.0, 0.9]], [0.05, 0, 0])
    return rd.Cameras(intrinsics, pose, size, model=model)


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize(
    "shape",
    [soup(3), icosphere(levels=2), (soup(5)[0] * 1e-9, soup(5)[1])],
    ids=["soup 3", "icosphere", "tiny soup 5"],
)
def test_against_the_oracle(shape, model):
    vertices, faces = shape
    mesh = textured(vertices, faces)
    camera = tilted(model=model, skew=3.0)
    scale = 1e-9 if np.abs(vertices).max() < 1e-6 else 1.0
    if scale != 1.0:
        pose = camera.world_from_camera.copy()
        pose[:, :3, 3] *= scale
        intrinsics = camera.intrinsics.copy()
        if model == "orthographic":
            intrinsics[:, :2, :2] /= scale
        camera = rd.Cameras(intrinsics, pose, (61, 45), model=model)
    truth = brute_force(vertices, faces, camera)
    expected = surface(vertices, faces, camera, truth)
    rendering = rd.render(mesh, camera, outputs=ALL, dtype=np.float64)
    sure = ~truth.uncertain & (rendering["triangle_id"][0] == truth.triangle_id)
    hit = sure & (truth.triangle_id >= 0)
    assert sure.mean() > 0.9
    assert hit.any()
    np.testing.assert_array_equal(rendering["hit"][0][sure], truth.triangle_id[sure] >= 0)
    np.testing.assert_array_equal(rendering["facing"][0][sure], expected.facing[sure])
    weights = rendering["barycentric"][0]
    np.testing.assert_allclose(weights[hit], expected.barycentric[hit], atol=1e-9)
    assert (weights[hit] >= 0).all()
    np.testing.assert_allclose(weights[hit].sum(axis=-1), 1, rtol=1e-15)
    np.testing.assert_allclose(rendering["normal"][0][hit], expected.normal[hit], atol=1e-9)
    np.testing.assert_allclose(
        rendering["point"][0][hit], expected.point[hit], rtol=0, atol=1e-9 * scale
    )
    np.testing.assert_allclose(rendering["disparity"][0][hit], 1 / truth.z[hit], rtol=1e-9)
    # What is along the camera's axes, from what is in the world.
    rotation, centre = camera.world_from_camera[0, :3, :3], camera.centres[0]
    for name in ("normal", "smooth_normal"):
        np.testing.assert_allclose(
            rendering[f"{name}_camera"][0][hit], rendering[name][0][hit] @ rotation, atol=1e-14
        )
    np.testing.assert_allclose(
        rendering["point_camera"][0][hit],
        (expected.point[hit] - centre) @ rotation,
        atol=1e-9 * scale,
    )
    np.testing.assert_allclose(rendering["point_camera"][0][hit][:, 2], truth.z[hit], rtol=1e-9)
    uv = mesh.texture.uv[mesh.texture.faces[truth.triangle_id[hit]]]
    np.testing.assert_allclose(
        rendering["uv"][0][hit], (weights[hit][:, :, None] * uv).sum(axis=1), atol=1e-12
    )


def test_float32_is_the_float64_value_rounded_once():
    mesh, camera = textured(*soup(8)), tilted()
    wide = rd.render(mesh, camera, outputs=ALL, dtype=np.float64)
    narrow = rd.render(mesh, camera, outputs=ALL)
    for name, output in OUTPUTS.items():
        if output.dtype == "float":
            assert narrow[name].dtype == np.float32
            np.testing.assert_array_equal(narrow[name], wide[name].astype(np.float32), name)
        else:
            assert narrow[name].dtype == output.dtype
            np.testing.assert_array_equal(narrow[name], wide[name], name)


@pytest.mark.parametrize("width", [64, 75])
def test_meshes_beyond_a_cache_look_ahead(width):
    """Also in rows that are no multiple of eight pixels, and in the last ones."""
    vertices, faces = icosphere(levels=6)
    mesh = rd.Mesh(vertices, faces, texture=(vertices[:, :2], faces))
    outputs = ("z", "normal", "smooth_normal", "barycentric", "uv", "facing")
    rendering = rd.render(mesh, rd.cameras.fibonacci(2, size=(width, 50)), outputs=outputs)
    face = rendering.triangle_id
    hit = face >= 0
    a, b, c = np.moveaxis(vertices[faces[face[hit]]], 1, 0)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    np.testing.assert_allclose(rendering["normal"][hit], normal, atol=1e-6)
    weights = rendering["barycentric"][hit].astype(float)
    point = weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c
    np.testing.assert_allclose(rendering["uv"][hit], point[:, :2], atol=1e-6)
    np.testing.assert_allclose(rendering["smooth_normal"][hit], point / 0.5, atol=2e-3)
    assert (rendering["facing"][hit] == 1).all()


@pytest.mark.parametrize("width", [1, 7, 8, 9, 23])
def test_misses_are_what_the_table_says(width):
    camera = tilted((width, 21))
    mesh = textured(*icosphere(0.1, 1))
    rendering = rd.render(mesh, camera, outputs=ALL, miss=-5.0)
    missed = rendering["triangle_id"] < 0
    assert missed.any()
    for name, output in OUTPUTS.items():
        expected = {"miss": -5.0, "false": False}.get(output.miss, output.miss)
        if name == "hits":
            values = np.moveaxis(rendering[name], 1, -1)[missed]
        elif name == "coverage":
            # A pixel whose centre sees nothing may be covered in part.
            values = rendering[name][missed & (rendering[name] < 1 / 16)]
        else:
            values = rendering[name][missed]
        np.testing.assert_array_equal(values, np.full(values.shape, expected, values.dtype), name)


def test_shapes_and_types_are_what_the_table_says():
    camera = tilted((20, 10))
    rendering = rd.render(textured(*cube()), camera, outputs=ALL, hits=3)
    for name, output in OUTPUTS.items():
        shape = (1, 10, 20) if output.channels == 1 else (1, 10, 20, output.channels)
        assert rendering[name].shape == ((1, 3, 10, 20) if name == "hits" else shape)
    assert rendering.outputs == ALL
    assert rendering.kinds == ("z", "ray")


def test_depth_is_the_same_whatever_else_is_asked_for():
    mesh, cameras = textured(*soup(2)), rd.cameras.fibonacci(3, size=70)
    alone = rd.render(mesh, cameras)
    rendering = rd.render(mesh, cameras, outputs=ALL, threads=1)
    assert rendering["z"].tobytes() == alone.depth.tobytes()
    assert rendering["triangle_id"].tobytes() == alone.triangle_id.tobytes()


def test_threads_and_single_outputs_change_no_bit():
    mesh, cameras = textured(*soup(2)), rd.cameras.fibonacci(2, size=(70, 90))
    together = rd.render(mesh, cameras, outputs=ALL, threads=1)
    for name in ALL:
        alone = rd.render(mesh, cameras, outputs=name, threads=2)
        assert alone[name].tobytes() == together[name].tobytes(), name


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_the_order_of_corners_reaches_only_what_depends_on_it(model):
    vertices, faces = icosphere(0.4, 3)
    orders = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]])
    chosen = orders[np.arange(len(faces)) % 6]
    turned = np.take_along_axis(faces, chosen, axis=1)
    camera = tilted((90, 70), model)
    names = ("z", "ray", "barycentric", "point")
    plain = rd.render(rd.Mesh(vertices, faces), camera, outputs=names, dtype=np.float64)
    other = rd.render(rd.Mesh(vertices, turned), camera, outputs=names, dtype=np.float64)
    alone = rd.render(rd.Mesh(vertices, turned), camera, kind=("z", "ray"), dtype=np.float64)
    hit = plain["triangle_id"] >= 0
    seen = plain["triangle_id"][hit]
    assert set(seen % 6) == set(range(6))
    for name in ("triangle_id", "z", "ray"):
        assert other[name].tobytes() == plain[name].tobytes()
        assert other[name].tobytes() == alone[name].tobytes()
    weights = np.take_along_axis(plain["barycentric"][hit], chosen[seen], axis=1)
    np.testing.assert_allclose(other["barycentric"][hit], weights, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_goes_past_the_caches_is_the_same(dtype, monkeypatch):
    mesh = textured(*soup(2))
    for width in (72, 70):
        cameras = rd.cameras.fibonacci(2, size=(width, 50))
        plain = rd.render(mesh, cameras, outputs=ALL, dtype=dtype)
        with monkeypatch.context() as patch:
            patch.setattr(resolve_affine, "BEYOND_CACHES", 0)
            streamed = rd.render(mesh, cameras, outputs=ALL, dtype=dtype)
        for name in ALL:
            assert streamed[name].tobytes() == plain[name].tobytes(), name


def test_a_sphere_has_its_own_normals():
    vertices, faces = icosphere(0.5, 5)
    rendering = rd.render(
        rd.Mesh(vertices, faces), rd.cameras.fibonacci(4, size=64),
        outputs=("normal", "smooth_normal", "point", "facing", "hit"),
    )  # fmt: skip
    hit = rendering["hit"]
    outwards = rendering["point"][hit]
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    # An edge is about 0.03 long: a face's normal is off by at most its angle, the mean of three
    # vertices' by a tenth of that.
    assert np.abs(rendering["normal"][hit] - outwards).max() < 0.03
    assert np.abs(rendering["smooth_normal"][hit] - outwards).max() < 2e-3
    assert (rendering["facing"][hit] == 1).all()
    np.testing.assert_allclose(np.linalg.norm(rendering["smooth_normal"][hit], axis=-1), 1, 1e-6)


def test_a_cube_has_six_normals_and_its_own_thickness():
    camera = rd.Cameras(
        np.array([[20.0, 0, 16], [0, 20, 16], [0, 0, 1]]),
        rd.cameras.look_at([[0, 0, -3.0]], [0, 0, 0]),
        32,
        model="orthographic",
    )
    rendering = rd.render(
        rd.Mesh(*cube(0.5)), camera,
        outputs=("normal", "normal_camera", "thickness", "hits", "hit", "facing"), hits=3,
    )  # fmt: skip
    hit = rendering["hit"][0]
    assert hit.sum() == 20 * 20
    np.testing.assert_array_equal(np.unique(rendering["normal"][0][hit], axis=0), [[0, 0, -1]])
    np.testing.assert_allclose(rendering["normal_camera"][0][hit], [[0, 0, -1]] * 400, atol=1e-7)
    np.testing.assert_allclose(rendering["thickness"][0][hit], 1, rtol=1e-6)
    first, second, third = rendering["hits"][0]
    # A ray along the diagonal that two faces share meets both.
    diagonal = hit & (np.isclose(first, second))
    assert diagonal.sum() <= 20
    np.testing.assert_allclose(first[hit], 2.5)
    np.testing.assert_allclose(second[hit & ~diagonal], 3.5)
    assert np.isinf(third[hit & ~diagonal]).all()


def test_winding_decides_the_normal_and_the_side():
    vertices, faces = square(1.0)
    above = rd.Cameras(
        perspective_intrinsics(30, 8), rd.cameras.look_at([[0, 0, 3.0]], [0, 0, 0]), 8
    )
    for order, side, z in ((faces, 1, 1.0), (faces[:, ::-1], -1, -1.0)):
        seen = rd.render(rd.Mesh(vertices, order), above, outputs=("normal", "facing"))
        assert (seen["facing"] == side).all()
        np.testing.assert_array_equal(seen["normal"][0, 4, 4], [0, 0, z])


@pytest.mark.parametrize("seed", range(4))
def test_hits_and_thickness_against_every_face(seed):
    vertices, faces = soup(seed, n=90, size=0.6)
    # Some faces twice, with the other winding: none is lost or counted twice.
    faces = np.concatenate([faces, faces[:9, ::-1]])
    camera = tilted((13, 11))
    rendering = rd.render(
        rd.Mesh(vertices, faces), camera, outputs=("hits", "thickness", "ray"), hits=3,
        dtype=np.float64,
    )  # fmt: skip
    origin, direction = rays(camera)
    n_compared = n_full = 0
    for row in range(11):
        for column in range(13):
            o, d = origin[row, column], direction[row, column]
            found, clear = all_crossings(vertices, faces, o, d)
            if clear < 1e-6:
                continue
            n_compared += 1
            n_full += len(found) > 3
            expected = np.array([t for t, _ in found]) * np.linalg.norm(d)
            hits = rendering["hits"][0, :, row, column]
            n = min(len(found), 3)
            assert np.isinf(hits[n:]).all()
            assert np.isfinite(hits[:n]).all()
            np.testing.assert_allclose(hits[:n], expected[:n], rtol=1e-9)
            thickness = rendering["thickness"][0, row, column]
            if len(found) == 0:
                assert np.isnan(thickness)
            else:
                np.testing.assert_allclose(thickness, expected[-1] - expected[0], atol=1e-9)
    assert n_compared > 100
    assert n_full > 3


def test_the_first_hit_is_the_ray_depth():
    rendering = rd.render(
        rd.Mesh(*soup(6)), rd.cameras.fibonacci(3, size=50), outputs=("hits", "ray"), hits=1
    )
    np.testing.assert_array_equal(rendering["hits"][:, 0], rendering["ray"])


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_coverage_is_the_mask_of_sixteen_samples(model):
    camera = tilted((40, 50), model=model)
    coverage = rd.render(rd.Mesh(*soup(4, n=30)), camera, outputs="coverage")["coverage"][0]
    intrinsics = camera.intrinsics[0].copy()
    intrinsics[:2] *= 4
    finer = rd.Cameras(intrinsics, camera.world_from_camera, (160, 200), model=model)
    mask = rd.render(rd.Mesh(*soup(4, n=30)), finer, outputs="hit")["hit"][0]
    expected = mask.reshape(50, 4, 40, 4).mean(axis=(1, 3))
    np.testing.assert_array_equal(coverage, expected.astype(np.float32))
    assert ((coverage > 0) & (coverage < 1)).sum() > 50


def test_coverage_of_half_a_pixel():
    vertices = np.array([[-9.0, -9, 0], [0.5, -9, 0], [0.5, 9, 0], [-9, 9, 0]])
    pose = np.eye(4)
    pose[2, 3] = -3
    camera = rd.Cameras(np.diag([1.0, 1, 1]), pose, (2, 6), model="orthographic")
    mesh = rd.Mesh(vertices, [[0, 1, 2], [0, 2, 3]])
    coverage = rd.render(mesh, camera, outputs="coverage")["coverage"][0]
    np.testing.assert_array_equal(coverage, [[0.5, 0]] * 6)


def test_instances_are_the_nodes_of_a_scene():
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.Scene()
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.2)
    for i in range(3):
        matrix = np.eye(4)
        matrix[0, 3] = i - 1.0
        scene.add_geometry(ball, node_name=f"ball {i}", transform=matrix)
    mesh = rd.Mesh.from_trimesh(scene, normalize="sphere")
    assert mesh.instances == ("ball 0", "ball 1", "ball 2")
    rendering = rd.render(mesh, rd.cameras.fibonacci(5, size=64), outputs=("instance", "point"))
    instance, point = rendering["instance"], rendering["point"]
    seen = instance >= 0
    np.testing.assert_array_equal(np.unique(instance), [-1, 0, 1, 2])
    np.testing.assert_array_equal(
        instance[seen], np.clip(np.rint(point[seen][:, 0] * 2.4) + 1, 0, 2)
    )


def test_trimesh_as_a_second_witness():
    trimesh = pytest.importorskip("trimesh")
    shape = trimesh.creation.torus(0.4, 0.15, major_sections=24, minor_sections=12)
    mesh = rd.Mesh.from_trimesh(shape)
    rendering = rd.render(
        mesh, rd.cameras.fibonacci(3, size=40),
        outputs=("triangle_id", "normal", "smooth_normal", "barycentric", "point"),
        dtype=np.float64,
    )  # fmt: skip
    face = rendering["triangle_id"]
    hit = face >= 0
    np.testing.assert_allclose(rendering["normal"][hit], shape.face_normals[face[hit]], atol=1e-9)
    weights = trimesh.triangles.points_to_barycentric(
        shape.triangles[face[hit]], rendering["point"][hit]
    )
    np.testing.assert_allclose(rendering["barycentric"][hit], weights, atol=1e-7)
    normals = (weights[:, :, None] * shape.vertex_normals[shape.faces[face[hit]]]).sum(axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(rendering["smooth_normal"][hit], normals, atol=1e-6)


def test_normals_that_cancel_out_give_way_to_the_face():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = rd.Mesh(vertices, [[0, 1, 2], [0, 2, 1]])
    camera = rd.Cameras(
        perspective_intrinsics(30, 9), rd.cameras.look_at([[0.3, 0.3, 3]], [0.3, 0.3, 0]), 9
    )
    rendering = rd.render(mesh, camera, outputs=("smooth_normal", "hit"))
    assert rendering["hit"].any()
    np.testing.assert_array_equal(rendering["smooth_normal"][rendering["hit"]][0], [0, 0, 1])


def test_far_from_the_origin_the_camera_keeps_its_digits():
    vertices, faces = icosphere(0.5, 3)
    away = np.array([5e6, -4e6, 3e6])
    cameras = rd.cameras.fibonacci(2, size=48)
    pose = cameras.world_from_camera.copy()
    pose[:, :3, 3] += away
    there = rd.Cameras(cameras.intrinsics, pose, 48)
    names = ("normal", "smooth_normal", "point_camera")
    near = rd.render(rd.Mesh(vertices, faces), cameras, outputs=names)
    far = rd.render(rd.Mesh(vertices + away, faces), there, outputs=names)
    same = (near["triangle_id"] == far["triangle_id"]) & (near["triangle_id"] >= 0)
    assert same.mean() > 0.15
    for name in names:
        # Coordinates of 5e6 have a resolution of 1e-9 in float64.
        np.testing.assert_allclose(far[name][same], near[name][same], atol=1e-6)


def test_cuda_gives_the_same_from_its_faces(fake_cuda):
    mesh, cameras = textured(*soup(2)), rd.cameras.fibonacci(2, size=40)
    ours = rd.render(mesh, cameras, outputs=ALL)
    theirs = rd.render(mesh, cameras, outputs=ALL, device="cuda")
    assert theirs.device == "cuda"
    for name in ALL:
        np.testing.assert_array_equal(theirs[name], ours[name], name)
    with pytest.raises(ValueError, match="to is 'device', but normal is computed on the host"):
        rd.render(mesh, cameras, outputs=("z", "normal"), device="cuda", to="device")


def lens(model):
    """A view of each model whose rays are not affine in the pixel, and a cube map."""
    pose = rd.cameras.look_at([[0.15, 0.1, 0.9]], [0.0, 0, 0.0])
    if model == "distorted":
        distortion = [-0.2, 0.05, 0.001, -0.002, 0.01]
        return rd.Cameras(perspective_intrinsics(70, 40), pose, 40, distortion=distortion)
    if model == "fisheye":
        return rd.Cameras(fisheye_intrinsics(160, 40), pose, 40, model=model)
    if model == "equirectangular":
        size = (64, 32)
        return rd.Cameras(equirectangular_intrinsics(size), pose, size, model=model)
    return rd.Cameras(cubemap_intrinsics((96, 16)), pose, (96, 16), model=model)


@pytest.mark.parametrize("model", ["distorted", "fisheye", "equirectangular", "cubemap"])
def test_all_outputs_of_every_model_agree_with_each_other(model):
    camera = lens(model)
    vertices, faces = soup(11, n=80)
    mesh = textured(vertices, faces)
    names = tuple(name for name in ALL if name != "z" or camera.has_z)
    rendering = rd.render(mesh, camera, outputs=names, dtype=np.float64, hits=3)
    hit = rendering["hit"][0]
    assert hit.any()
    np.testing.assert_array_equal(hit, rendering["triangle_id"][0] >= 0)
    origin, direction = (ends[0] for ends in camera.rays())
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    point, face = rendering["point"][0][hit], rendering["triangle_id"][0][hit]
    ray = rendering["ray"][0][hit]
    expected = origin[hit] + ray[:, None] * unit[hit]
    np.testing.assert_allclose(point, expected, atol=1e-12)
    weights = rendering["barycentric"][0][hit]
    on_face = (weights[:, :, None] * mesh.vertices[mesh.faces[face]]).sum(axis=1)
    np.testing.assert_allclose(on_face, point, atol=1e-9)
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces[face]], 1, 0)
    area = np.cross(b - a, c - a)
    normal = area / np.linalg.norm(area, axis=1, keepdims=True)
    np.testing.assert_allclose(rendering["normal"][0][hit], normal, atol=1e-9)
    facing = -np.sign((area * unit[hit]).sum(axis=1))
    np.testing.assert_array_equal(rendering["facing"][0][hit], facing)
    rotation, centre = camera.world_from_camera[0, :3, :3], camera.centres[0]
    for name in ("normal", "smooth_normal"):
        np.testing.assert_allclose(
            rendering[f"{name}_camera"][0][hit], rendering[name][0][hit] @ rotation, atol=1e-12
        )
    seen = rendering["point_camera"][0][hit]
    np.testing.assert_allclose(seen, (point - centre) @ rotation, atol=1e-12)
    depth = rendering["z"][0][hit] if camera.has_z else ray
    np.testing.assert_allclose(rendering["disparity"][0][hit], 1 / depth, rtol=1e-12)
    uv = mesh.texture.uv[mesh.texture.faces[face]]
    uv = (weights[:, :, None] * uv).sum(axis=1)
    np.testing.assert_allclose(rendering["uv"][0][hit], uv, atol=1e-9)
    np.testing.assert_allclose(rendering["hits"][0, 0][hit], ray, rtol=1e-12)
    n_checked = 0
    for row, column in np.argwhere(hit)[::5]:
        found, clear = all_crossings(vertices, faces, origin[row, column], unit[row, column])
        if clear > 1e-6:
            t = [t for t, _ in found]
            hits = rendering["hits"][0, :, row, column]
            n = min(3, len(t))
            np.testing.assert_allclose(hits[:n], t[:n], rtol=1e-9)
            assert np.isinf(hits[n:]).all()
            thickness = rendering["thickness"][0, row, column]
            np.testing.assert_allclose(thickness, t[-1] - t[0], atol=1e-9)
            n_checked += 1
    assert n_checked > 20
    coverage = rendering["coverage"][0]
    assert ((coverage > 0) & (coverage < 1)).any()
    # Most pixels that hit are covered for the most part.
    assert (coverage[hit] >= 0.5).mean() > 0.8
    # NaN, 0 and the miss value, as the table says.
    for name in names:
        if name not in ("hits", "coverage"):
            values = rendering[name][0][~hit]
            expected = {"miss": np.inf, "false": False}.get(OUTPUTS[name].miss, OUTPUTS[name].miss)
            np.testing.assert_array_equal(values, np.full(values.shape, expected, values.dtype))


@pytest.mark.parametrize("model", ["perspective", "distorted", "cubemap"])
def test_limits_hold_for_hits_thickness_and_coverage(model):
    # Sheets at z = 0, 1 and 2, seen from z = -1: the first is too near and the last too far.
    # Moved aside, so that no ray meets the diagonal that two faces share.
    sheets = [square(9.0, z)[0] + [0.3, 0, 0] for z in (0.0, 1.0, 1.5, 2.0)]
    faces = np.concatenate([square()[1] + 4 * i for i in range(4)])
    pose = np.eye(4)
    pose[2, 3] = -1
    if model == "cubemap":
        camera = rd.Cameras(
            cubemap_intrinsics((54, 9)), pose, (54, 9), model=model, near=1.3, far=2.95
        )
        centre = (4, 4 * 9 + 4)
    else:
        distortion = [0.0, 0.01, 0, 0, 0] if model == "distorted" else None
        camera = rd.Cameras(
            perspective_intrinsics(20, 9), pose, 9, distortion=distortion, near=1.3, far=2.95
        )
        centre = (4, 4)
    rendering = rd.render(
        rd.Mesh(np.concatenate(sheets), faces), camera,
        outputs=("hits", "thickness", "coverage", "ray"), hits=3,
    )  # fmt: skip
    np.testing.assert_allclose(rendering["hits"][0, :, *centre], [2, 2.5, np.inf], atol=1e-6)
    np.testing.assert_allclose(rendering["thickness"][0, *centre], 0.5, atol=1e-6)
    assert rendering["coverage"][0, *centre] == 1
    beyond = rd.Cameras(
        camera.intrinsics, pose, (camera.width, camera.height), model=camera.model,
        distortion=camera.distortion, near=3.5,
    )  # fmt: skip
    nothing = rd.render(
        rd.Mesh(np.concatenate(sheets), faces), beyond, outputs=("coverage", "hits")
    )
    assert nothing["coverage"][0, *centre] == 0
    assert np.isinf(nothing["hits"][0, :, *centre]).all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"outputs": ("z", "colour")}, "outputs hold 'colour'; expected some of z, ray,"),
        ({"outputs": ()}, "expected at least one, and none twice"),
        ({"outputs": ("z", "z")}, "expected at least one, and none twice"),
        ({"outputs": "normal", "kind": "ray"}, "expected the kind of depth among the outputs"),
        ({"outputs": "hits", "hits": 0}, "hits is 0; expected a whole number from 1 to 64"),
        ({"outputs": "hits", "hits": 2.5}, "hits is 2.5; expected a whole number from 1 to 64"),
        ({"outputs": "uv"}, "uv is asked for, but box has no texture coordinates"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, reason):
    mesh = rd.Mesh(*cube(), name="box")
    with pytest.raises(ValueError, match=reason) as raised:
        rd.render(mesh, rd.cameras.fibonacci(1, size=4), **arguments)
    assert "\n" not in str(raised.value)


def test_a_hierarchy_alone_has_no_scene_and_no_texture():
    mesh = textured(*cube())
    bvh = rd.build_bvh(mesh)
    cameras = rd.cameras.fibonacci(1, size=16)
    for name in ("instance", "uv"):
        with pytest.raises(ValueError, match=f"{name} is asked for, but the mesh is a Bvh"):
            rd.render(bvh, cameras, outputs=name)
    normal = rd.render(bvh, cameras, outputs="normal")["normal"]
    np.testing.assert_array_equal(normal, rd.render(mesh, cameras, outputs="normal")["normal"])


def test_what_was_not_rendered_is_named():
    rendering = rd.render(rd.Mesh(*cube()), rd.cameras.fibonacci(1, size=4), outputs="normal")
    with pytest.raises(KeyError, match="'uv' was not rendered; there are triangle_id, normal"):
        rendering["uv"]
    with pytest.raises(ValueError, match="no depth was rendered"):
        rendering.depth  # noqa: B018


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"parts": (Part("a", 1),)}, "parts begin at faces"),
        ({"parts": (Part("a", 0), Part("b", 99))}, "parts begin at faces"),
        (
            {"texture": Texture(np.zeros((4, 3)), np.zeros((12, 3), int))},
            "texture coordinates have",
        ),
        ({"texture": Texture(np.zeros((4, 2)), np.full((12, 3), 4))}, "there are 4"),
    ],
)
def test_a_mesh_checks_its_parts_and_texture(more, reason):
    with pytest.raises(rd.MeshError, match=reason):
        rd.Mesh(*cube(), **more)


def test_a_real_mesh_with_texture_coordinates(shared_meshes):
    mesh = rd.load_mesh(shared_meshes / "scans" / "bunny_10k_uv.obj", normalize="sphere", uv=True)
    camera = rd.cameras.fibonacci(2, size=48)[0]
    truth = brute_force(mesh.vertices, mesh.faces, camera)
    expected = surface(mesh.vertices, mesh.faces, camera, truth)
    rendering = rd.render(mesh, camera, outputs=("z", "point", "uv", "barycentric"))
    both = (rendering["triangle_id"][0] == truth.triangle_id) & (truth.triangle_id >= 0)
    assert ulps(rendering["z"][0][both], truth.z[both]).max() <= 1
    np.testing.assert_allclose(rendering["point"][0][both], expected.point[both], atol=1e-7)
    assert np.isfinite(rendering["uv"][0][both]).all()
