"""Meshes per second for a folder of many meshes, for raydepth and for scripts as people write them.

    python benchmarks/dataset.py [--meshes FOLDER] [--peers PYTHON] [--bpy PYTHON]

Every mesh of the folder is normalised, rendered from 12 directions at 256x256 and written as 16-bit
PNG: by `python -m raydepth render`, and by scripts with Open3D and imageio, with trimesh, embreex
and imageio, and with Blender (bpy, Cycles) in one warm process, with its Persistent Data off, which
is the default, and on. The scripts are in this file, as short as their users write them. All
programs take turns on the whole folder or, where that would take many minutes, on meshes chosen at
random from it (`--some`). The time that is compared starts after the imports: for a script with its
first mesh, for raydepth with the run, which includes the start of its workers. The seconds of whole
processes are given, too. Each run writes to a new folder, after the files of earlier runs have
reached the disk. For minutes after thousands of files were deleted, ext4 may take several times as
long to make new files in the same place, so do not repeat this script at once. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared" / "meshes" / "batch"
SUFFIXES = {".obj", ".stl", ".ply", ".off", ".dae", ".glb"}
VIEWS, SIZE = 12, 256

COMMON = """
import json, sys, time
import numpy as np
job = json.load(open(sys.argv[-1]))
K, poses, out, size = np.array(job["K"]), np.array(job["poses"]), job["out"], job["size"]

def normalized(vertices):
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = vertices - (low + high) / 2
    return vertices / (2 * np.linalg.norm(vertices, axis=1).max())
"""

OPEN3D = (
    COMMON
    + """
import os
import imageio.v3 as iio
import open3d as o3d
o3d.utility.set_verbosity_level(o3d.utility.VerbosityLevel.Error)

def render(path, name):
    mesh = o3d.io.read_triangle_mesh(path)
    if not mesh.has_triangles():
        raise ValueError("no triangles")
    vertices = normalized(np.asarray(mesh.vertices)).astype(np.float32)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(vertices, np.asarray(mesh.triangles).astype(np.uint32))
    os.makedirs(f"{out}/{name}", exist_ok=True)
    for i, pose in enumerate(poses):
        rays = o3d.t.geometry.RaycastingScene.create_rays_pinhole(
            K, np.linalg.inv(pose), size, size)
        z = scene.cast_rays(rays)["t_hit"].numpy()  # directions have z = 1
        values = np.where(np.isfinite(z), np.round(z * 10000), 0).astype(np.uint16)
        iio.imwrite(f"{out}/{name}/{i:03}.png", values)
"""
)

EMBREEX = (
    COMMON
    + """
import os
import imageio.v3 as iio
import trimesh
x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
pixels = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ np.linalg.inv(K).T

def render(path, name):
    mesh = trimesh.load(path, force="mesh")
    mesh.vertices = normalized(mesh.vertices)
    intersector = trimesh.ray.ray_pyembree.RayMeshIntersector(mesh)
    os.makedirs(f"{out}/{name}", exist_ok=True)
    for i, pose in enumerate(poses):
        directions = pixels @ pose[:3, :3].T
        origins = np.broadcast_to(pose[:3, 3], directions.shape)
        points, rays, _ = intersector.intersects_location(origins, directions, multiple_hits=False)
        z = np.zeros(size * size)
        z[rays] = (points - pose[:3, 3]) @ pose[:3, 2]
        values = np.round(z * 10000).astype(np.uint16).reshape(size, size)
        iio.imwrite(f"{out}/{name}/{i:03}.png", values)
"""
)

BLENDER = (
    COMMON
    + """
import os
import bpy
import mathutils
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
scene.cycles.max_bounces = 0
scene.cycles.use_denoising = False
scene.render.resolution_x = scene.render.resolution_y = size
scene.render.use_persistent_data = KEPT
scene.view_layers[0].use_pass_z = True
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
camera.data.angle = 2 * np.arctan(size / 2 / K[0, 0])
scene.collection.objects.link(camera)
scene.camera = camera
scene.use_nodes = True
nodes = scene.node_tree.nodes
nodes.clear()
layers = nodes.new("CompositorNodeRLayers")
scaled = nodes.new("CompositorNodeMath")
scaled.operation = "MULTIPLY"
scaled.inputs[1].default_value = 10000 / 65535
file = nodes.new("CompositorNodeOutputFile")
file.format.file_format, file.format.color_mode, file.format.color_depth = "PNG", "BW", "16"
file.format.color_management = "OVERRIDE"
file.format.view_settings.view_transform = "Raw"
scene.node_tree.links.new(layers.outputs["Depth"], scaled.inputs[0])
scene.node_tree.links.new(scaled.outputs[0], file.inputs[0])

