"""docs/outputs.md as it stands: its table, its code and its picture."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from raydepth.outputs.table import OUTPUTS
from raydepth.storage.output_files import described

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "outputs.md").read_text(encoding="utf-8")


def rows(first_column):
    """The cells of the tables' rows that begin so."""
    lines = [line for line in TEXT.splitlines() if line.startswith(f"| {first_column} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_table_says_what_is_so(name):
    output = OUTPUTS[name]
    _, shape, dtype, miss, _ = rows(f"`{name}`")[0]
    axes = ["height", "width"] + ([str(output.channels)] if output.channels > 1 else [])
    assert shape == f"`{', '.join((['hits'] if name == 'hits' else []) + axes)}`"
    assert dtype == output.dtype
    words = {"miss": "`miss` (+inf)", "false": "False", "nan": "NaN"}
    assert miss == words.get(output.miss, " ".join([output.miss] * output.channels))


def test_the_table_of_files_says_what_is_so():
    for name, form in described(tuple(set(OUTPUTS) - {"z", "ray"})).items():
        if form["mapping"] != "as it is":
            (file, meaning) = rows(f"`{name}`")[1][1:]
            bits = form["dtype"].removeprefix("uint")
            assert file == f"`000{form['suffix']}`, {bits}-bit grey"
            assert meaning.startswith(form["mapping"].split(",")[0].removesuffix(" hit"))


def test_the_code_runs(tmp_path, monkeypatch):
    trimesh = pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    box = trimesh.creation.box()
    box.visual = trimesh.visual.TextureVisuals(uv=np.random.default_rng(0).random((8, 2)))
    scene = trimesh.Scene()
    scene.add_geometry(box, node_name="box")
    scene.export("scene.glb")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)
    result, cloud = names["result"], names["cloud"]
    assert result["normal"].shape == (4, 64, 64, 3)
    assert names["mesh"].instances == ("box",)
    assert np.isfinite(result["uv"][result["instance"] >= 0]).all()
    assert names["points"].shape == (4, 64, 64, 3)
    assert names["depth"].shape == (4, len(cloud.points))
    read = trimesh.load("cloud.ply")
    np.testing.assert_allclose(read.vertices, cloud.points, atol=1e-6)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (DOCS / target).exists(), target


def test_the_picture_is_made_by_its_code():
    made = runpy.run_path(str(DOCS / "outputs_picture.py"))["picture"]()
    committed = imageio.v3.imread(DOCS / "outputs.png")
    assert made.shape == committed.shape
    # Letters differ between versions of the library that draws them.
    assert np.abs(made.astype(int) - committed).mean() < 0.5
