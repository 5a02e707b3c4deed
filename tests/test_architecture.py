"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import raydepth

PACKAGE = Path(__file__).resolve().parents[1] / "raydepth"

# Leaves take arrays and return arrays. Besides plain data types they know only what stands here.
LEAVES = {
    "affine_resolver": {
        "camera",
        "coverage",
        "kernels",
        "outputs",
        "resolver",
        "surface",
        "wanted",
    },
    "aligned": set(),
    "bench_tables": set(),
    "blender": {"camera", "errors", "files", "mesh", "poses", "readers", "version"},
    "builder": {"aligned", "parallel", "prepare", "sah", "simd", "subtree"},
    "bvh": {"builder", "limits", "parallel", "prepare", "refit", "sah", "subtree", "wide"},
    "camera": {"lenses", "poses"},
    "camera_files": {"camera", "cameras", "files", "placements", "poses"},
    "cameras": {"camera", "placements", "poses"},
    "compare": set(),
    "contours": {"simd"},
    "conversions": {"camera"},
    "containers": {"deflate", "packages", "png"},
    "coverage": {"bvh", "camera", "contours", "rays", "scanlines", "tables"},
    # All that names CUDA; rendering and what stands on it ask for it when a device is asked for.
    "cuda": {"bvh", "errors", "kernels", "limits", "simd"},
    "deflate": set(),
    "errors": set(),
    "export": {"camera", "containers", "files", "outputs", "quantize", "version"},
    "files": set(),
    "filters": set(),
    "folders": set(),
    "interleaved": {"simd"},
    "kernels": {"interleaved", "simd"},
    "lenses": set(),
    "limits": set(),
    "loading": {"errors", "mesh", "readers"},
    "memory": set(),
    "mesh": {"errors", "limits", "readers"},
    "layers": {"kernels", "nearest", "simd", "wide"},
    "nearest": {"kernels", "simd", "wide"},
    "normals": {"surface"},
    "outline": set(),
    "outputs": set(),
    "packages": {"errors"},
    "parallel": set(),
    "peers": {"camera", "mesh"},
    "placements": set(),
    "plot": {"camera"},
    "png": {"deflate", "filters"},
    "pointcloud": {"files", "version"},
    "poses": {"cuda", "limits", "placements"},
    "prepare": {"aligned", "parallel", "simd"},
    "preview": set(),
    "quantize": set(),
    "ray_by_ray": {"camera", "lenses", "parallel"},
    "rays": {"kernels", "nearest", "simd"},
    "readers": {"errors"},
    "ray_resolver": {"ray_by_ray", "rays", "resolver", "tables"},
    "rendered": {"camera", "conversions", "outputs", "pointcloud"},
    "resolver": {"camera", "layers", "surface", "tables", "wanted"},
    "reading": {"stores"},
    "recycling": {"aligned"},
    "refit": {"aligned", "parallel", "prepare", "simd"},
    "sah": {"simd"},
    "scanlines": {"interleaved", "simd"},
    "simd": set(),
    "spawning": set(),
    "statistics": set(),
    "stores": {
        "camera",
        "camera_files",
        "containers",
        "conversions",
        "export",
        "files",
        "folders",
        "outputs",
        "packages",
        "png",
        "version",
        "zipping",
    },
    "subtree": {"sah", "simd"},
    "tiles": {"kernels", "simd", "wide"},
    "surface": {"interleaved", "kernels", "simd"},
    "tables": {"aligned", "bvh", "contours", "mesh", "normals", "surface"},
    "version": set(),
    "wanted": {"camera", "mesh", "outputs", "recycling"},
    "watch": set(),
    "wide": {"aligned", "parallel", "simd", "subtree"},
    "zipping": {"deflate"},
}
# rendering joins the leaves; these stand on it and do not know each other.
ON_RENDER = {"raycast", "many", "compiling", "crosscheck", "demo", "info"}

