"""A GPU's place taken by the CPU, underneath Numba's CUDA target: the compiled kernels run here.

`driver.c` becomes a libcuda.so.1 that Numba finds instead of NVIDIA's driver. What it is given to
run is the PTX of the kernels as Numba has compiled and linked them, which ptx.py turns into C. So
everything from `device="cuda"` to the last bit of a depth is the real thing, except the machine;
and how long something takes means nothing.

    PYTHONPATH=tests/support python -m cuda_emulator python -m pytest tests/cuda/test_cuda_gpu.py

Needs gcc, and numba-cuda with the headers that come with it (`pip install "raydepth[cuda]"`); the
tests of it want nvcc, too (`pip install "raydepth[ptxas]"`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def in_packages(pattern: str) -> Path | None:
    """A file of the toolkit in NVIDIA's Python packages: "bin/ptxas", "include/cuda.h"."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    return next((p for f in folders or () for p in Path(f).glob(f"*/{pattern}")), None)


def what_is_missing() -> str | None:
    """None if a GPU can be emulated here."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed (pip install 'raydepth[cuda]')"
    if shutil.which("gcc") is None:
        return "no gcc"
    if in_packages("include/cuda.h") is None:
        return "no cuda.h (pip install nvidia-cuda-runtime)"
    return None


def environment(folder: Path) -> dict[str, str]:
    """Variables of a process that finds the emulated device; builds the driver in `folder`."""
    library = folder / "libcuda.so.1"
    if not library.exists():
        command = [
            "gcc", "-O2", "-g", "-shared", "-fPIC", "-Wall", "-Werror",
            f"-I{in_packages('include/cuda.h').parent}",
            "-Wl,-soname,libcuda.so.1", "-o", str(library), str(HERE / "driver.c"), "-ldl",
            "-lpthread",
        ]  # fmt: skip
        subprocess.run(command, check=True)
    paths = [str(HERE / "site"), os.environ.get("PYTHONPATH", "")]
    return {
        "LD_LIBRARY_PATH": str(folder),
        "CUDA_EMULATOR_TRANSLATOR": f"'{sys.executable}' -I '{HERE / 'ptx.py'}' '{folder}'",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # Numba would take what it compiled here for what a GPU wants.
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }
