"""All checks and benchmarks that need a GPU, in one script: correctness first, then speed.

    python benchmarks/gpu.py [--out DIR] [--minutes 9] [--parts NAME,...] [--again] [--small]

Each part runs in a separate process. A part that fails, or loses the device, is recorded, and the
next part runs. After every part, its results are added to DIR/gpu.json and DIR/gpu.md is rewritten.
If a run is cut off or runs out of minutes, call the script again: it skips the parts that are done.
Needs no network. DIR is benchmarks/results unless given.

Kernel times are measured by CUDA events, all others by the host's clock after all work is done. All
are medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from cuda_emulator import in_packages

import raydepth as rd
from raydepth.bench.bench import GENERATED, bumpy_knot, machine
from raydepth.bvh import build as build_on_cpu
from raydepth.cuda import api, batch
from raydepth.cuda import device as devices
from raydepth.cuda.build import DeviceMesh
from raydepth.cuda.chunks import Piece
from raydepth.cuda.device_code import beams, jobs
from raydepth.cuda.device_code.threads import THREADS, beam_bytes, launches
from raydepth.cuda.resident import flat_arrays, make_resident
from raydepth.cuda.ring import Ring
from raydepth.outputs.request import RenderRequest
from raydepth.rendering.cuda_views import views_for_cuda
from raydepth.rendering.frames import frames_of
from raydepth.rendering.hierarchies import build_bvh

HERE = Path(__file__).resolve().parent

# --small checks that the script works, also on an emulated GPU (tests/support/cuda_emulator).
SMALL = os.environ.get("RAYDEPTH_GPU_SMALL") == "1"
MESHES = ("knot_5k",) if SMALL else ("knot_5k", "knot_80k", "knot_300k", "knot_1300k")
SIZES = (256, 512, 1024)
SHRINK = 16 if SMALL else 1  # divides the sides of images
VIEWS = 2 if SMALL else 24
REPEATS = 2 if SMALL else 15
MANY = 8 if SMALL else 1000
DEPTH = RenderRequest(("z",), np.dtype(np.float32), float("inf"))


def mesh_named(name: str) -> rd.Mesh:
    vertices, faces = bumpy_knot(*GENERATED[name])
    return rd.Mesh(vertices.astype(np.float32).astype(float), faces, name=name).normalized("sphere")


def cameras_of(size: int, n: int = VIEWS, **options: Any) -> rd.Cameras:
    options = {"radius": 1.5, "fov_deg": 40.0, **options}
    return rd.cameras.fibonacci(min(n, VIEWS), size=size // SHRINK, **options)


class Scene(NamedTuple):
    """A mesh, its views and outputs on the device, ready to launch."""

    rows: np.ndarray
    table: Any
    outputs: Any
    beams: Any
    n_blocks: dict[str, int]
    n_jobs: int
    shape: tuple[int, int, int]
    kept: Any

    @property
    def n_rays(self) -> int:
        return int(np.prod(self.shape))

    @property
    def grid(self) -> tuple[int, int]:
        """The grid of kernels in which a thread handles a pixel."""
        return self.n_blocks["resolve"], self.n_jobs

    def upload(self) -> None:
        gpu = devices.device()
        stream = gpu.stream()
        gpu.upload(self.table, 0, self.rows, stream)
        gpu.wait(stream)

    def fetch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return triangle_id and z depth, then fill the outputs with garbage."""
        gpu = devices.device()
        stream = gpu.stream()
        found, depth = np.empty(self.shape, np.int32), np.empty(self.shape, np.float32)
        gpu.download(found, self.outputs, 0, stream)
        gpu.download(depth, self.outputs, found.nbytes, stream)
        gpu.wait(stream)
        garbage = np.full(self.outputs.n_bytes, 0xA5, np.uint8)
        gpu.upload(self.outputs, 0, garbage, stream)
        gpu.wait(stream)
        return found, depth


