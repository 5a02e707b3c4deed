"""Placements: closed forms, orders, what they may be changed by, and their words."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest

import raydepth as rd
from raydepth.camera.placements import changes, rings, solids, spread, words
from raydepth.camera.placements.table import PLACEMENTS
from raydepth.cameras import from_spec

ALL = [words.example(name) for name in PLACEMENTS]
# Vertices, and how many of them are nearest to each: the degree of the solid's vertices.
SOLIDS = {
    "tetrahedron": (4, 3, -1 / 3),
    "cube": (8, 3, 1 / 3),
    "octahedron": (6, 4, 0.0),
    "dodecahedron": (20, 3, np.sqrt(5) / 3),
    "rotationnet": (20, 3, np.sqrt(5) / 3),
    "icosahedron": (12, 5, 1 / np.sqrt(5)),
}


def directions_of(spec: str) -> np.ndarray:
    placement = words.parse(spec)
    return PLACEMENTS[placement.name](**placement.arguments)


@pytest.mark.parametrize("spec", ALL)
def test_directions_have_length_1_and_are_the_same_every_time(spec):
    directions = directions_of(spec)
    assert directions.dtype == np.float64
    assert np.abs(np.linalg.norm(directions, axis=1) - 1).max() < 1e-15
    assert directions.tobytes() == directions_of(spec).tobytes()


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_every_placement_makes_cameras_that_look_at_the_origin(spec, up):
    cameras = from_spec(f"{spec}{',' if ':' in spec else ':'}up={up}", radius=2.0, size=4)
    poses = cameras.world_from_camera
    assert np.isfinite(poses).all()
    assert np.allclose(poses[:, :3, 3] + 2.0 * poses[:, :3, 2], 0, atol=1e-14)
    function = getattr(rd.cameras, spec.partition(":")[0])
    required = [float(w.rpartition("=")[2]) for w in spec.partition(":")[2].split(",") if w]
    same = function(*map(int, required), up=up, radius=2.0, size=4)
    assert same.world_from_camera.tobytes() == poses.tobytes(), "by function and in words"


@pytest.mark.parametrize("name", SOLIDS)
def test_solids(name):
    n, degree, cosine = SOLIDS[name]
    vertices = PLACEMENTS[name]()
    assert vertices.shape == (n, 3)
    assert np.abs(vertices.mean(axis=0)).max() < 1e-15
    cosines = vertices @ vertices.T
    np.fill_diagonal(cosines, -1)
    assert np.allclose(cosines.max(axis=1), cosine, atol=1e-15)
    assert (np.abs(cosines - cosine) < 1e-12).sum(axis=1).tolist() == [degree] * n


def test_orders_of_the_solids():
    assert np.sign(solids.tetrahedron()).tolist() == [
        [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]
    ]  # fmt: skip
    corners = [list(c) for c in itertools.product((-1, 1), repeat=3)]
    assert np.sign(solids.cube()).tolist() == corners
    assert solids.octahedron()[[0, 3, 4]].tolist() == [[1, 0, 0], [0, -1, 0], [0, 0, 1]]
    assert np.allclose(solids.dodecahedron()[:8], solids.cube())
    assert [(v == 0).argmax() for v in solids.icosahedron()] == [0] * 4 + [1] * 4 + [2] * 4


def test_rotationnets_order():
    """As listed in render_views.m of its authors, which MVCNN's 80 views come from, too."""
    listed = "+++++-+-++---++-+---+---0++0+-0-+0--+0++0--0+-0-++0-+0+-0--0"
    signs = np.array(["-0+".index(sign) - 1 for sign in listed]).reshape(20, 3).tolist()
    vertices = solids.rotationnet()
    assert np.sign(vertices).tolist() == signs
    golden = (1 + np.sqrt(5)) / 2
    assert np.allclose(np.abs(vertices[8]), np.array([0, 1 / golden, golden]) / np.sqrt(3))
    assert np.allclose(np.abs(vertices[12]), np.array([golden, 0, 1 / golden]) / np.sqrt(3))
    assert np.allclose(np.abs(vertices[16]), np.array([1 / golden, golden, 0]) / np.sqrt(3))
    order = [np.abs(solids.dodecahedron() - vertex).sum(axis=1).argmin() for vertex in vertices]
    assert sorted(order) == list(range(20)), "the same vertices as those of dodecahedron"


def test_hammersley():
    """The radical inverse by its definition, and the lattice's star discrepancy in azimuth."""
    n = 64
    directions = spread.hammersley(n)
    assert np.allclose(directions[:, 2], 1 - (2 * np.arange(n) + 1) / n)
    turns = np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi) % 1
    inverse = [int(f"{i:06b}"[::-1], 2) / 64 for i in range(n)]
    assert np.allclose(turns, inverse, atol=1e-12)
    assert np.abs(directions.mean(axis=0)).max() < 0.05
    assert np.isfinite(spread.hammersley(1)).all()


