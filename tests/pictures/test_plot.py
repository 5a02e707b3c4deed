"""The picture of cameras, and the command that makes it."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest

import raydepth as rd
from raydepth.cli import commands
from raydepth.pictures.camera_plot import UP, _frusta, _labels, plot_cameras


def near_up(image: np.ndarray) -> np.ndarray:
    """Where the orange of a frustum's upper edge is, and not the red of the x axis."""
    return np.abs(image.astype(int) - UP).max(axis=2) < 25


def test_frusta_are_what_the_cameras_see():
    """The corners of the image lie on the frustum's edges, the upper two first."""
    cameras = rd.cameras.random(5, size=(64, 48), rolls=(0.0, 50.0))
    points = _frusta(cameras, 0.3)
    corners = [[0, 0], [64, 0], [64, 48], [0, 48]]
    for view in range(len(cameras)):
        assert (points[view, 0] == cameras.centres[view]).all()
        pixels = cameras[view].project(points[view, 1:5])[0]
        assert np.allclose(pixels, corners, atol=1e-9)
        in_camera = cameras.camera_from_world[view] @ [*points[view, 1], 1.0]
        assert in_camera[2] == pytest.approx(0.3)


def test_the_picture_shows_each_camera_where_it_stands():
    """One camera towards the viewer: its orange edge is above the middle, pale if it is behind."""
    front = plot_cameras(rd.cameras.on_sphere([(0.9, 0.42, 0.1)], size=64), size=300)
    rows, columns = np.nonzero(near_up(front))
    assert len(rows) > 10
    assert abs(columns.mean() - 150) < 15
    behind = plot_cameras(rd.cameras.on_sphere([(-0.9, -0.42, -0.1)], size=64), size=300)
    assert near_up(behind).sum() == 0
    assert (behind != 255).any()


def test_numbers_of_views_in_one_place():
    tips = rd.cameras.cube(rolls=3, size=4)[:6].centres
    assert [text for _, text in _labels(tips)] == ["0-2", "3-5"]
    assert [text for _, text in _labels(tips[::3])] == ["0", "1"]


@pytest.mark.parametrize(
    "cameras",
    [
        rd.cameras.ring(1, ortho_width=1.0, size=(64, 32)),
        rd.cameras.octahedron(size=8),
        rd.cameras.fibonacci(2000, size=8),
        rd.Cameras(rd.cameras.fisheye_intrinsics(180, 64), np.eye(4), 64, model="fisheye"),
    ],
)
def test_any_cameras_can_be_drawn(cameras):
    image = plot_cameras(cameras, size=200)
    assert image.shape == (200, 200, 3)
    assert image.dtype == np.uint8
    assert (image != 255).any(axis=2).mean() > 0.01
    assert (image[:2] == 255).all(), "nothing is cut off"


def test_cameras_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--size", "64x48", "--fov", "50", "--radius", "2"]
    assert (
        commands.main(["cameras", "ring:3,rolls=2", "-o", "c.json", "--plot", "c.png", *options])
        == 0
    )
    assert capsys.readouterr().out == "6 perspective views of 64x48 -> c.json and c.png\n"
    expected = rd.cameras.ring(3, rolls=2, size=(64, 48), fov_deg=50, radius=2)
    read = rd.read_cameras("c.json")
    assert (read.world_from_camera == expected.world_from_camera).all()
    assert (read.intrinsics == expected.intrinsics).all()
    assert iio.imread("c.png").shape == (640, 640, 3)
    # From one format to another.
    assert commands.main(["cameras", "c.json", "-o", "sparse", "--format", "colmap"]) == 0
    assert commands.main(["cameras", "sparse", "-o", "p.npy", "--axes", "opengl"]) == 0
    opengl = rd.cameras.opengl_from_opencv(expected.world_from_camera)
    assert np.abs(np.load("p.npy") - opengl[:, :3]).max() < 1e-14


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cube"], "nothing to do; expected -o FILE, --plot PICTURE or both"),
        (["spiral:3", "-o", "c.json"], "unknown placement 'spiral'"),
        (["none.json", "-o", "c.json"], "none.json: No such file"),
        (["cube", "-o", "c.txt"], "c.txt: the name does not say the format"),
        (["cube", "-o", "c.json", "--axes", "opengl"], "axes is given, but raydepth has its own"),
        (["cube", "--plot", "c.jpg"], "--plot c.jpg: expected a name that ends in .png"),
        (["cube", "--plot", "none/c.png"], "none/c.png: expected a file in a folder that exists"),
        (["cube", "--plot", "c.png", "--plot-size", "9"], "size of the picture is 9; expected 64"),
        (["cube:radii=1+2", "--radius", "3", "-o", "c.json"], "--radius is given as 3.0"),
    ],
)
def test_wrong_use(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert commands.main(["cameras", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []
