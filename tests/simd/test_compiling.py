"""The announcement of a compilation: made when there is one, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
import shapes

import raydepth as rd
from raydepth.dataset.compilation import compile_kernels
from raydepth.outputs import depth
from raydepth.simd.jit import announce_compilation, jit
from raydepth.trace import tiles


@pytest.fixture
def function():
    """A function that counts as raydepth's, calls another and is in no cache."""

    def ours(python_function):
        python_function.__module__ = "raydepth.test"
        compiled = jit(python_function)
        compiled._cache.disable()
        return compiled

    @ours
    def inner(x):
        return x + 1

    @ours
    def outer(x):
        return 2 * inner(x)

    return outer


def test_compilation_is_announced_once_and_its_time_given(function):
    said = []
    with announce_compilation(said.append):
        assert said == []
        function(1)
        assert len(said) == 1
        function(1.5)
        function(2)
    assert len(said) == 2
    assert "compiling" in said[0]
    assert "compiled in" in said[1]


def test_a_block_within_a_block_announces_for_both(function):
    outer, inner = [], []
    with announce_compilation(outer.append), announce_compilation(inner.append):
        function(1)
    assert (len(outer), len(inner)) == (0, 2)


def test_without_a_listener_one_line_is_logged(function, caplog):
    function(1)
    function(1.5)
    (record,) = caplog.records
    assert record.name == "raydepth"
    assert "compiling for this machine, once" in record.message


def test_nothing_is_said_without_compilation(function, caplog):
    @numba.njit
    def of_the_user(x):
        return x + 1

    function(1)
    caplog.clear()
    said = []
    with announce_compilation(said.append):
        function(2)
        of_the_user(1)
    assert (said, caplog.records) == ([], [])


def test_an_error_passes_through():
    with pytest.raises(KeyboardInterrupt), announce_compilation(pytest.fail):
        raise KeyboardInterrupt


def test_compile_kernels_leaves_nothing_to_compile():
    compile_kernels()
    before = [len(kernel.signatures) for kernel in (tiles.visibility, depth.resolve)]
    said = []
    with announce_compilation(said.append):
        for kind in ("z", "ray", ("z", "ray")):
            rd.render(rd.Mesh(*shapes.cube()), rd.cameras.ring(2, size=(5, 40)), kind=kind)
    assert said == []
    assert [len(kernel.signatures) for kernel in (tiles.visibility, depth.resolve)] == before


@pytest.mark.parametrize("outputs", [("z",), ("ray", "normal"), ("z", "hits", "uv")])
@pytest.mark.parametrize("affine", [True, False])
def test_compile_kernels_takes_what_a_data_set_asks_for(outputs, affine):
    compile_kernels("cpu", outputs, affine=affine)


def test_data_sets_of_lenses_whose_rays_are_not_affine(tmp_path):
    vertices, faces = shapes.cube()
    lines = [f"v {x} {y} {z}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    (tmp_path / "cube.obj").write_text("\n".join(lines))
    given = rd.cameras.ring(1, size=16)
    cameras = rd.Cameras(
        given.intrinsics, given.world_from_camera, 16, distortion=[-0.1, 0, 0, 0, 0]
    )
    assert rd.render_dataset(tmp_path / "cube.obj", tmp_path / "out", cameras).failures == []


def test_compile_everything_leaves_nothing_to_compile():
    """In processes of their own: the second finds in the cache what the first has left there."""
    program = """
import numpy as np, shapes, tempfile
import raydepth as rd
from numba.core import event
from raydepth.dataset.compilation import compile_everything
from raydepth.outputs import OUTPUTS

compile_everything("cpu")
with event.install_recorder("numba:compile") as compiled:
    mesh = rd.Mesh(*shapes.icosphere(levels=3))
    names = [name for name in OUTPUTS if name != "uv"]
    for dtype in (np.float32, np.float64):
        for cameras in (rd.cameras.fibonacci(3, size=(70, 50)), rd.cameras.ring(2, radius=0.1)):
            rd.render(mesh, cameras, outputs=names, dtype=dtype, device="cpu")
            for name in names:
                rd.render(mesh, cameras, outputs=(name,), dtype=dtype, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        depth = rd.render(mesh, rd.cameras.ring(1, size=64), device="cpu").depth[0]
        for suffix in (".png", ".npy", ".npz", ".tiff"):
            rd.write_depth(f"{folder}/a{suffix}", depth, kind="z")
            rd.read_depth(f"{folder}/a{suffix}")
    rd.cast_rays(mesh, np.zeros((5, 3)), np.ones((5, 3)), device="cpu")
    pairs = [(mesh, rd.cameras.ring(2, size=32))]
    list(rd.render_many(pairs, device="cpu"))
    list(rd.render_many(pairs, values_per_unit=1000, device="cpu"))
    rd.build_bvh(mesh).refit(mesh.vertices * 1.1)
print([record[1].data["dispatcher"].py_func.__name__ for record in compiled.buffer])
"""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "tests" / "support")])
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_compile_kernels_takes_the_kernels_of_most_views():
    """In a process of its own: here, other tests have asked for them already."""
    program = (
        "from raydepth.dataset import compilation\n"
        "from raydepth.outputs import depth\n"
        "from raydepth.trace import tiles\n"
        "compilation.compile_kernels()\n"
        "print(len(tiles.visibility.signatures), len(depth.resolve.signatures))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert result.stdout.split() == ["1", "1"]
