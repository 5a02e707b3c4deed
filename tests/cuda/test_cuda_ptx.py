"""The kernels as compiled: registers, spills, loads, stray double operations. No GPU needed.

What ptxas says of a kernel is what decides how many threads share a processor. Needs numba-cuda and
the toolkit's ptxas: `pip install "raydepth[cuda]" nvidia-cuda-nvcc`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_emulator import in_packages

from raydepth.cuda.device_code import layout

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None,
    reason="numba-cuda is not installed (pip install 'raydepth[cuda]')",
)

# Compute capabilities: A100, RTX 30, H100, RTX 50.
ARCHITECTURES = [(8, 0), (8, 6), (9, 0), (12, 0)]


def ptxas() -> str | None:
    """The assembler of the toolkit that numba-cuda brings, or of the system's."""
    packaged = in_packages("bin/ptxas")
    return str(packaged) if packaged else shutil.which("ptxas")


@pytest.fixture(scope="module")
def compile_ptx():
    """Compile a function for a capability as the device would, without one."""
    import numba.cuda.dispatcher as dispatcher
    from numba.core import sigutils
    from numba.cuda.cudadrv.error import CCSupportError

    from raydepth.cuda.device_code.kernels import cuda

    class Device:
        compute_capability = (9, 0)

    patch = pytest.MonkeyPatch()
    patch.setattr(dispatcher, "get_current_device", lambda: Device)
    known = {}

    def compile_ptx(function, signature, cc, **options):
        key = function, cc
        if key not in known:
            Device.compute_capability = cc
            arguments, _ = sigutils.normalize_signature(signature)
            try:
                known[key], _ = cuda.compile_ptx(function, arguments, cc=cc, **options)
            except CCSupportError as error:
                pytest.skip(f"this toolkit does not know {cc}: {error}")
        return known[key]

    yield compile_ptx
    patch.undo()


