"""Scenes out of .blend files: from a stored answer of Blender's, and from a live Blender."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from blender_runs import GOLDEN, as_depth, assert_agrees, depth_passes

import raydepth as rd
from raydepth.blender.process import Answer, run
from raydepth.blender.scene import Scene, load_scene
from raydepth.cli import commands
from raydepth.errors import BlenderError, MeshError

VIEWS = [f"{camera}:{frame}" for frame in (1, 5, 9) for camera in ("Camera", "Second")]


pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="session")
def golden() -> tuple[Answer, np.ndarray]:
    """What a real Blender answered for story.blend, and its depth passes."""
    with np.load(GOLDEN / "story.npz") as stored:
        arrays = dict(stored)
    passes = as_depth([arrays.pop(view) for view in VIEWS])
    answer = json.loads(str(arrays.pop("answer")))
    return Answer(answer["version"], answer["data"], arrays), passes


# --- From a stored answer


def test_a_stored_scene_renders_as_cycles_did(golden):
    """Modifiers at render level, instances, parents, texts; an animated camera, shift, pixels."""
    answer, passes = golden
    scene = Scene(answer, Path("story.blend"), "0" * 64)
    assert len(scene) == 1
    assert repr(scene) == "Scene('story.blend', 6 views in 1 shot)"
    (shot,) = scene
    assert [f"{c.name}:{f}" for c, f in zip(shot.blender_cameras, shot.frames, strict=True)] == (
        VIEWS
    )
    assert (shot.mesh.name, shot.mesh.source, shot.label) == ("story", "story.blend", "")
    assert shot.mesh.notes == ("17 instances of 9 geometries flattened",)
    assert scene.mesh is scene.mesh
    assert scene.cameras.world_from_camera.shape == (6, 4, 4)
    assert_agrees(scene.mesh, scene.cameras, passes)


def triangle(shift: float = 0.0):
    return {
        "vertices": np.float32([(0, 0, 0), (1, 0, 0), (0, 1, shift)]),
        "faces": np.int32([(0, 1, 2)]),
    }


def view(frame: int, layout: int, name: str = "A", **camera) -> dict:
    pose = np.eye(4) + np.diag([3.0], 3)
    fields = {"matrix_world": pose.tolist(), "resolution_x": 8, "resolution_y": 6, **camera}
    return {"frame": frame, "layout": layout, "camera": {"name": name, **fields}}


def answer_of(views: list[dict], layouts: list[list[int]]) -> Answer:
    """An answer with two triangles, and layouts that place some of them, each 10 units further."""
    arrays = {}
    for i in range(2):
        arrays |= {f"geometry_{i}_{key}": value for key, value in triangle(i).items()}
    for i, numbers in enumerate(layouts):
        matrices = np.tile(np.eye(4, dtype=np.float32), (len(numbers), 1, 1))
        matrices[:, 0, 3] = 10 * np.arange(len(numbers))
        arrays[f"layout_{i}_geometry"] = np.array(numbers, np.int32)
        arrays[f"layout_{i}_matrix_world"] = matrices
    return Answer("4.5", {"views": views, "notes": ["something is ignored"]}, arrays)


def test_one_mesh_for_each_state_of_the_geometry():
    views = [view(f, layout) for f, layout in ((1, 0), (2, 0), (3, 1), (4, 0))]
    scene = Scene(answer_of(views, [[0, 0, 1], [1]]), Path("a/b.blend"), "0" * 64)
    assert len(scene) == 2
    first, second = scene
    assert (first.label, first.mesh.name, first.frames) == ("0001", "b_0001", (1, 2, 4))
    assert (second.label, second.mesh.name, second.frames) == ("0003", "b_0003", (3,))
    np.testing.assert_array_equal(first.mesh.faces, np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(first.mesh.vertices[3:6], triangle()["vertices"] + (10, 0, 0))
    np.testing.assert_array_equal(first.mesh.vertices[6:], triangle(1)["vertices"] + (20, 0, 0))
    np.testing.assert_array_equal(second.mesh.vertices, triangle(1)["vertices"])
    assert "something is ignored" in second.mesh.notes
    with pytest.raises(ValueError, match=r"b\.blend: there are 2 shots.*for shot in scene"):
        _ = scene.mesh


def test_both_models_of_cameras():
    views = [view(7, 0, "flat", type="ORTHO"), view(7, 0), view(8, 0, "flat", type="ORTHO")]
    orthographic, perspective = Scene(answer_of(views, [[0]]), Path("b.blend"), "0" * 64)
    assert (orthographic.label, orthographic.frames) == ("orthographic", (7, 8))
    assert (perspective.label, perspective.frames) == ("perspective", (7,))
    assert orthographic.cameras.model == "orthographic"
    assert orthographic.mesh.sha256 == perspective.mesh.sha256
    (label,) = perspective.view_labels()
    assert label["blender"]["camera"] == "A"
    assert label["blender"]["frame"] == 7


def test_a_frame_without_a_mesh():
    with pytest.raises(MeshError, match=r"b\.blend: no mesh is visible in renders at frame 12"):
        Scene(answer_of([view(11, 0), view(12, 1)], [[0], []]), Path("b.blend"), "0" * 64)


# --- What is refused before Blender starts


@pytest.fixture
def no_blender(monkeypatch):
    """Whatever starts Blender fails the test."""
    monkeypatch.setattr("raydepth.blender.scene.find_blender", lambda path: pytest.fail("started"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("folder", "is a directory"),
        (b"", "is not a .blend file"),
        (b"PK\x03\x04 something else", "is not a .blend file"),
    ],
)
def test_what_is_no_blend(content, words, tmp_path, no_blender):
    path = tmp_path / "a.blend"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(MeshError, match=words) as error:
        load_scene(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frames"),
        ("1:5", "'1:5'"),
        ([1, 2.5], "frame 2.5"),
        (2_000_000, "frame 2000000"),
        ([0, -1_048_575], "frame -1048575"),
    ],
)
def test_frames_that_make_no_sense(frames, words, tmp_path, no_blender):
    with pytest.raises(ValueError, match=words):
        load_scene(tmp_path / "a.blend", frames=frames)


def test_load_mesh_says_where_scenes_are_loaded(tmp_path):
    (tmp_path / "a.blend").write_bytes(b"BLENDER")
    with pytest.raises(MeshError, match=r"a\.blend: .*blender\.load_scene"):
        rd.load_mesh(tmp_path / "a.blend")


# --- The command line, with a program in Blender's place


FAKE = """
import json, pathlib, shutil, sys
import numpy as np
folder = pathlib.Path(sys.argv[-1])
job = json.loads((folder / "job.json").read_text())
pathlib.Path({record!r}).write_text(json.dumps(job))
with np.load({answer!r}) as stored:
    answer = json.loads(str(stored["answer"]))
    names = [name for name in stored if name.startswith(("geometry", "layout"))]
    for name in names:
        np.save(folder / f"result_{{name}}.npy", stored[name])
