"""The kernels as compiled, run on the CPU under Numba's CUDA target: see cuda_emulator.

What only a GPU can show is how fast they are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import shapes
from cuda_emulator import environment, what_is_missing
from mesh_files import write_off

from benchmarks.gpu import nvcc

pytestmark = pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """Run a command whose CUDA device is the CPU; gives what subprocess.run gives."""
    variables = environment(tmp_path_factory.mktemp("emulator"))

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env={**os.environ, **variables},
            capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_all_that_is_tested_on_a_gpu(emulated):
    result = emulated("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cuda/test_cuda_gpu.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    summary = result.stdout.strip().splitlines()[-1]
    assert int(re.search(r"(\d+) passed", summary)[1]) > 100, summary
    # PyTorch and CuPy know no such device.
    assert int((re.search(r"(\d+) skipped", summary) or [0, 0])[1]) <= 2, summary


def test_the_script_that_measures_on_a_gpu(emulated, tmp_path):
    """Its every part but the tests and the peers; what it compares must be the same."""
    if not Path(nvcc()).exists():
        pytest.skip("no nvcc (pip install 'raydepth[ptxas]')")
    parts = (
        "environment,correctness,kernels,twin,candidates,wide,registers,build,transfer,"
        "end_to_end,many,exact_kernel"
    )
    result = emulated(
        "benchmarks/gpu.py", "--small", "--out", str(tmp_path), "--parts", parts, "--minutes", "20"
    )
    report = (tmp_path / "gpu.json").read_text()
    assert result.returncode == 0, result.stdout + result.stderr
    assert not re.search(r'"error"| failed"', report), report
    assert set(json.loads(report)) == set(parts.split(","))
    differences = [int(n) for n in re.findall(r'differ[a-z_]*": (\d+)', report)]
    assert len(differences) > 30
    assert not any(differences), report


def test_the_script_that_counts_instructions(tmp_path):
    """It needs no emulated device; each candidate must find the CPU's faces."""
    out = tmp_path / "counts.json"
    command = [sys.executable, "benchmarks/gpu_instructions.py", "--meshes", "knot_5k",
               "--size", "64", "--views", "1", "--out", str(out)]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    counts = json.loads(out.read_text())["knot_5k"]
    assert set(counts) > {"set_up_beams", "shipped", "stackless", "wide", "resolve"}
    for numbers in counts.values():
        assert numbers["instructions"] > 10
        assert 0.1 < numbers["active_lanes"] <= 1.0


def program(body: str) -> tuple[str, str]:
    """A Python program that has a device; `-c` and its text."""
    return "-c", (
        "import numpy as np, raydepth as rd\n"
        "from raydepth.cuda import device as devices\n"
        "gpu = devices.device()\n"
        "stream = gpu.stream()\n" + body
    )


