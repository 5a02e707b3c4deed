"""Mesh files made in code; as a program, writes some that any renderer should take.

python tests/mesh_files.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import shapes


def write_obj(path: Path, vertices, faces) -> Path:
    """An OBJ file that gives back the same vertices, bit for bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces.tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_off(path: Path, vertices, faces) -> Path:
    """An OFF file that gives back the same vertices, bit for bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["OFF", f"{len(vertices)} {len(faces)} 0"]
    lines += [f"{x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


if __name__ == "__main__":
    from raydepth.mesh.shapes import torus_knot

    knot = torus_knot(192, 24)
    write_off(Path(sys.argv[1], "ball.off"), *shapes.icosphere())
    write_off(Path(sys.argv[1], "room.off"), *shapes.cube())
    write_off(Path(sys.argv[1], "soup.off"), *shapes.soup(11))
    write_off(Path(sys.argv[1], "knot.off"), knot.vertices, knot.faces)
