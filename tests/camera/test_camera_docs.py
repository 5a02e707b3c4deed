"""docs/cameras.md: names all there is, its pictures are made by its script, its code runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import imageio.v3 as iio
import pytest

import raydepth as rd
from raydepth.camera.files import colmap
from raydepth.camera.files.formats import FORMATS
from raydepth.camera.placements import words
from raydepth.camera.placements.table import PLACEMENTS
from raydepth.cli import commands
from raydepth.storage.layouts import LAYOUTS

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "cameras.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(DOCS / "camera_pictures.py"))


def test_it_names_every_placement_word_format_and_layout():
    for name in PLACEMENTS:
        assert f"`{SCRIPT['SPECS'][name]}`" in TEXT
        assert f"cameras/{name}.png" in TEXT
    assert all(f"`{word}=" in TEXT for word in words.CHANGES)
    assert all(f"| `{name}` |" in TEXT for name in [*FORMATS, *LAYOUTS])
    assert all(file in TEXT for layout in LAYOUTS.values() for file in layout.beside)
    assert all(model in TEXT for model in colmap.MODELS)


def test_every_picture_is_there_and_used():
    used = set(re.findall(r"\((cameras/\w+\.png)\)", TEXT))
    assert {f"cameras/{name}.png" for name in SCRIPT["SPECS"]} <= used
    for name in used:
        assert iio.improps(DOCS / name).shape[:2] == (SCRIPT["SIZE"],) * 2
    assert sum(file.stat().st_size for file in (DOCS / "cameras").glob("*.png")) < 500_000


def test_the_script_draws_them(tmp_path, monkeypatch):
    """Not compared in bytes: another Pillow may draw lines and digits a little differently."""
    SCRIPT["draw"](tmp_path)
    for name in SCRIPT["SPECS"]:
        made, shown = (
            iio.imread(folder / f"{name}.png") for folder in (tmp_path, DOCS / "cameras")
        )
        assert made.shape == shown.shape
        assert abs(made.astype(float) - shown).mean() < 8, f"{name}.png is another picture"


def test_its_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    first, second = (eval(line, {"rd": rd}) for line in code.strip().splitlines()[2:])
    assert (first.world_from_camera == second.world_from_camera).all()
    (command,) = re.findall(r"```\npython -m raydepth (.*)\n```", TEXT)
    assert commands.main(command.split()) == 0
    assert len(rd.read_cameras("cameras.json")) == 24


@pytest.mark.parametrize("name", sorted(SCRIPT["CHANGED"]))
def test_the_changed_ones_differ(name):
    spec = SCRIPT["CHANGED"][name]
    assert name in words.parse(spec).changes