result = {{**answer["data"], "arrays": names, "blender": answer["version"]}}
(folder / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; Blender answers as it did for story.blend."""
    monkeypatch.chdir(tmp_path)
    Path("story.blend").write_bytes(b"BLENDER-v405 and so on")
    code = FAKE.format(record=str(tmp_path / "job.json"), answer=str(GOLDEN / "story.npz"))
    Path("fake.py").write_text(code)
    program = tmp_path / "python-with-bpy"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/fake.py" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("RAYDEPTH_BLENDER", str(program))

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        try:
            code = commands.main(["render", *arguments])
        except SystemExit as exit_:
            code = exit_.code
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return call


def test_render_a_blend(fake, golden):
    options = ("--frames", "1:3", "--camera", "A", "--values-per-unit", "4000")
    code, out, err = fake("story.blend", "-o", "out", *options)
    assert (code, err) == (0, [])
    job = json.loads(Path("job.json").read_text())
    assert (job["command"], job["camera"], job["frames"]) == ("scene", "A", [1, 2, 3])
    assert Path(job["path"]) == Path("story.blend").resolve()

    names = [f"{i:03}.png" for i in range(6)]
    assert sorted(os.listdir("out/story")) == [*names, "preview.png", "views.json"]
    views = json.loads(Path("out/story/views.json").read_text())
    assert views["source"]["path"] == "story.blend"
    assert [v["blender"]["frame"] for v in views["views"]] == [1, 1, 5, 5, 9, 9]
    assert [v["blender"]["camera"] for v in views["views"]] == ["Camera", "Second"] * 3
    scene = Scene(golden[0], Path("story.blend"), "0" * 64)
    expected = rd.render(scene.mesh, scene.cameras).depth[4]
    image = rd.read_depth("out/story/004.png")
    np.testing.assert_allclose(image.depth, expected, rtol=0, atol=0.5 / 4000 + 1e-6)
    assert out[0].startswith("story: 1,025 faces, 6 views")
    assert not any("clipping" in line for line in out)


def test_the_frame_of_the_file_is_the_default(fake):
    assert fake("story.blend", "-o", "out", "--format", "npy")[0] == 0
    assert json.loads(Path("job.json").read_text())["frames"] is None
    assert fake("story.blend", "-o", "out", "--format", "npy", "--frames", "keys")[0] == 0
    assert json.loads(Path("job.json").read_text())["frames"] == "keys"
    assert fake("story.blend", "-o", "out", "--format", "npy", "--frames=-4")[0] == 0
    assert json.loads(Path("job.json").read_text())["frames"] == [-4]


def test_clipping_is_said(fake, golden, tmp_path):
    answer, _ = golden
    data = json.loads(json.dumps(answer.data))
    data["views"][2]["camera"]["clip_end"] = 5.0
    data["views"][3]["camera"]["clip_start"] = 3.5
    np.savez("changed.npz", answer=json.dumps({"version": "4.5", "data": data}), **answer.arrays)
    Path("fake.py").write_text(
        FAKE.format(record=str(tmp_path / "job.json"), answer=str(tmp_path / "changed.npz"))
    )
    code, out, _ = fake("story.blend", "-o", "out", "--format", "npy")
    assert code == 0
    (line,) = [line for line in out if "clipping" in line]
    assert "2 views" in line
    assert "002.npy" in line


def test_moving_geometry_has_a_folder_for_each_state(fake, tmp_path):
    answer = answer_of([view(1, 0), view(2, 1), view(3, 0)], [[0], [0, 1]])
    stored = json.dumps({"version": answer.version, "data": answer.data})
    np.savez("changed.npz", answer=stored, **answer.arrays)
    Path("fake.py").write_text(
        FAKE.format(record=str(tmp_path / "job.json"), answer=str(tmp_path / "changed.npz"))
    )
    code, out, _ = fake("story.blend", "-o", "out", "--frames", "1:3", "--format", "npy")
    assert code == 0
    assert sorted(os.listdir("out/story")) == ["0001", "0002"]
    views = json.loads(Path("out/story/0001/views.json").read_text())["views"]
    assert [(v["file"], v["blender"]["frame"]) for v in views] == [("000.npy", 1), ("001.npy", 3)]
    assert [line.split(":")[0] for line in out if "faces" in line or " face," in line] == [
        "story_0001",
        "story_0002",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("story.blend", "--views", "ring:3"), ("--views", "story.blend has its own cameras")),
        (("story.blend", "--size", "64"), ("--size", "story.blend")),
        (("story.blend", "--normalize", "cube"), ("--normalize cube", "story.blend")),
        (("a.obj", "--camera", "A"), ("--camera", "no .blend file")),
        (("a.obj", "--frames", "1"), ("--frames", "no .blend file")),
        (("story.blend", "--frames", "5:1"), ("'5:1'", "expected 12, 1:24 or keys")),
        (("story.blend", "--frames", "1:x"), ("'1:x'",)),
        (("story.blend", "--frames", "0:9999999"), ("'0:9999999'",)),
        (("story.blend", "--timeout", "0"), ("'0'", "seconds")),
    ],
)
def test_wrong_use(fake, arguments, words):
    code, out, err = fake(*arguments, "-o", "out")
    assert (code, out, len(err)) == (2, [], 1)
    assert "error: " in err[0]
    assert all(word in err[0] for word in words), err[0]
    assert not Path("out").exists()
    assert not Path("job.json").exists()


def test_a_failing_blender_leaves_nothing(fake):
    Path("fake.py").write_text("import os; os.abort()")
    code, out, err = fake("story.blend", "-o", "out")
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("raydepth: error: story.blend: ")
    assert "crashed (SIGABRT)" in err[0]
    assert os.listdir("out") == []


def test_a_hanging_blender_is_stopped(fake):
    Path("fake.py").write_text("import time; time.sleep(60)")
    code, out, err = fake("story.blend", "-o", "out", "--timeout", "0.5")
    assert (code, out, len(err)) == (1, [], 1)
    assert "story.blend" in err[0]
    assert "after 0.5 s" in err[0]
    assert os.listdir("out") == []


# --- With a live Blender


@pytest.mark.blender
def test_the_story_scene(blender, scenes, golden, tmp_path):
    """An animated camera, subdivision, arrays, instances and parents: Cycles' own depth."""
    scene = load_scene(scenes / "story.blend", frames="keys", blender=blender.program)
    assert scene.mesh.notes == ("17 instances of 9 geometries flattened",)
    passes = depth_passes(blender, scenes / "story.blend", VIEWS, tmp_path)
    assert_agrees(scene.mesh, scene.cameras, passes)

    # What is stored is the same scene to this Blender, whatever its version; some number the
    # vertices of a text differently.
    stored = Scene(golden[0], Path("story.blend"), "0" * 64)
    assert len(scene.mesh.faces) == len(stored.mesh.faces)
    np.testing.assert_allclose(scene.mesh.bounds, stored.mesh.bounds, rtol=0, atol=2e-6)
    np.testing.assert_allclose(scene.cameras.intrinsics, stored.cameras.intrinsics, rtol=1e-6)
    assert_agrees(stored.mesh, stored.cameras, passes)


@pytest.mark.blender
def test_every_frame_of_a_camera(blender, scenes, tmp_path):
    path = scenes / "story.blend"
    scene = load_scene(path, frames=range(2, 5), camera="Camera", blender=blender.program)
    (shot,) = scene
    assert shot.frames == (2, 3, 4)
    passes = depth_passes(blender, path, [f"Camera:{i}" for i in (2, 3, 4)], tmp_path)
    assert_agrees(shot.mesh, shot.cameras, passes)


@pytest.mark.blender
def test_geometry_that_moves(blender, scenes, tmp_path):
    path = scenes / "moving.blend"
    shots = list(load_scene(path, frames=range(1, 5), blender=blender.program))
    assert [(shot.label, shot.frames) for shot in shots] == [("0001", (1, 2)), ("0003", (3, 4))]
    for shot in shots:
        views = [f"Camera:{frame}" for frame in shot.frames]
        assert_agrees(shot.mesh, shot.cameras, depth_passes(blender, path, views, tmp_path))


@pytest.mark.blender
def test_perspective_and_orthographic(blender, scenes, tmp_path):
    path = scenes / "two.blend"
    shots = list(load_scene(path, blender=blender.program))
    assert [shot.label for shot in shots] == ["orthographic", "perspective"]
    for shot, name in zip(shots, ("Plan", "Wide"), strict=True):
        assert_agrees(shot.mesh, shot.cameras, depth_passes(blender, path, [f"{name}:1"], tmp_path))


@pytest.mark.blender
def test_particles_and_metaballs(blender, scenes, tmp_path):
    path = tmp_path / "mit Leerzeichen ä.blend"
    path.write_bytes((scenes / "particles.blend").read_bytes())
    scene = load_scene(path, blender=blender.program)
    assert len(scene.mesh.faces) > 40 * 12
    assert_agrees(scene.mesh, scene.cameras, depth_passes(blender, path, ["Kamera ü:1"], tmp_path))


@pytest.mark.blender
def test_what_is_left_out_is_said(blender, scenes):
    notes = load_scene(scenes / "noted.blend", blender=blender.program).mesh.notes
    assert notes == (
        "Python in the file (drivers, scripts) was not run",
        "of 2 view layers only 'ViewLayer' is rendered",
        "the render region is ignored, the whole image is rendered",
        "'hairy' has hair, points or a volume, which are left out",
        "depth of field is ignored: every camera is a pinhole",
    )


@pytest.mark.blender
@pytest.mark.parametrize(
    ("name", "options", "kind", "words"),
    [
        ("alone", {}, BlenderError, "scene 'Scene' has no cameras"),
        ("empty", {}, MeshError, r"empty\.blend: no mesh is visible in renders at frame 1"),
        ("two", {"camera": "X"}, BlenderError, "no camera 'X'; its cameras are 'Plan', 'Wide'"),
        ("two", {"frames": "keys"}, BlenderError, "no keyframes of camera 'Plan', 'Wide'"),
        ("panorama", {}, ValueError, r"panorama\.blend: camera 'All around' is panoramic"),
        ("sheared", {}, ValueError, r"sheared\.blend: camera 'Leaning' is sheared"),
    ],
)
def test_scenes_that_cannot_be_rendered(blender, scenes, name, options, kind, words):
    with pytest.raises(kind, match=words) as error:
        load_scene(scenes / f"{name}.blend", blender=blender.program, **options)
    assert "\n" not in str(error.value)


@pytest.mark.blender
def test_another_camera_of_a_scene_with_one_that_is_not_supported(blender, scenes):
    scene = load_scene(scenes / "panorama.blend", camera="Plain", blender=blender.program)
    assert scene.cameras.model == "perspective"


@pytest.mark.blender
@pytest.mark.parametrize("damage", ["truncated", "noise"])
def test_damaged_files(blender, scenes, damage, tmp_path):
    content = (scenes / "two.blend").read_bytes()
    noise = b"BLENDER" + np.random.default_rng(0).bytes(2000)
    path = tmp_path / "damaged.blend"
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else noise)
    with pytest.raises(BlenderError) as error:
        load_scene(path, blender=blender.program)
    assert "\n" not in str(error.value)


