"""Agreement of raydepth and Blender Cycles: cameras of three kinds, both modes, real meshes.

    python benchmarks/blender_agreement.py MESH... [--blender PATH] [--json FILE]

Twelve views of 512x512: perspective with the principal point off the centre, the same with pixels
that are not square, orthographic. `raydepth.comparison` says what is counted. The exit code is 0 if
all agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import raydepth as rd
from raydepth.blender.process import find_blender
from raydepth.comparison.blender.reference import MODES, compare_with_blender


def camera_sets(n: int, size: int) -> dict[str, rd.Cameras]:
    """Return cameras whose images a mesh of radius 0.5 fills, named by what is unusual in them."""
    base = rd.cameras.fibonacci(n, size=size)
    pixel = size / 512
    off_centre = base.intrinsics + np.array([[0, 0, 31.7], [0, 0, -17.3], [0, 0, 0]]) * pixel
    oblong = off_centre.copy()
    oblong[:, 1, 1] *= 1.25
    across = oblong.copy()
    across[:, 0, 0], across[:, 1, 1] = 400.0 * pixel, 500.0 * pixel
    poses = base.world_from_camera
    return {
        "off-centre": rd.Cameras(off_centre, poses, size),
        "oblong pixels": rd.Cameras(oblong, poses, size),
        "orthographic": rd.Cameras(across, poses, size, model="orthographic"),
    }


def add_rows(path: Path, rows: list[dict]) -> None:
    """Write the rows of one mesh and Blender to the file, in place of older rows of the same."""
    old = json.loads(path.read_text()) if path.exists() else []
    new = {(row["blender"], row["mesh"]) for row in rows}
    kept = [row for row in old if (row["blender"], row["mesh"]) not in new]
    path.write_text(json.dumps(kept + rows, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meshes", nargs="+", type=Path, metavar="MESH")
    parser.add_argument("--blender", type=Path)
    parser.add_argument("--views", type=int, default=12)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    blender = find_blender(args.blender)
    all_agree = True
    for path in args.meshes:
        mesh = rd.load_mesh(path, normalize="sphere")
        rows = []
        for name, cameras in camera_sets(args.views, args.size).items():
            for mode in MODES:
                section = compare_with_blender(mesh, cameras, blender, mode=mode)
                total = section.total
                print(
                    f"{mesh.name}, {name}, {mode}: {total['hit_by_both']:,} pixels, worst "
                    f"{total['worst_error_over_bound']:.2f} of the bound, {section.verdict}",
                    flush=True,
                )
                rows.append(
                    {
                        "blender": section.blender,
                        "mesh": mesh.name,
                        "faces": len(mesh.faces),
                        "cameras": name,
                        "mode": mode,
                        "agrees": section.agrees,
                        "verdict": section.verdict,
                        **total,
                    }
                )
        all_agree &= all(row["agrees"] for row in rows)
        if args.json:
            add_rows(args.json, rows)
    return 0 if all_agree else 1


if __name__ == "__main__":
    sys.exit(main())
