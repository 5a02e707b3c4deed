"""Blender in tests: run a script in it, and hold its depth against raydepth's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import oracle

import raydepth as rd
from raydepth.blender.process import Blender
from raydepth.comparison.differences import differences

IN_BLENDER = Path(__file__).parent / "in_blender"
GOLDEN = Path(__file__).parent / "golden"

# The bound's factor for a camera that stands anywhere near the origin.
C_FREE_POSE = 16.0


def run_script(blender: Blender, script: Path, *arguments: object, cwd: Path | None = None) -> None:
    """Run a script as a user would; raises with what was said if it fails."""
    command = [blender.program]
    if not blender.is_python:
        command += ["-b", "--factory-startup", "--python-exit-code", "1", "-P"]
    command += [str(script), "--", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=120, cwd=cwd
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def depth_passes(blender: Blender, scene: Path, views: list[str], folder: Path) -> np.ndarray:
    """Cycles' depth of the views, given as "camera:frame": (n, height, width), +inf = miss."""
    out = folder / "passes.npz"
    run_script(blender, IN_BLENDER / "depth_pass.py", scene, out, *views)
    with np.load(out) as passes:
        return as_depth([passes[view] for view in views])


def as_depth(passes) -> np.ndarray:
    """Blender's depth with its miss, 1e10, made +inf."""
    passes = np.stack(passes)
    return np.where(passes == np.float32(1e10), np.float32(np.inf), passes)


def assert_agrees(mesh: rd.Mesh, cameras: rd.Cameras, blenders: np.ndarray) -> None:
    """Equal masks and depth within the bound, outside the outline band; both hit something."""
    rendering = rd.render(mesh, cameras, dtype=np.float64)
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    y, x = np.mgrid[: cameras.height, : cameras.width] + 0.5
    for view in range(len(cameras)):
        d, dx, dy = cameras.ray_basis()[view, 3:]
        ray = d + x[..., None] * dx + y[..., None] * dy
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        cosine = np.abs((ray * normal[rendering.triangle_id[view]]).sum(axis=-1))
        found = differences(
            rendering.depth[view], blenders[view].astype(np.float64), cosine, c=C_FREE_POSE
        )
        sure = ~oracle.brute_force(mesh.vertices, mesh.faces, cameras[view]).uncertain
        assert sure.mean() > 0.99, "the test would look away too often"
        assert found.both.mean() > 0.05, "the test would see too little"
        for name in ("only_depth", "only_reference", "beyond"):
            wrong = np.argwhere(getattr(found, name) & sure)
            assert not len(wrong), f"view {view}: {name} at {len(wrong)} pixels, first {wrong[0]}"
