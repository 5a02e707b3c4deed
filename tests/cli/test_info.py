"""What `info` says of meshes and depth files."""

from __future__ import annotations

import numpy as np
import pytest
import shapes
from mesh_files import write_obj

import raydepth as rd
from raydepth.cli.info import describe


def test_mesh(tmp_path):
    path = write_obj(tmp_path / "box.obj", *shapes.cube(half=2.0))
    told = dict(describe(path))
    assert told["mesh"] == "box"
    assert told["faces"] == "12"
    assert told["vertices"] == "8"
    assert told["bounds"] == "(-2, -2, -2) to (2, 2, 2) units"
    assert told["size"] == "4 x 4 x 4 units"
    assert told["centre"].startswith("(0, 0, 0) units")
    assert told["radius"].startswith("3.4641 units")
    assert told["loading"] == "as it is in the file"
    assert rd.load_mesh(path).sha256 in told["sha256"]


def test_large_numbers_are_grouped(tmp_path):
    path = write_obj(tmp_path / "ball.obj", *shapes.icosphere(levels=3))
    assert dict(describe(path))["faces"] == "1,280"


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1.0, 1e5, 1e20])
def test_radius_is_that_of_the_sphere_normalization(tmp_path, scale):
    vertices, faces = shapes.soup(0)
    vertices = (vertices + np.array([3.0, 0.0, -1.0])) * scale
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    radius = np.linalg.norm(vertices - (low + high) / 2, axis=1).max()
    told = dict(describe(write_obj(tmp_path / "soup.obj", vertices, faces)))
    assert float(told["radius"].split()[0]) == pytest.approx(radius, rel=1e-5)
    corner = [float(x) for x in told["bounds"].split(")")[0][1:].split(",")]
    assert corner == pytest.approx(low, rel=0, abs=2e-5 * radius)


def test_far_from_the_origin_the_digits_suffice(tmp_path):
    vertices = shapes.cube(half=1.25)[0] + [5123456.75, 0.0, 0.0]
    told = dict(describe(write_obj(tmp_path / "utm.obj", vertices, shapes.cube()[1])))
    assert told["bounds"] == "(5123455.5, -1.25, -1.25) to (5123458, 1.25, 1.25) units"
    assert told["centre"].startswith("(5123456.75, 0, 0) units")


def test_what_loading_did(tmp_path):
    path = tmp_path / "quad.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\nf 1 1 2\n")
    loading = dict(describe(path))["loading"]
    assert "quad" in loading
    assert "1 zero-area face is never hit" in loading


@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz", ".tiff", ".tif", ".PNG"])
@pytest.mark.parametrize("kind", ["z", "ray"])
def test_depth_files(tmp_path, suffix, kind):
    mesh = rd.Mesh(*shapes.cube(), name="cube").normalized("sphere")
    cameras = rd.cameras.fibonacci(1, size=(40, 30))
    depth = rd.render(mesh, cameras, kind=kind).depth[0]
    path = tmp_path / f"000{suffix}"
    rd.write_depth(path, depth, kind=kind, camera=cameras[0], mesh=mesh)
    told = dict(describe(path))
    hits = np.isfinite(depth)
    assert told["depth"].startswith(f"{kind}, ")
    assert told["size"] == "40x30 pixels"
    assert told["hits"] == f"{hits.sum():,} of 1,200 pixels"
    assert told["camera"].startswith("perspective at (1.5, 0, 0), fx ")
    assert told["mesh"] == "cube, normalisation sphere"
    nearest, _, farthest, _ = told["range"].split()
    assert float(nearest) == pytest.approx(depth.min(), abs=1e-4)
    assert float(farthest) == pytest.approx(depth[hits].max(), abs=1e-4)
    if suffix.lower() == ".png":
        assert told["scale"] == "10000 values per unit (uint16)"
        assert told["misses"] == f"{(~hits).sum():,}, stored as 0"
    else:
        assert told["scale"] == "1 per unit (float32)"
        assert told["misses"] == f"{(~hits).sum():,}, stored as inf"


def test_depth_file_with_nothing_recorded_and_no_hits(tmp_path):
    rd.write_depth(tmp_path / "a.npz", np.full((2, 3), np.inf), kind="z")
    told = dict(describe(tmp_path / "a.npz"))
    assert told["range"] == "no hits"
    assert told["hits"] == "0 of 6 pixels"
    assert told["scale"] == "1 per unit (float64)"
    assert told["camera"] == told["mesh"] == "not recorded"


@pytest.mark.parametrize(
    "suffix", [".png", ".npy", ".npz", ".tiff", ".obj", ".ply", ".stl", ".glb"]
)
@pytest.mark.parametrize("content", [b"", b"garbage\n" * 40, bytes(range(256))])
def test_garbage_is_refused_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"x{suffix}") as error:
        describe(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["missing.png", "missing.obj", "missing", "views.json"])
def test_what_is_not_there(tmp_path, name):
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        describe(tmp_path / name)


def test_a_picture_that_is_no_depth_file(tmp_path):
    import imageio.v3

    imageio.v3.imwrite(tmp_path / "photo.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"photo\.png: .*8-bit RGB.*; expected 16-bit grey"):
        describe(tmp_path / "photo.png")