def test_latlong():
    grid = rings.latlong(3, 4)
    assert np.allclose(np.degrees(np.arcsin(grid[:, 2])), np.repeat([-60, 0, 60], 4))
    assert np.allclose(np.degrees(np.arctan2(grid[:4, 1], grid[:4, 0])) % 360, [0, 90, 180, 270])
    band = rings.latlong(2, 1, lowest=0, highest=40)
    assert np.allclose(np.degrees(np.arcsin(band[:, 2])), [10, 30])


@pytest.mark.parametrize("levels", range(4))
def test_icosphere(levels):
    vertices = solids.icosphere(levels)
    assert len(vertices) == 10 * 4**levels + 2
    assert np.abs(vertices.mean(axis=0)).max() < 1e-15
    cosines = vertices @ vertices.T
    np.fill_diagonal(cosines, -1)
    angles = np.degrees(np.arccos(cosines.max(axis=1)))
    # An icosahedron's edges are 63.43 degrees; in the middle of its faces they become longer.
    assert 63.43 / 2**levels / 1.2 < angles.min()
    assert angles.max() < 63.44 / 2**levels * 1.2
    if levels:
        coarser = solids.icosphere(levels - 1)
        assert (vertices[: len(coarser)] == coarser).all()


def test_mvcnn():
    assert (rings.mvcnn12() == rings.ring(12, 30.0)).all()
    cameras = rd.cameras.mvcnn80(size=4)
    assert len(cameras) == 80
    assert (cameras.centres == np.repeat(cameras.centres[::4], 4, axis=0)).all()
    unrolled = rd.cameras.rotationnet(size=4)
    assert (cameras[::4].world_from_camera == unrolled.world_from_camera).all()
    assert len(from_spec("mvcnn80:rolls=2", size=4)) == 40


def test_r2n2():
    directions = rings.r2n2()
    elevation = np.degrees(np.arcsin(directions[:, 2]))
    assert len(directions) == 24
    assert elevation.min() >= 25
    assert elevation.max() <= 30
    assert (rings.r2n2(1) != directions).any()


def test_random_bands():
    band = spread.random(4000, seed=2, lowest=10, highest=50)
    low, high = np.sin(np.radians([10, 50]))
    assert low <= band[:, 2].min() < low + 0.01
    assert high - 0.01 < band[:, 2].max() <= high
    assert band[:, 2].mean() == pytest.approx((low + high) / 2, abs=0.01), "uniform in area"
    half = spread.hemisphere(4000, seed=2)
    assert half[:, 2].min() >= 0
    assert half[:, 2].mean() == pytest.approx(0.5, abs=0.02)


def test_rolls_turn_around_the_axis():
    straight = rd.cameras.ring(2, size=4)
    for angle in (90.0, 30.0, -45.0, 200.0):
        rolled = rd.cameras.ring(2, size=4, rolls=(0.0, angle))
        assert (rolled[::2].world_from_camera == straight.world_from_camera).all()
        poses, c, s = rolled[1::2], np.cos(np.radians(angle)), np.sin(np.radians(angle))
        right, down = straight.world_from_camera[:, :3, 0], straight.world_from_camera[:, :3, 1]
        assert np.allclose(poses.world_from_camera[:, :3, 0], c * right + s * down, atol=1e-15)
        assert (poses.world_from_camera[:, :, 2:] == straight.world_from_camera[:, :, 2:]).all()
        assert np.allclose(np.linalg.det(poses.world_from_camera), 1)
    # Clockwise from behind: what was to the right is now at the top.
    quarter = rd.cameras.ring(1, size=4, rolls=(90.0,))
    right = straight[0].world_from_camera[0, :3, 0]
    assert np.allclose(quarter.camera_from_world[0, :3, :3] @ right, [0, -1, 0])


def test_shells_come_radius_by_radius():
    cameras = from_spec("fibonacci:5,radii=1.5+2+4,rolls=2", size=4)
    assert np.allclose(np.linalg.norm(cameras.centres, axis=1), np.repeat([1.5, 2, 4], 10))
    inner = rd.cameras.fibonacci(5, size=4)
    assert (cameras[:10:2].world_from_camera == inner.world_from_camera).all()


