"""The command line as users type it: what it does, what it says, what it refuses."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
import shapes
from mesh_files import contents, write_obj, write_off

import raydepth as rd
from raydepth.camera.files.formats import read_cameras
from raydepth.cli import commands, progress
from raydepth.storage.forms import STORES

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--views", "fibonacci:2", "--size", "8")


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture
def run(capsys):
    """Call the command line; gives the exit code and the lines on stdout and stderr."""

    def call(*arguments) -> tuple[int, list[str], list[str]]:
        try:
            code = commands.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return call


@pytest.fixture
def cube() -> Path:
    return write_obj(Path("cube.obj"), *shapes.cube())


def process(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "raydepth", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def meshes_in(out: str) -> list[str]:
    """The folders in a data set, and whatever else is not a file of the data set itself."""
    return sorted(set(os.listdir(out)) - {"dataset.json", "meshes.jsonl", "failures.jsonl"})


def views_file(path: str, cameras: rd.Cameras) -> Path:
    Path(path).write_text(json.dumps([camera.to_json() for camera in cameras]))
    return Path(path)


def refused(result, *words: str) -> None:
    """The command was wrong: nothing was done, and one line says why."""
    code, out, err = result
    assert code == 2
    assert out == []
    assert len(err) == 1, err
    for word in ("error: ", *words):
        assert word in err[0]
    assert not Path("out").exists()


# --- What render writes


def test_views_help_prints_every_placement(capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main(["render", "--views", "help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "hammersley:24" in out
    assert "  jitter " in out


def test_render_writes_what_the_library_renders(run, cube):
    code, out, err = run("render", cube, "-o", "out")
    assert (code, err) == (0, [])
    assert meshes_in("out") == ["cube"]
    names = [f"{i:03}.png" for i in range(24)]
    assert sorted(os.listdir("out/cube")) == [*names, "preview.png", "views.json"]

    cameras = rd.cameras.fibonacci(24, radius=1.5, fov_deg=40, size=512)
    result = rd.render(rd.load_mesh(cube), cameras[5])
    image = rd.read_depth("out/cube/005.png")
    pixels = imageio.v3.imread("out/cube/005.png")
    assert pixels.dtype == np.uint16
    hit = np.isfinite(result.depth[0])
    assert (pixels[~hit] == 0).all()
    assert (pixels[hit] == np.rint(result.depth[0][hit].astype(np.float64) * 10000)).all()
    assert (image.kind, image.values_per_unit) == ("z", 10000)
    assert image.camera.to_json() == cameras[5].to_json()
    assert image.mesh["name"] == "cube"
    assert imageio.v3.imread("out/cube/preview.png").shape[2] == 3

    views = json.loads(Path("out/cube/views.json").read_text())
    assert views["source"]["path"] == "cube.obj"
    assert (views["kind"], views["values_per_unit"], views["miss"]) == ("z", 10000, 0)
    view = views["views"][5]
    assert (view["file"], view["hits"]) == ("005.png", hit.sum())
    assert view["nearest"] == result.depth[0].min()
    assert view["farthest"] == result.depth[0][hit].max()

    assert len(out) == 1
    for word in ("cube: 12 faces, 24 views", "6,291,456 rays hit", "M rays/s on cpu", "out/cube"):
        assert word in out[0]


@pytest.mark.parametrize("file_format", ["png16", "npy", "npz", "tiff"])
@pytest.mark.parametrize("kind", ["z", "ray"])
def test_format_and_kind(run, cube, file_format, kind):
    options = ("--format", file_format, "--kind", kind, "--device", "cpu")
    assert run("render", cube, "-o", "out", *options, *SMALL)[0] == 0
    cameras = rd.cameras.fibonacci(2, size=8)
    expected = rd.render(rd.load_mesh(cube), cameras, kind=kind).depth
    (mesh,) = rd.open_dataset("out")
    assert (len(mesh), mesh.kind) == (2, kind)
    for i in range(2):
        tolerance = 0.5e-4 + 1e-7 if file_format == "png16" else 0
        np.testing.assert_allclose(mesh.depth(i), expected[i], rtol=0, atol=tolerance)
    if STORES[file_format].suffix:
        image = rd.read_depth(f"out/cube/001{STORES[file_format].suffix}")
        assert image.kind == kind
        np.testing.assert_array_equal(image.depth, mesh.depth(1))


def test_normalize_radius_fov_size_and_scale(run):
    mesh = write_obj(Path("far.obj"), *shapes.cube(half=30.0))
    options = ("--radius", "2.5", "--fov", "30", "--size", "64x48", "--values-per-unit", "20000")
    code, *_ = run(
        "render", mesh, "-o", "out", "--normalize", "cube", "--views", "ring:3,up=y", *options
    )
    assert code == 0
    image = rd.read_depth("out/far/002.png")
    cameras = rd.cameras.ring(3, up="y", radius=2.5, fov_deg=30, size=(64, 48))
    assert image.camera.to_json() == cameras[2].to_json()
    assert image.depth.shape == (48, 64)
    assert image.values_per_unit == 20000
    assert image.mesh["normalization"] == "cube"
    expected = rd.render(rd.load_mesh(mesh, normalize="cube"), cameras).depth[2]
    np.testing.assert_allclose(image.depth, expected, rtol=0, atol=0.25e-4 + 1e-7)


@pytest.mark.parametrize("spec", ["ring:4,elevation=-20", "dodecahedron", "random:3,seed=5,up=x"])
def test_placements(run, cube, spec):
    assert run("render", cube, "-o", "out", "--views", spec, "--size", "4")[0] == 0
    found = read_cameras("out/cube/views.json")
    expected = rd.cameras.from_spec(spec, size=4)
    assert (found.world_from_camera == expected.world_from_camera).all()


def test_size_640x480(run, cube):
    assert run("render", cube, "-o", "out", "--views", "ring:1", "--size", "640x480")[0] == 0
    assert imageio.v3.imread("out/cube/000.png").shape == (480, 640)


@pytest.mark.parametrize("file_format", ["png16", "npy"])
def test_views_json_renders_again_to_the_same_bytes(run, cube, file_format):
    options = ("--normalize", "sphere", "--kind", "ray", "--format", file_format)
    cameras = ("--views", "random:3,seed=2", "--size", "20x16", "--fov", "33.3", "--radius", "1.7")
    assert run("render", cube, "-o", "one", *options, *cameras)[0] == 0
    assert run("render", cube, "-o", "two", *options, "--views", "one/cube/views.json")[0] == 0
    assert contents(Path("one")) == contents(Path("two"))


def test_the_same_command_again_gives_the_same_bytes(run, cube):
    assert run("render", cube, "-o", "out", *SMALL)[0] == 0
    before = contents(Path("out"))
    Path("out/cube/001.png").unlink()
    Path("out/cube/mine.txt").write_text("notes")
    assert run("render", cube, "-o", "out", *SMALL)[0] == 0
    assert contents(Path("out")) == before | {"cube/mine.txt": b"notes"}


def test_orthographic_views_file(run, cube):
    cameras = rd.cameras.fibonacci(3, ortho_width=1.9, size=(12, 10))
    assert run("render", cube, "-o", "out", "--views", views_file("v.json", cameras))[0] == 0
    image = rd.read_depth("out/cube/002.png")
    assert image.camera.model == "orthographic"
    expected = rd.render(rd.load_mesh(cube), cameras).depth[2]
    np.testing.assert_allclose(image.depth, expected, rtol=0, atol=0.5e-4 + 1e-7)


def test_more_than_a_thousand_views(run, cube):
    code, out, _ = run("render", cube, "-o", "out", "--views", "fibonacci:1001", "--size", "2")
    assert code == 0
    names = [f"{i:04}.png" for i in range(1001)]
    assert sorted(os.listdir("out/cube")) == [*names, "preview.png", "views.json"]
    assert "1,001 views" in out[0]


def test_names_with_spaces_and_unicode(run):
    mesh = write_obj(Path("of things/ein Häschen 兔.obj"), *shapes.cube())
    code, out, _ = run("render", mesh, "-o", "my out", *SMALL)
    assert code == 0
    assert Path("my out/ein Häschen 兔/001.png").is_file()
    assert "ein Häschen 兔" in out[0]
    assert rd.read_depth("my out/ein Häschen 兔/001.png").mesh["name"] == "ein Häschen 兔"
    assert run("info", mesh)[0] == 0


def test_a_terminal_that_cannot_show_a_name(run, cube, monkeypatch):
    mesh = cube.rename("兔.obj")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert commands.main(["render", str(mesh), "-o", "out", *SMALL]) == 0
    assert terminal.buffer.getvalue().startswith(b"\\u5154: 12 faces")


def test_notes_and_an_empty_picture_are_said(run):
    vertices, faces = shapes.cube()
    flat = np.concatenate([faces, [(0, 0, 1)]])
    mesh = write_obj(Path("away.obj"), vertices + 50.0, flat)
    code, out, _ = run("render", mesh, "-o", "out", *SMALL)
    assert code == 0
    assert "0% of 128 rays hit" in out[0]
    assert out[1] == "  1 zero-area face is never hit"
    assert "--normalize sphere" in out[2]


# --- Meshes that share a name


def test_same_stem_in_one_call(run):
    cube, square = shapes.cube(), shapes.square()
    meshes = [
        write_obj(Path("a/m.obj"), *cube),
        write_obj(Path("b/m.obj"), *square),
        write_off(Path("a/m.off"), *cube),
        write_obj(Path("c/M.OBJ"), *cube),
        write_obj(Path("c/other.obj"), *cube),
    ]
    code, out, _ = run("render", *meshes, "-o", "out", *SMALL)
    assert (code, len(out)) == (0, 5)
    assert set(meshes_in("out")) == {"a_m_obj", "b_m_obj", "m_off", "c_M_OBJ", "other"}
    sources = {
        json.loads(file.read_text())["source"]["path"] for file in Path("out").glob("*/views.json")
    }
    assert sources == {str(mesh) for mesh in meshes}


@pytest.mark.parametrize("second", ["b/m.obj", "a/m.off", "copy/m.obj"])
def test_same_stem_in_separate_calls(run, second):
    first = write_obj(Path("a/m.obj"), *shapes.cube())
    write = write_off if second.endswith("off") else write_obj
    shape = shapes.square() if second == "b/m.obj" else shapes.cube()
    second = write(Path(second), *shape)
    assert run("render", first, "-o", "out", *SMALL)[0] == 0
    before = contents(Path("out"))
    code, out, err = run("render", second, "-o", "out", *SMALL)
    assert (code, out, len(err)) == (1, [], 1)
    assert f"already holds m, made from a/m.obj and not from {second}" in err[0]
    assert contents(Path("out")) == before


# --- What is refused, and leaves the disk as it was


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--kind", "ray"), 'kind "z"; this run has "ray"'),
        (("--values-per-unit", "5000"), "values_per_unit 10000; this run has 5000"),
        (("--format", "npz"), 'file_format "png16"; this run has "npz"'),
        (("--normalize", "cube"), 'normalization "none"; this run has "cube"'),
        (("--radius", "1.6"), "other cameras (view 0 differs in world_from_camera)"),
        (("--size", "9"), "width 8; this run has 9"),
        (("--views", "fibonacci:3"), "2 views; this run has 3"),
    ],
)
def test_other_settings_do_not_overwrite(run, cube, options, words):
    assert run("render", cube, "-o", "out", *SMALL)[0] == 0
    before = contents(Path("out"))
    code, out, err = run("render", cube, "-o", "out", *SMALL, *options)
    assert (code, out, len(err)) == (1, [], 1)
    assert words in err[0]
    assert "out holds a data set with" in err[0]
    assert contents(Path("out")) == before


@pytest.mark.parametrize(
    "views", [None, "", "[]", "{}", '{"format": "raydepth-views"}', "[" * 10**5]
)
def test_a_folder_of_someone_else_stays_untouched(run, cube, views):
    Path("out/cube").mkdir(parents=True)
    Path("out/cube/000.png").write_bytes(b"dear")
    if views is not None:
        Path("out/cube/views.json").write_text(views)
    before = contents(Path("out"))
    code, out, err = run("render", cube, "-o", "out", *SMALL)
    assert (code, out, len(err)) == (1, [], 1)
    assert "out/cube exists but holds no views.json written by raydepth" in err[0]
    after = contents(Path("out"))
    assert {name: after[name] for name in before} == before
    assert meshes_in("out") == ["cube"]


def test_a_changed_mesh_file_does_not_overwrite(run, cube):
    assert run("render", cube, "-o", "out", *SMALL)[0] == 0
    before = contents(Path("out"))
    write_obj(cube, *shapes.square())
    assert run("render", cube, "-o", "out", *SMALL) == (0, ["cube: already there"], [])
    assert contents(Path("out")) == before


def test_depth_that_does_not_fit_is_refused_whole(run, cube):
    """Only some views do not fit; none is written, and what would fit does fit."""
    far = write_obj(Path("far.obj"), shapes.cube()[0] + [0.0, 0.0, 1.2], shapes.cube()[1])
    command = ("render", far, cube, "-o", "out", *SMALL, "--fov", "120", "--values-per-unit")
    code, out, err = run(*command, "40000")
    assert (code, len(out), len(err)) == (1, 1, 2)
    assert meshes_in("out") == ["cube"]
    assert "far.obj: " in err[0]
    assert "does not fit 16 bits at values_per_unit=40000" in err[0]
    assert err[0].endswith("values_per_unit=20000 would fit")
    assert err[1] == "raydepth: 1 of 2 meshes failed"
    other = ("render", far, "-o", "other", *SMALL, "--fov", "120", "--values-per-unit", "20000")
    assert run(*other)[0] == 0


def test_one_line_per_broken_mesh_and_the_rest_is_written(run, cube):
    Path("broken.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\n")
    other = write_off(Path("other.off"), *shapes.square())
    meshes = ("broken.ply", cube, "missing.stl", "what.xyz", other)
    code, out, err = run("render", *meshes, "-o", "out", *SMALL)
    assert code == 1
    assert meshes_in("out") == ["cube", "other"]
    assert len(out) == 2
    assert len(err) == 4
    for line, name in zip(err, ("broken.ply", "missing.stl", "what.xyz"), strict=False):
        assert line.startswith(f"raydepth: error: {name}: ")
    assert err[-1] == "raydepth: 3 of 5 meshes failed"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--views", "spiral:3"), "unknown placement 'spiral'"),
        (("--views", "fibonacci"), "number of views"),
        (("--views", "fibonacci:0"), "number of views"),
        (("--views", "fibonacci:x"), "whole number"),
        (("--views", "ring:3,elevation=100"), "elevation"),
        (("--size", "0"), "size is 0"),
        (("--size", "5x"), "640x480"),
        (("--size", "-5"), "640x480"),
        (("--size", "1e3"), "640x480"),
        (("--size", "70000"), "65535"),
        (("--fov", "nan"), "fov_deg is nan"),
        (("--fov", "180"), "fov_deg"),
        (("--fov", "wide"), "--fov"),
        (("--radius", "0"), "radius"),
        (("--radius", "inf"), "radius"),
        (("--values-per-unit", "-1"), "values_per_unit is -1"),
        (("--values-per-unit", "0"), "values_per_unit"),
        (("--values-per-unit", "nan"), "values_per_unit"),
        (("--values-per-unit", "inf"), "values_per_unit"),
        (("--kind", "depth"), "--kind"),
        (("--format", "jpg"), "--format"),
        (("--normalize", "unit"), "--normalize"),
        (("--device", "tpu"), "--device"),
        (("--views", "none.json"), "none.json: No such file"),
        (("--views", "folder.json"), "folder.json holds no cameras (the folder has none of"),
        (("--sharp",), "--sharp"),
    ],
)
def test_wrong_use(run, cube, options, word):
    Path("folder.json").mkdir()
    refused(run("render", cube, "-o", "out", *options), word)


@pytest.mark.parametrize("option", ["--size", "--fov", "--radius"])
def test_options_that_a_views_file_has_already(run, cube, option):
    file = views_file("v.json", rd.cameras.ring(1, size=4))
    refused(run("render", cube, "-o", "out", "--views", file, option, "4"), option, "v.json")


@pytest.mark.parametrize(
    "text",
    ["", "[", "[" * 10**5, "[]", "{}", "3", "null", '"text"', "[3]", '[{"model": "fisheye"}]',
     '{"format": "raydepth-views"}', '{"format": "raydepth-views", "views": [{}]}',
     '{"format": "raydepth-views", "views": 3}', "\xff\xfe"],
)  # fmt: skip
def test_views_files_without_cameras(run, cube, text):
    Path("v.json").write_bytes(text.encode("latin-1"))
    refused(run("render", cube, "-o", "out", "--views", "v.json"), "v.json holds no cameras")


@pytest.mark.parametrize("value", [10**400, "nan", None, [1]])
def test_views_files_with_absurd_numbers(run, cube, value):
    camera = rd.cameras.ring(1, size=4).to_json()
    camera["world_from_camera"][0][3] = camera["width"] = value
    Path("v.json").write_text(json.dumps(camera))
    refused(run("render", cube, "-o", "out", "--views", "v.json"), "v.json holds no cameras")


def test_missing_arguments(run, cube):
    refused(run(), "COMMAND", "raydepth --help")
    refused(run("paint"), "paint")
    refused(run("render"), "-o")
    refused(run("render", "-o", "out"), "no meshes are given")
    refused(run("render", cube), "-o")
    refused(run("info"), "FILE")


def test_the_same_mesh_twice(run, cube):
    refused(run("render", cube, Path("elsewhere/../cube.obj"), "-o", "out"), "cube.obj", "2 times")


def test_results_cannot_go_into_a_file(run, cube):
    refused(run("render", cube, "-o", cube), "cube.obj is a file")
    refused(run("demo", "-o", cube), "cube.obj is a file")


def test_results_cannot_go_below_a_file(run, cube):
    code, out, err = run("render", cube, "-o", "cube.obj/out", *SMALL)
    assert (code, out, len(err)) == (1, [], 1)
    assert "cube.obj/out: Not a directory" in err[0]


def test_a_folder_that_cannot_be_written(run, cube, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    code, out, err = run("render", cube, "-o", "out", *SMALL)
    assert (code, out, err) == (1, [], ["raydepth: error: out: Permission denied"])


def test_a_full_disk(run, cube, patched_workers):
    patched_workers("""
