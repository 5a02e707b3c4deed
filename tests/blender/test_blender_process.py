"""Finding Blender and running jobs in it, with fake programs; bad ends in one line each."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from raydepth.blender import process
from raydepth.blender.process import Blender, find_blender, run
from raydepth.errors import BlenderError

# A Blender that adds one to the array "numbers".
ADDS_ONE = """
import numpy as np
numbers = np.load(folder / "numbers.npy")
np.save(folder / "result_more.npy", numbers + 1)
job = json.loads((folder / "job.json").read_text())
result = {"said": job["say"], "arguments": sys.argv[1:-1], "arrays": ["more"], "blender": "4.5.0",
          "variables": [key for key in os.environ if key.startswith("PYTHON")]}
(folder / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes executables in a folder that is all of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(process.VARIABLE, raising=False)
    monkeypatch.setattr(process.sys, "executable", str(folder / "this python has no bpy"))

    def make(name: str, code: str = "pass") -> Path:
        path = folder / name
        path.write_text(
            f"#!{REAL_PYTHON}\nimport json, os, pathlib, sys, time\n"
            f"folder = pathlib.Path(sys.argv[-1])\n{code}\n"
        )
        path.chmod(0o755)
        return path

    return make


REAL_PYTHON = sys.executable
HAS_BPY, HAS_NO_BPY = "sys.exit(0)", "sys.exit(1)"


def test_the_option_comes_first_then_the_variable_then_the_path(program, monkeypatch):
    on_path, named, option = program("blender"), program("blender-4.2"), program("python3.11")
    assert find_blender() == Blender(str(on_path), False)
    monkeypatch.setenv(process.VARIABLE, str(named))
    assert find_blender() == Blender(str(named), False)
    assert find_blender(option) == Blender(str(option), True)
    assert find_blender("blender") == Blender(str(on_path), False)


def test_a_python_on_the_path_counts_if_it_has_bpy(program):
    program("python3", HAS_NO_BPY)
    with pytest.raises(BlenderError, match="found no Blender"):
        find_blender()
    python = program("python", HAS_BPY)
    assert find_blender() == Blender(str(python), True)


def test_this_python_is_taken_if_it_has_bpy(program, monkeypatch):
    python = program("python3", HAS_BPY)
    program("blender")
    monkeypatch.setattr(process.sys, "executable", str(python))
    assert find_blender() == Blender(str(python), True)


def test_what_is_named_must_exist(program, monkeypatch, tmp_path):
    program("blender")
    with pytest.raises(BlenderError, match=r"Blender nowhere/blender: no such program; expected"):
        find_blender("nowhere/blender")
    plain = tmp_path / "plain"
    plain.write_text("")
    monkeypatch.setenv(process.VARIABLE, str(plain))
    with pytest.raises(BlenderError, match=rf"{process.VARIABLE} .*plain: no such program"):
        find_blender()


def test_no_blender_says_how_to_get_one(program):
    with pytest.raises(BlenderError) as error:
        find_blender()
    said = str(error.value)
    for word in ("--blender", process.VARIABLE, "apt install blender", "pip install bpy==4.5.15"):
        assert word in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["blender", "python3"])
def test_a_job_goes_in_and_arrays_come_out(name, program, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/packages/of/another/python")
    blender = find_blender(program(name, ADDS_ONE))
    numbers = np.arange(5, dtype=np.float32)
    answer = run(blender, {"command": "add", "say": "ä"}, {"numbers": numbers}, timeout=30)
    assert answer.version == "4.5.0"
    assert answer.data["said"] == "ä"
    assert answer.data["variables"] == []
    assert ("--factory-startup" in answer.data["arguments"]) == (name == "blender")
    np.testing.assert_array_equal(answer.arrays["more"], numbers + 1)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), 11)", r"blender crashed \(SIGSEGV\) and left no result"),
        ("os.kill(os.getpid(), 6)", r"blender crashed \(SIGABRT\) and left no result"),
        (
            "print('one', flush=True); print('two', file=sys.stderr); sys.exit(7)",
            "blender ended with exit code 7 and left no result; its last line was: two",
        ),
        ("pass", "blender ended with exit code 0 and left no result$"),
        (
            "print(\"ModuleNotFoundError: No module named 'numpy'\")",
            "blender has no NumPy; on Debian: apt install python3-numpy",
        ),
        (
            "print(\"ModuleNotFoundError: No module named 'bpy'\")",
            "blender is a Python without bpy: install Blender 3.4 or newer",
        ),
        (
            "print('ImportError: libXi.so.6: cannot open shared object file: No such file')",
            r"blender lacks a system library \(libXi.so.6\); on Debian: apt install libxrender1",
        ),
        (
            "(folder / 'result.json').write_text("
            "json.dumps({'error': 'this is Blender 2.79; expected 3.4', 'blender': '2.79'}))",
            "Blender 2.79: this is Blender 2.79; expected 3.4",
        ),
    ],
)
def test_a_blender_that_fails_is_one_line(code, words, program):
    blender = find_blender(program("blender", code))
    with pytest.raises(BlenderError, match=words) as error:
        run(blender, {"command": "depth"}, timeout=30)
    assert "\n" not in str(error.value)


def test_a_blender_that_hangs_is_stopped_with_its_children(program, tmp_path):
    code = f"""
import subprocess
child = subprocess.Popen([{REAL_PYTHON!r}, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
time.sleep(60)
"""
    blender = find_blender(program("blender", code))
    start = time.monotonic()
    with pytest.raises(BlenderError, match=r"was stopped after 2 s without a result; --timeout"):
        run(blender, {"command": "depth"}, timeout=2)
    assert time.monotonic() - start < 20
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the child runs on")


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet collected does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def test_a_program_that_does_not_start(program):
    path = program("blender")
    path.write_text("#!/nowhere/python\n")
    with pytest.raises(BlenderError, match=r"blender does not start: No such file"):
        run(Blender(str(path), False), {"command": "depth"})
    path.write_bytes(b"\x7fELF nonsense")
    with pytest.raises(BlenderError, match=r"blender does not start: Exec format error"):
        run(Blender(str(path), False), {"command": "depth"})


@pytest.mark.blender
def test_an_unexpected_error_inside_is_one_line(blender):
    job = {"command": "depth", "cameras": [], "clips": [], "threads": 1}
    with pytest.raises(BlenderError, match=r"^Blender \d.*: FileNotFoundError: .*vertices"):
        run(blender, job)
