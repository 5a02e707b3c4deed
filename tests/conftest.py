"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_meshes() -> Path:
    """A folder of real meshes beside the project, where there is one."""
    default = Path(__file__).resolve().parents[2] / "shared" / "meshes"
    folder = Path(os.environ.get("RAYDEPTH_TEST_MESHES", default))
    if not folder.is_dir():
        pytest.skip("no folder of real meshes (RAYDEPTH_TEST_MESHES)")
    return folder


@pytest.fixture
def fake_cuda(monkeypatch):
    """Let device="cuda" be the CPU, running what threads of the kernels do; gives the device."""
    from fake_device import FakeDevice

    from raydepth.cuda import device, images

    fake = FakeDevice()
    images._pool.cache_clear()
    images._resident.clear()
    monkeypatch.setattr(device, "why_unusable", lambda: None)
    monkeypatch.setattr(device, "device", lambda: fake)
    monkeypatch.setattr(images, "device", lambda: fake)
    yield fake
    images._pool.cache_clear()
    images._resident.clear()
