"""The announcement of a compilation: made when there is one, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

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
