"""What the README and the docstrings show, run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth.dataset.write_mesh import write_views
from raydepth.storage.forms import STORES
from raydepth.storage.layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def bunny(tmp_path, monkeypatch):
    """A folder with a mesh of the README's name in it."""
    vertices, faces = shapes.icosphere(levels=4)
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property double {axis}" for axis in "xyz"]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [f"{x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    (tmp_path / "bunny.ply").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)


def test_python_examples(bunny):
    example, reader, _ = PYTHON
    assert example.count("\n") <= 12
    names: dict = {}
    exec(example, names)
    result, image = names["result"], names["image"]
    assert result.depth.shape == (24, 512, 512)
    assert result.depth.dtype == np.float32
    assert result.triangle_id.dtype == np.int32
    assert image.kind == "z"
    assert image.values_per_unit == 10000
    assert (image.camera.world_from_camera == names["cameras"][0].world_from_camera).all()

    exec(reader, names)
    assert names["v"].dtype == np.uint16
    hit = np.isfinite(result.depth[0])
    assert (np.isfinite(names["z"]) == hit).all()
    assert np.abs(names["z"][hit] - result.depth[0][hit]).max() <= 0.5 / 10000 + 1e-7


def test_the_example_of_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mesh = rd.Mesh(*shapes.cube(), name="cube")
    write_views(mesh, rd.cameras.fibonacci(3, size=16), tmp_path / "out" / "cube")
    names: dict = {}
    exec(PYTHON[2], names)
    assert capsys.readouterr().out.startswith("cube 3 z 16 {'name': 'cube'")
    assert names["depth"].dtype == np.float32


def test_table_of_forms_is_from_the_results():
    results = json.loads((ROOT / "benchmarks/results/encode.json").read_text())["sizes"]
    small, large = results["256"]["forms"], results["512"]["forms"]
    for name in STORES.keys() - LAYOUTS.keys() - {"ply"}:  # points, not images
        (row,) = (line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
        times = [f"{forms[name]['milliseconds']:.2f} ms" for forms in (small, large)]
        sizes = [f"{forms[name]['bytes'] / 1e3:.0f} kB" for forms in (small, large)]
        assert f"| {', '.join(times)} | {', '.join(sizes)} |" in row


def test_public_names_exist():
    assert all(hasattr(rd, name) for name in rd.__all__)
    assert sorted(rd.__all__) == list(rd.__all__)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_measured_table_is_from_the_results():
    """Every row of the README's table is what the benchmark wrote."""
    results = json.loads((ROOT / "benchmarks/results/accuracy.json").read_text())
    for name, row in results["rows"].items():
        errors = f"{row['ulps_median']:.0f} / {row['ulps_99.9']:.0f} / {row['ulps_max']}"
        expected = f"| {name} {row['version']} | {row['wrong_hits']} | {errors} |"
        assert expected in README
