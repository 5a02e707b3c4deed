"""Find Blender, and run jobs in it, each in a separate process.

Blender is GPL and its Python package pins an old NumPy, so raydepth never imports it. A job is a
folder with job.json and arrays; `inside.py` runs in Blender and writes its results to that folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.errors import BlenderError

VARIABLE = "RAYDEPTH_BLENDER"
INSIDE = Path(__file__).with_name("inside.py")

# Seconds that a job may take by default.
TIMEOUT = 600.0

INSTALL = (
    "install Blender 3.4 or newer (apt install blender python3-numpy, or blender.org), or with "
    "Python 3.11: python3.11 -m venv blender-venv && blender-venv/bin/pip install bpy==4.5.15, "
    "and name it: --blender blender-venv/bin/python"
)


@dataclass(frozen=True)
class Blender:
    """A program that can run `inside.py`.

    Attributes
    ----------
    program : str
        Path of a `blender` executable, or of a Python that has `bpy`.
    is_python : bool
        True for a Python, False for a `blender` executable.
    """

    program: str
    is_python: bool

    def command(self, folder: Path) -> list[str]:
        """Return the command line that runs the job in a folder."""
        if self.is_python:
            return [self.program, str(INSIDE), "--", str(folder)]
        # Ignore the user's settings, and do not run scripts in .blend files.
        return [
            self.program, "--background", "--factory-startup", "--disable-autoexec", "-noaudio",
            "--python", str(INSIDE), "--", str(folder),
        ]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """The result of a job.

    Attributes
    ----------
    version : str
        Blender's version, such as "4.5.15 LTS".
    data : dict
        The JSON data that the command returned.
    arrays : dict from name to array
        The arrays that the command stored.
    """

    version: str
    data: dict[str, Any]
    arrays: dict[str, np.ndarray]


def find_blender(path: str | os.PathLike[str] | None = None) -> Blender:
    """Find the Blender to use: `path`, else RAYDEPTH_BLENDER, else the first on the PATH.

    Without `path` and RAYDEPTH_BLENDER, the choice is this Python if it has `bpy`, then `blender`
    on the PATH, then a `python3` or `python` on the PATH that has `bpy`.

    Parameters
    ----------
    path : path or program name, optional
        A `blender` executable or a Python, told apart by the name.

    Raises
    ------
    BlenderError
        The named program does not exist, or no Blender was found. The message is one line; in the
        second case it says how to get Blender.
    """
    for named, where in ((path, "Blender"), (os.environ.get(VARIABLE), VARIABLE)):
        if named:
            program = shutil.which(os.fspath(named))
            if program is None:
                raise BlenderError(
                    f"{where} {os.fspath(named)}: no such program; expected a blender executable "
                    "or a Python that has bpy"
                )
            return Blender(program, _is_python(program))
    if _has_bpy(sys.executable):
        return Blender(sys.executable, True)
    if program := shutil.which("blender"):
        return Blender(program, False)
    for name in ("python3", "python"):
        if (program := shutil.which(name)) and _has_bpy(program):
            return Blender(program, True)
    raise BlenderError(f"found no Blender (--blender, {VARIABLE}, PATH): {INSTALL}")


def run(
    blender: Blender,
    job: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    *,
    timeout: float = TIMEOUT,
) -> Answer:
    """Run one job in Blender and wait for it.

    Parameters
    ----------
    blender : Blender
    job : mapping
        JSON data; "command" names the function of `inside.py`.
    arrays : mapping from name to array
    timeout : float, seconds
        Blender is killed after this time.

    Raises
    ------
    BlenderError
        Blender crashed, took too long, or could not do the job. The message is one line.
    """
    with tempfile.TemporaryDirectory(prefix="raydepth-blender-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        for key, array in (arrays or {}).items():
            np.save(folder / f"{key}.npy", array)
        _run(blender, folder, timeout)
        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        version = data.pop("blender")
        if "error" in data:
            raise BlenderError(f"Blender {version}: {data['error']}")
        found = {key: np.load(folder / f"result_{key}.npy") for key in data.pop("arrays")}
    return Answer(version, data, found)


def _run(blender: Blender, folder: Path, timeout: float) -> None:
    """Run the process until it ends or is killed; raise BlenderError unless it left a result."""
    log = folder / "log.txt"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                blender.command(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise BlenderError(f"{blender.program} does not start: {error.strerror}") from None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise BlenderError(
                f"{blender.program} was stopped after {timeout:g} s without a result; "
                "--timeout allows it more time"
            ) from None
        finally:
            if process.returncode is None:
                _kill(process)
    if not (folder / "result.json").is_file():
        raise BlenderError(_why_no_result(blender, code, log.read_text(errors="replace")))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and the processes that it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _why_no_result(blender: Blender, code: int, log: str) -> str:
    """Return one line: how the process ended, and the cause or the last line of its output."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any(line.endswith("No module named 'bpy'") for line in lines):
        return f"{blender.program} is a Python without bpy: {INSTALL}"
    if any(line.endswith("No module named 'numpy'") for line in lines):
        return f"{blender.program} has no NumPy; on Debian: apt install python3-numpy"
    for line in lines:
        if "cannot open shared object file" in line:
            library = line.split(": cannot open")[0].split()[-1]
            return (
                f"{blender.program} lacks a system library ({library}); on Debian: apt install "
                "libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1"
            )
    if code < 0:
        try:
            how = f"crashed ({signal.Signals(-code).name})"
        except ValueError:
            how = f"crashed (signal {-code})"
    else:
        how = f"ended with exit code {code}"
    said = f"; its last line was: {lines[-1][:200]}" if lines else ""
    return f"{blender.program} {how} and left no result{said}"


def _environment() -> dict[str, str]:
    """Return the environment without variables that point another Python to this one's packages."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def _is_python(program: str) -> bool:
    return Path(program).name.lower().startswith("python")


def _has_bpy(program: str) -> bool:
    """Tell whether a Python can find `bpy`, without loading it."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('bpy') is None)"
    try:
        done = subprocess.run(
            [program, "-c", code], env=_environment(), capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
