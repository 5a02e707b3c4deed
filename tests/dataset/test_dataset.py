"""One mesh, many views, one folder: what stands in it, and that it is whole or not there."""

from __future__ import annotations

import json
import os
import threading
import time

import numpy as np
import pytest
import shapes
from mesh_files import contents

import raydepth as rd
from raydepth.camera.files.formats import read_cameras
from raydepth.dataset import view_encoder
from raydepth.dataset.inputs import output_names
from raydepth.dataset.write_mesh import write_views
from raydepth.system import atomic_folders
from raydepth.system.atomic_folders import whole_folder


@pytest.fixture
def cube() -> rd.Mesh:
    return rd.Mesh(*shapes.cube(), name="cube")


@pytest.fixture
def cameras() -> rd.Cameras:
    return rd.cameras.fibonacci(5, size=(12, 10))


def test_chunks_do_not_show(cube, cameras, tmp_path, monkeypatch):
    whole = write_views(cube, cameras, tmp_path / "whole" / "cube")
    monkeypatch.setattr(view_encoder, "CHUNK_PIXELS", 2 * 12 * 10 + 1)
    steps = []
    two_views = write_views(cube, cameras, tmp_path / "two" / "cube", progress=steps.append)
    assert sum(steps) == 5
    monkeypatch.setattr(view_encoder, "CHUNK_PIXELS", 1)
    write_views(cube, cameras, tmp_path / "one" / "cube")
    assert contents(tmp_path / "whole") == contents(tmp_path / "two") == contents(tmp_path / "one")
    assert (whole.n_views, whole.n_rays, whole.n_hits) == (5, 600, two_views.n_hits)


def test_what_it_returns(cube, cameras, tmp_path):
    steps = []
    written = write_views(cube, cameras, tmp_path / "a" / "b", progress=steps.append)
    views = json.loads((tmp_path / "a/b/views.json").read_text())["views"]
    assert sum(steps) == 5
    assert written.place == tmp_path / "a" / "b"
    assert written.n_hits == sum(view["hits"] for view in views) > 0
    assert written.device == "cpu"
    assert written.render_seconds > 0


def test_a_view_without_hits(cube, tmp_path):
    away = rd.Cameras(rd.cameras.perspective_intrinsics(40, 6), np.eye(4), 6)
    mesh = rd.Mesh(cube.vertices - [0, 0, 5], cube.faces)
    assert write_views(mesh, away, tmp_path / "m").n_hits == 0
    (view,) = json.loads((tmp_path / "m/views.json").read_text())["views"]
    assert (view["hits"], view["nearest"], view["farthest"]) == (0, None, None)
    assert not np.isfinite(rd.read_depth(tmp_path / "m/000.png").depth).any()


def test_10000_and_10000_0_are_one_scale(cube, cameras, tmp_path):
    write_views(cube, cameras, tmp_path / "int" / "m", values_per_unit=10000)
    write_views(cube, cameras, tmp_path / "float" / "m", values_per_unit=10000.0)
    assert contents(tmp_path / "int") == contents(tmp_path / "float")


def test_the_scale_matters_to_16_bit_files_only(cube, cameras, tmp_path):
    write_views(cube, cameras, tmp_path / "m", file_format="npy", values_per_unit=1e9)
    assert json.loads((tmp_path / "m/views.json").read_text())["values_per_unit"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "depth"},
        {"file_format": "jpg"},
        {"device": "tpu"},
        {"values_per_unit": 0},
        {"values_per_unit": float("nan")},
        {"values_per_unit": float("inf")},
    ],
)
def test_wrong_arguments_write_nothing(cube, cameras, tmp_path, wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values()))).replace(".", r"\.")):
        write_views(cube, cameras, tmp_path / "m", **wrong)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (10000, "values_per_unit=2000 would fit"),  # too far
        (0.4, "values_per_unit=2000 would fit"),  # too near
    ],
)
def test_advice_holds_for_all_views(tmp_path, scale, words):
    """The views differ in range; the scale that is advised fits every one of them."""
    square = rd.Mesh(*shapes.square(half=50.0))
    poses = np.stack([np.eye(4)] * 3)
    poses[:, 2, 3] = -1.0, -30.0, -8.0
    cameras = rd.Cameras(rd.cameras.perspective_intrinsics(40, 4), poses, 4)
    with pytest.raises(ValueError, match="from 1 to 30 units") as error:
        write_views(square, cameras, tmp_path / "m", values_per_unit=scale)
    assert words in str(error.value)
    assert os.listdir(tmp_path) == []
    write_views(square, cameras, tmp_path / "m", values_per_unit=2000)


def test_how_many_pixels_do_not_fit(tmp_path):
    square = rd.Mesh(*shapes.square(half=1e7))
    poses = np.stack([np.eye(4)] * 3)
    poses[:, 2, 3] = -1e-4, -1.0, -1e6
    cameras = rd.Cameras(rd.cameras.perspective_intrinsics(40, 4), poses, 4)
    with pytest.raises(ValueError, match=r"^16 pixels .* no values_per_unit fits both ends"):
        write_views(square, cameras, tmp_path / "m")


# --- The folder


