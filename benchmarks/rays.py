"""Speed of rays of any origin and direction in raydepth and Open3D: in views and in no order.

    python benchmarks/rays.py [MESH ...] [--repeats 15] [--json FILE]

| rays    | description                                                                          |
| ------- | ------------------------------------------------------------------------------------ |
| pinhole | all pixels of a view of 512x512, in rows                                             |
| fisheye | the same for an equidistant fisheye of 180 degrees in the middle of the mesh         |
| random  | 200,000 from one random point of a sphere around the mesh to another                 |

Both libraries cast the same rays in one process, taking turns, with as many threads as there are
processors. Times are medians. raydepth takes and returns float64 NumPy arrays, Open3D its own
float32 tensors, which are made outside of the timer. `different` counts the rays for which only one
of the two reports a hit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import raydepth as rd
from raydepth.bench.bench import cpu_model
from raydepth.mesh.shapes import torus_knot
from raydepth.system.parallel import default_threads

SIZE = 512
N_RANDOM = 200_000


def rays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, by name, origins and directions, (n, 3) float64 each."""
    pixels = np.stack(np.meshgrid(*[np.arange(SIZE) + 0.5] * 2), axis=-1).reshape(-1, 2)
    pinhole = rd.cameras.fibonacci(24, size=SIZE)[5]
    fisheye = rd.Cameras(
        rd.cameras.fisheye_intrinsics(180.0, SIZE),
        rd.cameras.look_at([[0.02, 0.01, 0.03]], [0.0, 0.0, 1.0]),
        (SIZE, SIZE),
        model="fisheye",
    )
    found = {}
    for name, camera in (("pinhole", pinhole), ("fisheye", fisheye)):
        origins, directions = camera.rays(pixels[None])
        valid = np.isfinite(directions[0]).all(axis=1)
        origins = np.broadcast_to(origins[0], directions[0].shape)[valid].copy()
        found[name] = origins, directions[0][valid]
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2, N_RANDOM, 3))
    ends *= 0.6 / np.linalg.norm(ends, axis=2, keepdims=True)
    found["random"] = ends[0], ends[1] - ends[0]
    return found


def measured(mesh: rd.Mesh, repeats: int) -> list[dict]:
    """Measure a row for each kind of rays."""
    import open3d as o3d

    threads = default_threads()
    scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
    scene.add_triangles(
        o3d.core.Tensor(mesh.vertices.astype(np.float32)),
        o3d.core.Tensor(mesh.faces.astype(np.uint32)),
    )
    rows = []
    for name, (origins, directions) in rays().items():
        tensor = o3d.core.Tensor(np.concatenate([origins, directions], axis=1).astype(np.float32))
        ways = {
            "raydepth": lambda o=origins, d=directions: (
                rd.cast_rays(mesh, o, d, device="cpu").distance
            ),
            "open3d": lambda t=tensor: scene.cast_rays(t, nthreads=threads)["t_hit"].numpy(),
        }
        hits = {way: np.isfinite(cast()) for way, cast in ways.items()}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, cast in ways.items():
                cast()
                start = time.perf_counter()
                cast()
                seconds[way].append(time.perf_counter() - start)
        speed = {way: len(origins) / statistics.median(s) / 1e6 for way, s in seconds.items()}
        rows.append(
            {
                "mesh": mesh.name,
                "faces": len(mesh.faces),
                "rays": name,
                "n_rays": len(origins),
                "million_rays_per_second": speed,
                "hits": float(hits["raydepth"].mean()),
                "different": int((hits["raydepth"] != hits["open3d"]).sum()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("meshes", nargs="*", type=Path, help="default: the demo's torus knot")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    machine = {
        "cpu": cpu_model(),
        "threads": default_threads(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    paths = args.meshes
    meshes = [rd.load_mesh(path, normalize="sphere") for path in paths] or [torus_knot()]
    print(f"{machine['cpu']}, {machine['threads']} threads; M rays/s")
    print(f"{'mesh':20} {'rays':8} {'hit':>5} {'different':>9} {'raydepth':>9} {'open3d':>9} ratio")
    rows = []
    for mesh in meshes:
        for row in measured(mesh, args.repeats):
            rows.append(row)
            ours, theirs = (row["million_rays_per_second"][way] for way in ("raydepth", "open3d"))
            print(
                f"{row['mesh']:20} {row['rays']:8} {row['hits']:5.2f} {row['different']:9} "
                f"{ours:9.1f} {theirs:9.1f} {ours / theirs:5.2f}"
            )
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
