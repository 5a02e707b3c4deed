"""Data sets of many meshes: what is there after interruptions, failures and in shards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shapes
from mesh_files import contents, write_obj

import raydepth as rd
from raydepth.dataset.failure_log import Failure, open_failure_log, read_failures
from raydepth.dataset.inputs import find_meshes, read_list
from raydepth.dataset.manifest import MANIFEST_FILE, read_manifest
from raydepth.dataset.settings import SETTINGS_FILE
from raydepth.dataset.shards import Shard, members
from raydepth.errors import MeshError
from raydepth.runs import scheduler
from raydepth.runs.verify import verify_dataset
from raydepth.runs.worker_client import Worker
from raydepth.storage.description import description_hash, hashed
from raydepth.storage.forms import STORES, store_of
from raydepth.storage.layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = (".obj", ".off", ".ply")


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cameras() -> rd.Cameras:
    return rd.cameras.fibonacci(2, size=16)


@pytest.fixture
def meshes() -> Path:
    """A folder of twelve meshes, of which two are broken."""
    for i in range(12):
        write_obj(Path(f"meshes/{i:02}.obj"), *shapes.icosphere(0.2 + 0.02 * i, levels=i % 3))
    Path("meshes/03.obj").write_text("v 0 0\n")
    Path("meshes/07.obj").write_text("v 0 0 0\nv 0 0 1\nv 0 1 0\nf 1 2 9\n")
    return Path("meshes")


def lines(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


# --- Which meshes


def test_files_folders_and_patterns():
    for name in ("b/2.obj", "b/1.off", "b/.hidden.obj", "b/c/3.PLY", "a.obj", "b/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("")
    assert find_meshes(["b", "a.obj"], SUFFIXES) == [
        Path(name) for name in ("b/1.off", "b/2.obj", "b/c/3.PLY", "a.obj")
    ]
    assert find_meshes("b/*", SUFFIXES) == [Path(p) for p in ("b/1.off", "b/2.obj", "b/c/3.PLY")]
    assert find_meshes("**/*.obj", SUFFIXES) == [Path("a.obj"), Path("b/2.obj")]
    assert find_meshes(Path("missing.obj"), SUFFIXES) == [Path("missing.obj")]
    Path("odd[1].obj").write_text("")
    assert find_meshes("odd[1].obj", SUFFIXES) == [Path("odd[1].obj")]
    with pytest.raises(ValueError, match=r"no mesh file matches \*\.stl"):
        find_meshes("*.stl", SUFFIXES)
    Path("empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no mesh files"):
        find_meshes(["a.obj", "empty"], SUFFIXES)
    with pytest.raises(ValueError, match="no meshes are given"):
        find_meshes([], SUFFIXES)


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"a.obj\n\nb c.obj\r\n", "x.txt", ["a.obj", "b c.obj"]),
        (b"\xef\xbb\xbfa.obj", "-", ["a.obj"]),
        (b"path\na.obj\n", "x.csv", ["a.obj"]),
        (b'id,path\n1,"a,b.obj"\n2,c.obj\n', "standard input", ["a,b.obj", "c.obj"]),
        (b"caf\xe9.obj", "x", ["caf\udce9.obj"]),
    ],
)
def test_lists(content, name, expected):
    assert read_list(content, name) == [Path(path) for path in expected]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "x.txt", "lists no meshes"),
        (b"a,b\n1,2\n", "x.csv", "no column 'path'; its columns are a, b"),
        (b"id,path\n1,a\n2,\n", "x.csv", "line 3"),
    ],
)
def test_lists_that_are_none(content, name, words):
    with pytest.raises(ValueError, match=words):
        read_list(content, name)


# --- A run, and the same again


def test_what_a_run_leaves(meshes, cameras):
    outcomes = []
    report = rd.render_dataset(meshes, "out", cameras, on_mesh=outcomes.append)
    assert (report.n_meshes, report.n_rendered, report.n_there) == (12, 10, 0)
    assert len(outcomes) == 12
    failures = lines("out/failures.jsonl")
    assert [(f["path"], f["stage"]) for f in failures] == [
        ("meshes/03.obj", "load"),
        ("meshes/07.obj", "load"),
    ]
    assert "vertex 8" in failures[1]["reason"]
    assert not failures[1]["reason"].startswith("meshes/")
    assert [entry.path for entry in read_manifest(Path("out"))] == [
        f"meshes/{i:02}.obj" for i in range(12)
    ]
    assert not Path("out/.raydepth").exists()
    mesh = rd.load_mesh("meshes/05.obj")
    np.testing.assert_allclose(
        rd.open_dataset("out")["05"].depths(), rd.render(mesh, cameras).depth, atol=0.5e-4 + 1e-7
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bytes_for_any_number_of_threads(meshes, cameras, threads):
    rd.render_dataset(meshes, "one", cameras, threads=1)
    rd.render_dataset(meshes, "two", cameras, threads=threads)
    assert contents(Path("one")) == contents(Path("two"))


def test_a_second_run_does_nothing(meshes, cameras):
    first = rd.render_dataset(meshes, "out", cameras)
    before = contents(Path("out"))
    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}
    outcomes = []
    second = rd.render_dataset(meshes, "out", cameras, on_mesh=outcomes.append)
    assert (second.n_rendered, second.n_there, second.failures) == (0, 10, first.failures)
    assert outcomes == []
    assert contents(Path("out")) == before
    assert times == {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.png")}


def test_what_is_missing_is_made_again(meshes, cameras):
    rd.render_dataset(meshes, "out", cameras)
    before = contents(Path("out"))
    Path("out/04/001.png").unlink()
    for file in Path("out/05").iterdir():
        file.unlink()
    Path("out/05").rmdir()
    assert rd.render_dataset(meshes, "out", cameras).n_rendered == 2
    assert contents(Path("out")) == before


def test_failed_meshes_are_tried_again_when_asked(meshes, cameras):
    rd.render_dataset(meshes, "out", cameras)
    write_obj(Path("meshes/03.obj"), *shapes.cube(0.2))
    assert rd.render_dataset(meshes, "out", cameras).n_rendered == 0
    report = rd.render_dataset(meshes, "out", cameras, retry_failed=True)
    assert (report.n_rendered, report.n_there) == (1, 10)
    assert [f["path"] for f in lines("out/failures.jsonl")] == ["meshes/07.obj"]
    write_obj(Path("meshes/07.obj"), *shapes.cube(0.2))
    assert rd.render_dataset(meshes, "out", cameras, retry_failed=True).failures == []
    assert not Path("out/failures.jsonl").exists()


def test_overwrite(meshes, cameras):
    rd.render_dataset(meshes, "out", cameras)
    other = rd.cameras.ring(1, size=8)
    with pytest.raises(FileExistsError, match="2 views; this run has 1"):
        rd.render_dataset(meshes, "out", other)
    Path("meshes/11.obj").unlink()
    Path("meshes/03.obj").unlink()
    rd.render_dataset(meshes, "out", other, file_format="npz", overwrite=True)
    rd.render_dataset(meshes, "fresh", other, file_format="npz")
    assert contents(Path("out")) == contents(Path("fresh"))
    with pytest.raises(ValueError, match="exclude each other"):
        rd.render_dataset(meshes, "out", other, overwrite=True, shard="0/2")


def test_further_meshes_are_added(meshes, cameras):
    rd.render_dataset("meshes/0*.obj", "out", cameras)
    report = rd.render_dataset(["meshes/11.obj", "meshes/00.obj"], "out", cameras)
    assert (report.n_rendered, report.n_there) == (1, 1)
    assert [entry.name for entry in read_manifest(Path("out"))][-2:] == ["09", "11"]
    assert len(lines("out/failures.jsonl")) == 2
    before = contents(Path("out"))
    with pytest.raises(FileExistsError, match=r"is not one of them"):
        rd.render_dataset(meshes, "out", cameras, shard="0/2")
    assert contents(Path("out")) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "ray"}, 'kind "z"; this run has "ray"'),
        ({"normalize": "cube"}, "normalization"),
        ({"values_per_unit": 5000}, "values_per_unit 10000; this run has 5000"),
        ({"file_format": "npy"}, 'file_format "png16"; this run has "npy"'),
        ({"previews": False}, "previews true; this run has false"),
    ],
)
def test_other_settings_are_refused(meshes, cameras, options, words):
    rd.render_dataset(meshes, "out", cameras)
    before = contents(Path("out"))
    with pytest.raises(FileExistsError, match=words):
        rd.render_dataset(meshes, "out", cameras, **options)
    assert contents(Path("out")) == before
    assert not Path("out/.raydepth").exists()


# --- Every form of storage


def installed(file_format: str) -> None:
    """Skip where a form's package is not installed."""
    try:
        store_of(file_format)
    except ImportError as error:
        pytest.skip(str(error))