import os
def full(handle, content):
    raise OSError(28, "No space left on device")
os.write = full
""")
    code, out, err = run("render", cube, "-o", "out", *SMALL)
    assert (code, out, err) == (1, [], ["raydepth: error: out/cube: No space left on device"])
    assert meshes_in("out") == []


def test_cuda_is_refused_before_any_work(run, monkeypatch):
    monkeypatch.setattr(commands, "compile_kernels", pytest.fail)
    code, out, err = run("render", "missing.obj", "-o", "out", "--device", "cuda")
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith("raydepth: error: device 'cuda'")
    assert not Path("out").exists()


# --- Interruptions


def test_interrupt_leaves_whole_folders_only(run, cube, monkeypatch):
    first = write_obj(Path("first.obj"), *shapes.square())
    sizes = "--views", "fibonacci:400", "--size", "64"

    def interrupted(progress, outcome):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Words, "mesh", interrupted)
        code, _, err = run("render", first, cube, "-o", "out", *sizes)
    assert code == 130
    assert err == ["raydepth: interrupted; files already written are complete"]
    # Whatever the others were about is cleared away, or was finished meanwhile.
    assert meshes_in("out")
    for name in meshes_in("out"):
        assert len(os.listdir(f"out/{name}")) == 402
    assert run("render", first, cube, "-o", "out", *sizes)[0] == 0
    assert run("render", first, cube, "-o", "uninterrupted", *sizes)[0] == 0
    assert contents(Path("out")) == contents(Path("uninterrupted"))


def test_a_killed_run_leaves_no_folder_and_can_be_repeated(run, cube):
    command = ("render", cube, "-o", "out", "--views", "fibonacci:400", "--size", "64")
    work = process(*command)
    partial = Path("out/.cube.partial")
    deadline = time.monotonic() + 60
    while not (partial.exists() and len(os.listdir(partial)) > 2):
        assert work.poll() is None, work.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    work.send_signal(signal.SIGKILL)
    work.communicate()
    assert meshes_in("out") == [".cube.partial", ".raydepth"]
    assert run(*command)[0] == 0
    assert meshes_in("out") == ["cube"]
    assert len(os.listdir("out/cube")) == 402


# --- Many meshes


@pytest.fixture
def many() -> list[Path]:
    """More meshes than have a line each; the fourth is broken."""
    meshes = [write_obj(Path(f"many/{i:02}.obj"), *shapes.cube(0.1 + i / 100)) for i in range(20)]
    meshes[3].write_text("v 0 0\n")
    return meshes


def test_a_folder(run, many):
    code, out, err = run("render", "many", "-o", "out", *SMALL)
    assert (code, len(out), len(err)) == (1, 1, 2)
    assert out[0].startswith("20 meshes: 19 rendered, 1 failed -> out; 2 views each, ")
    assert err[0].startswith("raydepth: error: many/03.obj: ")
    assert err[1] == "raydepth: 1 of 20 meshes failed: see out/failures.jsonl"
    assert len(meshes_in("out")) == 19
    assert sorted(os.listdir("out/00")) == ["000.png", "001.png", "views.json"]
    code, out, err = run("render", "many", "-o", "out", *SMALL)
    assert (code, out) == (1, ["20 meshes: 0 rendered, 19 already there, 1 failed -> out"])
    assert "1 of them in an earlier run (--retry-failed tries them again)" in err[0]


def test_the_same_from_a_list(run, many, monkeypatch):
    assert run("render", "many/*.obj", "-o", "one", *SMALL)[0] == 1
    Path("list.csv").write_text("id,path\n" + "".join(f"1,{mesh}\n" for mesh in many))
    assert run("render", "--list", "list.csv", "-o", "two", *SMALL)[0] == 1
    text = "".join(f"{mesh}\n" for mesh in many)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("render", "--list", "-", "-o", "three", *SMALL)[0] == 1
    assert contents(Path("one")) == contents(Path("two")) == contents(Path("three"))


def test_shards(run, many, monkeypatch):
    assert run("render", "many", "-o", "one", *SMALL)[0] == 1
    codes = [run("render", "many", "-o", "two", *SMALL, "--shard", f"{i}/2")[0] for i in (0, 1)]
    assert sorted(codes) == [0, 1]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    assert run("render", "many", "-o", "three", *SMALL, "--shard", "slurm")[0] == 1
    assert contents(Path("one")) == contents(Path("two")) == contents(Path("three"))


def test_log_json(run, many):
    code, out, err = run("render", "many", "-o", "out", *SMALL, "--log-json")
    events = [json.loads(line) for line in out]
    assert (code, err) == (1, [])
    assert [event["event"] for event in events] == ["start", *["mesh"] * 20, "end"]
    assert (events[0]["meshes_todo"], events[0]["views_todo"]) == (20, 40)
    failed = [event for event in events[1:-1] if event["stage"]]
    assert [(event["path"], event["stage"]) for event in failed] == [("many/03.obj", "load")]
    assert (events[-1]["rendered"], events[-1]["failed"]) == (19, 1)


@pytest.mark.parametrize(("option", "there"), [("--preview", True), ("--no-preview", False)])
def test_previews(run, cube, option, there):
    assert run("render", cube, "-o", "out", *SMALL, option)[0] == 0
    assert Path("out/cube/preview.png").exists() is there
    # Without a word, it goes on as it was begun.
    assert run("render", cube, "-o", "out", *SMALL)[0] == 0


def test_overwrite_and_retry(run, cube):
    Path("bad.obj").write_text("v 0 0\n")
    assert run("render", cube, "bad.obj", "-o", "out", *SMALL)[0] == 1
    write_obj(Path("bad.obj"), *shapes.cube())
    code, out, err = run("render", cube, "bad.obj", "-o", "out", *SMALL)
    assert (code, out) == (1, ["cube: already there"])
    assert err[0].endswith("(in an earlier run)")
    code, out, err = run("render", cube, "bad.obj", "-o", "out", *SMALL, "--retry-failed")
    assert (code, len(out), err) == (0, 2, [])
    other = ("--size", "9", "--views", "fibonacci:2")
    assert run("render", cube, "-o", "out", *other)[0] == 1
    assert run("render", cube, "-o", "out", *other, "--overwrite")[0] == 0
    assert meshes_in("out") == ["cube"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--shard", "2/2"), "shard 2/2 does not exist"),
        (("--shard", "half"), "shard is 'half'"),
        (("--shard", "0/2", "--overwrite"), "exclude each other"),
        (("--timeout", "-1"), "seconds"),
        (("--memory", "much"), "GiB"),
        (("--list", "none.txt"), "none.txt: No such file"),
        (("empty",), "empty holds no mesh files"),
        (("*.stl",), "no mesh file matches *.stl"),
        (("--engine", "slurm"), "--engine"),
    ],
)
def test_wrong_use_of_many(run, cube, options, word, monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    Path("empty").mkdir()
    refused(run("render", *options, cube, "-o", "out"), word)


def test_verify(run, many):
    assert run("render", "many", "-o", "out", *SMALL)[0] == 1
    code, out, err = run("verify", "out", "--samples", "5")
    assert (code, err) == (0, [])
    assert out == [
        "20 meshes, 38 views, 95 pixels traced again: all as it should be; 1 failed when the "
        "data set was rendered (failures.jsonl)"
    ]
    Path("out/07/001.png").write_bytes(b"not a picture")
    code, out, err = run("verify", "out")
    assert (code, len(out)) == (1, 2)
    assert out[0].startswith("damaged: 07: out/07")
    assert "traced again: 1 damaged; " in out[1]
    assert run("verify", "elsewhere")[0] == 2


# --- The other commands, and the terminal


def test_demo(run):
    code, out, err = run("demo")
    assert (code, err) == (0, [])
    assert len(out) == 1
    assert "torus_knot: 73,728 faces, 12 views" in out[0]
    assert "raydepth-demo/torus_knot" in out[0]
    assert len(os.listdir("raydepth-demo/torus_knot")) == 14
    pixels = imageio.v3.imread("raydepth-demo/torus_knot/000.png")
    assert (pixels.shape, pixels.dtype) == ((512, 512), np.uint16)
    # The knot fits the sphere of radius 0.5, and the cameras stand at 1.5.
    assert 10000 <= pixels[pixels > 0].min() < pixels.max() <= 20000


def test_info(run, cube):
    code, out, err = run("info", cube)
    assert (code, err) == (0, [])
    assert out[:2] == ["mesh      cube", "faces     12"]
    code, out, err = run("info", "missing.obj")
    assert (code, out, err) == (1, [], ["raydepth: error: missing.obj: no such file"])


def test_version(run):
    assert run("--version") == (0, [f"raydepth {rd.__version__}"], [])


@pytest.mark.parametrize("arguments", [(), ("render",), ("info",), ("demo",)])
def test_help(run, arguments):
    code, out, err = run(*arguments, "--help")
    assert (code, err) == (0, [])
    assert out[0].startswith("usage: raydepth")


def test_the_module_as_a_program():
    """Exit codes and streams of a real process; a pipe gets no progress bar."""
    work = process()
    out, err = work.communicate(timeout=60)
    assert (work.returncode, out) == (2, "")
    assert err.count("\n") == 1
    write_obj(Path("cube.obj"), *shapes.cube())
    work = process("render", "cube.obj", "missing.obj", "-o", "out", *SMALL)
    out, err = work.communicate(timeout=60)
    assert work.returncode == 1
    assert out.count("\n") == 1
    assert "missing.obj" in err
    assert "\r" not in out + err


@pytest.mark.parametrize("arguments", [("info", "cube.obj"), ("--help",)])
def test_a_reader_that_stops_early(cube, arguments):
    work = process(*arguments)
    work.stdout.close()
    assert work.wait(timeout=60) in (0, 1)
    assert work.stderr.read() == ""
    work.stderr.close()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(monkeypatch, terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with commands._progress(3) as bar:
        assert bar.disable is not terminal
        bar.update(1)
    assert stream.getvalue() == ""  # it was over in a moment
