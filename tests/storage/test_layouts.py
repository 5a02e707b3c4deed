"""Layouts: read back as other programs do, with json, numpy and imageio, onto the mesh."""

from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest
from mesh_files import write_obj
from shapes import cube

import raydepth as rd
from raydepth.cli import commands
from raydepth.runs.verify import verify_dataset
from raydepth.storage.layouts import LAYOUTS

HALF = np.array([0.4, 0.3, 0.2])
CENTRE = np.array([0.1, -0.2, 0.3])
CAMERAS = rd.cameras.fibonacci(5, size=(40, 30), radius=2.0, rolls=(0.0, 20.0))
# Pixels that are not square, off the middle.
LENSES = np.array([[61.0, 0, 18.5], [0, 53.0, 17.25], [0, 0, 1]])
SHIFTED = rd.Cameras(LENSES, CAMERAS.world_from_camera, (40, 30))


@pytest.fixture
def mesh(tmp_path):
    vertices, faces = cube()
    corners = np.sign(vertices) * HALF + CENTRE
    return write_obj(tmp_path / "box.obj", corners, faces)


def off_the_surface(points: np.ndarray) -> float:
    """The largest distance from the box's surface, by its faces' planes."""
    beyond = (np.abs(points - CENTRE) - HALF).max(axis=-1)
    return float(np.abs(beyond).max())


def pixels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns and rows of the pixels that hold a depth, and their values."""
    assert values.dtype == np.uint16
    rows, columns = np.nonzero(values)
    assert len(rows) > 20
    return columns, rows, values[rows, columns]


def bound(scale: float) -> float:
    """Half a value of z, times the longest direction (z = 1) that the image holds."""
    return 0.5 / scale * np.linalg.norm([0.5, 0.5, 1]) + 1e-12


@pytest.mark.parametrize("scale", [10000, 4000])
def test_nerf(mesh, tmp_path, scale):
    """As instant-ngp: rays through pixel centres at half-integers, z = value * scale."""
    rd.render_dataset(mesh, tmp_path / "o", SHIFTED, file_format="nerf", values_per_unit=scale)
    folder = tmp_path / "o/box"
    data = json.loads((folder / "transforms.json").read_text())
    assert data["enable_depth_loading"] is True
    assert len(data["frames"]) == 10
    for frame in data["frames"]:
        assert frame["depth_path"] == frame["depth_file_path"]
        x, y, value = pixels(iio.imread(folder / frame["depth_file_path"]))
        z = value * data["integer_depth_scale"]
        in_camera = np.stack(
            [
                (x + 0.5 - data["cx"]) / data["fl_x"] * z,
                -(y + 0.5 - data["cy"]) / data["fl_y"] * z,
                -z,
                np.ones(len(z)),
            ]
        )
        points = (np.array(frame["transform_matrix"]) @ in_camera)[:3].T
        assert off_the_surface(points) < bound(scale)
    assert data["camera_angle_x"] == pytest.approx(2 * np.arctan(20 / 61))


def test_bop(mesh, tmp_path):
    """As bop_toolkit: pixel centres at whole numbers, depth in mm = value * depth_scale."""
    rd.render_dataset(mesh, tmp_path / "o", SHIFTED, file_format="bop")
    folder = tmp_path / "o/box"
    data = json.loads((folder / "scene_camera.json").read_text())
    for number, view in data.items():
        x, y, value = pixels(iio.imread(folder / f"depth/{int(number):06}.png"))
        z = value * view["depth_scale"]
        rays = np.linalg.inv(np.reshape(view["cam_K"], (3, 3))) @ np.stack([x, y, np.ones(len(x))])
        rotation = np.reshape(view["cam_R_w2c"], (3, 3))
        points = rotation.T @ (rays * z - np.reshape(view["cam_t_w2c"], (3, 1)))
        assert off_the_surface(points.T) < bound(10000)


def test_tum(mesh, tmp_path):
    """As the benchmark's scripts: by timestamp, quaternions x y z w, 5000 values a unit."""
    rd.render_dataset(mesh, tmp_path / "o", SHIFTED, file_format="tum")
    folder = tmp_path / "o/box"
    truth = {row[0]: row[1:] for row in np.loadtxt(folder / "groundtruth.txt")}
    fx, fy, cx, cy = np.loadtxt(folder / "calibration.txt")
    lines = (folder / "depth.txt").read_text().splitlines()[1:]
    assert len(lines) == 10
    for line in lines:
        time, name = line.split()
        x, y, value = pixels(iio.imread(folder / name))
        z = value / 5000
        in_camera = np.stack([(x - cx) / fx * z, (y - cy) / fy * z, z], axis=1)
        *position, qx, qy, qz, qw = truth[float(time)]
        v = np.array([qx, qy, qz])
        turned = in_camera + 2 * np.cross(v, np.cross(v, in_camera) + qw * in_camera)
        assert off_the_surface(turned + position) < bound(5000)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_they_are_data_sets_of_raydepth_too(mesh, tmp_path, layout):
    """Opened, verified, taken up again and read as cameras."""
    out = tmp_path / "o"
    first = rd.render_dataset(mesh, out, SHIFTED, file_format=layout)
    assert (first.n_rendered, first.failures) == (1, [])
    (stored,) = rd.open_dataset(out)
    image = rd.render(rd.load_mesh(mesh), SHIFTED).depth
    scale = stored.metadata["values_per_unit"]
    assert scale == LAYOUTS[layout].values_per_unit
    depths = stored.depths()
    assert (np.isinf(depths) == np.isinf(image)).all()
    hits = np.isfinite(image)
    assert np.abs(depths[hits] - image[hits]).max() <= 0.5 / scale + 1e-6
    found = verify_dataset(out, n_samples=20)
    assert (found.problems, found.n_pixels) == ([], 20)
    again = rd.render_dataset(mesh, out, SHIFTED, file_format=layout)
    assert (again.n_rendered, again.n_there) == (0, 1)
    before = {path: path.read_bytes() for path in (out / "box").rglob("*") if path.is_file()}
    for gone in (LAYOUTS[layout].beside[0], "depth/000003.png"):
        (out / "box" / gone).unlink()
        again = rd.render_dataset(mesh, out, SHIFTED, file_format=layout)
        assert again.n_rendered == 1, f"{gone} is missed"
        assert {path: path.read_bytes() for path in before} == before
    if layout != "tum":
        read = rd.read_cameras(out / "box" / LAYOUTS[layout].beside[0])
        assert (read.intrinsics == SHIFTED.intrinsics).all()
        assert np.abs(read.world_from_camera - SHIFTED.world_from_camera).max() < 1e-15


