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
