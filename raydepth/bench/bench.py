"""Measure the speed of every stage by itself, and rays per second next to other renderers.

Meshes come from files, or are one generated shape at four resolutions; all are normalised into the
sphere of radius 0.5 and seen by six Fibonacci cameras. These stages are measured for each mesh:

| stage  | what is timed                                                                       |
| ------ | ----------------------------------------------------------------------------------- |
| load   | file to checked Mesh; generated meshes are written as binary PLY first              |
| build  | the acceleration structure, from arrays to the first ray; for a GPU, plus the copy  |
| render | all views: visibility and resolve to float32 z depth (they run band by band, in one |
|        | call); other renderers give only the distance of the first hit                      |
| encode | z depth to 16-bit PNG in memory, one core                                           |
| write  | these bytes to disk, each file atomically                                           |

Renderers take turns. The first call of each is reported separately, and its time is the median of
the other calls. The time of another renderer counts only if its depth agrees: see `compared`.
Everything except the times is deterministic.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from raydepth import cameras as cameras_module
from raydepth.bench import peers
from raydepth.bench.peers import Rays, Renderer
from raydepth.camera.camera import Cameras
from raydepth.camera.placements.spread import fibonacci
from raydepth.cuda import device as cuda_device
from raydepth.cuda.api import resident
from raydepth.errors import DeviceError
from raydepth.export import encode_depth
from raydepth.mesh.load import load_mesh
from raydepth.mesh.mesh import Mesh
from raydepth.mesh.shapes import torus_knot
from raydepth.rendering.api import render
from raydepth.rendering.hierarchies import build_bvh
from raydepth.system.atomic_files import write_whole
from raydepth.system.parallel import default_threads
from raydepth.version import __version__

FORMAT_NAME = "raydepth-bench"
FORMAT_VERSION = 1

# Quads along and around the knot's tube; each is two triangles.
GENERATED = {
    "knot_5k": (144, 18),
    "knot_80k": (576, 70),
    "knot_300k": (1104, 136),
    "knot_1300k": (2304, 282),
}
VIEWS, RADIUS, FOV_DEG = 6, 1.5, 40.0
SIZES = (256, 512, 1024)
REPEATS = 7
# Each timed call follows WARM_SECONDS of untimed ones. Short calls are repeated more often, until
# MIN_SECONDS are spent on a median.
WARM_SECONDS = 0.03
MIN_SECONDS = 0.5

# Two renderers agree on a pixel if both miss, or if depths differ by at most this fraction.
DEPTH_TOLERANCE = 1e-4
# Fractions of the hit pixels that may disagree. With float32 some disagree where the surface turns
# away, and next to outlines either answer may be right. Away from outlines (MAX_WRONG), a pixel
# that disagrees is a hole in the mesh.
MAX_DIFFERENT = 1e-2
MAX_WRONG = 1e-3

RAYDEPTH = "raydepth"
RAYDEPTH_CUDA = "raydepth cuda"


class Raydepth(Renderer):
    title = "raydepth"
    version = __version__

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.device = "cpu"

    def load(self, mesh: Mesh) -> Mesh:
        return dataclasses.replace(mesh)  # a copy, because a mesh keeps the hierarchy built for it

    def build(self, loaded: Mesh) -> Any:
        return build_bvh(loaded)

    def prepare(self, scene: Any, rays: Rays) -> Cameras:
        return rays.cameras

    def cast(self, scene: Any, prepared: Cameras) -> Any:
        return render(scene, prepared, device=self.device, threads=self.threads)

    def z_depth(self, prepared: Cameras, found: Any) -> np.ndarray:
        return found.z_depth


class RaydepthCuda(Raydepth):
    title = "raydepth cuda"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.device = "cuda"
        self.title = f"raydepth cuda ({cuda_device.device().name})"

    def build(self, loaded: Mesh) -> Any:
        bvh = super().build(loaded)
        resident(bvh)
        return bvh


def bench(
    meshes: Sequence[str | os.PathLike[str]] = tuple(GENERATED),
    *,
    sizes: Sequence[int] = SIZES,
    repeats: int = REPEATS,
    against: Sequence[str] = (),
    progress: Callable[[int], object] = lambda n: None,
) -> dict[str, Any]:
    """Measure raydepth on the CPU, and on a GPU if there is one, next to renderers of `peers`.

    Parameters
    ----------
    meshes : names in `GENERATED` or paths of mesh files
    sizes : sides of the square images, in pixels
    repeats : minimum number of timed repetitions
    against : names in `peers.PEERS`; "missing" in the result says why one, or the GPU, is left out
    progress : called with 1 after each size of each mesh

    Returns
    -------
    dict
        The report that `--json` writes, all times in seconds; `tables.lines` makes it readable.

    Raises
    ------
    OSError, ValueError
        A mesh file is missing or cannot be loaded.
    """
    for mesh in meshes:
        if str(mesh) not in GENERATED and not Path(mesh).is_file():
            raise FileNotFoundError(
                f"{mesh}: no such file; expected a mesh file or one of {', '.join(GENERATED)}"
            )
    threads = default_threads()
    where = machine()  # now, while the load comes only from other processes
    with tempfile.TemporaryDirectory(prefix="raydepth-bench-") as folder:
        start_up = _start_up(Path(folder))
        renderers: dict[str, Renderer] = {RAYDEPTH: Raydepth(threads)}
        others, missing = peers.start(against, threads)
        try:
            renderers[RAYDEPTH_CUDA] = RaydepthCuda(threads)
        except DeviceError as error:
            missing[RAYDEPTH_CUDA] = str(error)
        renderers |= others
        scenes = [
            _measure_mesh(str(mesh), Path(folder), renderers, sizes, repeats, progress)
            for mesh in meshes
        ]
    return {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "machine": where,
        "views": {"n": VIEWS, "placement": "fibonacci", "radius": RADIUS, "fov_deg": FOV_DEG},
        "repeats": repeats,
        "renderers": {
            name: {"title": r.title, "version": r.version, "threads": r.threads}
            for name, r in renderers.items()
        },
        "missing": missing,
        "start_up": start_up,
        "scenes": scenes,
    }


def machine() -> dict[str, Any]:
    """Return the machine of a measurement, the versions, and the load by other processes.

    The load is the average of the last minute; if it is not near 0, times mean little.
    """
    versions = {name: metadata.version(name) for name in ("numpy", "numba", "llvmlite")}
    return {
        "cpu": cpu_model(),
        "processors": os.cpu_count(),
        "threads": default_threads(),
        "system": platform.system(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"raydepth": __version__, "python": platform.python_version(), **versions},
    }


def bumpy_knot(n_along: int, n_around: int) -> tuple[np.ndarray, np.ndarray]:
    """The demo's knot with bumps of many sizes: the same shape at any resolution.

    Space itself is bent by waves in 24 directions. Each has its own length, from a half to a
    fiftieth of the knot's size, and all are equally and only slightly steep.

    Returns
    -------
    vertices : (n_vertices, 3) float64
    faces : (2 * n_along * n_around, 3) int32
    """
    knot = torus_knot(n_along, n_around)
    n_waves = 24
    direction = fibonacci(n_waves)[np.arange(n_waves) * 7 % n_waves]  # not sorted by height
    frequency = 2 * np.pi * np.geomspace(2, 50, n_waves)
    shift = np.roll(direction, 1, axis=0) * (0.2 / frequency)[:, None]
    phase = np.arange(n_waves) ** 2
    waves = np.sin(knot.vertices @ (direction * frequency[:, None]).T + phase)
    return knot.vertices + waves @ shift, knot.faces


def compared(ours: np.ndarray, theirs: np.ndarray) -> dict[str, int]:
    """Count the pixels on which two renderers disagree.

    Parameters
    ----------
    ours, theirs : (n_views, height, width) float z depth, +inf = miss

    Returns
    -------
    dict
        "hits": pixels that are hits in `ours`. "different": pixels that only one renderer hits, or
        whose depths differ by more than 1e-4 of the depth. "wrong": those of them that an outline
        does not explain, because their depth in `theirs` is outside the range of `ours` in the 3x3
        pixels around (a miss is infinitely far).
    """
    different = wrong = 0
    for our, their in zip(ours, theirs, strict=True):
        around = np.pad(our, 1, mode="edge")
        around = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
        near, far = around.min(axis=(2, 3)), around.max(axis=(2, 3))
        # Negated, so that a NaN, which is within no range, differs.
        differs = ~_within(their, our, our)
        different += int(np.count_nonzero(differs))
        wrong += int(np.count_nonzero(differs & ~_within(their, near, far)))
    return {"hits": int(np.isfinite(ours).sum()), "different": different, "wrong": wrong}


def agrees(counts: Mapping[str, int]) -> bool:
    """Return True if the pixels that `compared` counted are few enough to trust a time."""
    return (
        counts["different"] <= MAX_DIFFERENT * counts["hits"]
        and counts["wrong"] <= MAX_WRONG * counts["hits"]
    )


def _within(z: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    return (z >= near * (1 - DEPTH_TOLERANCE)) & (z <= far * (1 + DEPTH_TOLERANCE))


def alternate(
    steps: Mapping[str, Callable[[], Callable[[], Any]]], repeats: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run steps in turns, and time them.

    Parameters
    ----------
    steps : by name, a function that prepares one call (untimed) and returns it (to be timed)
    repeats : minimum number of turns after the first

    Returns
    -------
    times : by name {"first": s, "median": s, "least": s, "calls": n}; the last three leave out the
        first call
    results : by name, the result of the first call
    """
    results: dict[str, Any] = {}
    first: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    begin = time.perf_counter()
    for turn in itertools.count():
        for name, ready in steps.items():
            call = ready()
            _settle()
            if turn > 0:
                # Untimed, so that processors are awake and caches hold this step's data, as for a
                # user who calls one library again and again.
                warm = time.perf_counter()
                while time.perf_counter() - warm < WARM_SECONDS:
                    call()
                    call = ready()
            start = time.perf_counter()
            result = call()
            took = time.perf_counter() - start
            if turn == 0:
                first[name], results[name] = took, result
            else:
                seconds[name].append(took)
            del call, result  # freed before the next call is timed
        if turn >= repeats and time.perf_counter() - begin >= MIN_SECONDS:
            break
    times = {
        name: {
            "first": first[name],
            "median": statistics.median(taken),
            "least": min(taken),
            "calls": len(taken),
        }
        for name, taken in seconds.items()
    }
    return times, results


def _settle() -> None:
    """Wait until no thread of this process runs.

    The threads of some libraries spin for a while when they are done (for 20 ms in Mitsuba), and
    would take a processor from the next step.
    """
    still = 0
    for _ in range(500):
        before = time.process_time()
        time.sleep(0.002)
        still = still + 1 if time.process_time() - before < 0.0005 else 0
        if still == 3:
            return


def _measure_mesh(
    source: str,
    folder: Path,
    renderers: Mapping[str, Renderer],
    sizes: Sequence[int],
    repeats: int,
    progress: Callable[[int], object],
) -> dict[str, Any]:
    path = _generated(source, folder) if source in GENERATED else Path(source)
    load, loaded = _alone(partial(load_mesh, path, normalize="sphere"), repeats)
    mesh: Mesh = loaded
    build, scenes = alternate(
        {name: partial(_ready_to_build, renderer, mesh) for name, renderer in renderers.items()},
        repeats,
    )
    cells = []
    for size in sizes:
        cells.append(_measure_views(mesh, size, folder, renderers, scenes, repeats))
        progress(1)
    return {
        "mesh": mesh.name,
        "source": path.name,
        "sha256": mesh.sha256,
        "triangles": len(mesh.faces),
        "load": load,
        "build": {name: times for name, times in build.items() if renderers[name].builds},
        "cells": cells,
    }