def scene(mesh: Any, cameras: rd.Cameras) -> Scene:
    gpu = devices.device()
    bvh = mesh if isinstance(mesh, DeviceMesh) else build_bvh(mesh)
    resident = api.resident(bvh)
    size = cameras.width, cameras.height
    views = views_for_cuda(resident, bvh, cameras)
    rows, _ = jobs.table(len(cameras))
    batch.fill_jobs(
        rows, Piece(batch.request(views, DEPTH), 0, len(cameras)), resident.addresses, DEPTH
    )
    n_bytes = 4 * size[0] * size[1]
    outputs = gpu.empty(2 * n_bytes * len(cameras))
    jobs.fill_outputs(rows, jobs.TRIANGLE_ID, outputs.address, n_bytes)
    jobs.fill_outputs(rows, jobs.Z, outputs.address + n_bytes * len(cameras), n_bytes)
    records = gpu.empty(beam_bytes(size) * len(cameras))
    jobs.fill_outputs(rows, jobs.BEAMS, records.address, beam_bytes(size))
    table = gpu.empty(rows.nbytes)
    shape = (len(cameras), cameras.height, cameras.width)
    made = Scene(
        rows, table, outputs, records, launches(size), len(cameras), shape, (mesh, bvh, resident)
    )
    made.upload()
    return made


def device_seconds(launch: Callable[[Any], None], repeats: int = REPEATS) -> dict[str, float]:
    """Measure by events the device's seconds for the work that `launch(stream)` starts."""
    cuda = devices._kernels().cuda
    stream = cuda.stream()
    taken = []
    for turn in range(repeats + 3):
        begin, end = cuda.event(), cuda.event()
        # Without a first launch that keeps the device busy, the host's part would be timed, too.
        launch(stream)
        begin.record(stream)
        launch(stream)
        end.record(stream)
        end.synchronize()
        if turn >= 3:
            taken.append(cuda.event_elapsed_time(begin, end) / 1e3)
    return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


def host_seconds(step: Callable[[], Any], repeats: int = 7) -> dict[str, float]:
    taken = []
    for turn in range(repeats + 2):
        start = time.perf_counter()
        result = step()
        if turn >= 2:
            taken.append(time.perf_counter() - start)
        del result
    return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


VISIBILITY = ("set_up_beams", "find_visible", "find_visible_exactly")


def launcher(made: Scene, *kernels: str) -> Callable[[Any], None]:
    gpu = devices.device()
    table = np.uint64(made.table.address)

    def launch(stream: Any) -> None:
        for kernel in kernels:
            extra = (np.int32(batch.DTYPES[DEPTH.dtype]),) if kernel == "resolve" else ()
            gpu.launch(kernel, made.n_blocks[kernel], made.n_jobs, (table, *extra), stream)

    return launch


def run_once(made: Scene, *kernels: str) -> None:
    launcher(made, *kernels)(devices._kernels().cuda.stream())
    devices._kernels().cuda.synchronize()


# -- parts --------------------------------------------------------------------------------------


