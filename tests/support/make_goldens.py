"""Makes golden/ anew, with the Blender that is found: `python tests/support/make_goldens.py`.

projections.json  how Blender projects 54 cameras (in_blender/projections.py)
depth/*.npz       Cycles' depth of shapes made in code: job, arrays and answer of each of
                  `reference_cases`
story.npz         story.blend (in_blender/make_scenes.py) as Blender evaluates it at the camera's
                  keyframes, and Cycles' depth passes of it
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from blender_runs import GOLDEN, IN_BLENDER, run_script
from shapes import cube, icosphere, soup

import raydepth as rd
from raydepth.blender.process import Answer, Blender, find_blender, run
from raydepth.comparison.blender.reference import MODES, blender_job
from raydepth.mesh.shapes import torus_knot


def reference_cases() -> dict[str, tuple[rd.Mesh, rd.Cameras]]:
    """Shapes and cameras, by name: each model of camera, odd pixels, inside and outside."""
    knot = torus_knot(72, 9)
    around = rd.cameras.fibonacci(2, radius=1.7, size=(48, 40))
    oblong = around.intrinsics + np.array([[0, 0, 2.9], [0, 0, -1.7], [0, 0, 0]])
    oblong[:, 1, 1] *= 1.25
    across = np.array([[30.0, 0.0, 23.1], [0.0, 40.0, 19.2], [0.0, 0.0, 1.0]])
    poses, size = around.world_from_camera, (48, 40)
    inside = rd.cameras.look_at([[0.1, 0.2, 0.05], [0.0, -0.3, 0.1]], [0.9, 0.1, 0.0])
    return {
        "ball": (rd.Mesh(*icosphere(levels=2), name="ball"), around),
        "knot": (
            knot,
            rd.Cameras(oblong, poses, size),
        ),
        "soup": (
            rd.Mesh(*soup(3, 60), name="soup"),
            rd.Cameras(across, poses, size, model="orthographic"),
        ),
        "room": (rd.Mesh(*cube(), name="room"), rd.Cameras(oblong, inside, size)),
    }


def store_depth(blender: Blender, folder: Path) -> None:
    for name, (mesh, cameras) in reference_cases().items():
        for mode in MODES:
            job, arrays, placed = blender_job(mesh, cameras, mode, threads=1)
            answer = run(blender, job, arrays)
            about = {
                "mode": mode,
                "job": job,
                "placed": [placed[view].to_json() for view in range(len(placed))],
                "version": answer.version,
                "data": answer.data,
            }
            np.savez_compressed(
                folder / f"{name}_{mode}.npz", about=json.dumps(about), **arrays, **answer.arrays
            )


def store(answer: Answer, passes: dict[str, np.ndarray], path: Path) -> None:
    data = json.dumps({"version": answer.version, "data": answer.data})
    np.savez_compressed(path, answer=data, **answer.arrays, **passes)


def main() -> None:
    blender = find_blender()
    run_script(blender, IN_BLENDER / "projections.py", GOLDEN / "projections.json")
    store_depth(blender, GOLDEN / "depth")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_script(blender, IN_BLENDER / "make_scenes.py", folder)
        scene = folder / "story.blend"
        job = {"command": "scene", "path": str(scene), "camera": None, "frames": "keys"}
        answer = run(blender, job)
        views = [f"{view['camera']['name']}:{view['frame']}" for view in answer.data["views"]]
        run_script(blender, IN_BLENDER / "depth_pass.py", scene, folder / "passes.npz", *views)
        with np.load(folder / "passes.npz") as passes:
            store(answer, dict(passes), GOLDEN / "story.npz")


if __name__ == "__main__":
    main()