def assembled(ptx: str, cc: tuple[int, int], folder: Path, registers: int) -> dict[str, int]:
    """What ptxas says: registers, bytes of stack frame and of spills."""
    assembler = ptxas()
    if assembler is None:
        pytest.skip("no ptxas (pip install nvidia-cuda-nvcc)")
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    result = subprocess.run(
        [
            assembler, "-v", f"-arch=sm_{cc[0]}{cc[1]}", f"-maxrregcount={registers}",
            str(source), "-o", os.devnull,
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    numbers = {}
    for name, pattern in {
        "registers": r"Used (\d+) registers",
        "stack": r"(\d+) bytes stack frame",
        "stores": r"(\d+) bytes spill stores",
        "loads": r"(\d+) bytes spill loads",
    }.items():
        found = re.search(pattern, result.stderr)
        assert found, result.stderr
        numbers[name] = int(found[1])
    return numbers


# For each kernel: bytes of stack of its own, and of spills at most, for 12.0 in the last column.
# find_visible spills where a ray is set up or float64 asked, once a ray or doubtful face, and not
# in its loops, as its disassembly for 9.0 and 12.0 shows.
STACK = 8 * layout.STACK
LIMITS = {
    "set_up_beams": (0, 0, 0),
    "find_visible": (STACK, 80, 256),
    "find_visible_exactly": (STACK // 2 + 8, 0, 0),
    "resolve": (0, 0, 32),
    "cast_rays": (STACK // 2 + 8, 0, 0),
    "build_step": (128, 0, 0),
}


@pytest.mark.parametrize("cc", ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", LIMITS)
def test_registers_and_spills(compile_ptx, name, cc, tmp_path):
    from raydepth.cuda.device_code import kernels

    kernel = getattr(kernels, name)
    ptx = compile_ptx(kernel, kernels.SIGNATURES[kernel], cc)
    numbers = assembled(ptx, cc, tmp_path, kernels.REGISTERS[name])
    stack, *spills = LIMITS[name]
    spill = spills[cc[0] >= 12]
    assert numbers["registers"] <= kernels.REGISTERS[name]
    assert max(numbers["stores"], numbers["loads"]) <= spill, numbers
    assert numbers["stack"] <= stack + spill, numbers
    assert not re.search(r"^\s*call", ptx, re.MULTILINE), "something was not inlined"


def test_every_kernel_is_held_to_limits():
    from raydepth.cuda.device_code import kernels

    assert {k.__name__ for k in kernels.SIGNATURES} == set(LIMITS) == set(kernels.REGISTERS)


def loop_of(ptx: str, marker: str) -> list[str]:
    """The instructions of the smallest loop around a line that matches `marker`."""
    lines = [line.strip() for line in ptx.splitlines()]
    marked = [i for i, line in enumerate(lines) if re.search(marker, line)]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\$L\w+:", line)}
    loops = []
    for end, line in enumerate(lines):
        target = re.search(r"bra(?:\.uni)?\s+(\$L\w+)", line)
        begin = labels[target[1]] if target else end
        if any(begin <= at <= end for at in marked):
            loops.append((end - begin, begin, end))
    _, begin, end = min(loop for loop in loops if loop[0] > 0)
    return [line for line in lines[begin : end + 1] if line.endswith(";")]


@pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def test_the_loop_over_nodes(compile_ptx, cc):
    """Four loads of 128 bits through the read-only cache, float32 alone, and short."""
    from raydepth.cuda.device_code import kernels

    ptx = compile_ptx(kernels.find_visible, "void(uint64)", cc)
    loop = loop_of(ptx, r"nc\.v4\.f32.*\+48\]")
    loads = [line for line in loop if "ld.global" in line]
    assert len(loads) == 4
    assert all(line.startswith("ld.global.nc.v4.f32") for line in loads)
    assert not [line for line in loop if ".f64" in line or "div" in line]
    assert sum("fma.rn.f32" in line for line in loop) == 18
    assert len(loop) < 110
    pushes = [line for line in loop if "st.local" in line]
    assert len(pushes) == 1
    assert ".v2" in pushes[0]


def test_the_float32_tests_have_no_double_operations(compile_ptx):
    """A bare literal would make them double."""
    from raydepth.cuda.device_code import trace

    for function in (trace.judge, trace.distance_range, trace.sheared):
        n_floats = function.__code__.co_argcount
        names = ", ".join(f"x{i}" for i in range(n_floats))
        scope = {"function": function}
        exec(f"def tested({names}):\n    return function({names})", scope)
        signature = f"({', '.join(['float32'] * n_floats)})"
        ptx = compile_ptx(scope["tested"], signature, (9, 0), device=True)
        assert "fma.rn.f32" in ptx
        assert ".f64" not in ptx, function.__name__


def test_exact_maths_is_not_fused(compile_ptx):
    """Each double operation of the exact part rounds by itself."""
    from raydepth.cuda.device_code import kernels

    ptx = compile_ptx(kernels.resolve, "void(uint64, int32)", (9, 0))
    assert not re.findall(r"fma\.rn\.f64", ptx)
    # Without .rn the assembler may fuse a product and a sum. What is left adds pixels' halves.
    loose = re.findall(r"^\s*((?:mul|add|sub)\.f64.*)$", ptx, re.MULTILINE)
    assert all("0d3FE0000000000000" in line for line in loose), loose
    assert np.float64(0.5).view(np.uint64) == 0x3FE0000000000000


def test_a_kernel_compiles_where_numpy_lacks_what_numba_cuda_wants():
    """NumPy 2.5 has no row_stack."""
    program = """
import numba.np.arrayobj  # Numba's own part knows NumPy's versions
import numpy as np
if hasattr(np, "row_stack"):
    del np.row_stack
from raydepth.cuda.device_code.kernels import cuda
from numba.core import sigutils
def kernel(x):
    x[cuda.threadIdx.x] = 1.0
ptx, _ = cuda.compile_ptx(kernel, sigutils.normalize_signature("void(float32[:])")[0], cc=(9, 0))
print(".entry" in ptx)
"""
    folder = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.stdout.strip() == "True", result.stderr
