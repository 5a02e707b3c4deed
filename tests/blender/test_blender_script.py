"""The script for the user's own Blender: what it holds, and what Blender makes of it."""

from __future__ import annotations

import ast
import base64
import json
import zlib

import numpy as np
import pytest
import shapes
from blender_runs import IN_BLENDER, as_depth, assert_agrees, run_script

import raydepth as rd
from raydepth.blender.convert import blender_from_cameras
from raydepth.blender.script import script


def off_centre(cameras: rd.Cameras, stretch: float = 1.2) -> rd.Cameras:
    """The same views with the principal point elsewhere and pixels that are not square."""
    intrinsics = cameras.intrinsics.copy()
    intrinsics[:, 0, 2] += 5.3
    intrinsics[:, 1, 2] -= 3.8
    intrinsics[:, 1, 1] *= stretch
    size = (cameras.width, cameras.height)
    return rd.Cameras(intrinsics, cameras.world_from_camera, size, model=cameras.model)


MESH = rd.Mesh(*shapes.icosphere(levels=4), name="ball")
CAMERAS = off_centre(rd.cameras.fibonacci(3, size=(96, 72)))


def constants(text: str) -> dict:
    """The values that a script's first level gives to names."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
    }


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(-1, 3)


def test_it_holds_the_mesh_and_the_cameras():
    held = constants(script(MESH, CAMERAS))
    np.testing.assert_array_equal(unpacked(held["VERTICES"], "<f4"), np.float32(MESH.vertices))
    np.testing.assert_array_equal(unpacked(held["FACES"], "<i4"), MESH.faces)
    expected = [camera.to_json() for camera in blender_from_cameras(CAMERAS)]
    assert json.loads(held["CAMERAS"]) == expected


def test_it_stands_alone_in_every_blenders_python():
    """3.4 came with Python 3.10; nothing but bpy and NumPy is imported, every name is known."""
    text = script(MESH, CAMERAS)
    tree = ast.parse(text, feature_version=(3, 10))
    imported = [
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    allowed = {"base64", "json", "os", "sys", "zlib", "bpy", "mathutils", "numpy"}
    assert set(imported) <= allowed
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"add_mesh", "set_camera", "set_exact_depth", "set_multilayer_exr", "flat"} <= defined
    for word in ("TITLE", "VERSION", "@"):
        assert word not in (ast.get_docstring(tree) or "")
    assert "ball, 3 perspective views" in (ast.get_docstring(tree) or "")
    assert max(map(len, text.splitlines())) <= 100
    compile(text, "scene.py", "exec")


@pytest.mark.parametrize("name", ['"""', "a\\", "x\ny", "Bär", "VERSION TITLE"])
def test_a_mesh_may_be_called_anything(name):
    mesh = rd.Mesh(*shapes.cube(), name=name)
    assert constants(script(mesh, CAMERAS)).keys() >= {"VERTICES", "FACES", "CAMERAS"}


def test_it_is_written_whole(tmp_path):
    path = tmp_path / "scene.py"
    text = script(MESH, CAMERAS, path)
    assert path.read_text(encoding="utf-8") == text
    assert [file.name for file in tmp_path.iterdir()] == ["scene.py"]
    with pytest.raises(OSError, match="nowhere"):
        script(MESH, CAMERAS, tmp_path / "nowhere" / "scene.py")


def test_one_shape_of_pixels(tmp_path):
    plain = rd.cameras.fibonacci(3, size=(96, 72))
    intrinsics = plain.intrinsics.copy()
    intrinsics[2, 1, 1] *= 1.5
    mixed = rd.Cameras(intrinsics, plain.world_from_camera, (96, 72))
    with pytest.raises(ValueError, match=r"view 2 has pixels of 1\.5 x 1, view 0 of 1 x 1"):
        script(MESH, mixed, tmp_path / "scene.py")
    assert not list(tmp_path.iterdir())


@pytest.mark.blender
@pytest.mark.parametrize("model", ["perspective", "orthographic"])
def test_blender_renders_the_same_depth(blender, model, tmp_path):
    cameras = CAMERAS
    if model == "orthographic":
        placed = rd.cameras.fibonacci(2, size=(72, 96), ortho_width=1.3, radius=2.0)
        cameras = off_centre(placed, stretch=0.8)
    script(MESH, cameras, tmp_path / "scene.py")
    run_script(blender, tmp_path / "scene.py", tmp_path / "exr")
    files = sorted((tmp_path / "exr").iterdir())
    assert [file.name for file in files] == [f"{i:03}.exr" for i in range(len(cameras))]
    run_script(blender, IN_BLENDER / "read_exrs.py", tmp_path / "all.npy", *files)
    assert_agrees(MESH, cameras, as_depth(np.load(tmp_path / "all.npy")))


@pytest.mark.blender
def test_without_a_folder_it_only_sets_up(blender, tmp_path):
    """As in the text editor: a scene of its own beside the user's, ready to be rendered."""
    check = tmp_path / "check.py"
    script(MESH, CAMERAS, tmp_path / "scene.py")
    check.write_text(
        "import sys, bpy\n"
        "before, sys.argv = list(bpy.data.scenes), ['blender']\n"
        f"exec(open({str(tmp_path / 'scene.py')!r}, encoding='utf-8').read())\n"
        "assert bpy.data.scenes[before[0].name] == before[0]\n"
        "scene = bpy.data.scenes['raydepth']\n"
        "assert (scene.frame_start, scene.frame_end) == (0, 2)\n"
        "assert len([o for o in scene.objects if o.type == 'CAMERA']) == 3\n"
        "scene.frame_set(2)\n"
        "assert scene.camera.name == 'Camera_002', scene.camera\n"
    )
    run_script(blender, check)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["check.py", "scene.py"]
