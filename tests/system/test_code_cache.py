"""Compiled code on disk: never older than its sources, never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

INNER = """
from raydepth.simd.jit import jit

@jit
def inner(x):
    return x + {term}
"""
OUTER = """
from raydepth.inner import inner
from raydepth.simd.jit import jit

@jit
def outer(x):
    return 2.0 * inner(x)
"""
PROGRAM = """
from raydepth.outer import outer
print(outer(1.5))
"""


class Package:
    """A copy of the package with two functions more, one of which calls the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "raydepth"
        self.home = folder / "home"
        self.temporary = folder / "tmp"
        for made in (self.home, self.temporary):
            made.mkdir()
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "raydepth", self.folder, ignore=ignored)
        (self.folder / "outer.py").write_text(OUTER)
        self.edit("1.0")

    def edit(self, term: str) -> None:
        """Let `inner` add another number."""
        (self.folder / "inner.py").write_text(INNER.format(term=term))

    def environment(self, **variables: str) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
        return {
            **known,
            "PYTHONPATH": str(self.folder.parent),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }

    def run(self, *, limit_files: bool = False, **variables: str) -> tuple[float, bool, str]:
        """Run PROGRAM: its result, whether it compiled, and what stood on standard error."""
        command = [sys.executable, "-c", PROGRAM]
        if limit_files:
            command = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *command]
        done = subprocess.run(
            command, cwd=self.folder.parent, env=self.environment(**variables),
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        value = float(done.stdout)
        return value, "compiling for this machine" in done.stderr, done.stderr

    def files(self, folder: Path | None = None) -> list[Path]:
        return sorted((folder or self.folder).rglob("*.nbc"))


@pytest.fixture
def package(tmp_path):
    return Package(tmp_path)


def test_code_is_kept_and_found_and_never_older_than_a_source(package):
    assert package.run()[:2] == (5.0, True)
    assert len(package.files()) == 2
    assert package.run() == (5.0, False, "")
    package.edit("2.0")
    assert package.run()[:2] == (7.0, True)
    assert len(package.files()) == 2, "old code is replaced"
    # An edit that leaves size and time.
    before = (package.folder / "inner.py").stat()
    package.edit("3.0")
    os.utime(package.folder / "inner.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert package.run()[0] == 9.0


def test_an_edit_while_a_process_runs_is_not_taken_for_what_it_compiles(package):
    program = (
        "from raydepth.outer import outer\n"
        "open('raydepth/inner.py', 'a').write('# edited')\n"
        "print(outer(1.5))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=package.folder.parent, env=package.environment(),
        capture_output=True, timeout=100, check=True,
    )  # fmt: skip
    assert package.files() == []


def test_damaged_files_are_replaced(package):
    """Each damage is met by the run after it, which repairs what the next one damages."""
    package.run()
    for damage in ("empty", "half", "garbage", "bit of head", "bit of content"):
        for path in package.files():
            data = bytearray(path.read_bytes())
            if damage == "empty":
                data.clear()
            elif damage == "half":
                del data[len(data) // 2 :]
            elif damage == "garbage":
                data[:] = os.urandom(len(data))
            else:
                data[30 if damage == "bit of head" else 500] ^= 4
            path.write_bytes(data)
        assert package.run()[:2] == (5.0, True), damage
    assert package.run() == (5.0, False, "")


def test_where_the_package_cannot_be_written_code_goes_to_the_users_cache(package):
    (package.folder / "__pycache__").write_text("a file where a folder should be")
    package.run()
    assert len(package.files(package.home)) == 2
    assert package.run() == (5.0, False, "")


def test_code_compiled_by_the_owner_is_found_where_nothing_can_be_written(package):
    """As in a container image: compiled by one user, run by another."""
    package.run()
    assert package.run(limit_files=True) == (5.0, False, "")


def test_where_nothing_lasts_code_goes_to_a_private_folder_and_one_line_says_so(package):
    (package.folder / "__pycache__").write_text("")
    package.home.joinpath(".cache").write_text("")
    value, _, said = package.run()
    assert value == 5.0
    private = package.temporary / f"raydepth-{os.getuid()}"
    assert private.stat().st_mode & 0o777 == 0o700
    (line,) = [line for line in said.splitlines() if "compiled code is kept" in line]
    assert f"only in {private}" in line
    assert "NUMBA_CACHE_DIR" in line
    assert package.run() == (5.0, False, "")


def test_a_private_folder_of_another_user_is_not_trusted(package):
    (package.folder / "__pycache__").write_text("")
    package.home.joinpath(".cache").write_text("")
    private = package.temporary / f"raydepth-{os.getuid()}"
    private.mkdir()
    private.chmod(0o777)
    value, _, said = package.run()
    assert (value, package.files(private)) == (5.0, [])
    assert "compiled code is kept nowhere" in said


def test_a_full_disk_does_not_stop_a_run(package):
    value, _, said = package.run(limit_files=True)
    assert value == 5.0
    assert len([line for line in said.splitlines() if "compiled code is kept" in line]) == 1
    assert list(package.folder.rglob("*.tmp")) == []


def test_a_folder_that_is_named_is_used_alone(package):
    chosen = package.folder.parent / "chosen"
    assert package.run(NUMBA_CACHE_DIR=str(chosen))[:2] == (5.0, True)
    assert (len(package.files(chosen)), package.files(), package.files(package.home)) == (2, [], [])
    assert package.run(NUMBA_CACHE_DIR=str(chosen)) == (5.0, False, "")


def test_two_processes_compile_at_once_and_one_is_killed(package):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", f"print('begun', flush=True)\n{PROGRAM}"],
            cwd=package.folder.parent, env=package.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        process.stdout.readline()
    processes[0].kill()
    results = [process.communicate(timeout=100)[0] for process in processes]
    assert [result.split()[0] for result in results[1:]] == ["5.0", "5.0"]
    assert package.run() == (5.0, False, "")
