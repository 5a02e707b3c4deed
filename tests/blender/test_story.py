"""What raydepth was made for: one distance is one number, in every image of every mesh."""

from __future__ import annotations

import json
import re

import imageio.v3
import numpy as np
import pytest
import shapes
from mesh_files import write_obj

import raydepth as rd
from raydepth import export
from raydepth.cli import commands

SIZES = {"large": 0.5, "small": 0.25}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two spheres rendered from distance 1.5, a vertex of each straight towards each camera."""
    folder = tmp_path_factory.mktemp("story")
    meshes = []
    for name, radius in SIZES.items():
        vertices, faces = shapes.icosphere(radius, levels=4)
        meshes.append(str(write_obj(folder / f"{name}.obj", vertices, faces)))
    directions = shapes.icosphere(1.0, levels=4)[0][[0, 100, 700]]
    cameras = rd.cameras.on_sphere(directions, radius=1.5, size=129)
    (folder / "cameras.json").write_text(json.dumps([camera.to_json() for camera in cameras]))
    command = [
        "render",
        *meshes,
        "-o",
        str(folder / "out"),
        "--views",
        str(folder / "cameras.json"),
    ]
    assert commands.main(command) == 0
    return folder / "out"


@pytest.mark.parametrize("view", range(3))
def test_the_nearest_values_are_distances(folder, view):
    large = imageio.v3.imread(folder / f"large/{view:03}.png")
    small = imageio.v3.imread(folder / f"small/{view:03}.png")
    for values in (large, small):
        assert values.dtype == np.uint16
        assert values.shape == (129, 129)
        assert values[0, 0] == 0  # a miss
    assert large[large > 0].min() == 10000  # 1.5 - 0.5
    assert small[small > 0].min() == 12500  # 1.5 - 0.25
    # The small one is hidden in the large one, so it is seen at fewer pixels.
    assert ((large > 0) >= (small > 0)).all()


@pytest.mark.parametrize("name", SIZES)
def test_no_image_is_scaled_by_itself(folder, name):
    """Whatever the image holds, a value is the distance times 10000, rounded."""
    mesh = rd.load_mesh(folder.parent / f"{name}.obj")
    for view in range(3):
        image = rd.read_depth(folder / f"{name}/{view:03}.png")
        values = imageio.v3.imread(folder / f"{name}/{view:03}.png")
        depth = rd.render(mesh, image.camera).depth[0].astype(np.float64)
        hit = np.isfinite(depth)
        assert (values[hit] == np.rint(depth[hit] * 10000)).all()
        assert (values[~hit] == 0).all()
        assert values.max() < 15000  # nothing behind the centre is seen; no image ends at 65535


@pytest.mark.parametrize("name", SIZES)
def test_the_three_documented_lines(folder, name, monkeypatch):
    monkeypatch.chdir(folder / name)
    block = re.search(r"needs three lines:\n\n((?: {4}.*\n)+)", export.__doc__).group(1)
    names: dict = {}
    exec("\n".join(line.strip() for line in block.splitlines()), names)
    assert names["z"].min() == 1.5 - SIZES[name]
    assert names["z"][0, 0] == np.inf
    np.testing.assert_array_equal(names["z"].astype(np.float32), rd.read_depth("000.png").depth)
