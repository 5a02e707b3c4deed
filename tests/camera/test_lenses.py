"""Camera models: each against closed forms, OpenCV, and its own inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import (
    cubemap_intrinsics,
    equirectangular_intrinsics,
    fisheye_intrinsics,
    orthographic_intrinsics,
    perspective_intrinsics,
)
from raydepth.camera.lenses.brown_conrady import BrownConrady
from raydepth.camera.lenses.increasing import first_root, solve_increasing
from raydepth.camera.lenses.models import lens_of
from raydepth.camera.poses import look_at

SKEWED = np.array([[500.0, 1.0, 321.5], [0, 480.0, 238.25], [0, 0, 1]])
WIDE = np.array([[130.0, 0.7, 300.0], [0, 120.0, 250.0], [0, 0, 1]])
SIZE = (640, 480)

# Name: model, intrinsics, distortion, size.
LENSES = {
    "perspective": ("perspective", SKEWED, None, SIZE),
    "orthographic": ("orthographic", SKEWED, None, SIZE),
    "barrel": ("perspective", SKEWED, [-0.31, 0.12, 0, 0, -0.021], SIZE),
    "five": ("perspective", SKEWED, [-0.31, 0.12, 0.0011, -0.0023, -0.021], SIZE),
    "pincushion": ("perspective", SKEWED, [0.4, 0.1, 0.0, 0.0, 0.02], SIZE),
    "eight": ("perspective", SKEWED, [0.21, -0.08, 9e-4, 1.7e-3, 0.013, 0.35, -0.05, 7e-3], SIZE),
    "tangential": ("perspective", SKEWED, [0, 0, 0.15, -0.1, 0], SIZE),
    "pole": ("perspective", SKEWED, [0, 0, 0, 0, 0, -1.0, 0, 0], SIZE),
    "folded": ("perspective", WIDE, [-0.3, 0, 2e-3, 1e-3, 0], SIZE),
    "equidistant": ("fisheye", WIDE, None, SIZE),
    "kannala": ("fisheye", WIDE, [0.05, -0.012, 0.004, -0.0008], SIZE),
    "panorama": ("equirectangular", equirectangular_intrinsics((640, 320)), None, (640, 320)),
    "part": ("equirectangular", np.array([[99.0, 0, 40], [0, 88, 300], [0, 0, 1]]), None, SIZE),
    "cubemap": ("cubemap", cubemap_intrinsics((384, 64)), None, (384, 64)),
}


def camera(name: str, n_views: int = 1, **more) -> Cameras:
    model, intrinsics, distortion, size = LENSES[name]
    rng = np.random.default_rng(5)
    poses = look_at(rng.normal(size=(n_views, 3)), rng.normal(size=(n_views, 3)))
    return Cameras(intrinsics, poses, size, model=model, distortion=distortion, **more)


# --- project and unproject are each other's inverse -----------------------------------------------


@pytest.mark.parametrize("name", LENSES)
def test_pixels_come_back(name):
    """Pixels all over the image, at two depths, to 1e-9 pixel; outside the field all is NaN."""
    cameras = camera(name)
    x, y = np.arange(cameras.width) + 0.5, np.arange(cameras.height) + 0.5
    pixels = np.stack(np.meshgrid(x[::5], y[::5]), axis=-1)[None]
    field = (cameras.rays(pixels)[1] != 0).any(axis=-1)
    assert field.any()
    kinds = ("z", "ray") if cameras.has_z else ("ray",)
    for kind in kinds:
        for depth in (0.37, 25.0):
            points = cameras.unproject(pixels, np.full(field.shape, depth), kind)
            assert (np.isnan(points).any(axis=-1) == ~field).all()
            again = cameras.project(points[0])
            assert np.abs(again - pixels)[field].max() < 1e-9
            assert np.isnan(again[~field]).all()
            moved = points[field] - cameras.centres[0]
            if kind == "ray" and name != "orthographic":
                assert np.allclose(np.linalg.norm(moved, axis=-1), depth, rtol=1e-13)
            if kind == "z":
                assert np.allclose(moved @ cameras.world_from_camera[0, :3, 2], depth, rtol=1e-12)


@pytest.mark.parametrize("name", LENSES)
def test_points_come_back(name):
    """Points of the whole field: to the ray they came from, and to 1e-9 pixel."""
    model, intrinsics, distortion, size = LENSES[name]
    lens = lens_of(model, intrinsics, None if distortion is None else np.array(distortion), size)
    rng = np.random.default_rng(3)
    points = rng.normal(size=(20000, 3))
    if isinstance(lens, BrownConrady):
        # As many of the rim as of the middle, and the field's end itself is not reached.
        radius = min(lens.end, 3.0) * 0.999 * np.sqrt(rng.uniform(size=20000))
        angle = rng.uniform(0, 2 * np.pi, 20000)
        points[:, :2] = (radius * [np.cos(angle), np.sin(angle)]).T
        points[:, 2] = 1.0
        points *= rng.uniform(0.1, 9.0, (20000, 1))
    pixels = lens.project(points)
    seen = ~np.isnan(pixels).any(axis=-1)
    assert seen.mean() > (0.4 if model in ("perspective", "orthographic") else 0.7)
    # Beside a pole pixels are beyond all bounds.
    seen &= np.abs(pixels).max(axis=-1) < 1e4
    directions = lens.directions(pixels[seen])
    assert np.abs(lens.project(directions) - pixels[seen]).max() < 1e-9 or name == "orthographic"
    if name != "orthographic":
        turned = np.cross(directions, points[seen])
        lengths = np.linalg.norm(directions, axis=1) * np.linalg.norm(points[seen], axis=1)
        assert (np.linalg.norm(turned, axis=1) / lengths).max() < 1e-9
        assert (np.einsum("nj,nj->n", directions, points[seen]) > 0).all()


@pytest.mark.parametrize("seed", range(40))
def test_any_distortion_is_one_to_one_in_its_field(seed):
    """Random parameters, far beyond those of real lenses."""
    rng = np.random.default_rng(seed)
    parameters = rng.normal(size=rng.choice([5, 8])) * rng.choice([0.01, 0.1, 0.5])
    parameters[2:4] *= rng.choice([0.0, 0.1, 1.0])
    lens = BrownConrady(SKEWED, parameters, SIZE)
    radius = min(lens.end, 5.0) * 0.9999 * np.sqrt(rng.uniform(size=3000))
    angle = rng.uniform(0, 2 * np.pi, 3000)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(3000)], axis=1)
    pixels = lens.project(points)
    assert not np.isnan(pixels).any()
    sane = np.abs(pixels).max(axis=1) < 2e3  # beside a pole they are beyond bounds
    directions = lens.directions(pixels[sane])
    assert (directions[:, 2] == 1).all(), "a pixel of the field is said to be outside"
    assert np.abs(directions - points[sane]).max() < 1e-6
    assert np.abs(lens.project(directions) - pixels[sane]).max() < 1e-9


# --- where the field ends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "end"),
    [
        ([-0.3, 0, 0, 0, 0], math.sqrt(1 / 0.9)),  # 1 - 3 * 0.3 r^2 = 0
        ([0, -0.2, 0, 0, 0], 1.0),  # 1 - 5 * 0.2 r^4 = 0
        ([0, 0, 0, 0, -1 / 7], 1.0),
        ([0.3, 0.1, 0, 0, 0], math.inf),
        ([0, 0, 0, 0, 0, -0.25, 0, 0], 2.0),  # the denominator's root
        ([0, 0, 0, 0, 0, 0.25, 0, 0], 2.0),  # r / (1 + r^2 / 4) turns at 2
    ],
)
def test_end_of_radial_distortion(parameters, end):
    assert BrownConrady(SKEWED, np.array(parameters, float), SIZE).end == pytest.approx(end, 1e-8)


@pytest.mark.parametrize("name", ["five", "tangential", "folded"])
def test_end_of_tangential_distortion(name):
    """By differences: determinant and sense of circles are positive within, 0 at the end."""
    _, intrinsics, parameters, size = LENSES[name]
    lens = BrownConrady(intrinsics, np.array(parameters), size)
    assert math.isfinite(lens.end)

    def smallest(radius: float) -> float:
        angle = np.linspace(0, 2 * np.pi, 20001)
        x, y, h = radius * np.cos(angle), radius * np.sin(angle), 1e-6
        right, left = lens._distorted(x + h, y), lens._distorted(x - h, y)
        down, up = lens._distorted(x, y + h), lens._distorted(x, y - h)
        xx, yx = ((a - b) / (2 * h) for a, b in zip(right, left, strict=True))
        xy, yy = ((a - b) / (2 * h) for a, b in zip(down, up, strict=True))
        a, b = lens._distorted(x, y)
        sense = np.diff(np.unwrap(np.arctan2(b, a))) / (angle[1] - angle[0])
        return min((xx * yy - xy * yx).min(), sense.min())

    for part in (0.1, 0.5, 0.9, 0.99):
        assert smallest(part * lens.end) > 0
    assert smallest(1.001 * lens.end) < 0


def test_end_of_fisheyes():
    for parameters, end in (
        (None, math.pi),
        ([-0.1, 0, 0, 0], math.sqrt(1 / 0.3)),
        ([0.1, 0.1, 0, 0], math.pi),
        ([0, 0, 0, -1 / 9], 1.0),
    ):
        distortion = None if parameters is None else np.array(parameters)
        lens = lens_of("fisheye", WIDE, distortion, SIZE)
        assert lens.end == pytest.approx(end, 1e-12)
        beyond = lens.end + np.array([-1e-6, 1e-6])
        points = np.stack([np.sin(beyond), 0 * beyond, np.cos(beyond)], axis=1)
        expected = [False, lens.end < math.pi]  # beyond pi is the other side, which is seen
        assert np.isnan(lens.project(points)).any(axis=1).tolist() == expected


def test_nothing_is_seen_outside():
    perspective = Cameras(SKEWED, np.eye(4), SIZE)
    behind = [[0, 0, -1], [0, 0, 0], [1, 1, 0]]
    assert np.isnan(perspective.project(behind)).all()
    barrel = Cameras(SKEWED, np.eye(4), SIZE, distortion=[-0.3, 0, 0, 0, 0])
    assert np.isnan(barrel.project([[1.06, 0, 1], [0, 0, -1]])).all()
    assert not np.isnan(barrel.project([1.05, 0, 1])).any()
    # The farthest image of that lens is 500 * 2 / 3 * sqrt(1 / 0.9) from the centre.
    rim = 500 * 2 / 3 * math.sqrt(1 / 0.9)
    for outside in (False, True):
        x = 321.5 + rim * (1.001 if outside else 0.999)
        assert (barrel.rays([[x, 238.25]])[1] == 0).all() == outside
        assert np.isnan(barrel.unproject([[x, 238.25]], [1.0])).all() == outside
    for name in ("equidistant", "panorama", "cubemap"):
        assert np.isnan(camera(name).project(camera(name).centres[0])).all()
    panorama = Cameras(
        equirectangular_intrinsics((64, 32)), np.eye(4), (64, 32), model="equirectangular"
    )
    pixels = [[[-0.5, 16.0], [64.0, 16.0], [32.0, 0.0], [32.0, 32.5], [0.0, 16.0]]]
    seen = (panorama.rays(pixels)[1] != 0).any(axis=-1)
    assert seen.tolist() == [[False, False, False, False, True]]


# --- closed forms ---------------------------------------------------------------------------------


def test_equidistant_fisheye_measures_angles():
    camera = Cameras(fisheye_intrinsics(180, 200), np.eye(4), 200, model="fisheye")
    for degrees in (0, 30, 60, 90, 120):
        angle = math.radians(degrees)
        pixel = camera.project([math.sin(angle), 0, math.cos(angle)])[0]
        assert pixel == pytest.approx([100 + 100 * degrees / 90, 100], abs=1e-12)


def test_panorama_measures_longitude_and_latitude():
    camera = Cameras(
        equirectangular_intrinsics((360, 180)), np.eye(4), (360, 180), model="equirectangular"
    )
    for direction, pixel in (
        ((0, 0, 1), (180, 90)),
        ((1, 0, 0), (270, 90)),
        ((-1, 0, 0), (90, 90)),
        ((0, 1, 1), (180, 135)),
        ((1, -math.sqrt(2), 1), (225, 45)),
    ):
        assert camera.project(direction)[0] == pytest.approx(pixel, abs=1e-11)


def test_a_panorama_may_begin_ahead():
    intrinsics = equirectangular_intrinsics((360, 180))
    intrinsics[0, 2] = 0.0
    camera = Cameras(intrinsics, np.eye(4), (360, 180), model="equirectangular")
    assert camera.project([-1, 0, 0])[0] == pytest.approx([270, 90], abs=1e-11)
    assert camera.rays([[270.0, 90.0]])[1][0] == pytest.approx(np.array([-1, 0, 0]), abs=1e-15)


def test_faces_of_a_cubemap():
    """The middle of each face, and what lies to the right of and below it."""
    camera = Cameras(cubemap_intrinsics((60, 10)), np.eye(4), (60, 10), model="cubemap")
    faces = {
        "right": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
        "left": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
        "up": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
        "down": ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
        "front": ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
        "back": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
    }
    for number, (middle, right, below) in enumerate(faces.values()):
        middle, right, below = map(np.array, (middle, right, below))
        x = 10 * number + 5
        assert camera.project(middle)[0] == pytest.approx([x, 5])
        assert camera.project(2 * middle + right)[0] == pytest.approx([x + 2.5, 5])
        assert camera.project(2 * middle + below)[0] == pytest.approx([x, 7.5])


def test_a_distortion_of_zeros_is_none():
    poses = look_at([1.0, 2.0, 3.0])
    plain, zeros = Cameras(SKEWED, poses, SIZE), Cameras(SKEWED, poses, SIZE, distortion=[0.0] * 5)
    assert zeros.is_affine
    assert (plain.rays()[1] == zeros.rays()[1]).all()
    assert zeros.to_json()["distortion"] == [0.0] * 5


@pytest.mark.parametrize("name", LENSES)
def test_views_are_looked_at_one_by_one(name):
    """Many views with two lenses give what each of them gives."""
    cameras = camera(name, 4)
    if name != "cubemap":
        intrinsics = cameras.intrinsics * np.where(np.arange(4) % 2, 1.0, 1.1)[:, None, None]
        intrinsics[:, 2, 2] = 1.0
        cameras = Cameras(
            intrinsics, cameras.world_from_camera, SIZE, model=cameras.model,
            distortion=cameras.distortion,
        )  # fmt: skip
    points = np.random.default_rng(0).normal(size=(7, 2, 3))
    pixels = cameras.project(points)
    assert pixels.shape == (4, 7, 2, 2)
    origins, directions = cameras.rays(np.nan_to_num(pixels))
    assert origins.shape == directions.shape == (4, 7, 2, 3)
    for view in range(4):
        assert np.array_equal(pixels[view], cameras[view].project(points)[0], equal_nan=True)
        one = cameras[view].rays(np.nan_to_num(pixels[view : view + 1]))
        assert (one[0][0] == origins[view]).all()
        assert (one[1][0] == directions[view]).all()


# --- OpenCV ---------------------------------------------------------------------------------------

POINTS = np.array(
    [[0.1, -0.2, 1.0], [-0.45, 0.3, 1.5], [0.6, 0.5, 2.0], [0.0, 0.0, 1.0], [-0.8, -0.6, 1.2]]
)
PLAIN = np.array([[500.0, 0, 321.5], [0, 480.0, 238.25], [0, 0, 1]])
FIVE = [-0.31, 0.12, 0.0011, -0.0023, -0.021]
EIGHT = [0.21, -0.08, 0.0009, 0.0017, 0.013, 0.35, -0.05, 0.007]
FOUR = [0.05, -0.012, 0.004, -0.0008]

# What OpenCV 5.0.0 says of POINTS, with o = numpy.zeros(3):
# cv2.projectPoints(POINTS, o, o, PLAIN, numpy.array(FIVE))[0][:, 0].tolist(), EIGHT alike;
# cv2.fisheye.projectPoints(POINTS[:, None], o, o, PLAIN, numpy.array(FOUR), alpha=0.002), and with
# numpy.zeros(4) and no alpha.
OPENCV = {
    "five": [
        [370.63736875, 143.822252], [176.82522054999998, 330.814818848],
        [464.5163157789063, 352.883872623125], [321.5, 238.25],
        [41.5259216392318, 37.61033024691358],
    ],
    "eight": [
        [371.1938285948765, 142.94104909783715], [174.39366981697538, 332.5249313171357],
        [468.710184889406, 355.9803279115248], [321.5, 238.25],
        [19.748245421120828, 20.863736703207024],
    ],
    "four": [
        [370.6112416087802, 143.57772701921894], [176.89067734771876, 330.9235312057343],
        [465.7042386302853, 353.42143850671704], [321.5, 238.25],
        [37.13626312393569, 33.814762305775076],
    ],
    "equidistant": [
        [370.69080716889346, 143.80365023572458], [177.53577464945428, 330.3871042243493],
        [464.5047071110247, 352.65376568881976], [321.5, 238.25],
        [43.604689521318676, 38.165376455349474],
    ],
}  # fmt: skip
ALPHA = PLAIN + np.array([[0, 500.0 * 0.002, 0], [0, 0, 0], [0, 0, 0]])
AS_CAMERAS = {
    "five": (PLAIN, "perspective", FIVE),
    "eight": (PLAIN, "perspective", EIGHT),
    "four": (ALPHA, "fisheye", FOUR),
    "equidistant": (PLAIN, "fisheye", None),
}


@pytest.mark.parametrize("name", OPENCV)
def test_what_opencv_has_said(name):
    intrinsics, model, distortion = AS_CAMERAS[name]
    cameras = Cameras(intrinsics, np.eye(4), SIZE, model=model, distortion=distortion)
    assert np.abs(cameras.project(POINTS)[0] - OPENCV[name]).max() < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_opencv_projects_the_same(seed):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(seed)
    pose = look_at(rng.normal(size=3), rng.normal(size=3))
    inverse = np.linalg.inv(pose[0])
    turn, move = cv2.Rodrigues(inverse[:3, :3])[0], inverse[:3, 3]
    points = rng.uniform([-0.9, -0.9, 1.0], [0.9, 0.9, 3.0], (500, 3)) @ pose[0, :3, :3].T
    points += pose[0, :3, 3]
    for distortion in (FIVE, EIGHT):
        theirs = cv2.projectPoints(points, turn, move, PLAIN, np.array(distortion))[0][:, 0]
        ours = Cameras(PLAIN, pose, SIZE, distortion=distortion).project(points)[0]
        inside = ~np.isnan(ours).any(axis=-1)
        assert inside.mean() > 0.9
        assert np.abs(ours - theirs)[inside].max() < 1e-9
    for distortion in (FOUR, [0.0] * 4):
        theirs = cv2.fisheye.projectPoints(
            points[:, None], turn, move, PLAIN, np.array(distortion), alpha=0.002
        )[0][:, 0]
        ours = Cameras(ALPHA, pose, SIZE, model="fisheye", distortion=distortion).project(points)
        assert np.abs(ours[0] - theirs).max() < 1e-9


# --- the solvers ----------------------------------------------------------------------------------


def test_solve_increasing():
    """Flat in the middle, steep at the end, without an end."""
    for value, slope, end in (
        (lambda x: x**3, lambda x: 3 * x**2, np.inf),
        (lambda x: np.tan(x), lambda x: 1 + np.tan(x) ** 2, np.pi / 2),
        (lambda x: np.sin(x), lambda x: np.cos(x), np.pi / 2),
    ):
        x = np.linspace(0, 0.999 * min(end, 50.0), 1001)
        assert np.allclose(solve_increasing(value, slope, value(x), end), x, rtol=1e-9, atol=1e-12)


def test_first_root():
    assert first_root(np.array([1.0, 0, 0])) == math.inf
    assert first_root(np.array([6.0, -5, 1])) == pytest.approx(2)
    assert first_root(np.array([1.0, 0, 1])) == math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fisheye_intrinsics(361, 64), "fov_deg is 361; expected"),
        (lambda: fisheye_intrinsics(0, 64), "fov_deg is 0; expected"),
        (lambda: cubemap_intrinsics((64, 10)), "size of a cubemap is 64x10; expected .* 60x10"),
        (lambda: cubemap_intrinsics(64), "size of a cubemap is 64x64"),
        (lambda: equirectangular_intrinsics(0), "size is 0"),
    ],
)
def test_bad_intrinsics(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_plain_intrinsics_have_no_field():
    """Perspective and orthographic rays are defined for all pixels."""
    for model, intrinsics in (
        ("perspective", perspective_intrinsics(60, 64)),
        ("orthographic", orthographic_intrinsics(2, 64)),
    ):
        directions = Cameras(intrinsics, np.eye(4), 64, model=model).rays([[[-1e4, 1e4]]])[1]
        assert (directions != 0).any(axis=-1).all()


@pytest.mark.parametrize("kind", ["radial", "five", "eight", "fisheye"])
def test_pixels_of_random_lenses_come_back(kind):
    """A pixel that has a ray is where the ray is imaged; beyond the rim there are no rays."""
    rng = np.random.default_rng(17)
    x, y = np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5)
    n_beyond = 0
    for _ in range(60):
        focal = 10.0 ** rng.uniform(1.2, 2.0)
        intrinsics = [[focal, 0, 32], [0, focal * rng.uniform(0.9, 1.1), 24], [0, 0, 1]]
        n = {"radial": 5, "five": 5, "eight": 8, "fisheye": 4}[kind]
        distortion = rng.normal(size=n) * 10.0 ** rng.uniform(-3, -0.5, n)
        if kind == "radial":
            distortion[2:] = 0.0
        model = "fisheye" if kind == "fisheye" else "perspective"
        cameras = Cameras(intrinsics, np.eye(4), (64, 48), model=model, distortion=distortion)
        _, directions = cameras.rays()
        has_ray = (directions[0] != 0.0).any(axis=-1)
        n_beyond += int((~has_ray).sum())
        back = cameras.project(directions[0][has_ray])[0]
        np.testing.assert_allclose(back, np.stack([x, y], axis=-1)[has_ray], rtol=0, atol=1e-9)
    assert n_beyond > 0, "some of these fields end within the image"