def _measure_views(
    mesh: Mesh,
    size: int,
    folder: Path,
    renderers: Mapping[str, Renderer],
    scenes: Mapping[str, Any],
    repeats: int,
) -> dict[str, Any]:
    cameras = cameras_module.fibonacci(VIEWS, radius=RADIUS, fov_deg=FOV_DEG, size=size)
    rays = Rays.of(cameras)
    prepared = {name: r.prepare(scenes[name], rays) for name, r in renderers.items()}
    times, found = alternate(
        {
            name: partial(partial, r.cast, scenes[name], prepared[name])
            for name, r in renderers.items()
        },
        repeats,
    )
    depth = {
        name: r.z_depth(prepared[name], found.pop(name)).reshape(rays.shape)
        for name, r in renderers.items()
    }
    ours = depth.pop(RAYDEPTH)
    agreement: dict[str, Any] = {name: compared(ours, theirs) for name, theirs in depth.items()}
    for counts in agreement.values():
        counts["agrees"] = agrees(counts)

    def encode() -> list[bytes]:
        return [
            encode_depth(".png", z, kind="z", camera=cameras[i], mesh=mesh)[""]
            for i, z in enumerate(ours)
        ]

    def write() -> None:
        for i, content in enumerate(encoded):
            write_whole({folder / f"{i:03}.png": content})

    encode_times, encoded = _alone(encode, repeats)
    write_times, _ = _alone(write, repeats)
    hits = int(np.isfinite(ours).sum())
    return {
        "size": size,
        "rays": ours.size,
        "hits": hits,
        "triangles_per_pixel": len(mesh.faces) * len(cameras) / max(hits, 1),
        "render": times,
        "mrays_per_s": {name: ours.size / t["median"] / 1e6 for name, t in times.items()},
        "agreement": agreement,
        "encode": encode_times,
        "write": write_times,
    }