def environment() -> dict[str, Any]:
    """Find the device and the versions, and time compilation."""
    gpu = devices.device()
    start = time.perf_counter()
    for kernel in devices._kernels().REGISTERS:
        gpu._kernel(kernel)
    compiled = time.perf_counter() - start
    import numba
    import numba_cuda

    smi = subprocess.run(
        "nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm "
        "--format=csv,noheader",
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    return {
        "device": gpu.name,
        "compute_capability": gpu.compute_capability,
        "nvidia_smi": smi.stdout.strip(),
        "numba": numba.__version__,
        "numba_cuda": numba_cuda.__version__,
        "numpy": np.__version__,
        "compile_seconds": compiled,
        "machine": machine(),
    }


def correctness() -> dict[str, Any]:
    """Compare every mesh and many cameras with the CPU, and three views with the oracle."""
    from oracle import assert_exact, brute_force

    cells: dict[str, Any] = {}
    for name in MESHES:
        mesh = mesh_named(name)
        views = {
            "perspective": cameras_of(256, 4),
            "orthographic": cameras_of(256, 4, fov_deg=None, ortho_width=1.1),
            "close": cameras_of(256, 4, radius=0.4, fov_deg=70.0),
        }
        for label, cameras in views.items():
            ours = rd.render(mesh, cameras, kind=("z", "ray"), dtype=np.float64, device="cuda")
            theirs = rd.render(mesh, cameras, kind=("z", "ray"), dtype=np.float64, device="cpu")
            same_id = ours.triangle_id == theirs.triangle_id
            same_bits = (ours.z_depth == theirs.z_depth) & (ours.ray_depth == theirs.ray_depth)
            cells[f"{name} {label}"] = {
                "pixels": same_id.size,
                "hits": int((theirs.triangle_id >= 0).sum()),
                "masks_differ": int(((ours.triangle_id >= 0) != (theirs.triangle_id >= 0)).sum()),
                "ids_differ": int((~same_id).sum()),
                "bits_differ_for_the_same_face": int((same_id & ~same_bits).sum()),
            }
        own = rd.render(DeviceMesh(mesh.vertices, mesh.faces), views["perspective"])
        theirs = rd.render(mesh, views["perspective"], device="cpu")
        cells[f"{name} built on the device"] = {
            "ids_differ": int((own.triangle_id != theirs.triangle_id).sum())
        }
    checked = 0
    mesh = mesh_named("knot_5k")
    cameras = cameras_of(192 * SHRINK, 3)  # not shrunk: too few pixels would prove nothing
    rendering = rd.render(mesh, cameras, kind=("z", "ray"), device="cuda")
    for view in range(len(cameras)):
        truth = brute_force(mesh.vertices, mesh.faces, cameras[view])
        assert_exact(rendering, view, truth)
        checked += 1
    return {"cells": cells, "views_exact_against_the_oracle": checked}


def tests() -> dict[str, Any]:
    """The tests that need a GPU."""
    return {"cuda": _tested("tests/cuda/test_cuda_gpu.py")}


def path_tests() -> dict[str, Any]:
    """The tests of the rest of the CUDA path, of rendering and of rays, on this machine."""
    names = [f"cuda/test_cuda_{name}" for name in ("maths", "batch", "build", "ptx")]
    names += ["rendering/test_render", "rendering/test_raycast"]
    return {name: _tested(f"tests/{name}.py") for name in names}


def _tested(path: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--maxfail=20", path]
    result = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    lines = result.stdout.strip().splitlines()
    return {
        "exit_code": result.returncode,
        "summary": lines[-1] if lines else result.stderr[-500:],
        "failures": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
        "end": result.stdout[-3000:] if result.returncode else "",
    }


def kernels() -> dict[str, Any]:
    """Time visibility, resolve and both, with results on the device."""
    cells = {}
    for name in MESHES:
        mesh = mesh_named(name)
        for size in SIZES:
            made = scene(mesh, cameras_of(size))
            cell = {
                "triangles": len(mesh.faces),
                "rays": made.n_rays,
                "beams": device_seconds(launcher(made, "set_up_beams")),
                "visibility": device_seconds(launcher(made, *VISIBILITY)),
                "resolve": device_seconds(launcher(made, "resolve")),
                "both": device_seconds(launcher(made, *VISIBILITY, "resolve")),
                "hits": int((made.fetch()[0] >= 0).sum()),
            }
            cell["grays_per_s"] = made.n_rays / cell["both"]["median"] / 1e9
            cells[f"{name} {size}"] = cell
    return cells


def exact_kernel() -> dict[str, Any]:
    """Time the float64 walk, for comparison."""
    name = MESHES[min(1, len(MESHES) - 1)]
    made = scene(mesh_named(name), cameras_of(512))
    run_once(made, "set_up_beams")
    gpu, stream = devices.device(), devices.device().stream()
    records = np.empty(made.beams.n_bytes, np.uint8)
    gpu.download(records, made.beams, 0, stream)
    gpu.wait(stream)
    records.view(np.int32).reshape(-1, beams.BYTES // 4)[:, 3] = beams.FLOAT64
    gpu.upload(made.beams, 0, records, stream)
    gpu.wait(stream)
    taken = device_seconds(launcher(made, "find_visible_exactly"), 5)
    return {f"{name} 512": {**taken, "grays_per_s": made.n_rays / taken["median"] / 1e9}}


def registers() -> dict[str, Any]:
    """Time other limits on registers; the shipped limits are in kernels.REGISTERS."""
    from raydepth.cuda.device_code import kernels as module

    cuda = devices._kernels().cuda
    found: dict[str, Any] = {}
    scenes = {
        f"{name} 512": scene(mesh_named(name), cameras_of(512))
        for name in MESHES
        if name != "knot_300k"
    }
    for made in scenes.values():
        run_once(made, "set_up_beams")
    for kernel, limits in (("find_visible", (40, 48, 56, 64, 80, 104)), ("resolve", (56, 80, 96))):
        for limit in limits:
            function = getattr(module, kernel)
            compiled = cuda.jit(module.SIGNATURES[function], max_registers=limit)(function)
            for label, made in scenes.items():
                extra = (np.int32(0),) if kernel == "resolve" else ()
                arguments = (np.uint64(made.table.address), *extra)
                taken = device_seconds(
                    lambda stream, c=compiled, m=made, a=arguments: c[m.grid, THREADS, stream](*a)
                )
                found[f"{kernel} {limit} {label}"] = taken["median"]
    return found


def candidates() -> dict[str, Any]:
    """Check that the kernels of gpu_candidates.py find the same faces, and time them."""
    from gpu_candidates import CANDIDATES, kernel_of

    cuda = devices._kernels().cuda
    gpu = devices.device()
    found: dict[str, Any] = {}
    compiled = {}
    for name, candidate in CANDIDATES.items():
        with recorded(found, name):
            kernel = kernel_of(cuda, candidate.find)
            compiled[name] = {
                limit: cuda.jit("void(uint64)", max_registers=limit)(kernel) for limit in (48, 64)
            }
    for mesh_name in MESHES:
        mesh = mesh_named(mesh_name)
        bvh = build_bvh(mesh)
        flat = flat_arrays(bvh)
        for size in (512, 1024):
            # Few views, because some candidates need a tree for each.
            cameras = cameras_of(size, 12)
            made = scene(mesh, cameras)
            run_once(made, *VISIBILITY, "resolve")
            expected = made.fetch()[0]
            basis = frames_of(cameras, bvh).basis
            for name, by_limit in compiled.items():
                with recorded(found, f"{mesh_name} {size} {name}"):
                    nodes = CANDIDATES[name].prepare(flat, basis)
                    buffers = []
                    for array in nodes:
                        buffer = gpu.empty(array.nbytes)
                        stream = gpu.stream()
                        gpu.upload(buffer, 0, array, stream)
                        gpu.wait(stream)
                        buffers.append(buffer)
                    before = made.rows[:, jobs.NODES].copy()
                    for view in range(made.n_jobs):
                        made.rows[view, jobs.NODES] = buffers[view % len(buffers)].address
                    made.upload()
                    for limit, kernel in by_limit.items():
                        arguments = np.uint64(made.table.address)
                        taken = device_seconds(
                            lambda stream, k=kernel, a=arguments, m=made: k[
                                m.grid, THREADS, stream
                            ](a)
                        )
                        found[f"{mesh_name} {size} {name} {limit}"] = {
                            "seconds": taken["median"],
                            "grays_per_s": made.n_rays / taken["median"] / 1e9,
                            "ids_differ": int((made.fetch()[0] != expected).sum()),
                        }
                    made.rows[:, jobs.NODES] = before
                    made.upload()
    return found


def wide() -> dict[str, Any]:
    """Check that a warp for a tile (gpu_wide.py) finds the same faces, and time it."""
    from gpu_wide import collapse, find_visible_wide

    cuda = devices._kernels().cuda
    gpu = devices.device()
    found: dict[str, Any] = {}
    compiled = {
        limit: cuda.jit("void(uint64)", max_registers=limit)(find_visible_wide)
        for limit in (80, 128)
    }
    for name in MESHES:
        mesh = mesh_named(name)
        nodes = collapse(flat_arrays(build_bvh(mesh)).nodes)
        buffer = gpu.empty(nodes.nbytes)
        stream = gpu.stream()
        gpu.upload(buffer, 0, nodes, stream)
        gpu.wait(stream)
        for size in (256, 512, 1024):
            made = scene(mesh, cameras_of(size, 12))
            run_once(made, *VISIBILITY, "resolve")
            expected = made.fetch()[0]
            shipped = device_seconds(launcher(made, "find_visible"))["median"]
            made.rows[:, jobs.NODES] = buffer.address
            made.upload()
            for limit, kernel in compiled.items():
                arguments = np.uint64(made.table.address)
                taken = device_seconds(
                    lambda stream, k=kernel, a=arguments, m=made: k[m.grid, THREADS, stream](a)
                )
                found[f"{name} {size} {limit}"] = {
                    "seconds": taken["median"],
                    "shipped": shipped,
                    "ids_differ": int((made.fetch()[0] != expected).sum()),
                }
    return found


def nvcc() -> str:
    """The compiler of the system's toolkit, or of the package nvidia-cuda-nvcc."""
    return shutil.which("nvcc") or str(in_packages("bin/nvcc") or "/usr/local/cuda/bin/nvcc")


def twin() -> dict[str, Any]:
    """Time the same algorithm in CUDA C++, compiled by nvcc here."""
    from cuda.core import LaunchConfig, ObjectCode, launch

    major, minor = devices.device().compute_capability
    target = f"arch=compute_{major}{minor},code=[sm_{major}{minor},compute_{major}{minor}]"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "twin.fatbin"
        command = [
            nvcc(), "-O3", "-gencode", target, "-Xptxas", "-v", "--no-compress", "-fatbin", "-o",
            str(program), str(HERE / "gpu_twin.cu"),
        ]  # fmt: skip
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            raise RuntimeError(built.stderr[-2000:])
        code = ObjectCode.from_fatbin(program.read_bytes())
    kernels = {name: code.get_kernel(name) for name in ("find_visible", "resolve")}
    # No beam of these views is left to find_visible_exactly.
    visibility = VISIBILITY[:2]

    def launcher_of(made: Scene, *names: str) -> Callable[[Any], None]:
        gpu, table = devices.device(), np.uint64(made.table.address)
        config = LaunchConfig(grid=made.grid, block=THREADS)

        def start(stream: Any) -> None:
            for name in names:
                if name == "set_up_beams":  # raydepth's own
                    gpu.launch(name, made.n_blocks[name], made.n_jobs, (table,), stream)
                else:
                    launch(stream, config, kernels[name], table)

        return start

    usage = [
        line.strip() for line in built.stderr.splitlines() if "Used" in line or "spill" in line
    ]
    found: dict[str, Any] = {"ptxas": usage}
    for name in MESHES:
        mesh = mesh_named(name)
        for size in SIZES:
            made = scene(mesh, cameras_of(size))
            seconds, results = {}, {}
            for who, starter in (("raydepth", launcher), ("twin", launcher_of)):
                seconds[f"{who}_visibility"] = device_seconds(starter(made, *visibility))
                seconds[who] = device_seconds(starter(made, *visibility, "resolve"))
                results[who] = made.fetch()
            median = {part: taken["median"] for part, taken in seconds.items()}
            found[f"{name} {size}"] = {
                **median,
                "ratio": median["twin"] / median["raydepth"],
                "ids_differ": int((results["raydepth"][0] != results["twin"][0]).sum()),
                "depth_differs": int((results["raydepth"][1] != results["twin"][1]).sum()),
            }
    return found


COPIED = (1 << 28) // SHRINK


def copied(copy: Callable[[Any], None]) -> float:
    """Return the gigabytes a second of `copy(stream)`, which copies COPIED bytes."""
    gpu = devices.device()
    stream = gpu.stream()

    def step() -> None:
        copy(stream)
        gpu.wait(stream)

    return COPIED / host_seconds(step, 5)["median"] / 1e9


def transfer() -> dict[str, Any]:
    """Measure copies from and to pinned and ordinary memory, and the cost of a launch."""
    gpu = devices.device()
    buffer = gpu.empty(COPIED)
    pinned, pageable = gpu.pinned(COPIED), np.zeros(COPIED, np.uint8)
    stream = gpu.stream()
    made = scene(mesh_named("knot_5k"), rd.cameras.fibonacci(1, size=8))
    launch = launcher(made, "set_up_beams")

    def launches() -> None:
        for _ in range(200):
            launch(stream)
        gpu.wait(stream)

    return {
        "pinned_to_device_gb_per_s": copied(lambda s: gpu.upload(buffer, 0, pinned, s)),
        "device_to_pinned_gb_per_s": copied(lambda s: gpu.download(pinned, buffer, 0, s)),
        "pageable_to_device_gb_per_s": copied(lambda s: gpu.upload(buffer, 0, pageable, s)),
        "device_to_pageable_gb_per_s": copied(lambda s: gpu.download(pageable, buffer, 0, s)),
        "launch_seconds": host_seconds(launches)["median"] / 200,
        "launch_and_wait_seconds": host_seconds(lambda: (launch(stream), gpu.wait(stream)), 50)[
            "median"
        ],
        "pin_gb_per_s": COPIED / host_seconds(lambda: gpu.pinned(COPIED), 3)["median"] / 1e9,
    }


def end_to_end() -> dict[str, Any]:
    """Time `rd.render` from a known mesh to arrays in main memory or on the device.

    The rate of copies from the device to pinned memory is measured, too, and chunks of other sizes.
    """
    gpu = devices.device()
    buffer, pinned = gpu.empty(COPIED), gpu.pinned(COPIED)
    cells: dict[str, Any] = {
        "device_to_pinned_gb_per_s": copied(lambda s: gpu.download(pinned, buffer, 0, s))
    }
    for name in MESHES:
        mesh = mesh_named(name)
        for size in SIZES:
            cameras = cameras_of(size)
            n_rays = len(cameras) * cameras.width * cameras.height
            host = host_seconds(lambda m=mesh, c=cameras: rd.render(m, c, device="cuda"))
            left = host_seconds(
                lambda m=mesh, c=cameras: rd.render(m, c, device="cuda", to="device")
            )
            cells[f"{name} {size}"] = {
                "host": host,
                "device": left,
                "grays_per_s_to_host": n_rays / host["median"] / 1e9,
                # Depth and triangle_id, four bytes each.
                "gb_per_s_to_host": 8 * n_rays / host["median"] / 1e9,
                "grays_per_s_to_device": n_rays / left["median"] / 1e9,
            }
    name = MESHES[:2][-1]
    ring, mesh, cameras = Ring(gpu), mesh_named(name), cameras_of(512)
    for mib in (4, 8, 16, 32, 64):

        def step(budget: int = mib << 20) -> list[Any]:
            views = views_for_cuda(api.resident(build_bvh(mesh)), build_bvh(mesh), cameras)
            return list(batch.run(ring, DEPTH, [views], output_budget=budget))

        cells[f"chunks of {mib} MiB, {name} 512"] = host_seconds(step, 15)
    return cells


def build() -> dict[str, Any]:
    """Time hierarchies built by the CPU and uploaded, or built on the device, and their tracing."""
    found = {}
    gpu = devices.device()
    for name in MESHES:
        mesh = mesh_named(name)
        build_cpu = host_seconds(lambda m=mesh: build_on_cpu(m.vertices, m.faces), 3)
        bvh = build_bvh(mesh)
        flatten = host_seconds(lambda b=bvh: flat_arrays(b), 3)
        flat = flat_arrays(bvh)
        upload = host_seconds(lambda f=flat: make_resident(gpu, f), 3)
        cell: dict[str, Any] = {"cpu": build_cpu, "flatten": flatten, "upload": upload}
        made = scene(mesh, cameras_of(512))
        cell["trace_cpus"] = device_seconds(launcher(made, *VISIBILITY))["median"]
        for leaf_size in (1, 2, 4, 8):
            step = host_seconds(
                lambda m=mesh, s=leaf_size: DeviceMesh(m.vertices, m.faces, leaf_size=s), 5
            )
            own = DeviceMesh(mesh.vertices, mesh.faces, leaf_size=leaf_size)
            made = scene(own, cameras_of(512))
            trace = device_seconds(launcher(made, *VISIBILITY))["median"]
            cell[f"device_leaf_{leaf_size}"] = {"build": step, "trace": trace}
        found[name] = cell
    return found


def many() -> dict[str, Any]:
    """Time 1,000 meshes of about 500 triangles, 12 views of 256x256 each, from arrays to arrays."""
    vertices, faces = bumpy_knot(25, 10)
    rng = np.random.default_rng(0)
    arrays = [vertices @ (np.eye(3) + 0.2 * rng.normal(size=(3, 3))) for _ in range(MANY)]
    arrays = [points / np.linalg.norm(points, axis=1).max() * 0.5 for points in arrays]
    cameras = cameras_of(256, 12)
    found: dict[str, Any] = {"triangles": len(faces), "meshes": len(arrays)}
    for label, options in (("float32", {}), ("uint16", {"values_per_unit": 10000})):
        for threads in (4, None):

            def step(options=options, threads=threads) -> int:
                pairs = ((rd.Mesh(points, faces), cameras) for points in arrays)
                return sum(
                    rendering.depth.nbytes
                    for rendering in rd.render_many(
                        pairs, device="cuda", threads=threads, **options
                    )
                )

            step()
            taken = host_seconds(step, 1)
            found[f"{label} threads {threads or 'all'}"] = {
                **taken,
                "meshes_per_s": len(arrays) / taken["median"],
            }
    sample = [(rd.Mesh(points, faces), cameras) for points in arrays[:20]]
    differ = 0
    for (mesh, views), ours in zip(sample, rd.render_many(sample, device="cuda"), strict=True):
        theirs = rd.render(mesh, views, device="cpu")
        differ += int((ours.triangle_id != theirs.triangle_id).sum())
        differ += int((ours.depth != theirs.depth).sum())
    return {**found, "pixels_that_differ_from_the_cpu": differ}


def warp() -> dict[str, Any]:
    """Time NVIDIA Warp's mesh_query_ray on the same rays."""
    import warp as wp

    from raydepth.bench.peers import Rays, _warp_kernel

    wp.init()
    kernel = _warp_kernel(wp)
    found: dict[str, Any] = {"version": wp.__version__}
    for name in MESHES:
        mesh = mesh_named(name)
        points = wp.array(mesh.vertices.astype(np.float32), dtype=wp.vec3, device="cuda:0")
        shape = wp.Mesh(points, wp.array(mesh.faces.ravel(), dtype=int, device="cuda:0"))
        for size in (256, 512):
            rays = Rays.of(cameras_of(size))
            order = rays.in_tiles(8)
            ends = [
                wp.array(part[order], dtype=wp.vec3, device="cuda:0")
                for part in (rays.origins, rays.directions)
            ]
            out = wp.empty(len(order), dtype=float, device="cuda:0")
            taken = []
            for _ in range(REPEATS + 3):
                begin, end = wp.Event(enable_timing=True), wp.Event(enable_timing=True)
                wp.record_event(begin)
                wp.launch(kernel, dim=len(order), inputs=[shape.id, *ends, out], device="cuda:0")
                wp.record_event(end)
                wp.synchronize()
                taken.append(wp.get_event_elapsed_time(begin, end) / 1e3)
            seconds = statistics.median(taken[3:])
            made = scene(mesh, cameras_of(size))
            ours = device_seconds(launcher(made, *VISIBILITY, "resolve"))["median"]
            found[f"{name} {size}"] = {
                "warp": seconds,
                "grays_per_s": len(order) / seconds / 1e9,
                "raydepth": ours,
                "times_faster": seconds / ours,
            }
    return found


def egl() -> dict[str, Any]:
    """Time an OpenGL rasteriser (EGL, depth buffer read back) and `rd.render` to main memory."""
    from raydepth.bench.peers import PEERS, Rays

    renderer = PEERS["opengl"](1)
    found: dict[str, Any] = {"version": renderer.version}
    for name in MESHES:
        mesh = mesh_named(name)
        drawn = renderer.build(renderer.load(mesh))
        for size in (256, 512):
            cameras = cameras_of(size, 6)
            prepared = renderer.prepare(drawn, Rays.of(cameras))
            theirs = host_seconds(lambda d=drawn, p=prepared: renderer.cast(d, p))
            ours = host_seconds(lambda m=mesh, c=cameras: rd.render(m, c, device="cuda"))
            found[f"{name} {size}"] = {"opengl": theirs["median"], "raydepth": ours["median"]}
    return found


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "environment": environment,
    "correctness": correctness,
    "tests": tests,
    "kernels": kernels,
    "twin": twin,
    "candidates": candidates,
    "wide": wide,
    "registers": registers,
    "build": build,
    "transfer": transfer,
    "end_to_end": end_to_end,
    "many": many,
    "exact_kernel": exact_kernel,
    "warp": warp,
    "egl": egl,
    "path_tests": path_tests,
}
# Seconds that a part may take.
LIMIT = {"wide": 90, "tests": 200, "candidates": 240, "correctness": 200, "path_tests": 300}


@contextlib.contextmanager
def recorded(found: dict[str, Any], label: str):
    """Record an error under a label, and let the rest of a part continue."""
    try:
        yield
    except Exception as error:
        found[f"{label} failed"] = f"{type(error).__name__}: {error}"[:500]


def run_part(name: str, result: Path) -> None:
    """Run a part, in the part's own process, and write its results."""
    start = time.perf_counter()
    try:
        found: dict[str, Any] = {"found": PARTS[name]()}
    except BaseException as error:
        found = {
            "error": f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc()[-3000:],
        }
    found["seconds"] = time.perf_counter() - start
    result.write_text(json.dumps(found, default=str))


def run_parts(names: list[str], out: Path, minutes: float, again: bool) -> dict[str, Any]:
    path = out / "gpu.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    end = time.monotonic() + 60 * minutes
    for name in names:
        if not again and "found" in report.get(name, {}):
            print(f"{name}: already done", flush=True)
            continue
        left = end - time.monotonic()
        if left < 20:
            print(f"{name}: no time left; run the script again", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "part.json"
            command = [sys.executable, str(Path(__file__)), "--part", name, str(result)]
            try:
                done = subprocess.run(
                    command, timeout=min(LIMIT.get(name, 150), left), capture_output=True, text=True
                )
                ended = f"ended with {done.returncode}: {done.stderr[-1500:]}"
            except subprocess.TimeoutExpired:
                ended = "took too long"
            report[name] = json.loads(result.read_text()) if result.exists() else {"error": ended}
        path.write_text(json.dumps(report, indent=1) + "\n")
        (out / "gpu.md").write_text("\n".join(table(report)) + "\n")
        took = report[name].get("seconds", 0.0)
        print(f"{name}: {report[name].get('error', 'ok')} ({took:.0f} s)", flush=True)
    return report


def table(report: dict[str, Any]) -> list[str]:
    """Return the results as lines of Markdown."""
    lines = ["# Measured on a GPU", ""]
    about = report.get("environment", {}).get("found", {})
    lines += [f"{about.get('nvidia_smi', 'unknown device')}; numba-cuda {about.get('numba_cuda')}"]
    for name, part in report.items():
        lines += ["", f"## {name}", "", (PARTS[name].__doc__ or "").split("\n")[0], ""]
        if "error" in part:
            lines += [f"Failed: {part['error']}"]
            continue
        found = part["found"]
        rows = {key: value for key, value in found.items() if isinstance(value, dict)}
        lines += [f"- {key}: {shown(value)}" for key, value in found.items() if key not in rows]
        if name == "correctness":
            rows = found["cells"]
        for key, value in rows.items():
            flat = {
                inner: deeper.get("median", deeper) if isinstance(deeper, dict) else deeper
                for inner, deeper in value.items()
            }
            numbers = ", ".join(f"{inner} {shown(deeper)}" for inner, deeper in flat.items())
            lines += [f"- {key}: {numbers}"]
    return lines


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {shown(inner)}" for key, inner in value.items()) + ")"
    return str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no part after this time")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--again", action="store_true", help="repeat parts that are done")
    parser.add_argument("--small", action="store_true", help="check the script on tiny scenes")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small and not SMALL:
        # Parts run in separate processes, and the sizes are set when this module is imported.
        return subprocess.run(
            [sys.executable, *sys.argv], env={**os.environ, "RAYDEPTH_GPU_SMALL": "1"}
        ).returncode
    if args.part:
        run_part(args.part[0], Path(args.part[1]))
        return 0
    names = args.parts.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    reason = devices.why_unusable()
    if reason is not None:
        print(f"gpu.py: device 'cuda': {reason}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    report = run_parts(names, args.out, args.minutes, args.again)
    print("\n".join(table(report)))
    return int(any("error" in report.get(name, {"error": ""}) for name in names))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
