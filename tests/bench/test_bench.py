"""The benchmark: what it measures, when it believes a time, what it says. Never how fast."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shapes
from mesh_files import write_obj

import raydepth as rd
from raydepth.bench import bench, peers, tables
from raydepth.cli import arguments, commands
from raydepth.cuda import device
from raydepth.dataset.compilation import compile_kernels
from raydepth.rendering.api import render
from raydepth.rendering.hierarchies import build_bvh

SMALL = ("--sizes", "16,24", "--repeats", "1")
START_UP = {"mesh": "knot_80k", "size": 512, "first": 1.0, "later": 0.5}


class Fake(peers.Renderer):
    """A renderer that agrees; those below do not."""

    title = "Fake"
    apt = "libfake1"
    version = "7.1"

    def load(self, mesh):
        return rd.Mesh(mesh.vertices, mesh.faces)

    def build(self, loaded):
        return build_bvh(loaded)

    def prepare(self, scene, rays):
        return rays.cameras

    def cast(self, scene, prepared):
        return render(scene, prepared).depth.copy()

    def z_depth(self, prepared, found):
        return found.ravel()


class Blind(Fake):
    title = "Blind"
    builds = False

    def z_depth(self, prepared, found):
        return np.full(found.size, np.inf)


class Absent(Fake):
    def __init__(self, threads):
        raise ModuleNotFoundError("No module named 'absent'")


class Broken(Fake):
    def __init__(self, threads):
        raise OSError("libfake.so.1: cannot open\nshared object file")


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    compile_kernels()
    fakes = {"fake": Fake, "blind": Blind, "absent": Absent, "broken": Broken}
    monkeypatch.setattr(peers, "PEERS", fakes)
    monkeypatch.setattr(arguments, "PEERS", fakes)
    monkeypatch.setattr(bench, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(bench, "GENERATED", {"knot_5k": (36, 6)})
    monkeypatch.setattr(bench, "_start_up", lambda folder: START_UP)
    monkeypatch.setattr(device, "why_unusable", lambda: "there is none")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        try:
            code = commands.main(["bench", *arguments])
        except SystemExit as exit_:
            code = exit_.code
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return call


def line_with(lines: list[str], *words: str) -> str:
    (line,) = [line for line in lines if all(word in line for word in words)]
    return line


# --- The meshes and the rays


def test_generated_meshes_have_the_stated_numbers_of_triangles(monkeypatch):
    monkeypatch.undo()
    counts = [2 * n_along * n_around for n_along, n_around in bench.GENERATED.values()]
    np.testing.assert_allclose(counts, [5e3, 80e3, 300e3, 1.3e6], rtol=0.04)


def test_the_generated_shape_is_closed_and_the_same_at_any_resolution():
    coarse, faces = bench.bumpy_knot(60, 8)
    fine, _ = bench.bumpy_knot(120, 16)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    # Tangents are differences of neighbours, so that the tube turns a little with resolution.
    np.testing.assert_allclose(coarse, fine.reshape(120, 16, 3)[::2, ::2].reshape(-1, 3), atol=0.02)
    assert (bench.bumpy_knot(60, 8)[0] == coarse).all()


def test_the_generated_file_is_a_mesh(tmp_path):
    path = bench._generated("knot_5k", tmp_path)
    mesh = rd.load_mesh(path)
    vertices, faces = bench.bumpy_knot(36, 6)
    assert (mesh.vertices == vertices.astype(np.float32)).all()
    assert (mesh.faces == faces).all()
    assert mesh.notes == ()


@pytest.mark.parametrize("size", [(5, 3), (1, 4)])
def test_rays_reach_z_depth_at_t(size):
    cameras = rd.cameras.random(3, seed=1, size=size, fov_deg=50)
    rays = peers.Rays.of(cameras)
    width, height = size
    assert rays.shape == (3, height, width)
    points = rays.origins + 2.5 * rays.directions.astype(np.float64)
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1).reshape(3, -1, 4)
    local = np.einsum("nij,npj->npi", cameras.camera_from_world, points)
    np.testing.assert_allclose(local[..., 2], 2.5, rtol=1e-6)
    image = np.einsum("nij,npj->npi", cameras.intrinsics, local[..., :3])
    pixel = (image[..., :2] / image[..., 2:]).reshape(3, height, width, 2)
    np.testing.assert_allclose(pixel[..., 0], np.arange(width) + 0.5 + 0 * pixel[..., 0], atol=1e-5)
    rows = (np.arange(height) + 0.5)[:, None]
    np.testing.assert_allclose(pixel[..., 1], rows + 0 * pixel[..., 1], atol=1e-5)


# --- Agreement


@pytest.fixture(scope="module")
def sphere_depth():
    return rd.render(rd.Mesh(*shapes.icosphere()), rd.cameras.fibonacci(2, size=64)).depth


def counts(ours, theirs) -> tuple[int, int]:
    counted = bench.compared(ours, theirs)
    assert counted["hits"] == np.isfinite(ours).sum()
    return counted["different"], counted["wrong"]


def test_the_same_depth_agrees(sphere_depth):
    assert counts(sphere_depth, sphere_depth) == (0, 0)
    assert counts(sphere_depth, sphere_depth.astype(np.float64) * (1 + 5e-5)) == (0, 0)


def test_another_answer_at_an_outline_differs_but_is_not_wrong(sphere_depth):
    hit = np.isfinite(sphere_depth)
    theirs = sphere_depth.copy()
    view, row, column = np.argwhere(hit)[0]  # the first hit of the first row that has one
    theirs[view, row, column] = np.inf
    assert counts(sphere_depth, theirs) == (1, 0)
    assert bench.agrees(bench.compared(sphere_depth, theirs))


@pytest.mark.parametrize("value", [np.inf, np.nan, 0.0, -1.0, 0.9, 1.1])
def test_another_value_inside_is_wrong(sphere_depth, value):
    theirs = sphere_depth.copy()
    theirs[1, 32, 32] = value
    assert counts(sphere_depth, theirs) == (1, 1)


def test_a_hit_on_nothing_is_wrong(sphere_depth):
    theirs = sphere_depth.copy()
    theirs[0, 0, 0] = 1.0
    assert counts(sphere_depth, theirs) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda z: np.roll(z, 1, axis=2),
        lambda z: z[:, ::-1],
        lambda z: z * 1.001,
        lambda z: z[::-1],
        lambda z: np.full_like(z, np.inf),
    ],
    ids=["shifted", "upside down", "scaled", "other views", "nothing"],
)
def test_another_image_does_not_agree(change):
    mesh = rd.Mesh(*bench.bumpy_knot(96, 12)).normalized("sphere")
    z = rd.render(mesh, rd.cameras.fibonacci(2, size=64)).depth
    assert bench.agrees(bench.compared(z, z))
    assert not bench.agrees(bench.compared(z, change(z)))


# --- Taking turns


def test_steps_take_turns_and_the_first_call_is_kept_apart(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))
    calls = []

    def ready(name):
        calls.append(f"ready {name}")
        return lambda: calls.append(name) or f"{name} {calls.count(name)}"

    times, results = bench.alternate({"a": lambda: ready("a"), "b": lambda: ready("b")}, 2)
    assert calls == ["ready a", "a", "ready b", "b"] * 3
    assert results == {"a": "a 1", "b": "b 1"}
    assert times["a"] == {"first": 1.0, "median": 1.0, "least": 1.0, "calls": 2}


def test_short_steps_are_repeated_for_a_while(monkeypatch):
    monkeypatch.setattr(bench, "MIN_SECONDS", 0.1)
    monkeypatch.setattr(bench, "WARM_SECONDS", 0)
    times, _ = bench.alternate({"a": lambda: int}, 1)
    assert times["a"]["calls"] > 10


def test_a_turn_begins_with_untimed_calls(monkeypatch):
    monkeypatch.setattr(bench, "WARM_SECONDS", 0.01)
    calls = []
    times, _ = bench.alternate({"a": lambda: lambda: calls.append(time.sleep(0.001))}, 3)
    assert len(calls) > 4 * times["a"]["calls"]


def test_a_turn_begins_when_no_thread_runs(monkeypatch):
    """Threads that spin on when they are done take no processor from the next."""
    busy = iter([2e-3, 1e-4, 2e-3, 1e-3, 0.0, 0.0, 1e-4])  # processor time of each look
    used = 0.0

    def sleep(seconds):
        nonlocal used
        used += next(busy)

    monkeypatch.setattr(bench, "MIN_SECONDS", 0)
    monkeypatch.setattr(bench, "WARM_SECONDS", 0)
    monkeypatch.setattr(bench.time, "sleep", sleep)
    monkeypatch.setattr(bench.time, "process_time", lambda: used)
    began = []

    def call():
        began.append(next(busy, "still"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.alternate({"a": lambda: call}, 1)
    assert began == ["still"]


# --- The report


def test_report_without_others(run):
    code, out, err = run("knot_5k", *SMALL, "--json", "out.json")
    assert (code, err) == (0, [])
    report = json.loads(Path("out.json").read_text())
    assert out == tables.lines(report)
    assert list(report["renderers"]) == ["raydepth"]
    (scene,) = report["scenes"]
    assert (scene["mesh"], scene["triangles"]) == ("knot_5k", 432)
    assert [cell["size"] for cell in scene["cells"]] == [16, 24]
    for cell in scene["cells"]:
        assert cell["rays"] == 6 * cell["size"] ** 2
        mesh = rd.Mesh(*bench.bumpy_knot(36, 6)).normalized("sphere")
        hits = np.isfinite(rd.render(mesh, rd.cameras.fibonacci(6, size=cell["size"])).depth).sum()
        assert abs(cell["hits"] - hits) <= 2  # the file's coordinates are float32
        assert cell["triangles_per_pixel"] == 432 * 6 / cell["hits"]
        rate = cell["rays"] / cell["render"]["raydepth"]["median"] / 1e6
        assert cell["mrays_per_s"]["raydepth"] == rate
        for times in (cell["encode"], cell["write"], scene["load"], scene["build"]["raydepth"]):
            assert 0 < times["least"] <= times["median"]
            assert times["first"] > 0
    assert out[-1] == "device 'cuda': there is none"
    text = "\n".join(out)
    for word in ("threads", "raydepth 0.", "numba", "python", "1.0 s the first time", "432"):
        assert word in text
    assert "best other" not in text


def test_a_gpu_stands_beside_the_cpu(run, fake_cuda):
    code, out, _ = run("knot_5k", *SMALL, "--json", "out.json")
    assert code == 0
    report = json.loads(Path("out.json").read_text())
    assert list(report["renderers"]) == ["raydepth", "raydepth cuda"]
    assert "render cuda | Mrays/s cuda" in line_with(out, "triangles/pixel")
    assert line_with(out, "build, raydepth cuda (fake)")
    assert "agrees; 0 of" in line_with(out, "raydepth cuda (fake) 0.")
    (scene,) = report["scenes"]
    assert scene["build"]["raydepth cuda"]["median"] > 0
    for cell in scene["cells"]:
        assert cell["mrays_per_s"]["raydepth cuda"] > 0
        assert cell["agreement"]["raydepth cuda"]["different"] == 0
    assert "find_visible" in {name for name, *_ in fake_cuda.launches}


def test_other_renderers_are_compared(run):
    code, out, err = run("knot_5k", *SMALL, "--against", "fake,blind,absent,broken,fake")
    assert (code, err) == (0, [])
    assert line_with(out, "absent") == "absent is not installed: pip install 'raydepth[peers]'"
    broken = "libfake.so.1: cannot open shared object file; on Debian: apt-get install libfake1"
    assert line_with(out, "broken") == f"broken does not start: {broken}"
    assert "Fake 7.1: agrees; 0 of" in line_with(out, "Fake 7.1")
    assert "! DISAGREES on knot_5k at 16, knot_5k at 24; " in line_with(out, "Blind 7.1")
    assert "geometric mean" in line_with(out, "rays per second: ", "smallest")
    assert "geometric mean" in line_with(out, "build: ", "smallest")
    assert "Blind" not in line_with(out, "triangles", "load")  # it builds nothing
    header, _, first, second = out[out.index(line_with(out, "| raydepth |")) :][:4]
    assert [cell.strip() for cell in header.strip("| ").split("|")] == [
        "mesh", "size", "raydepth", "Fake", "Blind", "raydepth / best other",
    ]  # fmt: skip
    for row in (first, second):
        name, _, ours, fake, blind, ratio = (cell.strip() for cell in row.strip("| ").split("|"))
        assert name == "knot_5k"
        assert blind.endswith("!")
        assert not fake.endswith("!")
        # Blind is not believed, so that Fake is the best other.
        assert float(ratio) == pytest.approx(float(ours) / float(fake), abs=0.1, rel=0.1)


def test_where_nobody_else_is_believed_there_is_no_ratio(run):
    code, out, _ = run("knot_5k", *SMALL, "--against", "blind")
    assert code == 0
    assert not [line for line in out if "geometric mean" in line]


def test_the_ratio_is_to_the_best_that_agrees():
    cell = {
        "mrays_per_s": {"raydepth": 60.0, "a": 10.0, "b": 20.0, "c": 40.0},
        "agreement": {"a": {"agrees": True}, "b": {"agrees": True}, "c": {"agrees": False}},
    }
    assert tables.ratio(cell, ["a", "b", "c"]) == 3.0
    assert tables.ratio(cell, ["c"]) is None


def test_geometric_mean_and_smallest():
    assert tables._summary("x", [(2.0, "here"), (8.0, "there")]) == [
        "x: geometric mean 4.00, smallest 2.00 (here)"
    ]


def test_a_mesh_by_path(run):
    path = write_obj(Path("cube.obj"), *shapes.cube(half=30.0))
    code, out, _ = run(str(path), "knot_5k", *SMALL)
    assert code == 0
    rows = [line.split()[1] for line in out if line.startswith(("| cube", "| knot"))]
    assert rows == ["cube", "knot_5k", "cube", "cube", "knot_5k", "knot_5k"]


def test_all_real_peers_are_reported_missing_without_their_packages(monkeypatch):
    monkeypatch.undo()
    for package in ("open3d", "mitsuba", "drjit", "embreex", "moderngl", "warp"):
        monkeypatch.setitem(sys.modules, package, None)
    ready, missing = peers.start(list(peers.PEERS), 2)
    assert ready == {}
    for name, line in missing.items():
        assert line == f"{name} is not installed: pip install 'raydepth[peers]'"
    assert list(missing) == ["open3d", "mitsuba", "embreex", "opengl", "warp"]


@pytest.mark.parametrize("name", list(peers.PEERS))
def test_a_real_peer_agrees(name, monkeypatch):
    """Runs where `pip install 'raydepth[peers]'` was done."""
    monkeypatch.undo()
    ready, missing = peers.start([name], 2)
    if missing:
        pytest.skip(missing[name])
    renderer = ready[name]
    cameras = rd.cameras.fibonacci(3, size=(40, 24))
    rays = peers.Rays.of(cameras)
    mesh = rd.Mesh(*shapes.icosphere())
    for _ in range(2):  # nothing of the first scene is left in the second
        scene = renderer.build(renderer.load(mesh))
        prepared = renderer.prepare(scene, rays)
        z = renderer.z_depth(prepared, renderer.cast(scene, prepared)).reshape(rays.shape)
        counted = bench.compared(rd.render(mesh, cameras).depth, z)
        assert counted["hits"] > 500
        assert counted["different"] <= 2
        assert counted["wrong"] == 0
        mesh = rd.Mesh(*bench.bumpy_knot(96, 12)).normalized("sphere")


# --- What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", "blender"], ["unknown renderer 'blender'; expected some of fake, "]),
        (["--against", ""], ["unknown renderer ''"]),
        (["--sizes", "0"], ["expected a whole number from 1, got '0'"]),
        (["--sizes", "16,x"], ["expected a whole number from 1, got 'x'"]),
        (["--repeats", "0"], ["expected a whole number from 1, got '0'"]),
        (["--json", "no/such/out.json"], ["no/such/out.json", "expected a file"]),
        (["--json", "."], ["expected a file"]),
    ],
)
def test_wrong_use(run, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    for word in ("error: ", *words):
        assert word in err[0]


def test_a_missing_mesh_is_found_before_any_work(run, monkeypatch):
    monkeypatch.setattr(bench, "_start_up", pytest.fail)
    code, out, err = run("knot_5k", "gone.ply")
    assert (code, out, len(err)) == (1, [], 1)
    assert "gone.ply: no such file; expected a mesh file or one of knot_5k" in err[0]