def test_jitter():
    exact = spread.fibonacci(3000)
    moved = changes.jittered(exact, 5.0, seed=1)
    assert moved.tobytes() == changes.jittered(exact, 5.0, seed=1).tobytes()
    assert (moved != changes.jittered(exact, 5.0, seed=2)).any()
    assert np.abs(np.linalg.norm(moved, axis=1) - 1).max() < 1e-15
    angle = np.degrees(2 * np.arcsin(np.linalg.norm(moved - exact, axis=1) / 2))
    assert 4.9 < angle.max() <= 5.0 + 1e-9
    # Uniform in area: half of them lie within the cap of half the area.
    assert np.median(angle) == pytest.approx(5 / np.sqrt(2), abs=0.1)
    assert np.abs((moved - exact).mean(axis=0)).max() < 0.005, "in no direction more than another"
    tiny = changes.jittered(exact, 1e-12, seed=1)
    assert 0 < np.linalg.norm(tiny - exact, axis=1).max() < 1e-13
    poles = changes.jittered(np.array([[0, 0, 1.0], [0, 0, -1]]), 1.0, seed=0)
    assert np.isfinite(poles).all()


def test_azimuth_turns_all():
    turned = rd.cameras.ring(4, elevation=0, azimuth=90, size=4)
    assert np.allclose(turned.centres, np.roll(rd.cameras.ring(4, 0, size=4).centres, -1, axis=0))
    assert np.allclose(from_spec("ring:1,azimuth=90,elevation=0,up=y").centres, [[1.5, 0, 0]])


def test_words():
    found = words.parse("ring:12,elevation=30,radii=1.5+2,rolls=0+45,jitter=5,seed=3,up=y")
    assert (found.name, found.arguments) == ("ring", {"n": 12, "elevation": 30.0})
    assert found.changes == {
        "radii": (1.5, 2.0), "rolls": (0.0, 45.0), "jitter": 5.0, "seed": 3, "up": "y"
    }  # fmt: skip
    assert words.parse("latlong:rows=2,columns=3") == words.parse("latlong:2,columns=3")
    both = from_spec("random:4,seed=3,jitter=2", size=4)
    same = rd.cameras.random(4, seed=3, jitter=2, size=4)
    assert both.world_from_camera.tobytes() == same.world_from_camera.tobytes()


def test_help_names_every_word():
    text = words.help_text()
    for name, function in PLACEMENTS.items():
        assert f"\n  {words.example(name)}" in text
        for parameter in inspect.signature(function).parameters:
            assert parameter in text or parameter in ("n", "rows", "levels")
    assert all(f"\n  {key} " in text for key in words.CHANGES)
    assert max(map(len, text.splitlines())) <= 100


BAD = [
    ("spiral:3", "unknown placement 'spiral'; expected one of fibonacci"),
    ("hammersley", "lacks its number of views; expected for example hammersley:24"),
    ("latlong:3", "lacks its columns; expected for example latlong:3,columns=8"),
    ("cube:3", "'3' is not understood; cube takes azimuth, radii"),
    ("fibonacci:3,spin=2", "'spin=2' is not understood; fibonacci takes n, azimuth"),
    ("fibonacci:3,radii=1+x", r"radii is '1\+x'; expected numbers joined by \+"),
    ("fibonacci:3,radii=0", "radius is 0; expected units above 0"),
    ("fibonacci:3,rolls=0", "rolls is 0; expected 1 to"),
    ("fibonacci:3,rolls=1.5", "rolls is '1.5'; expected a whole number, or degrees"),
    ("fibonacci:3,jitter=0", "jitter is 0.0; expected degrees above 0"),
    ("fibonacci:3,jitter=nan", "jitter is 'nan'; expected a number"),
    ("fibonacci:3,seed=3", "seed is 3, but fibonacci draws nothing"),
    ("random:3,seed=-1", "seed is -1; expected a whole number from 0"),
    ("random:3,lowest=20,highest=10", "lowest is 20.0 and highest 10.0; expected lowest below"),
    ("random:3,lowest=-100", "lowest is -100.0; expected degrees from -90 to 90"),
    ("fibonacci:3,up=w", "up is 'w'; expected x, y or z"),
    ("fibonacci:3,n=4", "n is given twice"),
    ("icosphere:9", "levels is 9; expected 0 to 8"),
    ("icosphere:x", "levels is 'x'; expected a whole number"),
    ("fibonacci:1000000,rolls=2", "2000000 views; expected 1000000 at most"),
    ("latlong:1001,columns=1000", "the number of views is 1001000; expected 1 to 1000000"),
    ("", "unknown placement ''"),
]


@pytest.mark.parametrize(("spec", "message"), BAD, ids=[spec for spec, _ in BAD])
def test_bad_words(spec, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_spec(spec, size=4)
    assert "\n" not in str(caught.value)


def test_what_is_said_twice_is_refused():
    with pytest.raises(ValueError, match="up is also given as 'x'"):
        from_spec("cube:up=y", up="x")
    with pytest.raises(ValueError, match=r"has radii, and radius is given as 3\.0"):
        from_spec("cube:radii=1+2", radius=3.0)
    with pytest.raises(ValueError, match=r"radius is 1 and radii \(1, 2\); expected one"):
        rd.cameras.cube(radius=1, radii=(1, 2))
