"""Cost of each output relative to depth alone, on the CPU.

    python benchmarks/outputs.py stanford_bunny.obj --json benchmarks/results/outputs.json

Every output is rendered in two ways: alone in place of z depth, and together with it. All take
turns in one process with z depth alone; the result is the median of the turns' ratios. Besides the
time on the clock, the processors' time (all threads of the process) is given, which other programs
disturb less.
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
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import raydepth as rd
from raydepth.bench.bench import cpu_model
from raydepth.outputs.table import OUTPUTS
from raydepth.system.parallel import default_threads

WRITING = "writing 3 float32 a pixel"


def with_texture(mesh: rd.Mesh) -> rd.Mesh:
    """Return the mesh, with texture coordinates made from its vertices if it has none."""
    if mesh.texture is not None:
        return mesh
    return rd.Mesh(mesh.vertices, mesh.faces, texture=(mesh.vertices[:, :2], mesh.faces))


def measure(mesh: rd.Mesh, cameras: rd.Cameras, repeats: int) -> dict:
    """Measure milliseconds a view of z depth alone, and the time of each output relative to it."""
    asked: dict[str, tuple[str, ...]] = {"z": ("z",)}
    for name in OUTPUTS:
        if name != "z":
            asked[name] = (name,)
            asked[f"z, {name}"] = ("z", name)
    shape = (len(cameras), cameras.height, cameras.width, 3)
    canvas = np.zeros(shape, np.float32)
    clock, processors = defaultdict(list), defaultdict(list)
    for turn in range(repeats + 1):
        for name, outputs in [*asked.items(), (WRITING, ())]:
            # As for a user who renders mesh after mesh, the first call, untimed, gets the memory.
            for timed in (False, True):
                start = time.perf_counter(), time.process_time()
                if outputs:
                    rd.render(mesh, cameras, outputs=outputs, device="cpu")
                else:
                    canvas.fill(turn)
                if timed and turn > 0:
                    clock[name].append(time.perf_counter() - start[0])
                    processors[name].append(time.process_time() - start[1])

    def ratio(seconds: dict[str, list[float]], name: str) -> float:
        return statistics.median(
            one / z for one, z in zip(seconds[name], seconds["z"], strict=True)
        )

    per_view = 1e3 / len(cameras)
    return {
        "z_ms_per_view": statistics.median(clock["z"]) * per_view,
        "z_cpu_ms_per_view": statistics.median(processors["z"]) * per_view,
        "writing_ms_per_view": statistics.median(clock[WRITING]) * per_view,
        "outputs": {
            name: {
                "instead": ratio(clock, name),
                "besides": ratio(clock, f"z, {name}"),
                "instead_cpu": ratio(processors, name),
                "besides_cpu": ratio(processors, f"z, {name}"),
            }
            for name in OUTPUTS
            if name != "z"
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mesh", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    mesh = with_texture(rd.load_mesh(args.mesh, normalize="sphere", uv=True))
    result = {
        "machine": {
            "cpu": cpu_model(),
            "threads": default_threads(),
            "python": platform.python_version(),
            "numba": importlib.metadata.version("numba"),
        },
        "load_before": load,
        "scene": {
            "mesh": args.mesh.name, "faces": len(mesh.faces), "views": args.views,
            "size": args.size,
        },
        **measure(mesh, rd.cameras.fibonacci(args.views, size=args.size), args.repeats),
    }  # fmt: skip
    print(f"{result['scene']}, {result['machine']['threads']} threads")
    print(
        f"z alone {result['z_ms_per_view']:.2f} ms a view; {WRITING} "
        f"{result['writing_ms_per_view']:.2f} ms on one thread"
    )
    print("| output | in place of z | besides z | in place of z, CPU | besides z, CPU |")
    print("| --- | --- | --- | --- | --- |")
    for name, row in result["outputs"].items():
        print(f"| `{name}` | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
