"""Plot the rays per second of all renderers, as `python -m raydepth bench --json FILE` wrote them.

    pip install ".[peers]"
    python benchmarks/plot.py FILE IMAGE

There is one point for each mesh and size, over the number of triangles for each pixel that is hit.
Hollow points are times that do not count, because the depth does not agree.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = ("#d1495b", "#00798c", "#edae49", "#66a182", "#2e4057", "#8d6a9f", "#777777")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the file that bench --json wrote")
    parser.add_argument("image", type=Path, help="the plot, .png or .svg")
    args = parser.parse_args()

    report = json.loads(args.file.read_text(encoding="utf-8"))
    machine, renderers = report["machine"], report["renderers"]
    cells = [cell for scene in report["scenes"] for cell in scene["cells"]]
    cells.sort(key=lambda cell: cell["triangles_per_pixel"])
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for (name, renderer), colour in zip(renderers.items(), COLOURS, strict=False):
        label = renderer["title"]
        if renderer["threads"] < machine["threads"]:
            label += f" ({renderer['threads']} thread)"
        x = [cell["triangles_per_pixel"] for cell in cells]
        y = [cell["mrays_per_s"][name] for cell in cells]
        width = 2.5 if name == "raydepth" else 1.2
        axes.plot(x, y, "o-", color=colour, linewidth=width, markersize=5, label=label)
        doubted = [name in c["agreement"] and not c["agreement"][name]["agrees"] for c in cells]
        hollow = [(a, b) for a, b, doubt in zip(x, y, doubted, strict=True) if doubt]
        if hollow:
            axes.plot(*zip(*hollow, strict=True), "o", color="white", markersize=3, zorder=3)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="triangles per pixel that is hit",
        ylabel="million rays per second",
        title=f"{machine['cpu']}, {machine['threads']} threads",
    )
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(args.image, dpi=120)


if __name__ == "__main__":
    main()