@pytest.mark.blender
def test_the_golden_projections_are_this_blenders(blender, tmp_path):
    from blender_runs import IN_BLENDER, run_script

    run_script(blender, IN_BLENDER / "projections.py", tmp_path / "live.json")
    live = json.loads((tmp_path / "live.json").read_text())["views"]
    stored = json.loads((GOLDEN / "projections.json").read_text())["views"]
    assert [view["camera"] for view in live] == [view["camera"] for view in stored]
    for here, there in zip(live, stored, strict=True):
        np.testing.assert_allclose(here["projection"], there["projection"], rtol=1e-6, atol=1e-6)


@pytest.mark.blender
def test_the_command_line_with_a_live_blender(blender, scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYDEPTH_BLENDER", blender.program)
    options = ["--frames", "1:2", "--camera", "Camera", "--format", "npy"]
    assert commands.main(["render", str(scenes / "story.blend"), "-o", "out", *options]) == 0
    capsys.readouterr()
    passes = depth_passes(blender, scenes / "story.blend", ["Camera:1", "Camera:2"], tmp_path)
    for i in range(2):
        depth = rd.read_depth(f"out/story/00{i}.npy").depth
        both = np.isfinite(depth) & np.isfinite(passes[i])
        np.testing.assert_allclose(depth[both], passes[i][both], rtol=1e-5)
        assert (np.isfinite(depth) != np.isfinite(passes[i])).mean() < 1e-3


def test_a_job_of_an_unknown_name(blender):
    with pytest.raises(BlenderError, match="KeyError: 'nothing'"):
        run(blender, {"command": "nothing"})