def test_intrinsics_of_each_view(mesh, tmp_path):
    varied = rd.Cameras(
        [LENSES + np.diag([view, 0, 0]) for view in range(10)], SHIFTED.world_from_camera, (40, 30)
    )
    for layout in ("nerf", "bop"):
        rd.render_dataset(mesh, tmp_path / layout, varied, file_format=layout)
        read = rd.read_cameras(tmp_path / layout / "box" / LAYOUTS[layout].beside[0])
        assert (read.intrinsics == varied.intrinsics).all()
    with pytest.raises(ValueError, match="view 1 has other intrinsics than view 0; layout tum"):
        rd.render_dataset(mesh, tmp_path / "tum", varied, file_format="tum")
    assert not (tmp_path / "tum").exists()


def skewed() -> rd.Cameras:
    intrinsics = LENSES.copy()
    intrinsics[0, 1] = 1.0
    return rd.Cameras(intrinsics, np.eye(4), 8)


@pytest.mark.parametrize(
    ("cameras", "words", "message"),
    [
        (SHIFTED, {"file_format": "nerf", "kind": "ray"}, "layout nerf holds z depth"),
        (SHIFTED, {"file_format": "tum", "values_per_unit": 1000}, "layout tum has 5000"),
        (rd.cameras.ring(2, ortho_width=2), {"file_format": "nerf"}, "orthographic; layout nerf"),
        (rd.cameras.ring(2, ortho_width=2), {"file_format": "bop"}, "are orthographic; scene_cam"),
        (rd.cameras.ring(2, ortho_width=2), {"file_format": "tum"}, "orthographic; layout tum"),
        (skewed(), {"file_format": "nerf"}, "have skew; transforms.json holds none"),
        (skewed(), {"file_format": "tum"}, "have skew; layout tum cannot hold it"),
    ],
)  # fmt: skip
def test_what_a_layout_cannot_hold_is_refused(mesh, tmp_path, cameras, words, message):
    with pytest.raises(ValueError, match=message):
        rd.render_dataset(mesh, tmp_path / "o", cameras, **words)
    assert not (tmp_path / "o").exists()


def test_on_the_command_line(mesh, tmp_path, capsys):
    render = ["render", str(mesh), "--views", "ring:2", "--size", "16", "-o", str(tmp_path / "o")]
    assert commands.main([*render, "--layout", "tum"]) == 0
    assert sorted(p.name for p in (tmp_path / "o/box").iterdir()) == [
        "calibration.txt", "depth", "depth.txt", "groundtruth.txt", "preview.png", "views.json"
    ]  # fmt: skip
    capsys.readouterr()
    for words, message in (
        (
            ["--layout", "nerf", "--format", "npy"],
            "--format npy exclude each other",
        ),
        (["--layout", "tum", "--values-per-unit", "10"], "layout tum has 5000"),
        (["--layout", "bop", "--kind", "ray"], "layout bop holds z depth"),
    ):
        assert commands.main([*render, *words]) == 2
        assert message in capsys.readouterr().err
