"""The announcement of a compilation: made when there is one, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from raydepth.dataset.compilation import announce_compilation, compile_kernels
from raydepth.outputs import depth
from raydepth.trace import tiles


def test_compilation_is_announced_once_and_its_time_given():
    @numba.njit
    def inner(x):
        return x + 1

    @numba.njit
    def outer(x):
        return 2 * inner(x)

    said = []
    with announce_compilation(said.append):
        assert said == []
        outer(1)
        assert len(said) == 1
        outer(1.5)
        outer(2)
    assert len(said) == 2
    assert "compiling" in said[0]
    assert "compiled in" in said[1]


def test_nothing_is_said_without_compilation():
    @numba.njit
    def compiled(x):
        return x + 1

    compiled(1)
    said = []
    with announce_compilation(said.append):
        compiled(2)
    compiled(2.5)  # outside of the block
    assert said == []


def test_an_error_passes_through():
    with pytest.raises(KeyboardInterrupt), announce_compilation(pytest.fail):
        raise KeyboardInterrupt


def test_compile_kernels_leaves_nothing_to_compile():
    import shapes

    import raydepth as rd

    compile_kernels()
    before = [len(kernel.signatures) for kernel in (tiles.visibility, depth.resolve)]
    said = []
    with announce_compilation(said.append):
        for kind in ("z", "ray", ("z", "ray")):
            rd.render(rd.Mesh(*shapes.cube()), rd.cameras.ring(2, size=(5, 40)), kind=kind)
    assert said == []
    assert [len(kernel.signatures) for kernel in (tiles.visibility, depth.resolve)] == before


def test_compile_kernels_takes_the_kernels_of_most_views():
    """In a process of its own: here, other tests have asked for them already."""
    program = (
        "from raydepth import compiling, kernels, tiles\n"
        "compiling.compile_kernels()\n"
        "print(len(tiles.visibility.signatures), len(kernels.resolve.signatures))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert result.stdout.split() == ["1", "1"]
