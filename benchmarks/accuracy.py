"""Accuracy and speed of raydepth and of other ray casters, on the same rays, in one run.

    pip install . open3d embreex
    python benchmarks/accuracy.py [--size 512] [--views 6] [--repeats 5] [--json FILE]

The mesh is the demo's torus knot, the cameras a Fibonacci sphere. Every renderer is asked for the
distance to the first hit of the same rays. raydepth's time includes the conversion to z depth. The
other renderers' distances are converted in float64, outside their times. The reference is the
brute-force float64 oracle of the tests. Renderers take turns; the table has medians.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import raydepth as rd
from raydepth.bench.bench import cpu_model
from raydepth.mesh.shapes import torus_knot
from raydepth.system.parallel import default_threads

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from oracle import brute_force, ulps

# (n_views, height, width) float z depth of all views, +inf = miss
Step = Callable[[], np.ndarray]


def raydepth_renderer(mesh: rd.Mesh, cameras: rd.Cameras) -> tuple[Step, Step]:
    """Return the timed function, and the function that turns its result into z depth."""
    rd.build_bvh(mesh)
    result = {}

    def cast() -> None:
        result["z"] = rd.render(mesh, cameras, device="cpu").depth

    return cast, lambda: result["z"]


def world_rays(cameras: rd.Cameras) -> np.ndarray:
    """Return (n_rays, 6) float64 origins and directions, such that distance is z depth."""
    basis = cameras.ray_basis()
    x = np.arange(cameras.width) + 0.5
    y = (np.arange(cameras.height) + 0.5)[:, None]
    shape = (len(cameras), cameras.height, cameras.width, 3)
    origin = np.broadcast_to(basis[:, 0][:, None, None], shape)
    d, dx, dy = (basis[:, i][:, None, None] for i in (3, 4, 5))
    direction = d + x[None, None, :, None] * dx + y[None, :, :, None] * dy
    return np.concatenate([origin, direction], axis=-1).reshape(-1, 6)


def open3d_renderer(mesh: rd.Mesh, cameras: rd.Cameras) -> tuple[Step, Step]:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=default_threads())
    scene.add_triangles(
        o3d.core.Tensor(mesh.vertices.astype(np.float32)),
        o3d.core.Tensor(mesh.faces.astype(np.uint32)),
    )
    rays = o3d.core.Tensor(world_rays(cameras).astype(np.float32))
    result = {}

    def cast() -> None:
        result["t"] = scene.cast_rays(rays, nthreads=default_threads())["t_hit"].numpy()

    return cast, lambda: result["t"]


def embreex_renderer(mesh: rd.Mesh, cameras: rd.Cameras) -> tuple[Step, Step]:
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, mesh.vertices[mesh.faces].astype(np.float32))
    rays = world_rays(cameras)
    lengths = np.linalg.norm(rays[:, 3:], axis=1)
    origin = rays[:, :3].astype(np.float32)
    direction = (rays[:, 3:] / lengths[:, None]).astype(np.float32)
    result = {}

    def cast() -> None:
        result["t"] = scene.run(origin, direction, query="DISTANCE")

    def z_depth() -> np.ndarray:
        t = result["t"].astype(np.float64)
        return np.where(t < 1e36, t / lengths, np.inf)

    return cast, z_depth


RENDERERS = {
    "raydepth": (raydepth_renderer, "raydepth"),
    "Open3D": (open3d_renderer, "open3d"),
    "embreex (1 thread)": (embreex_renderer, "embreex"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    mesh = torus_knot()
    cameras = rd.cameras.fibonacci(args.views, size=args.size)
    shape = (len(cameras), args.size, args.size)
    truths = [brute_force(mesh.vertices, mesh.faces, cameras[i]) for i in range(len(cameras))]
    true_z = np.stack([truth.z for truth in truths])
    sure = ~np.stack([truth.uncertain for truth in truths])

    ready, rows = {}, {}
    for name, (make, package) in RENDERERS.items():
        try:
            ready[name] = make(mesh, cameras)
        except ImportError:
            print(f"{name} is not installed: pip install {package}", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(args.repeats + 1):
        for name, (cast, _) in ready.items():
            start = time.perf_counter()
            cast()
            if turn > 0:  # the first turn is a warm-up
                seconds[name].append(time.perf_counter() - start)
    for name, (_, z_depth) in ready.items():
        z = z_depth().reshape(shape)
        hit, truly = np.isfinite(z), np.isfinite(true_z)
        both = hit & truly & sure
        error = ulps(z[both], true_z[both])
        rows[name] = {
            "version": importlib.metadata.version(RENDERERS[name][1]),
            "wrong_hits": int(((hit != truly) & sure).sum()),
            "ulps_median": float(np.median(error)),
            "ulps_99.9": float(np.percentile(error, 99.9)),
            "ulps_max": int(error.max()),
            "mrays_per_s": z.size / statistics.median(seconds[name]) / 1e6,
        }
    machine = {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": default_threads(),
        "python": platform.python_version(),
        "numba": importlib.metadata.version("numba"),
    }
    scene = {"faces": len(mesh.faces), "views": len(cameras), "size": args.size}
    print(f"{machine['cpu']}, {machine['threads']} threads, Python {machine['python']}")
    print(f"{scene['faces']} faces, {args.views} views of {args.size}x{args.size}")
    print("| renderer | wrong hits | error, float32 ulps: median / 99.9 % / max | M rays/s |")
    print("| --- | --- | --- | --- |")
    for name, row in rows.items():
        print(
            f"| {name} {row['version']} | {row['wrong_hits']} | {row['ulps_median']:.0f} / "
            f"{row['ulps_99.9']:.0f} / {row['ulps_max']} | {row['mrays_per_s']:.1f} |"
        )
    if args.json:
        result = {"machine": machine, "scene": scene, "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
