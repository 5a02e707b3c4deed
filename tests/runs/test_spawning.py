"""Workers that are forks of `python -m raydepth`: the same data set, each as separate as new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shapes
from mesh_files import contents, write_obj

import raydepth as rd

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

# `python -m raydepth`, with the process numbers of its forks written into a file.
PROGRAM = """
import os, sys
fork = os.fork
def recorded():
    pid = fork()
    if pid:
        print(pid, file=open("forks", "a"))
    return pid
os.fork = recorded
from raydepth.__main__ import run
{patch}
sys.argv = ["raydepth", "render", "meshes", "-o", "out", "--views", "fibonacci:3", "--size", "32"]
run()
"""


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("meshes").mkdir()
    for i in range(8):
        vertices, faces = shapes.icosphere(0.3 + 0.02 * i, levels=1)
        write_obj(Path(f"meshes/{i}.obj"), vertices, faces)


def started(patch: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(patch=patch)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "2"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def forks() -> list[int]:
    return [int(pid) for pid in Path("forks").read_text().split()]


def finished(patch: str = "") -> None:
    """Run to the end, and compare with what new processes make."""
    work = started(patch)
    _, errors = work.communicate(timeout=200)
    assert (work.returncode, errors) == (0, "")
    rd.render_dataset("meshes", "expected", rd.cameras.fibonacci(3, size=32))
    assert contents(Path("out")) == contents(Path("expected"))


def test_workers_are_forks_and_render_the_same():
    finished()
    assert len(forks()) == 2


def test_a_fork_that_is_killed_is_replaced_by_a_new_process():
    """The patch is in the forks only, so that the second try of the mesh succeeds."""
    finished("""
import os, signal
from raydepth.runs import worker_process
load = worker_process.load_mesh
def crashing(path, **options):
    if str(path).endswith("5.obj"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return load(path, **options)
worker_process.load_mesh = crashing
""")
    assert len(forks()) == 2


# The fork that gets the first mesh waits, with its files open.
WAITING = """
import time
from raydepth.runs import worker_process
def waiting(path, **options):
    open("waits", "w").close()
    time.sleep(600)
worker_process.load_mesh = waiting
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_forks_end_with_their_parent_and_hold_none_of_its_files(number):
    work = started(WAITING)
    try:
        until(lambda: Path("waits").exists())
        for pid in forks():
            assert os.getsid(pid) == pid  # Ctrl-C in a terminal does not reach it
            held = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
            assert {name for name in held if name.startswith(os.getcwd())} == set()
    finally:
        work.send_signal(number)
        work.communicate(timeout=60)
    assert work.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    until(lambda: not any(map(is_running, forks())))


def until(happened) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
