"""The rooms of the package: who may import whom, how large they are, and that words stay true."""

from __future__ import annotations

import ast
import graphlib
import io
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import raydepth
from raydepth.outputs.resolver import FILLERS, check_filled
from raydepth.outputs.table import OUTPUTS
from raydepth.storage.output_files import GREY

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "raydepth"

# The rooms and the modules at the top, from the ground up: each may import those below it, and no
# others. A room is a folder with all that is below it.
FLOORS = [
    {"errors", "limits", "version"},
    {"system"},
    {"simd"},
    {"kernels", "mesh"},
    {"accel", "camera", "codecs"},
    {"bvh", "trace", "cameras", "pictures", "blender", "export"},
    {"outputs"},
    {"cuda"},
    {"rendering", "storage"},
    {"dataset", "comparison", "bench"},
    {"torch", "runs"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

MOST_FILES = 13
MOST_LINES = 640

# An import of the package inside a function, and why it stands there.
LATE_IMPORTS = {
    ("__main__", "raydepth.cli.commands"): "a worker process is started before it, meanwhile",
    ("cuda.device", "raydepth.cuda.device_code"): "it imports Numba's CUDA target",
}

# Packages that one file imports, or few.
OWNERS = {
    "numba.cuda": {"cuda.device_code.kernels"},
    "torch": {"torch"},
    "ray": {"runs.ray_cluster"},
    "zarr": {"storage.zarr"},
    "OpenEXR": {"codecs.formats"},
    "bpy": {"blender.inside", "blender.template"},
    "fcntl": {"system.file_locks", "system.pipes"},
}


def modules() -> dict[str, Path]:
    """Every module by its name in the package: "cameras", "mesh.readers.ply"; "" is the package."""
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
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
# Who imports a module imports the packages that it is in, too; that is Python's business.
IMPORTS = {
    name: {target for target in found if not any(other.startswith(f"{target}.") for other in found)}
    for name, found in ((name, imports(path, set(MODULES))) for name, path in MODULES.items())
}


def room_of(module: str) -> str:
    return module.split(".")[0]


ROOMS = {room_of(name) for name in MODULES} - {""}


def test_every_room_has_its_floor():
    assert set(FLOOR) == ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_lower_floors_only(room):
    upwards = {
        f"{module} imports {target}"
        for module in MODULES
        if room_of(module) == room
        for target in IMPORTS[module]
        if room_of(target) != room and FLOOR[room_of(target)] >= FLOOR[room]
    }
    assert not upwards


@pytest.mark.parametrize("room", ["simd", "kernels", "accel", "trace"])
def test_kernels_know_no_meshes_and_no_files(room):
    """They see arrays: no Mesh, no Cameras, no file."""
    known = {
        room_of(target)
        for module in MODULES
        if room_of(module) == room
        for target in IMPORTS[module]
    }
    assert known <= {"system", "simd", "kernels", "accel", "trace", "limits"}
    opened = {
        node.func.id
        for module, tree in TREES.items()
        if room_of(module) == room
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "open" not in opened


def test_who_imports_cuda():
    found = {
        room_of(name) for name, targets in IMPORTS.items() for t in targets if room_of(t) == "cuda"
    }
    assert found == {"cuda", "rendering", "bench", "runs"}


def test_rendering_writes_no_file_and_storage_renders_nothing():
    rendering = {
        t for name, targets in IMPORTS.items() if room_of(name) == "rendering" for t in targets
    }
    # A point cloud writes itself, and only that.
    users = {name for name in MODULES if "system.atomic_files" in IMPORTS[name]}
    assert {name for name in users if room_of(name) == "rendering"} == {"rendering.point_cloud"}
    assert not {target for target in rendering if room_of(target) in ("storage", "export")}


def test_packages_have_their_file():
    for package, owners in OWNERS.items():
        found = set()
        for name, tree in TREES.items():
            for node in ast.walk(tree):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "needed":
                    names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
                if any(n == package or n.startswith(f"{package}.") for n in names):
                    found.add(name)
        assert found <= owners, package
    replacing = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("os.replace", "os.rename", "os.renames")
    }
    # What runs inside Blender cannot import the package.
    assert {room_of(name) for name in replacing - {"blender.inside"}} == {"system"}


def test_only_the_command_line_prints():
    for name, tree in TREES.items():
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        words = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        from_ = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        # What runs inside Blender has no other way to speak.
        if room_of(name) == "cli" or name in ("blender.inside", "blender.template"):
            continue
        assert "print" not in used, name
        assert "tqdm" not in words | from_, name


def test_imports_inside_functions():
    found = {
        (name, node.module)
        for name, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raydepth")
    }
    assert found == set(LATE_IMPORTS)


def test_doors_hand_on_names_and_compute_nothing():
    for name, path in MODULES.items():
        if path.name != "__init__.py" or name == "":
            continue
        for node in TREES[name].body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            assert is_text or is_all or isinstance(node, (ast.Import, ast.ImportFrom)), name
        handed_on = {
            alias.asname or alias.name
            for node in TREES[name].body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        # A module of the same name would take a function's place once it is imported. (The
        # function `script` of `rd.blender` is public by that name.)
        inside = {
            other.removeprefix(f"{name}.") for other in MODULES if other.startswith(f"{name}.")
        }
        assert handed_on & inside <= ({"script"} if name == "blender" else set()), name


def test_rooms_and_files_stay_small():
    folders = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert max(folders.values()) <= MOST_FILES, folders.most_common(1)
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert max(lines.values()) <= MOST_LINES, max(lines, key=lines.__getitem__)


PUBLIC = [
    "BlenderError", "Bvh", "Cameras", "DepthDataset", "DepthImage", "DeviceError", "DeviceMesh",
    "Mesh", "MeshError", "PointCloud", "RayHits", "Rendering", "StoredMesh", "__version__",
    "blender", "build_bvh", "cameras", "cast_rays", "depth_from_points", "load_mesh",
    "open_dataset", "points_from_depth", "ray_from_z", "read_cameras", "read_depth", "render",
    "render_dataset", "render_many", "write_cameras", "write_depth", "z_from_ray",
]  # fmt: skip


def test_the_front_door_opens_to_the_library():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in found for alias in node.names]
    assert sorted(names) == raydepth.__all__ == dir(raydepth) == PUBLIC
    # A module of the same name would take a function's place once it is imported.
    assert set(names) & set(MODULES) == {"blender", "cameras"}
    for name in names:
        assert getattr(raydepth, name) is not None


def test_modules_that_users_have_imported_still_have_their_names():
    from raydepth.camera import Cameras, fisheye_intrinsics  # noqa: F401
    from raydepth.mesh import NORMALIZATIONS, Mesh  # noqa: F401
    from raydepth.outputs import KINDS, OUTPUTS  # noqa: F401
    from raydepth.rendering import Rendering, build_bvh, render  # noqa: F401


def test_there_are_no_circles():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError
    rooms = {
        room: {room_of(t) for name in MODULES if room_of(name) == room for t in IMPORTS[name]}
        - {room}
        for room in ROOMS
    }
    graphlib.TopologicalSorter(rooms).prepare()


def test_the_test_sees_imports(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(
        "import raydepth.mesh\nfrom raydepth import kernels, parallel as p\n"
        "from raydepth.bvh import Bvh\ndef f():\n    from raydepth.readers import ply\n"
    )
    known = {"mesh", "kernels", "parallel", "bvh", "readers", "readers.ply", "cli"}
    assert imports(source, known) == known - {"cli"}


# --- outputs --------------------------------------------------------------------------------------


def test_every_output_has_a_filler_a_storage_rule_and_an_oracle():
    check_filled(tuple(OUTPUTS))
    assert sorted(name for names in FILLERS.values() for name in names) == sorted(OUTPUTS)
    for name, output in OUTPUTS.items():
        assert (output.stored == "grey") == (name in GREY), name
    # Each is compared with the brute force of tests/support/oracle.py, or with closed forms.
    tested = "".join(path.read_text() for path in (ROOT / "tests" / "outputs").glob("*.py"))
    for name in OUTPUTS:
        assert re.search(rf"\b{name.removesuffix('_camera')}\b", tested), name


def test_an_output_without_a_filler_is_refused_before_any_pixel(monkeypatch):
    import shapes

    import raydepth as rd
    from raydepth.outputs import table

    for filler in ("describe", "nobody"):
        forgotten = table.Output("float", 1, "0", filler, "forgotten")
        monkeypatch.setitem(OUTPUTS, "forgotten", forgotten)
        with pytest.raises(NotImplementedError, match="forgotten"):
            rd.render(rd.Mesh(*shapes.cube()), rd.cameras.ring(1, size=4), outputs=("forgotten",))


# --- words ----------------------------------------------------------------------------------------


@cache
def names_in(module: str) -> frozenset[str]:
    """Everything a module defines or imports at its top, with the members of its classes."""
    found = set()
    for node in TREES[module].body:
        for part in ast.walk(node):
            if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
                found.add(part.name)
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                found.add(part.id)
            elif isinstance(part, (ast.Import, ast.ImportFrom)):
                found |= {alias.asname or alias.name for alias in part.names}
            elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                found.add(part.attr)
    inside = {m.removeprefix(f"{module}.") for m in MODULES if m.startswith(f"{module}.")}
    return frozenset(found | {name for name in inside if "." not in name})


def words(path: Path) -> str:
    """The docstrings and comments of a file."""
    text = path.read_text(encoding="utf-8")
    found = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
        or (token.type == tokenize.STRING and token.string.startswith('"""'))
    ]
    return "\n".join(found)


FILES = {
    path.name
    for folder in ("raydepth", "tests", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
}
BY_LAST_NAME: dict[str, list[str]] = {}
for _module in MODULES:
    BY_LAST_NAME.setdefault(_module.split(".")[-1], []).append(_module)


@cache
def members() -> dict[str, set[str]]:
    """The classes of the package with what they and others define: methods and attributes."""
    found: dict[str, set[str]] = {}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(
                    getattr(part, "name", "") or getattr(part, "attr", "") or part.id
                    for part in ast.walk(node)
                    if isinstance(part, (ast.FunctionDef, ast.Attribute, ast.Name))
                )
    return found


def stale_references(path: Path) -> list[str]:
    """Names of files and of `module.name` in a file's words that do not exist."""
    text = words(path)
    stale = [name for name in re.findall(r"\b(\w+\.py)\b", text) if name not in FILES | {"THIS.py"}]
    for first, second in re.findall(r"`(?:raydepth\.|rd\.)?(\w+)\.(\w+)", text):
        if second == "py":
            continue
        if first in members():
            exists = any(second in names for names in members().values())
        elif first in BY_LAST_NAME:
            exists = any(second in names_in(module) for module in BY_LAST_NAME[first])
        else:
            continue
        if not exists:
            stale.append(f"{first}.{second}")
    return stale


@pytest.mark.parametrize("module", sorted(MODULES))
def test_words_name_what_exists(module):
    assert stale_references(MODULES[module]) == []


def test_the_test_sees_stale_words(tmp_path):
    source = tmp_path / "a.py"
    source.write_text('"""See prepare.py, kernels.py and `kernels._along`."""\n# `kernels.shear`\n')
    assert stale_references(source) == ["prepare.py", "kernels._along"]


# --- imports --------------------------------------------------------------------------------------


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