def render(path, name):
    before = set(bpy.data.objects)
    suffix = path.lower().rsplit(".", 1)[1]
    if suffix == "obj":
        bpy.ops.wm.obj_import(filepath=path, forward_axis="Y", up_axis="Z")
    elif suffix == "stl":
        bpy.ops.wm.stl_import(filepath=path)
    elif suffix == "ply":
        bpy.ops.wm.ply_import(filepath=path)
    elif suffix == "dae":
        bpy.ops.wm.collada_import(filepath=path)
    else:
        bpy.ops.import_scene.gltf(filepath=path)
    added = [o for o in bpy.data.objects if o not in before and o.type == "MESH"]
    bpy.context.view_layer.update()
    corners = np.array([o.matrix_world @ v.co for o in added for v in o.data.vertices])
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    scale = 0.5 / np.linalg.norm(corners - centre, axis=1).max()
    matrix = mathutils.Matrix.Scale(scale, 4) @ mathutils.Matrix.Translation(-centre)
    for o in added:
        o.matrix_world = matrix @ o.matrix_world
    for i, pose in enumerate(poses):
        camera.matrix_world = mathutils.Matrix((pose @ np.diag([1, -1, -1, 1])).tolist())
        file.base_path = f"{out}/{name}"
        file.file_slots[0].path = f"{i:03}_"
        bpy.ops.render.render()
    for o in set(bpy.data.objects) - before:
        bpy.data.objects.remove(o)
    bpy.ops.outliner.orphans_purge(do_recursive=True)
"""
)

LOOP = """
start, n_failed = time.perf_counter(), 0
for i, path in enumerate(job["meshes"]):
    try:
        render(path, f"{i:05}")
    except Exception:
        n_failed += 1
json.dump({"seconds": time.perf_counter() - start, "n_failed": n_failed}, open(job["result"], "w"))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--meshes", type=Path, help=f"default: {SHARED.name}, or generated ones")
    arguments.add_argument("--peers", default=sys.executable, help="a Python that has the peers")
    arguments.add_argument("--bpy", default=sys.executable, help="a Python that has bpy")
    arguments.add_argument("--some", type=int, default=40, help="meshes for the slow scripts")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/dataset.json")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="raydepth-") as scratch:
        report = measure(args, Path(scratch))
    args.json.parent.mkdir(exist_ok=True)
    args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, row in report["rows"].items():
        print(f"{name:25} {row['meshes_per_second']:8.2f} meshes/s  {row['meshes']} meshes")
    print(json.dumps(report["raydepth"]))


def measure(args: argparse.Namespace, scratch: Path) -> dict:
    folder = args.meshes or (SHARED if SHARED.is_dir() else generated(scratch / "meshes"))
    meshes = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    # The order must not depend on sizes or kinds.
    random.Random(0).shuffle(meshes)
    some = meshes[: args.some]
    peers = (
        ("Open3D + imageio", OPEN3D, args.peers, meshes),
        ("trimesh + embreex", EMBREEX, args.peers, some),
        ("Blender (bpy), warm", "KEPT = False\n" + BLENDER, args.bpy, some),
        ("the same, Persistent Data", "KEPT = True\n" + BLENDER, args.bpy, some),
    )
    run_raydepth(some, scratch)  # compile once, untimed
    runs: dict[str, list[dict]] = {}
    load_before = os.getloadavg()
    for _ in range(args.repeats):
        for mesh in meshes:  # from the disk into memory, for all programs
            Path(mesh).read_bytes()
        runs.setdefault("raydepth", []).append(run_raydepth(meshes, scratch))
        for name, program, python, chosen in peers:
            result = run_script(program, python, chosen, scratch)
            if result:
                runs.setdefault(name, []).append(result)
    rows = {name: row(measured) for name, measured in runs.items()}
    ours_per_second = rows["raydepth"]["meshes_per_second"]
    for row_ in rows.values():
        row_["raydepth_is_times_as_fast"] = round(ours_per_second / row_["meshes_per_second"], 2)
    return {
        "what": f"{VIEWS} views of {SIZE}x{SIZE} pixels of each mesh to 16-bit PNG",
        "machine": {
            "processor": processor(),
            "processors": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "load_before": load_before,
        },
        "meshes": f"{len(meshes)} of {folder.name}",
        "rows": rows,
        "raydepth": min(runs["raydepth"], key=lambda run: run["seconds"]),
    }


