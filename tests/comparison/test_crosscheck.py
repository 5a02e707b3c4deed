"""raydepth beside Blender: a real Blender's stored answers, and the live one where there is one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from blender_runs import GOLDEN
from shapes import icosphere, square

import raydepth as rd
from raydepth.blender.process import Answer, Blender, run
from raydepth.cli import commands
from raydepth.comparison.blender.reference import (
    MODES,
    Section,
    blender_job,
    compare_with_answer,
    compare_with_blender,
    measured_kind,
    read_back,
)
from raydepth.comparison.blender.report import Report
from raydepth.errors import BlenderError


class Stored(NamedTuple):
    """A job that a real Blender did, and its answer."""

    mesh: rd.Mesh
    mode: str
    job: dict
    arrays: dict
    placed: rd.Cameras
    answer: Answer

    def compared(self, answer: Answer | None = None, **options) -> Section:
        answer = answer or self.answer
        seen = read_back(answer, self.placed)
        return compare_with_answer(
            self.mesh, self.arrays["vertices"], seen, answer, mode=self.mode, **options
        )


def stored(path: Path) -> Stored:
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name] for name in ("vertices", "faces")}
        answer = Answer(about["version"], about["data"], {"depth": file["depth"]})
    mesh = rd.Mesh(arrays["vertices"][0], arrays["faces"], name=path.stem)
    placed = rd.Cameras.from_json(about["placed"])
    return Stored(mesh, about["mode"], about["job"], arrays, placed, answer)


GOLDENS = {path.stem: path for path in sorted((GOLDEN / "depth").glob("*.npz"))}


@pytest.fixture(params=GOLDENS)
def golden(request) -> Stored:
    return stored(GOLDENS[request.param])


def with_depth(case: Stored, depth: np.ndarray, **data) -> Answer:
    """The stored answer with other depths."""
    return replace(case.answer, arrays={"depth": depth}, data={**case.answer.data, **data})


def test_there_are_goldens_of_both_modes_and_models():
    cases = [stored(path) for path in GOLDENS.values()]
    assert {case.mode for case in cases} == set(MODES)
    assert {case.placed.model for case in cases} == {"perspective", "orthographic"}
    assert all(re.match(r"\d+\.\d+\.\d+", case.answer.version) for case in cases)


@pytest.mark.parametrize("kind", ["z", "ray"])
def test_raydepth_agrees_with_the_stored_blender(golden, kind):
    section = golden.compared(kind=kind)
    assert section.agrees, section.verdict
    assert section.verdict == "agree"
    assert section.pass_kind == "z"
    assert section.total["hit_by_both"] > 0.05 * section.total["pixels"]
    assert 0.0 < section.total["worst_error_over_bound"] <= 1.0
    assert sum(view["hit_by_both"] for view in section.views) == section.total["hit_by_both"]


@pytest.mark.blender
def test_the_live_blender_gives_what_is_stored(golden, blender):
    answer = run(blender, golden.job, golden.arrays)
    live, old = golden.compared(answer), golden.compared()
    assert live.agrees, live.verdict
    sure = ~(live.in_band | old.in_band)
    hit, old_hit = np.isfinite(live.reference), np.isfinite(old.reference)
    assert (hit == old_hit)[sure].all()
    both = hit & old_hit & sure
    difference = np.abs(live.reference[both] - old.reference[both])
    # Two versions may round differently; each stays within the bound of the exact depth.
    assert (difference <= 2.0 * live.found.bound[both]).all()
    for name in ("intrinsics", "world_from_camera"):
        cameras = [getattr(read_back(a, golden.placed), name) for a in (answer, golden.answer)]
        np.testing.assert_allclose(*cameras, rtol=1e-6, atol=1e-6)


# --- Planted errors


def test_planted_errors_are_found_and_named():
    case = stored(GOLDENS["ball_camera"])
    depth = case.answer.arrays["depth"].copy()
    hits = np.argwhere(depth[0] < 1e10)
    middle, other = map(tuple, hits[[len(hits) // 2, len(hits) // 3]])
    depth[0][middle] = 1e10
    depth[0][other] *= 1 + 1e-4
    depth[1][0, 0] = 1.0
    section = case.compared(with_depth(case, depth))
    assert not section.agrees
    assert section.total["only_raydepth"] == {"outside_band": 1, "inside_band": 0}
    assert section.total["only_reference"] == {"outside_band": 1, "inside_band": 0}
    assert section.total["beyond_bound"] == {"outside_band": 1, "inside_band": 0}
    assert section.total["judged"]["pixels"] == section.total["judged"]["raydepth_right"] == 3
    assert section.verdict == (
        "differ: 1 pixel that only raydepth hits; 1 pixel that only Blender hits; 1 pixel beyond "
        "the bound; a float64 test of all triangles finds raydepth right there"
    )
    assert [view["only_reference"]["outside_band"] for view in section.views] == [0, 1]


def test_a_euclidean_pass_is_recognised_and_converted():
    case = stored(GOLDENS["knot_pose"])
    seen = read_back(case.answer, case.placed)
    rendering = rd.render(
        rd.Mesh(case.arrays["vertices"][0], case.arrays["faces"]), seen, kind="ray", miss=1e10
    )
    probe = {"middle": 2.0004, "corner": 2.0 * 1.714, "slant": 1.714}
    for kind in ("z", "ray"):
        section = case.compared(with_depth(case, rendering.depth, probe=probe), kind=kind)
        assert section.pass_kind == "ray"
        assert section.agrees
        assert section.total["error_ulps"]["max"] <= 1.5
    # Taken for planar it is wrong nearly everywhere.
    assert not case.compared(with_depth(case, rendering.depth)).agrees


def test_a_pass_that_is_neither_is_refused():
    assert measured_kind({"middle": 2.0, "corner": 2.0, "slant": 1.7}) == "z"
    assert measured_kind({"middle": 2.0, "corner": 3.4, "slant": 1.7}) == "ray"
    with pytest.raises(BlenderError, match=r"neither planar nor Euclidean: .*2 times"):
        measured_kind({"middle": 1.0, "corner": 2.0, "slant": 1.7})


def test_a_camera_that_blender_changed_is_refused():
    case = stored(GOLDENS["ball_pose"])
    cameras = [dict(camera) for camera in case.answer.data["cameras"]]
    cameras[1]["lens"] *= 1.01
    answer = with_depth(case, case.answer.arrays["depth"], cameras=cameras)
    with pytest.raises(BlenderError, match=r"view 1: Blender cannot hold this camera; asked for"):
        read_back(answer, case.placed)


def test_cameras_that_blender_does_not_have():
    mesh = rd.Mesh(*icosphere(levels=0))
    views = rd.cameras.fibonacci(2, size=32)
    skewed = views.intrinsics + np.array([[0, 1.5, 0], [0, 0, 0], [0, 0, 0]])
    cameras = rd.Cameras(skewed, views.world_from_camera, 32)
    with pytest.raises(ValueError, match=r"view 0 has skew 1\.5; Blender's cameras have none"):
        blender_job(mesh, cameras, "pose", 1)


def test_a_mesh_too_small_for_blenders_near_plane():
    mesh = rd.Mesh(icosphere(levels=0)[0] * 1e-9, icosphere(levels=0)[1])
    cameras = rd.cameras.fibonacci(1, radius=2e-9, size=8)
    with pytest.raises(BlenderError, match=r"view 0 sees to 2.*e-09 units only; Blender sees"):
        blender_job(mesh, cameras, "camera", 1)


# --- The report


class Page(NamedTuple):
    text: str

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.text))


def test_the_report_needs_no_other_file():
    case = stored(GOLDENS["room_pose"])
    depth = case.answer.arrays["depth"].copy()
    depth[0, 3, 5] = 1e10
    report = Report()
    report.add(replace_name(case.compared(), "<b>&"))
    assert report.agrees
    assert "They agree" in report.to_html()
    report.add(case.compared(with_depth(case, depth)))
    assert not report.agrees

    page = Page(report.to_html())
    assert "They differ" in page.text
    assert "&lt;b&gt;&amp;" in page.text
    assert "<b>&," not in page.text
    n_views = 2 * len(case.placed)
    assert page.count(r'<img src="data:image/png;base64,') == 3 * n_views == page.count("<img")
    assert page.count('<svg class="histogram"') == n_views
    assert page.count('<circle cx="5.5" cy="3.5"') == page.count("<circle") == 1
    assert page.count(r"<script|<link|https?://|@import|url\(") == 0

    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [section["agrees"] for section in data["sections"]] == [True, False]
    assert data["agrees"] is False
    assert data["sections"][1]["views"][0]["only_raydepth"]["outside_band"] == 1


def replace_name(section: Section, name: str) -> Section:
    return replace(section, mesh=replace(section.mesh, name=name))


def test_a_report_of_nothing_hit():
    case = stored(GOLDENS["ball_camera"])
    nothing = np.full_like(case.answer.arrays["depth"], 1e10)
    behind = dict(case.arrays, vertices=case.arrays["vertices"] + np.float32([0, 0, 9]))
    section = case._replace(arrays=behind).compared(with_depth(case, nothing))
    assert section.agrees
    assert section.total["hit_by_both"] == 0
    assert section.total["error_units"] == {"median": None, "p99": None, "max": None}
    report = Report()
    report.add(section)
    json.dumps(report.to_json(), allow_nan=False)
    assert report.to_html().count("<img") == 6
    assert any(" - / - / -" in line for line in section.lines())


# --- The command line, with a fake Blender

FAKE = """#!/usr/bin/env python3
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[-1])
{}
"""


@pytest.fixture
def ball_file(tmp_path) -> Path:
    vertices, faces = icosphere(levels=1)
    path = tmp_path / "ball.off"
    rows = [f"OFF\n{len(vertices)} {len(faces)} 0"]
    rows += [" ".join(map(repr, map(float, vertex))) for vertex in vertices]
    rows += [f"3 {a} {b} {c}" for a, b, c in faces]
    path.write_text("\n".join(rows) + "\n")
    return path


def fake_blender(tmp_path: Path, code: str) -> Path:
    program = tmp_path / "blender"
    program.write_text(FAKE.format(code))
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashed (SIGSEGV) and left no result"),
        (
            "print('Error: no'); sys.exit(3)",
            "ended with exit code 3 and left no result; its last line was: Error: no",
        ),
        ("time.sleep(60)", "was stopped after 1 s without a result"),
        (
            "(folder / 'result.json').write_text(json.dumps("
            "{'error': 'Error: engine not found', 'blender': '3.0.0'}))",
            "Blender 3.0.0: Error: engine not found",
        ),
    ],
)
def test_a_blender_that_fails(code, words, ball_file, tmp_path, capsys):
    program = fake_blender(tmp_path, code)
    out = tmp_path / "report.html"
    arguments = ["compare", "blender", str(ball_file), "--blender", str(program), "-o", str(out)]
    assert commands.main([*arguments, "--timeout", "1", "--size", "16"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert words in said.err
    assert not out.exists()


def test_no_blender(ball_file, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RAYDEPTH_BLENDER", raising=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    assert commands.main(["compare", "blender", str(ball_file)]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "found no Blender" in error
    assert "pip install bpy==4.5.15" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--views", "circle:3"], "unknown placement 'circle'"),
        (["-o", "nowhere/report.html"], "-o nowhere/report.html: expected a file in a folder"),
        (["--json", "."], "--json .: expected a file"),
    ],
)
def test_wrong_use(arguments, words, ball_file, capsys):
    assert commands.main(["compare", "blender", str(ball_file), *arguments]) == 2
    assert words in capsys.readouterr().err


# --- With a live Blender


@pytest.mark.blender
def test_the_command_line_with_blender(blender: Blender, ball_file, tmp_path, capsys):
    out, data = tmp_path / "report.html", tmp_path / "report.json"
    arguments = ["compare", "blender", str(ball_file), "--blender", blender.program]
    arguments += ["--views", "fibonacci:2", "--size", "48x40", "--second-opinion", "--kind", "ray"]
    assert commands.main([*arguments, "-o", str(out), "--json", str(data)]) == 0
    said = capsys.readouterr().out
    assert "ball, mode camera: agree\n" in said
    assert "ball, mode pose: agree\n" in said
    assert out.read_text().count("<img") == 12
    sections = json.loads(data.read_text())["sections"]
    assert [section["kind"] for section in sections] == ["ray", "ray"]
    for section in sections:
        opinion = section["second_opinion"]
        assert opinion["hit_by_both"] == section["total"]["hit_by_both"] > 0
        assert opinion["only_raydepth"]["outside_band"] == 0
        assert opinion["only_reference"]["outside_band"] == 0
        assert opinion["error_units"]["max"] < 1e-5


@pytest.mark.blender
def test_faces_with_a_corner_twice_do_not_disturb_blender(blender):
    vertices, faces = square(0.4)
    faces = np.concatenate([[(0, 0, 1), (2, 2, 2)], faces]).astype(np.int32)
    mesh = rd.Mesh(vertices, faces)
    cameras = rd.cameras.ring(1, elevation=70, size=24)
    section = compare_with_blender(mesh, cameras, blender, mode="camera", threads=1)
    assert section.agrees, section.verdict
    assert section.total["hit_by_both"] > 100