# One of each way of writing: the others are folders or files like the first two.
@pytest.mark.parametrize("file_format", ["png16", "npz", "zarr", "webdataset"])
def test_forms_go_on_after_an_interruption(meshes, cameras, file_format, monkeypatch):
    """Also where several meshes are one file; the same bytes, however it came about."""
    installed(file_format)
    store = store_of(file_format)
    if store.meshes_per_unit > 1:
        monkeypatch.setattr(type(store), "meshes_per_unit", 4)
    rd.render_dataset(meshes, "whole", cameras, file_format=file_format)
    seen = []

    def interrupt(outcome):
        seen.append(outcome)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rd.render_dataset(meshes, "out", cameras, file_format=file_format, on_mesh=interrupt)
    report = rd.render_dataset(meshes, "out", cameras, file_format=file_format)
    assert report.n_rendered + report.n_there == 10
    assert contents(Path("out")) == contents(Path("whole"))
    for i in range(3):
        rd.render_dataset(meshes, "parts", cameras, file_format=file_format, shard=f"{i}/3")
    assert contents(Path("parts")) == contents(Path("whole"))
    write_obj(Path("meshes/03.obj"), *shapes.cube(0.2))
    rd.render_dataset(meshes, "out", cameras, file_format=file_format, retry_failed=True)
    rd.render_dataset(meshes, "fresh", cameras, file_format=file_format)
    # The size of a file stays what it was when the data set was begun: shards depend on it.
    out, fresh = contents(Path("out")), contents(Path("fresh"))
    assert out.pop("meshes.jsonl") != fresh.pop("meshes.jsonl")
    assert out == fresh