def test_a_device_that_is_lost_is_one_line(emulated):
    """A job table that nobody has allocated; what comes after it fails as clearly."""
    result = emulated(
        *program("""
buffer = gpu.empty(1 << 16)
gpu.launch("resolve", 1, 1, (np.uint64(buffer.address + (1 << 25)), np.int32(0)), stream)
for step in (lambda: gpu.wait(stream), lambda: gpu.empty(10),
             lambda: rd.render(rd.Mesh(np.eye(3), [[0, 1, 2]]), rd.cameras.fibonacci(1, size=8),
                               device="cuda")):
    try:
        step()
    except rd.DeviceError as error:
        print(error)
""")
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 3, result.stdout + result.stderr
    assert all(re.fullmatch(r"the CUDA device .*ILLEGAL_ADDRESS.*new process", x) for x in lines)


def test_nothing_is_done_before_somebody_waits(emulated):
    """So that the tests would see what forgets to wait."""
    result = emulated(
        *program("""
buffer, given, taken = gpu.empty(64), gpu.pinned(64), gpu.pinned(64)
given[:] = 7
gpu.upload(buffer, 0, given, stream)
gpu.download(taken, buffer, 0, stream)
given[0] = 8
print(*set(taken))
gpu.wait(stream)
print(taken[0], *set(taken[1:]))
""")
    )
    assert result.stdout == "165\n8 7\n", result.stdout + result.stderr


def test_a_data_set_is_the_cpus_but_for_the_devices_name(emulated, tmp_path):
    for i, (vertices, faces) in enumerate((shapes.cube(), shapes.icosphere(levels=2)) * 2):
        write_off(tmp_path / f"{i}.off", vertices * (1 - 0.1 * i), faces)
    command = ["-m", "raydepth", "render", str(tmp_path), "--size", "32", "--views", "fibonacci:3"]
    for device in ("auto", "cpu"):
        result = emulated(*command, "-o", str(tmp_path / device), "--device", device)
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr, result.stderr
    (tmp_path / "auto" / "3" / "views.json").unlink()
    again = emulated(*command, "-o", str(tmp_path / "auto"))
    assert again.returncode == 0, again.stderr
    ours, theirs = (
        {
            path.relative_to(tmp_path / device): path.read_bytes()
            for path in (tmp_path / device).rglob("*")
            if path.is_file()
        }
        for device in ("auto", "cpu")
    )
    assert set(ours) == set(theirs)
    assert b'"device": "cuda"' in ours[Path("dataset.json")]
    for path, content in ours.items():
        if path.suffix == ".json":
            found, expected = json.loads(content), json.loads(theirs[path])
            assert (found.pop("device"), expected.pop("device")) == ("cuda", "cpu")
            found.pop("sha256", None), expected.pop("sha256", None)
            assert found == expected
        else:
            assert content == theirs[path], path


def test_threads_may_all_begin_at_once(emulated):
    """Numba would load a kernel from its cache for each of them."""
    command = program("""
from concurrent.futures import ThreadPoolExecutor
import threading, time
from numba.cuda.cudadrv import driver
load, loaded = driver.Context.create_module_image, []
def slowly(*arguments):
    loaded.append(1)
    time.sleep(0.5)
    return load(*arguments)
driver.Context.create_module_image = slowly
mesh, start = rd.Mesh(np.eye(3), [[0, 1, 2]]), threading.Barrier(4)
def work(i):
    start.wait()
    return int(rd.cast_rays(mesh, (1, 1, 1), (-1, -1, -1), device="cuda").triangle_id)
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(work, range(4)), len(loaded))
""")
    for _ in range(2):
        result = emulated(*command)
        assert result.stdout == "0 0 0 0 1\n", result.stdout + result.stderr


def test_a_fork_renders_on_the_cpu(emulated):
    result = emulated(
        *program("""
import os, sys
mesh, cameras = rd.Mesh(np.eye(3), [[0, 1, 2]]), rd.cameras.fibonacci(2, size=8)
ours = rd.render(mesh, cameras)
sys.stdout.flush()
if os.fork() == 0:
    theirs = rd.render(mesh, cameras)
    print(theirs.device, (ours.depth == theirs.depth).all(), flush=True)
    os._exit(0)
os.wait()
print(ours.device)
""")
    )
    assert result.stdout == "cpu True\ncuda\n", result.stdout + result.stderr


def test_memory_beyond_the_devices_is_refused(emulated):
    result = emulated(
        *program("""
free = gpu.free_bytes()
kept = gpu.empty(free // 2)
assert gpu.free_bytes() <= free - free // 2
try:
    gpu.empty(free)
except MemoryError as error:
    print(error)
mesh, cameras = rd.Mesh(np.eye(3), [[0, 1, 2]]), rd.cameras.fibonacci(40, size=512)
small = gpu.empty(gpu.free_bytes() - (1 << 25))
ours = rd.render(mesh, cameras, device="cuda")
print((ours.depth == rd.render(mesh, cameras, device="cpu").depth).all())
""")
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stdout + result.stderr
    assert "out of memory" in lines[0]
    assert lines[1] == "True", "a batch larger than the memory is cut up"
