"""Growth of render time: over pixels for a fixed mesh, over triangles for a fixed image.

    pip install ".[peers]"
    python benchmarks/growth.py [--repeats 7] [--json FILE] [--plot IMAGE]

The shape is the bumpy knot of `python -m raydepth bench`, the same at any resolution. Times are
medians. The work is given, too, because noise does not affect it: nodes and leaves of the hierarchy
that a tile visits, for each pixel that is hit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

import raydepth as rd
from raydepth.bench.bench import bumpy_knot, machine
from raydepth.rendering.affine_views import find_visible
from raydepth.rendering.frames import frames_of
from raydepth.rendering.hierarchies import build_bvh

SIZES = (64, 128, 256, 512, 1024, 2048)
VIEWS_OF_SIZES = 6
# A small image, so that triangles are much smaller than its pixels.
SIZE_OF_MESHES = 64
VIEWS_OF_MESHES = 48
# Steps along and around the knot; the number of triangles is twice the product, 5 thousand to 5
# million.
SHAPES = ((144, 18), (288, 36), (576, 70), (1104, 136), (2304, 282), (4608, 564))
SHAPE_OF_SIZES = SHAPES[2]


def knot(shape: tuple[int, int]) -> rd.Mesh:
    return rd.Mesh(*bumpy_knot(*shape)).normalized("sphere")


def work_per_hit(mesh: rd.Mesh, cameras: rd.Cameras, hits: int) -> float:
    bvh = build_bvh(mesh)
    frames = frames_of(cameras, bvh)
    triangle_id = np.empty((cameras.height, cameras.width), np.int32)
    rows = 0, cameras.height
    work = [
        find_visible(bvh, frames.basis[view], frames.projection[view], rows, triangle_id)[:2].sum()
        for view in range(len(cameras))
    ]
    return float(sum(work)) / hits


def measure(mesh: rd.Mesh, size: int, views: int, repeats: int) -> dict[str, float]:
    cameras = rd.cameras.fibonacci(views, size=size)
    seconds, result = [], rd.render(mesh, cameras, device="cpu")
    for _ in range(repeats):
        start = time.perf_counter()
        rd.render(mesh, cameras, device="cpu")
        seconds.append(time.perf_counter() - start)
    hit = int((result.triangle_id >= 0).sum())
    return {
        "triangles": len(mesh.faces),
        "size": size,
        "triangles_per_pixel": len(mesh.faces) * views / hit,
        "ms_per_image": statistics.median(seconds) / views * 1e3,
        "nodes_and_leaves_per_hit": work_per_hit(mesh, cameras, hit),
    }


def draw(report: dict, image: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    pixels = np.array([cell["size"] ** 2 for cell in report["pixels"]])
    took = np.array([cell["ms_per_image"] for cell in report["pixels"]])
    left.plot(pixels, took, "o-", color="#d1495b", label="measured")
    left.plot(pixels, took[-1] * pixels / pixels[-1], "--", color="#777777", label="linear")
    left.set(xscale="log", yscale="log", xlabel="pixels of an image", ylabel="ms per image")
    left.set_title(f"{report['pixels'][0]['triangles']:,} triangles")
    triangles = np.array([cell["triangles"] for cell in report["triangles"]])
    took = np.array([cell["ms_per_image"] for cell in report["triangles"]])
    right.plot(triangles, took, "o-", color="#d1495b")
    work = right.twinx()
    visited = [cell["nodes_and_leaves_per_hit"] for cell in report["triangles"]]
    work.plot(triangles, visited, "s--", color="#00798c")
    work.set(ylim=(0, None))
    work.set_ylabel("nodes and leaves visited for a pixel", color="#00798c")
    right.yaxis.label.set_color("#d1495b")
    right.set(xscale="log", xlabel="triangles of the mesh", ylabel="ms per image", ylim=(0, None))
    right.set_title(f"{report['triangles'][0]['size']}x{report['triangles'][0]['size']} pixels")
    for axes in (left, right):
        axes.grid(which="both", alpha=0.25)
    left.legend(frameon=False)
    figure.suptitle(f"{report['machine']['cpu']}, {report['machine']['threads']} threads")
    figure.savefig(image, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()

    report: dict = {"machine": machine(), "pixels": [], "triangles": []}
    steps = [("pixels", SHAPE_OF_SIZES, size, VIEWS_OF_SIZES) for size in SIZES]
    steps += [("triangles", shape, SIZE_OF_MESHES, VIEWS_OF_MESHES) for shape in SHAPES]
    for name, shape, size, views in steps:
        cell = measure(knot(shape), size, views, args.repeats)
        report[name].append(cell)
        print(
            f"{cell['triangles']:>10,} triangles, {size:>4}x{size:<4} "
            f"{cell['triangles_per_pixel']:8.2f} triangles a pixel {cell['ms_per_image']:9.2f} ms "
            f"{cell['nodes_and_leaves_per_hit']:6.2f} nodes and leaves"
        )
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        draw(report, args.plot)


if __name__ == "__main__":
    main()