def row(runs: list[dict]) -> dict:
    median = statistics.median(run["seconds"] for run in runs)
    return {
        "meshes": runs[0]["n_meshes"],
        "failed": runs[0]["n_failed"],
        "seconds": [round(run["seconds"], 3) for run in runs],
        "seconds_of_process": [round(run["seconds_of_process"], 3) for run in runs],
        "meshes_per_second": round(runs[0]["n_meshes"] / median, 3),
    }


def run_raydepth(meshes: list[str], scratch: Path) -> dict:
    out = tempfile.mkdtemp(dir=scratch)
    (scratch / "list.txt").write_text("\n".join(meshes))
    command = [
        sys.executable, "-m", "raydepth", "render", "--list", str(scratch / "list.txt"),
        "-o", out, "--views", f"fibonacci:{VIEWS}", "--size", str(SIZE),
        "--normalize", "sphere", "--no-preview", "--log-json", "--device", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # With bytecode, as in an installed package; the first run writes it.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    os.sync()
    busy, start = cpu_seconds(), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    busy = cpu_seconds() - busy
    end = json.loads(done.stdout.splitlines()[-1])
    stages = end["stage_seconds"]
    return {
        "n_meshes": len(meshes),
        "n_failed": end["failed"],
        "seconds": end["seconds"],
        "seconds_of_process": seconds,
        "machine_busy": round(busy / (seconds * len(os.sched_getaffinity(0))), 3),
        "stage_shares": {k: round(v / sum(stages.values()), 3) for k, v in stages.items()},
    }


def run_script(program: str, python: str, meshes: list[str], scratch: Path) -> dict | None:
    """Run one of the scripts above; return its result, or None where it cannot run."""
    from raydepth import cameras

    views = cameras.fibonacci(VIEWS, size=SIZE)
    job = {
        "K": views.intrinsics[0].tolist(),
        "poses": views.world_from_camera.tolist(),
        "out": tempfile.mkdtemp(dir=scratch),
        "size": SIZE,
        "meshes": meshes,
        "result": str(scratch / "result.json"),
    }
    (scratch / "job.json").write_text(json.dumps(job))
    (scratch / "script.py").write_text(program + LOOP)
    Path(job["result"]).unlink(missing_ok=True)
    command = [python, str(scratch / "script.py"), str(scratch / "job.json")]
    os.sync()
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not Path(job["result"]).exists():
        print(f"left out: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    seconds = time.perf_counter() - start
    result = json.loads(Path(job["result"]).read_text())
    return {"n_meshes": len(meshes), "seconds_of_process": seconds, **result}


def generated(folder: Path) -> Path:
    """Write 480 shapes of a thousand faces as OBJ files, where there is no folder of meshes."""
    from raydepth.mesh.shapes import torus_knot

    folder.mkdir()
    knot = torus_knot()
    rng = np.random.default_rng(0)
    for i in range(480):
        keep = rng.integers(0, len(knot.faces), size=1000)
        vertices = knot.vertices[knot.faces[keep]].reshape(-1, 3)
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
        lines += [f"f {k + 1} {k + 2} {k + 3}" for k in range(0, len(vertices), 3)]
        (folder / f"{i:03}.obj").write_text("\n".join(lines) + "\n")
    return folder


def cpu_seconds() -> float:
    """Return the seconds that this machine's processors were busy, summed over all of them."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
