"""Makes tests/golden anew, with the Blender that is found: `python tests/make_goldens.py`.

projections.json  how Blender projects 54 cameras (in_blender/projections.py)
story.npz         story.blend (in_blender/make_scenes.py) as Blender evaluates it at the camera's
                  keyframes, and Cycles' depth passes of it
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from blender_runs import GOLDEN, IN_BLENDER, run_script

from raydepth.blender.process import Answer, find_blender, run


def store(answer: Answer, passes: dict[str, np.ndarray], path: Path) -> None:
    data = json.dumps({"version": answer.version, "data": answer.data})
    np.savez_compressed(path, answer=data, **answer.arrays, **passes)


def main() -> None:
    blender = find_blender()
    run_script(blender, IN_BLENDER / "projections.py", GOLDEN / "projections.json")
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