# What makes data sets, from one mesh to a run on many machines; each may know those before it.
DATASET = [
    "shards", "inputs", "manifest", "failures", "settings", "views", "dataset",
    "tasks", "messages", "worker_process", "workers", "pipeline", "ray_engine", "batch", "verify",
    "progress", "torch",
]  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module by its name in the package: "cameras", "readers.ply"; "" is the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of the package that a file names in an import, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("raydepth.") and name.removeprefix("raydepth.") in known:
                found.add(name.removeprefix("raydepth."))
            # The package's front door is for users.
            assert name != "raydepth" or isinstance(node, ast.ImportFrom), f"{path.name}: {name}"
    return found


MODULES = modules()
IMPORTS = {name: imports(path, set(MODULES)) for name, path in MODULES.items()}
ROOMS = {name.split(".")[0] for name in MODULES} - {""}


def room_imports(room: str) -> set[str]:
    """What a module, or all modules of a folder, import from elsewhere in the package."""
    inside = [name for name in MODULES if name.split(".")[0] == room]
    return {target.split(".")[0] for name in inside for target in IMPORTS[name]} - {room}


def test_every_module_has_its_place():
    assert (
        set(LEAVES)
        | ON_RENDER
        | set(DATASET)
        | {"rendering", "bench", "cli", "arguments", "__main__"}
        == ROOMS
    )


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_stand_alone(leaf):
    assert room_imports(leaf) <= LEAVES[leaf]


def test_render_joins_the_leaves():
    assert room_imports("rendering") <= set(LEAVES)


@pytest.mark.parametrize("room", sorted(ON_RENDER))
def test_what_stands_on_render(room):
    assert room_imports(room) <= set(LEAVES) | {"rendering"}


@pytest.mark.parametrize("room", DATASET)
def test_data_sets(room):
    before = set(DATASET[: DATASET.index(room)])
    assert room_imports(room) <= set(LEAVES) | {"rendering", "raycast", "compiling"} | before


def test_bench_borrows_only_the_demos_shape():
    assert room_imports("bench") <= set(LEAVES) | {"rendering", "demo"}


def test_the_command_line_is_on_top():
    assert {name for name, targets in IMPORTS.items() if "cli" in targets} == {"__main__"}
    assert {name for name, targets in IMPORTS.items() if "arguments" in targets} == {"cli"}


def test_the_front_door_opens_to_the_library():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    rooms = {(node.module or "").split(".")[0] for node in found} - {""}
    assert rooms <= set(LEAVES) | {"batch", "many", "raycast", "rendering"}
    names = [alias.name for node in found for alias in node.names]
    assert sorted(names) == raydepth.__all__ == dir(raydepth)
    # A module of the same name would take a function's place once it is imported.
    assert set(names) & set(MODULES) == {"blender", "cameras"}
    for name in names:
        assert getattr(raydepth, name) is not None


def test_there_are_no_circles():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError


def test_the_test_sees_imports(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(
        "import raydepth.mesh\nfrom raydepth import kernels, parallel as p\n"
        "from raydepth.bvh import Bvh\ndef f():\n    from raydepth.readers import ply\n"
    )
    known = {"mesh", "kernels", "parallel", "bvh", "readers", "readers.ply", "cli"}
    assert imports(source, known) == known - {"cli"}


def test_importing_loads_little_and_compiles_nothing():
    program = """
import sys
from numba.core import event
with event.install_recorder("numba:compile") as compiled:
    import raydepth
    assert "raydepth.rendering" not in sys.modules
    raydepth.render
kernels = [f for m in list(sys.modules.values()) if m.__name__.startswith("raydepth")
           for f in vars(m).values() if hasattr(f, "signatures")]
assert len(kernels) > 5
print({"trimesh", "PIL", "imageio", "tqdm", "scipy", "raydepth.cli"} & set(sys.modules))
print(len(compiled.buffer), sum(len(f.signatures) for f in kernels))
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    assert result.stdout.split() == ["set()", "0", "0"]
