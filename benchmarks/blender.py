"""Time for the depth of one view in raydepth and in Blender, in one run on one machine.

    python benchmarks/blender.py [MESH] [--blender PATH] [--size 512] [--threads 2] [--json FILE]

Both render the same mesh and cameras. Blender's Cycles is set to do as little as it can: 1 sample,
no denoising, no light, depth as the only pass, one process for all views ("warm loop"). The ways:

| way          | what is timed for each view                                                     |
| ------------ | ------------------------------------------------------------------------------- |
| raydepth     | `rd.render` of all views in one call, z depth, the hierarchy built before       |
| view by view | the same with a call for each view                                              |
| warm loop    | `bpy.ops.render.render()` again and again in one process, no file written       |
| kept         | the same with Blender's Persistent Data on (off by default): the scene is kept  |
| kept + EXR   | the same, and depth written as an uncompressed EXR, the only way to read it     |
| cold process | Blender started, scene made, one view rendered and read back, for every view    |

raydepth and Blender take turns, each after a few untimed calls of its own. Times are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

import raydepth as rd
from raydepth.bench.bench import cpu_model
from raydepth.blender.process import find_blender, run
from raydepth.comparison.blender.reference import blender_job
from raydepth.mesh.shapes import torus_knot

# Calls in raydepth's turn: untimed, and timed.
WARM_CALLS, TIMED_CALLS = 3, 5


def seconds_by_view(mesh: rd.Mesh, cameras: rd.Cameras, threads: int) -> list[float]:
    """Return the seconds of each view, with one call for each."""
    seconds = []
    for view in range(len(cameras)):
        start = time.perf_counter()
        rd.render(mesh, cameras[view], threads=threads, device="cpu")
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mesh", nargs="?", type=Path, help="default: the demo's torus knot")
    parser.add_argument("--blender", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    blender = find_blender(args.blender)
    mesh = rd.load_mesh(args.mesh, normalize="sphere") if args.mesh else torus_knot()
    cameras = rd.cameras.fibonacci(args.views, size=args.size)
    job, arrays, _ = blender_job(mesh, cameras, "pose", args.threads)
    # One range from the nearest to the farthest depth, as a user would set it.
    job["clips"] = [[(ranges[0][0], ranges[-1][1])] for ranges in job["clips"]]
    ways = ("raydepth", "view by view", "warm loop", "kept", "kept + EXR", "cold process")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    load = os.getloadavg()[0]

    rd.build_bvh(mesh)
    seconds_by_view(mesh, cameras, args.threads)
    for _ in range(args.repeats):
        # Warm up as Blender's loop does, because another process has rendered last.
        for _ in range(WARM_CALLS):
            rd.render(mesh, cameras, threads=args.threads, device="cpu")
        for _ in range(TIMED_CALLS):
            start = time.perf_counter()
            rd.render(mesh, cameras, threads=args.threads, device="cpu")
            seconds["raydepth"].append((time.perf_counter() - start) / len(cameras))
        seconds["view by view"] += seconds_by_view(mesh, cameras, args.threads)
        timed = run(blender, {**job, "command": "time", "repeats": 1}, arrays)
        for way, name in (("no_file", "warm loop"), ("kept", "kept"), ("kept_exr", "kept + EXR")):
            seconds[name] += np.ravel(timed.data["seconds"][way]).tolist()
        one = {key: job[key][:1] for key in ("cameras", "clips")}
        start = time.perf_counter()
        run(blender, {**job, **one}, arrays)
        seconds["cold process"].append(time.perf_counter() - start)

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    machine = {
        "cpu": cpu_model(),
        "processors": os.cpu_count(),
        "system": platform.system(),
        "load_before": load,
        "python": platform.python_version(),
    }
    scene = {
        "mesh": mesh.name,
        "faces": len(mesh.faces),
        "size": args.size,
        "views": args.views,
        "threads": args.threads,
    }
    print(f"{machine['cpu']}, {args.threads} threads each, Blender {timed.version}")
    print(f"{mesh.name}, {len(mesh.faces):,} faces, {args.size}x{args.size}, median of a view")
    for name, median in medians.items():
        print(f"{name:13} {median * 1e3:9.2f} ms  {median / medians['raydepth']:7.1f}x")
    if args.json:
        result = {
            "machine": machine,
            "blender": timed.version,
            "raydepth": rd.__version__,
            "scene": scene,
            "median_seconds": medians,
            "times_raydepth": {n: m / medians["raydepth"] for n, m in medians.items()},
            "seconds": seconds,
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