def test_whole_folder_appears_at_the_end(tmp_path):
    with whole_folder(tmp_path / "a" / "b", last="z") as aside:
        (aside / "x").write_bytes(b"1")
        assert not (tmp_path / "a" / "b").exists()
    assert contents(tmp_path) == {"a/b/x": b"1"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whole_folder_disappears_on_an_error(tmp_path, error):
    def fail():
        with whole_folder(tmp_path / "a", last="z") as aside:
            (aside / "x").write_bytes(b"1")
            raise error

    with pytest.raises(error):
        fail()
    assert os.listdir(tmp_path) == []


def test_whole_folder_keeps_what_is_not_its_own(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for name in "bxz":
        (tmp_path / "a" / name).write_bytes(b"old")
    replaced, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda *to: (replaced.append(to[1].name), replace(*to)))
    with whole_folder(tmp_path / "a", last="b") as aside:
        for name in "bcx":
            (aside / name).write_bytes(b"new")
    assert contents(tmp_path) == {"a/b": b"new", "a/c": b"new", "a/x": b"new", "a/z": b"old"}
    assert replaced[-1] == "b"


def test_whole_folder_starts_empty_after_a_killed_run(tmp_path):
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "000.png").write_bytes(b"half")
    with whole_folder(tmp_path / "a", last="z") as aside:
        assert os.listdir(aside) == []
    assert os.listdir(tmp_path) == ["a"]


def test_whole_folder_has_one_writer(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    monkeypatch.setattr(atomic_folders, "LOCK_SECONDS", 0.1)
    with whole_folder(tmp_path / "a", last="z") as aside:
        (aside / "x").write_bytes(b"first")
        with (
            pytest.raises(FileExistsError, match="a is being written by another process"),
            whole_folder(tmp_path / "a", last="z"),
        ):
            pass
    assert contents(tmp_path) == {"a/x": b"first"}


def test_whole_folder_waits_for_a_writer_that_ends(tmp_path):
    pytest.importorskip("fcntl")
    begun, content = threading.Event(), b"the other's"

    def other():
        with whole_folder(tmp_path / "a", last="z") as aside:
            begun.set()
            time.sleep(0.2)
            (aside / "x").write_bytes(content)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    with whole_folder(tmp_path / "a", last="z") as aside:
        assert (tmp_path / "a" / "x").read_bytes() == content
        assert os.listdir(aside) == []
        (aside / "z").write_bytes(b"ours")
    thread.join()
    assert contents(tmp_path) == {"a/x": content, "a/z": b"ours"}


def test_whole_folder_does_not_follow_a_link(tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").write_bytes(b"dear")
    (tmp_path / ".a.partial").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.a\.partial"), whole_folder(tmp_path / "a", last="z"):
        pass
    assert contents(tmp_path / "precious") == {"x": b"dear"}


# --- Names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.ply"], ["a"]),
        (["a.ply", "b.ply", "A/c.ply"], ["a", "b", "c"]),
        (["a.ply", "a.obj"], ["a_ply", "a_obj"]),
        (["x/a.ply", "y/a.ply"], ["x_a_ply", "y_a_ply"]),
        (["x/a.ply", "y/A.ply"], ["x_a_ply", "y_A_ply"]),
        (["x/a.ply", "x/a.obj", "y/a.obj"], ["a_ply", "x_a_obj", "y_a_obj"]),
        (["p/x/a.ply", "q/x/a.ply"], ["p_x_a_ply", "q_x_a_ply"]),
        (["x/a.ply", "x/A.ply", "x/a.PLY"], ["a_ply_0", "A_ply_1", "a_PLY_2"]),
        (["x/straße.ply", "x/STRASSE.ply"], ["straße_ply_0", "STRASSE_ply_1"]),
        (["a.ply", "a.obj", "a_ply.obj"], ["a_ply", "a_obj", "a_ply_obj"]),
        (["..ply", "...ply", ".a.ply", ".a.partial.ply"], ["_ply_0", "_ply_1", "a", "a.partial"]),
        (["with space.ply", "ü.ply"], ["with space", "ü"]),
        ([], []),
    ],
)
def test_output_names(paths, names):
    found = output_names([f"/{path}" for path in paths])
    assert len({name.casefold() for name in found}) == len(paths)
    assert not any(name.startswith(".") or "/" in name for name in found)
    assert found == names


def test_many_names_stay_apart():
    """All spellings of few words in few folders, drawn at random."""
    rng = np.random.default_rng(0)
    words = ["a", "A", "b", "a_b", "a_ply", "a_ply_0", "a.ply", ".a"]
    for _ in range(200):
        drawn = rng.choice(words, (6, 3))
        suffixes = rng.choice(["ply", "PLY", "obj"], 6)
        paths = sorted({f"/{'/'.join(w)}.{s}" for w, s in zip(drawn, suffixes, strict=True)})
        found = output_names(paths)
        assert len({name.casefold() for name in found}) == len(paths), (paths, found)


def test_a_file_given_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a\.ply is given 2 times"):
        output_names(["a.ply", "b.ply", "x/../a.ply"])


# --- Cameras from files


def test_read_cameras_of_every_kind(cube, cameras, tmp_path):
    write_views(cube, cameras, tmp_path / "m")
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    one.write_text(json.dumps(cameras[3].to_json()))
    many.write_text("\ufeff" + json.dumps([view.to_json() for view in cameras]), encoding="utf-8")
    files = ((tmp_path / "m/views.json", cameras), (many, cameras), (one, cameras[3]))
    for path, expected in files:
        found = read_cameras(path)
        assert (found.width, found.height, found.model) == (12, 10, "perspective")
        assert (found.intrinsics == expected.intrinsics).all()
        assert (found.world_from_camera == expected.world_from_camera).all()
