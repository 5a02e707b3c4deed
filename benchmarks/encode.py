"""Time and size of one encoded depth map in each form, compared with imageio's PNG at level 1.

    python benchmarks/encode.py MESH ...      writes benchmarks/results/encode.json

Without meshes it takes the demo's torus knot. The forms take turns, each with all views of one
mesh, so that a busy moment of the machine affects all forms. Times are for one thread, from a
float32 depth map to bytes in memory, with metadata and without writing a file. imageio gets 16-bit
values that NumPy makes from the depth (as scripts do), and no metadata; its time without making the
values is given, too.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import imageio.v3
import numpy as np

import raydepth as rd
from raydepth.codecs.png import encode_png
from raydepth.codecs.uint16 import encode_uint16
from raydepth.dataset.compilation import compile_kernels
from raydepth.export import Metadata, StoredDepth, stored_depth
from raydepth.mesh.shapes import torus_knot
from raydepth.storage.base import Store
from raydepth.storage.forms import STORES

RESULTS = Path(__file__).parent / "results" / "encode.json"
SIZES = (256, 512, 1024)
N_VIEWS = 12
VALUES_PER_UNIT = 10000.0
BASE = "imageio PNG, level 1"
BASE_VALUES = "imageio PNG, level 1, from 16-bit values"
PNG_VALUES = "png16, from 16-bit values"


class View(NamedTuple):
    """A view before it is encoded, and the metadata that it shares with other views of its mesh."""

    depth: np.ndarray
    values: np.ndarray
    camera: rd.Cameras
    of_values: Metadata
    of_floats: Metadata


def imageio_png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    imageio.v3.imwrite(buffer, values, extension=".png", plugin="pillow", compress_level=1)
    return buffer.getvalue()


def as_scripts_do(depth: np.ndarray) -> np.ndarray:
    scaled = np.where(np.isfinite(depth), depth * np.float64(VALUES_PER_UNIT), 0.0)
    return np.rint(scaled).astype(np.uint16)


def encoders() -> dict:
    """Return, by name, functions that encode a `View` to bytes or to the data a store writes."""
    found = {
        BASE: lambda view: imageio_png(as_scripts_do(view.depth)),
        BASE_VALUES: lambda view: imageio_png(view.values),
        PNG_VALUES: lambda view: encode_png(view.values),
    }
    for name, store in STORES.items():
        if name == "ply":
            continue  # points, not images
        if store.package is None or importlib.util.find_spec(store.package[0]):
            found[name] = lambda view, store=store: store.encode(stored(view, store))
    return found


def stored(view: View, store: Store) -> StoredDepth:
    """Make what a run makes of each view: values or checked floats, with the shared metadata."""
    if store.stores_uint16:
        values = encode_uint16(view.depth, VALUES_PER_UNIT)
        return StoredDepth(values, view.camera, view.of_values)
    pixels = stored_depth("float32", view.depth, kind="z").pixels
    return StoredDepth(pixels, view.camera, view.of_floats)


def n_bytes(encoded) -> int:
    """Return the number of bytes written for one view."""
    if isinstance(encoded, bytes):
        return len(encoded)
    if isinstance(encoded, dict):
        return sum(map(len, encoded.values()))
    if isinstance(encoded, tuple):
        return sum(map(len, encoded))
    return len(encoded.content)


def measure(meshes: list[rd.Mesh], size: int, repeats: int) -> dict:
    forms = encoders()
    cameras = rd.cameras.fibonacci(N_VIEWS, size=size)
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    sizes: dict[str, list[int]] = {name: [] for name in forms}
    for mesh in meshes:
        shared = [Metadata("z", scale, mesh.to_json()) for scale in (VALUES_PER_UNIT, None)]
        views = [
            View(depth, encode_uint16(depth, VALUES_PER_UNIT), camera, *shared)
            for depth, camera in zip(rd.render(mesh, cameras).depth, cameras, strict=True)
        ]
        for name, encode in forms.items():
            sizes[name] += [n_bytes(encode(view)) for view in views]
        times: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(repeats):
            for name, encode in forms.items():
                start = time.perf_counter()
                for view in views:
                    encode(view)
                times[name].append((time.perf_counter() - start) / len(views))
        for name in forms:
            seconds[name].append(statistics.median(times[name]))
    larger = np.array(sizes[PNG_VALUES]) - np.array(sizes[BASE_VALUES])
    return {
        "n_images": len(sizes[BASE]),
        "png16_larger_than_imageio": {
            "n_images": int((larger > 0).sum()),
            "by_bytes_at_most": int(larger.max(initial=0)),
        },
        "forms": {
            name: {
                "milliseconds": round(1e3 * statistics.median(seconds[name]), 4),
                "bytes": round(statistics.mean(sizes[name])),
            }
            for name in forms
        },
    }


def hardware() -> dict:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [li for li in cpuinfo.read_text().splitlines() if li.startswith("model name")]
        model = names[0].partition(": ")[2] if names else model
    return {"cpu": model, "logical_cores": os.cpu_count(), "system": platform.system()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meshes", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    meshes = [rd.load_mesh(path, normalize="sphere") for path in args.meshes] or [torus_knot()]
    compile_kernels()
    load = os.getloadavg()[0]
    report = {
        "hardware": hardware(),
        "load_before": round(load, 2),
        "versions": {
            name: importlib.import_module(name).__version__
            for name in ("raydepth", "imageio", "PIL", "numpy", "isal")
        },
        "meshes": [mesh.name for mesh in meshes],
        "n_views": N_VIEWS,
        "sizes": {str(size): measure(meshes, size, args.repeats) for size in SIZES},
    }
    args.json.write_text(json.dumps(report, indent=1) + "\n")
    for size, found in report["sizes"].items():
        print(f"{size}x{size}, {found['n_images']} images, {found['png16_larger_than_imageio']}")
        base = found["forms"][BASE]
        for name, row in found["forms"].items():
            faster = base["milliseconds"] / row["milliseconds"]
            print(f"  {name:45} {row['milliseconds']:8.3f} ms {row['bytes']:9} B  {faster:5.1f}x")


if __name__ == "__main__":
    main()