# --- Interruptions


def test_an_interrupted_run_goes_on(meshes, cameras):
    rd.render_dataset(meshes, "whole", cameras, threads=1)
    for n_before in (1, 3):
        seen = []

        def interrupt(outcome, seen=seen, n_before=n_before):
            seen.append(outcome)
            if len(seen) == n_before:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rd.render_dataset(meshes, "out", cameras, threads=2, on_mesh=interrupt)
        for folder in Path("out").glob("[0-9]*"):
            assert contents(folder) == contents(Path("whole") / folder.name)
    rd.render_dataset(meshes, "out", cameras)
    assert contents(Path("whole")) == contents(Path("out"))


def test_kill_9(meshes, cameras):
    """At three moments, from the first file on."""
    program = (
        "import raydepth as rd, sys\n"
        "rd.render_dataset('meshes', 'out', rd.cameras.fibonacci(2, size=16))\n"
    )
    rd.render_dataset(meshes, "whole", cameras)
    for n_files in (1, 5, 25):
        for path in sorted(Path("out").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        work = subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        deadline = time.monotonic() + 60
        while work.poll() is None and sum(len(files) for *_, files in os.walk("out")) < n_files:
            assert time.monotonic() < deadline
        work.send_signal(signal.SIGKILL)
        work.wait()
        rd.render_dataset(meshes, "out", cameras)
        assert contents(Path("whole")) == contents(Path("out"))


def test_what_killed_writers_left_is_cleared_away(meshes, cameras):
    """A file in the making, and the record of a run that did not come to its end."""
    rd.render_dataset(meshes, "whole", cameras, file_format="npz")
    rd.render_dataset(meshes, "out", cameras, file_format="npz")
    Path("out/01.npz").unlink()
    Path("out/.raydepth-0123456789abcdef.tmp").write_bytes(b"half")
    Path("out/.raydepth").mkdir()
    Path("out/.raydepth/failures-0-of-1.jsonl").touch()
    rd.render_dataset(meshes, "out", cameras, file_format="npz")
    assert contents(Path("out")) == contents(Path("whole"))


def test_a_full_disk_ends_the_run_and_it_goes_on_later(meshes, cameras, patched_workers):
    rd.render_dataset(meshes, "whole", cameras)
    patched_workers("""
import os
write, written = os.write, []
def full(handle, content):
    written.append(handle)
    if len(written) > 8:
        write(handle, content[: len(content) // 2])
        raise OSError(28, "No space left on device")
    return write(handle, content)
os.write = full
""")
    with pytest.raises(OSError, match="No space left"):
        rd.render_dataset(meshes, "out", cameras)
    patched_workers.undo()
    for folder in Path("out").glob("[0-9]*"):
        assert contents(folder) == contents(Path("whole") / folder.name)
    rd.render_dataset(meshes, "out", cameras)
    assert contents(Path("whole")) == contents(Path("out"))


@pytest.mark.skipif(sys.platform != "linux", reason="a file size limit as Linux has it")
def test_a_limit_on_the_size_of_files(meshes):
    """The system itself refuses the bytes, as a full disk does."""
    program = (
        "import resource, signal, raydepth as rd\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))\n"
        "rd.render_dataset('meshes', 'out', rd.cameras.fibonacci(2, size=64), "
        "file_format='npy', previews=False)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for n_bytes, words in ((12_000, "File too large"), (10_000_000, "")):
        done = subprocess.run(
            [sys.executable, "-c", program.format(n_bytes)],
            env=environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert words in done.stderr
        assert (done.returncode == 0) == (not words)
    whole = rd.cameras.fibonacci(2, size=64)
    rd.render_dataset(meshes, "whole", whole, file_format="npy", previews=False)
    assert contents(Path("whole")) == contents(Path("out"))


def test_two_runs_at_once_are_refused(meshes, cameras):
    Path("out").mkdir()
    with open_failure_log(Path("out"), Shard(0, 1)):
        with pytest.raises(FileExistsError, match="out is being rendered by another process"):
            rd.render_dataset(meshes, "out", cameras)
        with pytest.raises(FileExistsError, match="splits the work differently"):
            rd.render_dataset(meshes, "out", cameras, shard="1/2")
    assert os.listdir("out") == []


# --- Meshes that hang, grow and crash


def test_a_mesh_that_takes_too_long(meshes, cameras, monkeypatch):
    os.mkfifo("meshes/05b.obj")  # opening it waits for a writer, for ever
    report = rd.render_dataset(meshes, "out", cameras, timeout=2.0)
    assert report.n_rendered == 10
    assert lines("out/failures.jsonl")[1] == {
        "path": "meshes/05b.obj",
        "stage": "load",
        "reason": "loading takes more than 2 s",
    }


def test_rendering_that_takes_too_long(meshes, cameras):
    report = rd.render_dataset(["meshes/00.obj"], "out", cameras, timeout=1e-3)
    assert report.failures[0].reason.endswith("takes more than 0.001 s")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_scene_of_60_million_instances_is_refused(cameras):
    """One triangle, instanced over and over; the file has some kilobytes."""
    depth, fan = 8, 10
    nodes = [{"mesh": 0}]
    for level in range(depth):
        nodes.append({"children": [level] * fan})
    # glTF lets no node have two parents, so the tree is written as far as a file can.
    data = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [depth]}], "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36, "uri": "three.bin"}],
    }  # fmt: skip
    Path("many.gltf").write_text(json.dumps(data))
    Path("three.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    write_obj(Path("cube.obj"), *shapes.cube())
    report = rd.render_dataset(["many.gltf", "cube.obj"], "out", cameras, memory=1 << 28)
    assert report.n_rendered == 1
    assert [failure.path for failure in report.failures] == ["many.gltf"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_too_much_memory(cameras):
    write_obj(Path("large.obj"), *shapes.icosphere(levels=6))
    write_obj(Path("cube.obj"), *shapes.cube())
    report = rd.render_dataset(["large.obj", "cube.obj"], "out", cameras, memory=3 << 20)
    assert report.failures == [
        Failure("large.obj", "load", "loading takes more than 0.00293 GiB of memory")
    ]
    assert report.n_rendered == 1


@pytest.mark.parametrize("count", [10**9, 10**12])
def test_a_declared_count_beyond_reason(cameras, count):
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n"
    header += "property float x\nproperty float y\nproperty float z\n"
    header += f"element face {count}\nproperty list uchar int vertex_indices\nend_header\n"
    Path("absurd.ply").write_bytes(header.encode() + bytes(100))
    write_obj(Path("cube.obj"), *shapes.cube())
    start = time.perf_counter()
    report = rd.render_dataset(["absurd.ply", "cube.obj"], "out", cameras)
    assert time.perf_counter() - start < 20
    assert (report.n_rendered, len(report.failures)) == (1, 1)


def crash_once(worker: Worker) -> None:
    """Kill the loader's process as soon as it has one."""
    while worker._process is None:
        time.sleep(0.001)
    os.kill(worker._process.pid, signal.SIGKILL)


def test_a_loader_that_is_killed_once_is_replaced():
    os.mkfifo("pipe.obj")
    worker = Worker()
    threading.Thread(target=crash_once, args=[worker]).start()

    def fill():
        time.sleep(3)
        write_obj(Path("cube.obj"), *shapes.cube())
        Path("pipe.obj").write_bytes(Path("cube.obj").read_bytes())

    threading.Thread(target=fill).start()
    mesh = worker.load("pipe.obj", folder=".", normalize="none", timeout=60, memory=1 << 30)
    assert len(mesh.faces) == 12
    worker.close()


CRASHING = """
import os, signal
from raydepth.runs import {module}
work = {module}.{function}
def crashing(*args, **options):
    if {condition}:
        os.kill(os.getpid(), signal.SIGSEGV)
    return work(*args, **options)
{module}.{function} = crashing
"""


@pytest.mark.parametrize(
    ("stage", "module", "function", "condition"),
    [
        ("load", "worker_process", "load_mesh", "args[0].endswith('05.obj')"),
        ("render", "tasks", "TaskRenderer.render", "args[2].path.endswith('05.obj')"),
    ],
)
def test_a_mesh_that_crashes_its_worker_is_recorded(
    meshes, cameras, patched_workers, stage, module, function, condition
):
    """A process that dies by a signal whenever it gets that mesh."""
    patched_workers(CRASHING.format(module=module, function=function, condition=condition))
    report = rd.render_dataset(meshes, "out", cameras)
    crashed = [failure for failure in report.failures if "crashes" in failure.reason]
    assert (report.n_rendered + len(report.failures), len(report.failures)) == (12, 3)
    verb = {"load": "loads", "render": "renders"}[stage]
    reason = f"crashes the process that {verb} it (SIGSEGV)"
    assert crashed == [Failure("meshes/05.obj", stage, reason)]


def test_workers_end_with_their_parent(meshes):
    program = (
        "import os, raydepth as rd\n"
        "from raydepth.runs import worker_client\n"
        "rd.render_dataset('meshes', 'out', rd.cameras.ring(1, size=4))\n"
        "print(*[worker._process.pid for worker in worker_client._idle], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    pids = [int(word) for word in done.stdout.split()]
    assert pids
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_the_loader_says_what_load_mesh_says():
    Path("bad.obj").write_text("v 0 0\n")
    with pytest.raises(MeshError) as expected:
        rd.load_mesh("bad.obj")
    worker = Worker()
    with pytest.raises(MeshError) as found:
        worker.load("bad.obj", folder=".", normalize="none", timeout=60, memory=1 << 30)
    assert str(found.value) == str(expected.value)
    write_obj(Path("a.obj"), *shapes.icosphere(levels=2))
    mesh = worker.load("a.obj", folder=".", normalize="sphere", timeout=60, memory=1 << 30)
    same = rd.load_mesh("a.obj", normalize="sphere")
    assert mesh.to_json() == same.to_json()
    assert (mesh.source, mesh.source_sha256, mesh.notes) == ("a.obj", same.source_sha256, ())
    assert not mesh.vertices.flags.writeable
    worker.close()


def test_memory_bounds_what_is_rendered_at_once(meshes, cameras, monkeypatch):
    """With room for one mesh only, one after the other is rendered, and none waits for ever."""
    monkeypatch.setattr(scheduler, "BYTES_PER_FACE", 1 << 40)
    assert rd.render_dataset(meshes, "out", cameras, threads=4).n_rendered == 10


# --- Shards


def test_shards_are_a_partition_and_balanced():
    rng = np.random.default_rng(1)
    weights = [int(w) for w in rng.lognormal(10, 2, size=500)]
    parts = [members(weights, Shard(i, 7)) for i in range(7)]
    assert sorted(place for part in parts for place in part) == list(range(500))
    sums = [sum(weights[place] for place in part) for part in parts]
    assert max(sums) <= max(sum(weights) / 7 * 1.05, max(weights))
    assert members([], Shard(0, 2)) == []
    assert members([5], Shard(1, 2)) == []


def test_shards_together_make_the_same(meshes, cameras):
    rd.render_dataset(meshes, "one", cameras)
    reports = [rd.render_dataset(meshes, "out", cameras, shard=f"{i}/3") for i in (2, 0, 1)]
    assert sum(report.n_meshes for report in reports) == 12
    assert contents(Path("out")) == contents(Path("one"))


def test_shards_at_the_same_time(meshes, cameras):
    rd.render_dataset(meshes, "one", cameras)
    program = "import raydepth as rd, sys\n" + (
        "rd.render_dataset('meshes', 'out', rd.cameras.fibonacci(2, size=16), shard=sys.argv[1])"
    )
    work = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"{i}/3"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for i in range(3)
    ]
    assert [process.wait(timeout=100) for process in work] == [0, 0, 0]
    assert contents(Path("out")) == contents(Path("one"))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ARRAY_TASK_ID": "3", "ARRAY_TASK_COUNT": "8", "ARRAY_TASK_MIN": "0"}, "3/8"),
        ({"ARRAY_TASK_ID": "4", "ARRAY_TASK_COUNT": "4", "ARRAY_TASK_MIN": "1"}, "3/4"),
        (
            {"ARRAY_TASK_ID": "20", "ARRAY_TASK_COUNT": "3", "ARRAY_TASK_MIN": "10",
             "ARRAY_TASK_STEP": "5"},
            "2/3",
        ),
        ({"PROCID": "1", "NTASKS": "4"}, "1/4"),
        (
            {"ARRAY_TASK_ID": "1", "ARRAY_TASK_COUNT": "2", "ARRAY_TASK_MIN": "0", "PROCID": "2",
             "NTASKS": "3"},
            "5/6",
        ),
    ],
)  # fmt: skip
def test_slurm(variables, expected):
    environment = {f"SLURM_{key}": value for key, value in variables.items()}
    assert str(Shard.parse("slurm", environment)) == expected


