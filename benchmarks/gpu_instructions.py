"""Number of instructions that a warp issues for 32 rays: kernels and candidates. Needs no GPU.

    python benchmarks/gpu_instructions.py [--meshes knot_5k,...] [--size 512] [--views 2]

The kernels are compiled and linked as for an H100 and run on the CPU, all lanes of a warp in step
(tests/support/cuda_emulator). The script counts PTX instructions, weighted by their cost in an
H100's issue slots (`weight`: double and 64-bit operations two, double divisions and roots 24,
moves and signs nothing). **This is not a time**: caches, latencies and the assembler's order are
not modelled.

The script writes benchmarks/results/gpu_instructions.json, with a row for each kernel and mesh:
instructions and weighted instructions for 32 rays, and the share of lanes that are active.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from cuda_emulator import ptx
from cuda_emulator.warp import Warp
from gpu_candidates import CANDIDATES, kernel_of
from gpu_wide import collapse, find_visible_wide

import raydepth as rd
from raydepth.bench.bench import GENERATED, bumpy_knot
from raydepth.cuda import device as devices
from raydepth.cuda.device_code import jobs, kernels, threads
from raydepth.cuda.resident import Flat, flat_arrays
from raydepth.rendering.frames import frames_of
from raydepth.rendering.hierarchies import build_bvh

HERE = Path(__file__).resolve().parent
CAPABILITY = (9, 0)
ALIGNMENT = 256


class Compiled(NamedTuple):
    """A kernel's entry, and the function that runs it for one warp."""

    entry: ptx.Entry
    run: Any


def compiled(kernel: Any, signature: str, folder: Path) -> Compiled:
    """Compile and link a kernel as Numba does for the device, then for the CPU."""
    cuda = devices._kernels().cuda
    from cuda.core import Linker, LinkerOptions, ObjectCode
    from numba.core import sigutils
    from numba.cuda import dispatcher

    class Device:
        compute_capability = CAPABILITY

    dispatcher.get_current_device = lambda: Device
    arguments, _ = sigutils.normalize_signature(signature)
    code, _ = cuda.compile(
        kernel, arguments, cc=CAPABILITY, device=False, output="ltoir", abi="numba"
    )
    options = LinkerOptions(
        arch=f"sm_{CAPABILITY[0]}{CAPABILITY[1]}", link_time_optimization=True, ptx=True
    )
    linked = Linker(ObjectCode.from_ltoir(code), options=options).link("ptx").code
    text = bytes(linked).decode().rstrip("\0")
    (entry,) = ptx.parse(text)
    library = ctypes.CDLL(str(ptx.library_of(text, folder, in_step=True)))
    return Compiled(entry, getattr(library, f"warp_{entry.name}"))


def weight(instruction: ptx.Instruction) -> float:
    """Return about how many issue slots of an H100's scheduler an instruction takes."""
    name, *parts = instruction.opcode.split(".")
    kind = parts[-1] if parts else ""
    if name in ("mov", "neg", "abs"):
        return 0.0
    if name in ("div", "rcp", "sqrt") and kind == "f64":
        return 24.0
    if name == "div":
        return 20.0
    if name == "cvt":
        return 8.0 if "f64" in parts else 0.5
    if name == "mul" and kind in ("s64", "u64"):
        return 4.0
    if name in ("min", "max") or (kind == "f64" and name not in ("ld", "st")):
        return 2.0
    if kind in ("s64", "u64", "b64") and name not in ("ld", "st"):
        return 2.0
    return 1.0