def _ready_to_build(renderer: Renderer, mesh: Mesh) -> Callable[[], Any]:
    return partial(renderer.build, renderer.load(mesh))


def _alone(step: Callable[[], Any], repeats: int) -> tuple[dict[str, Any], Any]:
    """Run `alternate` with one step."""
    times, results = alternate({"": lambda: step}, repeats)
    return times[""], results[""]


def _start_up(folder: Path) -> dict[str, Any]:
    """Return seconds of a process on the CPU, from mesh file to depth map, without and with cache.

    The processes share a new, empty cache of compiled code. The first one compiles, as it does
    after an installation.
    """
    name, size, later = "knot_80k", 512, 3
    mesh = _generated(name, folder)
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
    }
    program = [sys.executable, "-m", "raydepth", "render", str(mesh)]
    options = ["--normalize", "sphere", "--views", "fibonacci:1", "--size", str(size)]
    options += ["--device", "cpu"]
    seconds = []
    for i in range(1 + later):
        command = [*program, *options, "-o", str(folder / str(i))]
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return {
        "mesh": name,
        "size": size,
        "first": seconds[0],
        "later": statistics.median(seconds[1:]),
    }


def _generated(name: str, folder: Path) -> Path:
    """Return the file of a generated mesh (binary PLY, float32); write it if it does not exist."""
    path = folder / f"{name}.ply"
    if path.exists():
        return path
    vertices, faces = bumpy_knot(*GENERATED[name])
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    rows["n"], rows["corners"] = 3, faces
    path.write_bytes(header.encode() + vertices.astype("<f4").tobytes() + rows.tobytes())
    return path


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