@pytest.mark.parametrize("text", ["", "3", "2/2", "-1/2", "a/b", "1/0", "slurm"])
def test_shards_that_do_not_exist(text):
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(text, {})


def test_a_torn_line_of_a_killed_shard_is_dropped():
    Path("out/.raydepth").mkdir(parents=True)
    whole = Failure("a.obj", "load", "bad").to_line()
    Path("out/.raydepth/failures-0-of-1.jsonl").write_text(whole + '{"path": "b')
    with open_failure_log(Path("out"), Shard(0, 1)) as log:
        assert list(log.known) == ["a.obj"]
        log.add([Failure("c.obj", "write", "é")])
        log.finish(["c.obj", "a.obj"], lambda path: False)
    assert [f.path for f in read_failures(Path("out/failures.jsonl"))] == ["c.obj", "a.obj"]


# --- verify


@pytest.mark.parametrize(
    ("file_format", "kind"),
    [
        (name, kind)
        for name in STORES
        for kind in ("z", "ray")
        if kind == "z" or name not in LAYOUTS
    ],
)
def test_verify_a_good_data_set(meshes, cameras, file_format, kind):
    installed(file_format)
    rd.render_dataset(
        meshes, "out", cameras, file_format=file_format, kind=kind, normalize="sphere"
    )
    found = verify_dataset("out")
    assert found.problems == []
    assert (found.n_meshes, found.n_views, found.n_failed, found.n_pixels) == (12, 20, 2, 640)