class Scene:
    """A mesh and views, in memory as on the device."""

    def __init__(self, mesh: rd.Mesh, cameras: rd.Cameras) -> None:
        bvh = build_bvh(mesh)
        self.flat, self.frames = flat_arrays(bvh), frames_of(cameras, bvh)
        self.size, self.n_views = (cameras.width, cameras.height), len(cameras)
        self._pages = np.ones(1, np.uint8)
        self._rows, _ = jobs.table(self.n_views)
        self._kept: list[np.ndarray] = []
        addresses = tuple(self.kept(array) for array in self.flat)
        jobs.fill_views(
            self._rows, addresses, self.frames.basis, self.frames.projection, self.size,
            scale=1.0, miss=0.0,
        )  # fmt: skip
        n_pixels, n_bytes = self.size[0] * self.size[1], threads.beam_bytes(self.size)
        self.found = np.empty((self.n_views, self.size[1], self.size[0]), np.int32)
        depth = np.empty(self.found.shape, np.float32)
        for word, array, step in (
            (jobs.TRIANGLE_ID, self.found, 4 * n_pixels), (jobs.Z, depth, 4 * n_pixels),
            (jobs.BEAMS, np.empty(n_bytes * self.n_views + 16, np.uint8), n_bytes),
        ):  # fmt: skip
            self._kept.append(array)
            jobs.fill_outputs(self._rows, word, -(-array.ctypes.data // 16) * 16, step)

    def kept(self, array: np.ndarray) -> int:
        """Make an aligned copy that is kept alive; return its address."""
        memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        memory[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        self._kept.append(memory)
        return memory.ctypes.data + start

    def use_nodes(self, nodes: list[np.ndarray]) -> None:
        for view in range(self.n_views):
            self._rows[view, jobs.NODES] = self.kept(nodes[view % len(nodes)])

    def run(self, kernel: Compiled, n_blocks: int) -> dict[str, float]:
        """Run every warp of a launch; return how much they issued."""
        n = len(kernel.entry.blocks)
        issued, lanes = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
        table, dtype = ctypes.c_uint64(self._rows.ctypes.data), ctypes.c_int32(0)
        parameters = (ctypes.c_void_p * 2)(ctypes.addressof(table), ctypes.addressof(dtype))
        shared = np.empty(1 << 16, np.uint8)
        # The device may use all of memory: an arena of one page that spans all addresses.
        warp = Warp(
            parameters=ctypes.addressof(parameters), shared=shared.ctypes.data,
            shared_bytes=shared.nbytes, pages=None, arena_bytes=2**64 - 1, n_threads=128,
            issued=issued.ctypes.data, lanes=lanes.ctypes.data,
        )  # fmt: skip
        for view in range(self.n_views):
            for block in range(n_blocks):
                warp.block[0], warp.block[1] = block, view
                for first in range(0, threads.THREADS, 32):
                    warp.first_thread, warp.alive = first, 0xFFFFFFFF
                    kernel.run(ctypes.byref(warp))
        if warp.error:
            raise RuntimeError(f"{kernel.entry.name}: error {warp.error}")
        blocks = kernel.entry.blocks
        sizes = np.array([len(block.instructions) for block in blocks])
        weights = np.array([sum(map(weight, block.instructions)) for block in blocks])
        n_warps = self.found.size / 32
        return {
            "instructions": float((issued * sizes).sum() / n_warps),
            "weighted": float((issued * weights).sum() / n_warps),
            "active_lanes": float((lanes * sizes).sum() / max((32 * issued * sizes).sum(), 1)),
        }


def measure(name: str, size: int, n_views: int, folder: Path) -> dict[str, dict[str, float]]:
    vertices, faces = bumpy_knot(*GENERATED[name])
    mesh = rd.Mesh(vertices, faces).normalized("sphere")
    cameras = rd.cameras.fibonacci(n_views, radius=1.5, fov_deg=40.0, size=size)
    scene = Scene(mesh, cameras)
    n_blocks = threads.launches(scene.size)
    expected = rd.render(mesh, cameras, device="cpu").triangle_id
    found = {}
    beams = compiled(kernels.set_up_beams, "void(uint64)", folder)
    found["set_up_beams"] = scene.run(beams, n_blocks["set_up_beams"])

    for candidate, (prepare, find) in {**CANDIDATES, "wide": (_wide_nodes, None)}.items():
        kernel = find_visible_wide if find is None else kernel_of(devices._kernels().cuda, find)
        scene.use_nodes(prepare(scene.flat, scene.frames.basis))
        scene.found.fill(-7)
        found[candidate] = scene.run(
            compiled(kernel, "void(uint64)", folder), n_blocks["find_visible"]
        )
        if (scene.found != expected).any():
            raise RuntimeError(f"{candidate} finds other faces than rd.render")
    left = compiled(kernels.find_visible_exactly, "void(uint64)", folder)
    found["find_visible_exactly"] = scene.run(left, n_blocks["find_visible_exactly"])
    resolve = compiled(kernels.resolve, "void(uint64, int32)", folder)
    found["resolve"] = scene.run(resolve, n_blocks["resolve"])
    return found


def _wide_nodes(flat: Flat, basis: np.ndarray) -> list[np.ndarray]:
    return [collapse(flat.nodes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--meshes", default="knot_5k,knot_80k,knot_1300k")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu_instructions.json")
    args = parser.parse_args()
    report: dict[str, Any] = {"size": args.size, "views": args.views, "capability": CAPABILITY}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.meshes.split(","):
            report[name] = measure(name, args.size, args.views, Path(folder))
            for kernel, counts in report[name].items():
                numbers = ", ".join(f"{key} {value:.6g}" for key, value in counts.items())
                print(f"{name} {kernel}: {numbers}", flush=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
