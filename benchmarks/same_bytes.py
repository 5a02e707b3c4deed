"""Compare the bytes that two versions write: `python benchmarks/same_bytes.py OTHER_CHECKOUT`.

Each version, in a separate process, writes the same meshes as a data set in every form of storage
and layout, with and without outputs besides depth, and keeps hashes of the arrays of every output
for every camera model in float32 and float64. Then all files are compared. The exit code is 1 if
any differ.

Use it for a change that must not change any byte; run `git worktree add OTHER_CHECKOUT` before the
change.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
# Forms that hold 16 bits and float32; layouts hold z depth of perspective views alone.
FORMS = ("png16", "npy", "tiff", "exr", "npz", "ply", "zarr", "webdataset")
LAYOUTS = ("nerf", "bop", "tum")
STORED = ("hit", "facing", "instance", "coverage", "normal", "barycentric", "triangle_id", "hits")


def torus(n: int, m: int, tube: float) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and faces of a torus of n by m quads."""
    i, j = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    u, v = 2 * np.pi * i / n, 2 * np.pi * j / m
    radius = 0.35 + tube * np.cos(v)
    vertices = np.stack([radius * np.cos(u), radius * np.sin(u), tube * np.sin(v)], axis=-1)
    corner = [(i + a) % n * m + (j + b) % m for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    a, b, c, d = (place.reshape(-1) for place in corner)
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return vertices.reshape(-1, 3), faces


def write(out: Path) -> None:
    """Write all data sets and hashes with the raydepth that is imported."""
    import raydepth as rd
    from raydepth.outputs import OUTPUTS

    out.mkdir(parents=True)
    os.chdir(out)
    meshes = Path("meshes")
    meshes.mkdir()
    shapes = {f"torus{k}": torus(20 + 9 * k, 8 + 5 * k, 0.05 + 0.03 * k) for k in range(4)}
    for name, (vertices, faces) in shapes.items():
        lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
        (meshes / f"{name}.obj").write_text("\n".join(lines) + "\n")
    cameras = rd.cameras.fibonacci(5, size=(70, 52))
    for form in (*FORMS, *LAYOUTS):
        more = ("normal",) if form == "ply" else STORED
        for outputs in ((), more):
            folder = f"{form}_{len(outputs)}"
            report = rd.render_dataset(
                meshes, folder, cameras, file_format=form, outputs=outputs, device="cpu",
                normalize="sphere",
            )  # fmt: skip
            assert not report.failures, report.failures

    size = (64, 48)
    poses = cameras.world_from_camera
    lens = cameras.intrinsics * np.array([size[0] / 70, size[1] / 52, 1.0])[:, None]
    fisheye = rd.cameras.fisheye_intrinsics(150, size)
    near = poses.copy()
    near[:, :3, 3] *= 0.1
    views = {
        "perspective": rd.Cameras(lens, poses, size),
        "among": rd.Cameras(lens, near, size),
        "limited": rd.Cameras(lens, poses, size, near=1.3, far=1.6),
        "distorted": rd.Cameras(lens, poses, size, distortion=[-0.1, 0.02, 1e-3, -2e-3, 0.0]),
        "orthographic": rd.Cameras(
            rd.cameras.orthographic_intrinsics(1.0, size), poses, size, model="orthographic"
        ),
        "fisheye": rd.Cameras(fisheye, poses, size, model="fisheye"),
        "equirectangular": rd.Cameras(
            rd.cameras.equirectangular_intrinsics(size), near, size, model="equirectangular"
        ),
        "cubemap": rd.Cameras(
            rd.cameras.cubemap_intrinsics((96, 16)), near, (96, 16), model="cubemap"
        ),
    }
    mesh = rd.Mesh(*shapes["torus2"])
    hashes = []
    for name, seen in views.items():
        for dtype in (np.float32, np.float64):
            kinds = (
                ("z", "ray") if name not in ("fisheye", "equirectangular", "cubemap") else ("ray",)
            )
            outputs = [*kinds, *(o for o in OUTPUTS if o not in ("z", "ray", "uv"))]
            result = rd.render(mesh, seen, outputs=outputs, dtype=dtype, device="cpu")
            for output in outputs:
                array = np.ascontiguousarray(result[output])
                digest = hashlib.sha256(array.tobytes()).hexdigest()
                hashes.append(f"{name} {np.dtype(dtype)} {output} {array.shape} {digest}")
    directions = np.random.default_rng(0).normal(size=(5000, 3))
    hits = rd.cast_rays(mesh, directions[::-1] * 0.4, directions, device="cpu")
    hashes += [f"cast_rays {hashlib.sha256(array.tobytes()).hexdigest()}" for array in hits]
    Path("hashes.txt").write_text("\n".join(hashes) + "\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder, by their relative paths."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> int:
    """Write with both versions and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write(args.write)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number, checkout in enumerate((HERE.parents[1], args.other.resolve())):
            out = Path(folder) / str(number)
            command = [sys.executable, str(HERE), str(checkout), "--write", str(out)]
            environment = {**os.environ, "PYTHONPATH": str(checkout)}
            subprocess.run(command, env=environment, check=True)
            found.append(contents(out))
    ours, theirs = found
    lines = [f"only here: {name}" for name in sorted(ours.keys() - theirs.keys())]
    lines += [f"only there: {name}" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            lines.append(f"differs: {name}")
    for line in lines:
        print(line)
    n_bytes = sum(map(len, ours.values()))
    print(f"{len(ours)} files, {n_bytes:,} bytes: {len(lines) or 'none'} differ")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
