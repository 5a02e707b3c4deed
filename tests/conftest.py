"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import raydepth as rd
from raydepth.blender.process import VARIABLE, Blender, find_blender
from raydepth.dataset.compilation import compile_kernels
from raydepth.errors import BlenderError
from raydepth.rendering import devices
from raydepth.rendering.devices import _cuda_is_right
from raydepth.runs import worker_client

# What tests with these fixtures need takes long to make, and is made once in each process.
GROUPS = ("fake_cuda", "blender")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process have all tests of a group (--dist loadgroup), and begin with them."""
    for item in items:
        for group in GROUPS:
            if group in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def shared_meshes() -> Path:
    """A folder of real meshes beside the project, where there is one."""
    default = Path(__file__).resolve().parents[2] / "shared" / "meshes"
    folder = Path(os.environ.get("RAYDEPTH_TEST_MESHES", default))
    if not folder.is_dir():
        pytest.skip("no folder of real meshes (RAYDEPTH_TEST_MESHES)")
    return folder


@pytest.fixture(scope="session")
def compiled() -> None:
    """For tests that look at what is said, so that none meets the first run's announcement."""
    compile_kernels("cpu")
    mesh = rd.Mesh(np.eye(3), [[0, 1, 2]])
    rd.cast_rays(mesh, [0, 0, 0], [1, 1, 1], device="cpu")  # verify's


@pytest.fixture(scope="session")
def blender() -> Blender:
    """The Blender of this machine, where there is one; one that is named must work."""
    try:
        return find_blender()
    except BlenderError:
        if VARIABLE in os.environ:
            raise
        pytest.skip(f"no Blender ({VARIABLE}, PATH)")


@pytest.fixture(scope="session")
def scenes(blender: Blender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the .blend files of in_blender/make_scenes.py, made by that Blender."""
    from blender_runs import IN_BLENDER, run_script

    folder = tmp_path_factory.mktemp("scenes")
    run_script(blender, IN_BLENDER / "make_scenes.py", folder)
    return folder


@pytest.fixture(autouse=True)
def _auto_is_the_cpu(monkeypatch):
    """Also where there is a GPU: what most tests look at is the CPU's."""
    monkeypatch.setattr(devices, "_cuda_is_right", lambda: False)


@pytest.fixture
def auto_may_be_cuda(monkeypatch):
    """As it is for users."""
    monkeypatch.setattr(devices, "_cuda_is_right", _cuda_is_right)
    monkeypatch.setattr(devices, "_trial", None)


@pytest.fixture
def fake_cuda(monkeypatch):
    """Let device="cuda" be the CPU, running what threads of the kernels do; gives the device."""
    from fake_device import FakeDevice

    from raydepth.cuda import api, device

    def forget() -> None:
        api._ring.cache_clear()
        api._residents.cache_clear()

    fake = FakeDevice()
    forget()
    monkeypatch.setattr(device, "why_unusable", lambda: None)
    monkeypatch.setattr(device, "device", lambda: fake)
    monkeypatch.setattr(api, "device", lambda: fake)
    yield fake
    forget()


@pytest.fixture
def patched_workers(tmp_path, monkeypatch):
    """Takes a program that changes modules; until `undo` is called, workers run it first."""
    started = subprocess.Popen

    def patch(program: str) -> None:
        path = tmp_path / "patched_worker.py"
        start = "from raydepth.runs import worker_process\nworker_process.main()\n"
        path.write_text(f"{program}\n{start}")

        def popen(command, **options):
            if "raydepth.runs.worker_process" in command:
                command = [sys.executable, str(path)]
            return started(command, **options)

        worker_client.close_idle_workers()
        monkeypatch.setattr(subprocess, "Popen", popen)

    def undo() -> None:
        worker_client.close_idle_workers()
        monkeypatch.setattr(subprocess, "Popen", started)

    patch.undo = undo  # type: ignore[attr-defined]
    yield patch
    undo()