@pytest.mark.parametrize("file_format", ["png16", "npy", "npz", "ply", "webdataset", "zarr"])
def test_verify_finds_flipped_bits(meshes, cameras, file_format):
    installed(file_format)
    rd.render_dataset("meshes/0[45].obj", "out", cameras, file_format=file_format, previews=False)
    rng = np.random.default_rng(7)
    files = sorted(file for file in Path("out").rglob("*") if file.is_file())
    files = [file for file in files if file.name not in (SETTINGS_FILE, MANIFEST_FILE)]
    expected = read_all("out")
    for _ in range(60):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        changed = bytearray(content)
        place = rng.integers(len(content))
        changed[place] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        # A bit that changes nothing that is read may be any.
        assert verify_dataset("out").problems or read_all("out") == expected, (file, place)
        file.write_bytes(content)
    assert verify_dataset("out").problems == []


def read_all(out: str) -> list | None:
    """All that a data set tells its readers; None if it cannot be read."""
    try:
        return [(mesh.depths().tobytes(), mesh.metadata) for mesh in rd.open_dataset(out)]
    except ValueError:
        return None


def test_verify_says_what_is_missing_damaged_or_wrong(meshes, cameras):
    rd.render_dataset(meshes, "out", cameras)
    Path("out/00/views.json").unlink()
    Path("out/01/001.png").unlink()
    other = rd.read_depth("out/04/000.png")
    rd.write_depth("out/02/000.png", other.depth, kind="z", camera=other.camera)
    # Whole in itself, but not what the ray meets: every record was changed with the pixels.
    views = json.loads(Path("out/05/views.json").read_text())
    depth = rd.read_depth("out/05/000.png").depth * np.float32(1.01)
    hit = np.isfinite(depth)
    rd.write_depth("out/05/000.png", depth, kind="z", camera=other.camera, mesh=views["mesh"])
    views["views"][0].update(
        sha256=hashed([Path("out/05/000.png").read_bytes()]),
        nearest=float(depth.min()),
        farthest=float(depth[hit].max()),
    )
    views["sha256"] = description_hash(views)
    Path("out/05/views.json").write_text(json.dumps(views))
    Path("meshes/06.obj").unlink()
    write_obj(Path("meshes/08.obj"), *shapes.cube())
    found = verify_dataset("out", n_samples=200)
    by_name = {problem.name: problem for problem in found.problems}
    assert {name: problem.what for name, problem in by_name.items()} == {
        "00": "missing",
        "01": "missing",
        "02": "damaged",
        "05": "wrong",
    }
    assert "sha256" in by_name["02"].reason
    assert "pixels traced again differ" in by_name["05"].reason
    assert found.n_without_source == 2


def test_verify_wants_a_data_set():
    Path("out").mkdir()
    with pytest.raises(ValueError, match=r"out holds no dataset\.json"):
        verify_dataset("out")
