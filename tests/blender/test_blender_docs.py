"""docs/blender.md as it stands: every block runs, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import shapes
from blender_runs import run_script
from mesh_files import write_obj

import raydepth as rd
from raydepth.cli import commands

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "blender.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE)
IN_BLENDER = "# in Blender\n"

OPEN = "import bpy\nbpy.ops.wm.open_mainfile(filepath={!r}, load_ui=False)\n"


def test_every_block_compiles():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert sum(code.startswith(IN_BLENDER) for _, code in BLOCKS) == 3
    for language, code in BLOCKS:
        if language == "python":
            compile(code, "docs/blender.md", "exec")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", DOC):
        if target.startswith("#"):
            headings = re.findall(r"^#+ (.*)$", DOC, re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert target[1:] in anchors
        elif "://" not in target:
            assert (ROOT / "docs" / target).exists(), target


def run_python(code: str, names: dict) -> None:
    """Run a block; what it prints is what stands in the comments behind its prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, names)
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert said.getvalue().splitlines() == expected


@pytest.mark.blender
def test_every_block_runs_and_prints_what_it_says(blender, scenes, tmp_path, monkeypatch, capsys):
    pytest.importorskip("OpenEXR")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYDEPTH_BLENDER", blender.program)
    shutil.copy(scenes / "question.blend", "scene.blend")
    write_obj(tmp_path / "ball.obj", *shapes.icosphere(levels=4))
    names: dict = {}
    for i, (language, code) in enumerate(BLOCKS):
        if language == "sh":
            for line in code.splitlines():
                command = shlex.split(line)
                assert command[:3] == ["python", "-m", "raydepth"]
                assert commands.main(command[3:]) == 0
        elif code.startswith(IN_BLENDER):
            block = tmp_path / f"block{i}.py"
            block.write_text(OPEN.format(str(tmp_path / "scene.blend")) + code)
            run_script(blender, block, cwd=tmp_path)
        else:
            run_python(code, names)

    # The commands wrote what the text says they do, and so does the script.
    assert np.isfinite(rd.read_depth("out/scene/000.png").depth).any()
    assert sorted(file.name for file in Path("frames/scene").glob("*.npy")) == [
        "000.npy",
        "001.npy",
        "002.npy",
    ]
    assert "<svg" in Path("report.html").read_text(encoding="utf-8")
    run_script(blender, tmp_path / "setup.py", tmp_path / "folder")
    assert len(list((tmp_path / "folder").glob("*.exr"))) == 3


@pytest.mark.blender
def test_normalize_makes_all_images_alike(blender, scenes, tmp_path):
    """Two balls, of which the smaller begins farther away, and both are 0 to 65535."""
    import imageio.v3 as iio

    asked = next(code for _, code in BLOCKS if code.startswith(IN_BLENDER))
    asked = asked.replace('"RGB"', '"BW"').replace(
        'nodes.links.new(layers.outputs["Depth"], output.inputs[0])',
        'normalize = nodes.nodes.new("CompositorNodeNormalize")\n'
        'nodes.links.new(layers.outputs["Depth"], normalize.inputs[0])\n'
        "nodes.links.new(normalize.outputs[0], output.inputs[0])",
    )
    assert "Normalize" in asked
    shutil.copy(scenes / "question.blend", tmp_path / "scene.blend")
    for radius in (0.5, 0.25):
        smaller = (
            "for thing in bpy.context.scene.objects:\n"
            "    if thing.type == 'MESH':\n"
            f"        thing.scale = ({radius / 0.5},) * 3\n"
        )
        block = tmp_path / "block.py"
        block.write_text(OPEN.format(str(tmp_path / "scene.blend")) + smaller + asked)
        run_script(blender, block)
        image = iio.imread(tmp_path / "asked" / "depth0001.png")
        assert (image.dtype, image.min(), image.max()) == (np.uint16, 0, 65535)
