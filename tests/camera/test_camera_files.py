"""Files of cameras: round trips, each format as its own programs read it, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import raydepth as rd
from raydepth.camera.camera import Cameras
from raydepth.camera.files import bop, rigid
from raydepth.cli.views import cameras_from_words

PLAIN = rd.cameras.random(7, seed=1, size=(64, 48), fov_deg=47.3, radius=2.1, rolls=(0.0, 33.0))
RNG = np.random.default_rng(4)
# Each view with intrinsics of its own, off centre.
VARIED = Cameras(
    PLAIN.intrinsics + RNG.uniform(-3, 3, (14, 3, 3)) * [[1, 0, 1], [0, 1, 1], [0, 0, 0]],
    PLAIN.world_from_camera,
    (64, 48),
)
SKEWED = Cameras(
    VARIED.intrinsics + np.array([[0, 0.7, 0], [0] * 3, [0] * 3]), VARIED.world_from_camera, 64
)
FIVE = Cameras(
    VARIED.intrinsics, VARIED.world_from_camera, (64, 48), distortion=[0.1, -0.02, 1e-3, 2e-3, 3e-3]
)
EIGHT = Cameras(
    VARIED.intrinsics, VARIED.world_from_camera, (64, 48),
    distortion=[0.1, -0.02, 1e-3, 2e-3, 3e-3, 0.01, 0.02, 0.03],
)  # fmt: skip
FISHEYE = Cameras(
    VARIED.intrinsics, VARIED.world_from_camera, (64, 48), model="fisheye",
    distortion=RNG.uniform(-0.01, 0.01, (14, 4)),
)  # fmt: skip
EQUIDISTANT = Cameras(VARIED.intrinsics, VARIED.world_from_camera, 64, model="fisheye")
LIMITED = Cameras(VARIED.intrinsics, VARIED.world_from_camera, 64, near=0.1, far=9)
ORTHOGRAPHIC = rd.cameras.ring(3, ortho_width=2, size=32)


def assert_same(read: Cameras, cameras: Cameras, poses_to: float = 0.0) -> None:
    """The same cameras, bit for bit but for poses, which may be `poses_to` off."""
    assert (read.model, read.width, read.height) == (cameras.model, cameras.width, cameras.height)
    assert read.intrinsics.tobytes() == cameras.intrinsics.tobytes()
    if cameras.distortion is None:
        assert read.distortion is None
    else:
        n = cameras.distortion.shape[1]
        assert (read.distortion[:, :n] == cameras.distortion).all()
        assert not read.distortion[:, n:].any()
    if poses_to == 0.0:
        assert read.world_from_camera.tobytes() == cameras.world_from_camera.tobytes()
    else:
        assert np.abs(read.world_from_camera - cameras.world_from_camera).max() <= poses_to


@pytest.mark.parametrize(
    ("name", "cameras"),
    [
        *[("c.json", c) for c in (PLAIN, SKEWED, EIGHT, FISHEYE, LIMITED, ORTHOGRAPHIC)],
        *[("transforms.json", c) for c in (PLAIN, VARIED, FIVE, FISHEYE, EQUIDISTANT)],
    ],
)
def test_round_trips_bit_for_bit(tmp_path, name, cameras):
    rd.write_cameras(tmp_path / name, cameras)
    read = rd.read_cameras(tmp_path / name)
    assert_same(read, cameras)
    assert (read.near is None) == (cameras.near is None)
    rd.write_cameras(tmp_path / f"again-{name}", read, format="nerf" if "t" in name else None)
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("cameras", [PLAIN, VARIED, FIVE, EIGHT, FISHEYE, EQUIDISTANT])
def test_colmap_round_trip(tmp_path, cameras):
    """Intrinsics bit for bit; poses to rounding, because they pass through quaternions."""
    rd.write_cameras(tmp_path / "sparse", cameras, format="colmap")
    assert_same(rd.read_cameras(tmp_path / "sparse"), cameras, poses_to=2e-15)
    assert_same(rd.read_cameras(tmp_path / "sparse/images.txt"), cameras, poses_to=2e-15)


@pytest.mark.parametrize("cameras", [PLAIN, VARIED, SKEWED])
def test_bop_round_trip(tmp_path, cameras):
    """Intrinsics and rotation bit for bit; the position to rounding."""
    rd.write_cameras(tmp_path / "scene_camera.json", cameras)
    size = (cameras.width, cameras.height)
    read = rd.read_cameras(tmp_path / "scene_camera.json", size=size)
    assert_same(read, cameras, poses_to=1e-15)
    assert (read.world_from_camera[:, :3, :3] == cameras.world_from_camera[:, :3, :3]).all()


@pytest.mark.parametrize("direction", ["world_from_camera", "camera_from_world"])
@pytest.mark.parametrize("axes", ["opencv", "opengl"])
@pytest.mark.parametrize("name", ["poses.npy", "poses"])
def test_npy_round_trip(tmp_path, name, axes, direction):
    words = {"axes": axes, "direction": direction}
    rd.write_cameras(tmp_path / name, VARIED, format="npy", **words)
    read = rd.read_cameras(tmp_path / name, size=(64, 48), intrinsics=VARIED.intrinsics, **words)
    assert_same(read, VARIED, poses_to=0.0 if direction == "world_from_camera" else 1e-15)


POINTS = RNG.uniform(-0.3, 0.3, (20, 3))


def test_nerf_as_its_programs_read_it(tmp_path):
    """The pixel of a point by OpenGL's axes: instant-ngp's principal point is cx / w of the image,
    whose first pixel's centre is at 0.5 / w."""
    rd.write_cameras(tmp_path / "transforms.json", VARIED)
    data = json.loads((tmp_path / "transforms.json").read_bytes())
    for view, frame in enumerate(data["frames"]):
        in_camera = np.linalg.inv(frame["transform_matrix"]) @ np.c_[POINTS, np.ones(20)].T
        x, y, z = in_camera[:3]
        u = frame["cx"] + frame["fl_x"] * x / -z
        v = frame["cy"] + frame["fl_y"] * -y / -z
        assert np.allclose(VARIED[view].project(POINTS)[0], np.c_[u, v], atol=1e-10)


def test_colmap_as_its_programs_read_it(tmp_path):
    """By the quaternion's product, q p q*, and not by a matrix."""
    rd.write_cameras(tmp_path, VARIED, format="colmap")
    lenses = dict(line.split(" ", 1) for line in (tmp_path / "cameras.txt").open())
    lines = (tmp_path / "images.txt").read_text().splitlines()[2::2]
    for view, line in enumerate(lines):
        _, *values, camera, _ = line.split()
        w, *v = map(float, values[:4])
        turned = POINTS + 2 * np.cross(v, np.cross(v, POINTS) + w * POINTS)
        x, y, z = (turned + np.array(values[4:], float)).T
        model, width, height, fx, fy, cx, cy = lenses[camera].split()
        assert (model, width, height) == ("PINHOLE", "64", "48")
        u, v = float(cx) + float(fx) * x / z, float(cy) + float(fy) * y / z
        assert np.allclose(VARIED[view].project(POINTS)[0], np.c_[u, v], atol=1e-10)


def test_bop_as_its_programs_read_it(tmp_path):
    """P = K [R | t], and the centre of the first pixel at (0, 0), half a pixel from ours."""
    rd.write_cameras(tmp_path / "scene_camera.json", SKEWED)
    data = json.loads((tmp_path / "scene_camera.json").read_bytes())
    for view in range(len(SKEWED)):
        entry = data[str(view)]
        rotation = np.reshape(entry["cam_R_w2c"], (3, 3))
        image = np.reshape(entry["cam_K"], (3, 3)) @ (
            rotation @ POINTS.T + np.reshape(entry["cam_t_w2c"], (3, 1))
        )
        pixels = (image[:2] / image[2]).T
        assert np.allclose(SKEWED[view].project(POINTS)[0] - 0.5, pixels, atol=1e-10)


def test_opengl_matrices_are_blenders(tmp_path):
    """The third column of a Blender camera's matrix points away from what it sees."""
    rd.write_cameras(tmp_path / "p.npy", PLAIN, axes="opengl")
    matrices = np.load(tmp_path / "p.npy")
    assert matrices.shape == (14, 3, 4)
    assert np.allclose(matrices[:, :, 2] * 2.1, matrices[:, :, 3])


def test_nerf_files_of_others(tmp_path):
    """The original NeRF's: an angle, no size; frames that have their own; more than one form."""
    matrix = rd.cameras.opengl_from_opencv(PLAIN.world_from_camera[0])
    path = tmp_path / "transforms_train.json"

    def read(top: dict, frame: dict, **given) -> Cameras:
        frames = [{"file_path": "r_0", "transform_matrix": matrix.tolist(), **frame}]
        path.write_text(json.dumps({**top, "frames": frames}))
        return rd.read_cameras(path, **given)

    camera = read({"camera_angle_x": 2 * np.arctan(0.5)}, {}, size=800)
    assert np.allclose(camera.intrinsics[0], [[800, 0, 400], [0, 800, 400], [0, 0, 1]])
    camera = read({"fl_x": 9, "w": 8, "h": 6}, {"fl_x": 5, "fl_y": 7, "cx": 1, "w": 10.0})
    assert np.allclose(camera.intrinsics[0], [[5, 0, 1], [0, 7, 3], [0, 0, 1]])
    assert (camera.width, camera.height) == (10, 6)
    camera = read({"fl_x": 9, "fl_y": 4, "w": 8, "h": 6}, {"camera_angle_x": np.pi / 2})
    assert np.allclose(camera.intrinsics[0, [0, 1], [0, 1]], 4), "the frame's goes first"
    camera = read({"fl_x": 9, "w": 8, "h": 6, "k1": 0.1, "p2": 0.2, "k4": 0}, {})
    assert camera.distortion.tolist() == [[0.1, 0, 0, 0.2, 0]]
    camera = read({"fl_x": 9, "w": 8, "h": 6, "is_fisheye": True, "k4": 0.1}, {})
    assert (camera.model, camera.distortion.tolist()) == ("fisheye", [[0, 0, 0, 0.1]])


def test_colmap_files_of_others(tmp_path):
    (tmp_path / "cameras.txt").write_text(
        "# a comment\n\n7 SIMPLE_RADIAL 64 48 50.5 32 24 0.1\n2 RADIAL 64 48 50 31 23 0.1 0.2\n"
    )
    (tmp_path / "images.txt").write_text(
        "# a comment\n"
        "9 0.5 0.5 0.5 0.5 1 2 3 2 b with space.jpg\n1 2 -1 3 4 5\n"
        "3 1 0 0 0 0 0 1 7 a.jpg\n\n"
    )
    cameras = rd.read_cameras(tmp_path)
    assert cameras.intrinsics[:, 0, 0].tolist() == [50.5, 50], "by name: a.jpg, b.jpg"
    assert cameras.distortion.tolist() == [[0.1, 0, 0, 0, 0], [0.1, 0.2, 0, 0, 0]]
    assert cameras.centres.tolist()[0] == [0, 0, -1]
    assert np.allclose(cameras.camera_from_world[1] @ [0, 0, 0, 1], [1, 2, 3, 1])
    # Half a quarter-turn of each axis: x goes to y, y to z, z to x.
    assert np.allclose(cameras.camera_from_world[1, :3, :3] @ [1, 0, 0], [0, 1, 0])


def test_bop_takes_its_size_from_the_images(tmp_path):
    rd.write_cameras(tmp_path / "scene_camera.json", PLAIN)
    (tmp_path / "depth").mkdir()
    rd.write_depth(tmp_path / "depth/000000.png", np.full((48, 64), 1.0, np.float32), kind="z")
    assert_same(rd.read_cameras(tmp_path), PLAIN, poses_to=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_quaternions(seed):
    """Also where w is 0, which half-turns have, and next to it."""
    rng = np.random.default_rng(seed)
    quaternions = rng.normal(size=(300, 4))
    quaternions[:100, 0] *= 1e-9
    quaternions[np.arange(100, 200), rng.integers(4, size=100)] = 0.0
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    for q in quaternions:
        rotation = rigid.rotation_from_quaternion(q, "")
        # Each entry is rounded four times, each product of two columns six times.
        assert np.abs(rotation.T @ rotation - np.eye(3)).max() < 10 * np.finfo(float).eps
        again = rigid.quaternion_from_rotation(rotation)
        assert again[0] >= 0
        assert min(np.abs(again - q).max(), np.abs(again + q).max()) < 10 * np.finfo(float).eps


def test_rotations_of_few_digits_keep_the_centre(tmp_path):
    pose = PLAIN.world_from_camera[0].round(6)
    rough = Cameras(PLAIN.intrinsics[0], pose, (64, 48))
    rd.write_cameras(tmp_path / "scene_camera.json", rough)
    read = rd.read_cameras(tmp_path / "scene_camera.json", size=(64, 48))
    assert np.abs(read.centres - rough.centres).max() < 1e-5
    assert (read.world_from_camera[0, :3, :3] == pose[:3, :3]).all()


def test_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(cameras_from_words("ring:3", size=4)) == 3
    rd.write_cameras("a,b.npy", PLAIN, axes="opengl", direction="camera_from_world")
    words = "a,b.npy,axes=opengl,direction=camera_from_world"
    read = cameras_from_words(words, size=(64, 48), fov_deg=47.3)
    assert_same(read, PLAIN, poses_to=1e-15)
    rd.write_cameras("ring", PLAIN, format="colmap")
    assert len(cameras_from_words("ring:3", size=4)) == 3, "a placement, whatever lies about"
    assert_same(cameras_from_words("./ring"), PLAIN, poses_to=2e-15)
    with pytest.raises(ValueError, match="axes is given twice"):
        cameras_from_words("a.npy,axes=opengl,axes=opencv")
    with pytest.raises(ValueError, match=r"radius is given, but .*ring has its own"):
        cameras_from_words("./ring", radius=1.0)


FRAME = {"file_path": "0.png", "transform_matrix": np.eye(4).tolist()}
NERF = {"w": 8, "h": 6, "fl_x": 9, "frames": [FRAME]}
BOP = {"0": {"cam_K": [9, 0, 4, 0, 9, 3, 0, 0, 1], "cam_R_w2c": np.eye(3).ravel().tolist(),
             "cam_t_w2c": [0, 0, 1]}}  # fmt: skip
COLMAP = {
    "cameras.txt": "1 PINHOLE 64 48 50 50 32 24\n2 PINHOLE 32 48 50 50 32 24\n",
    "images.txt": "1 1 0 0 0 0 0 1 1 a.png\n\n",
}


def nerf(**change) -> dict[str, str]:
    return {"transforms.json": json.dumps(NERF | change)}


def frame(**change) -> dict[str, str]:
    return nerf(frames=[FRAME, FRAME | change])


def bop_file(**change) -> dict[str, str]:
    return {"scene_camera.json": json.dumps({"0": BOP["0"] | change})}


def colmap(**change) -> dict[str, str]:
    return COLMAP | {f"{key}.txt": value for key, value in change.items()}


BAD = [
    ({"transforms.json": '{"frames": [{"transf'}, {}, "it is not valid JSON"),
    ({"x.txt": ""}, {}, r"the folder has none of cameras\.txt, images\.txt"),
    (nerf(frames=[]), {}, "it has no frames"),
    (nerf(frames=[3]), {}, "frame 0 is not a JSON object"),
    (nerf(frames=[{}]), {}, "frame 0 lacks transform_matrix"),
    (nerf(fl_x="9"), {}, "fl_x of frame 0 is '9'; expected a number"),
    (nerf(fl_x=None), {}, "fl_x of frame 0 is None; expected a number"),
    (nerf(fl_x=0), {}, "fx of view 0 is 0.0; expected pixels above 0"),
    (nerf(w=8.5), {}, "w of frame 0 is 8.5; expected a whole number"),
    (nerf(k4=0.1), {}, "k4 of frame 0 is 0.1; a perspective camera has k1, k2, p1, p2, k3"),
    (nerf(camera_model="EQUIRECTANGULAR"), {}, "camera_model of frame 0 is 'EQUIRECTANGULAR'"),
    (nerf(latlong=True), {}, "frame 0 has latlong; expected"),
    (nerf(), {"fov_deg": 3}, "fov_deg is given, but nerf has its own"),
    (nerf(), {"size": 3}, "size is given as 3x3, but frame 0 is 8x6"),
    ({"transforms.json": json.dumps({"fl_x": 3, "frames": [FRAME]})}, {}, "lacks w and h; give"),
    ({"transforms.json": json.dumps({"w": 3, "h": 3, "frames": [FRAME]})}, {}, "lacks fl_x and"),
    (frame(w=9), {}, "frame 1 is 9x6 pixels and frame 0 8x6; expected one size"),
    (frame(is_fisheye=True), {}, "frame 1 is a fisheye camera and frame 0 a perspective one"),
    (frame(transform_matrix=[[1, 2]]), {}, "transform_matrix of frame 1 has shape"),
    (frame(transform_matrix=[[1, 2], "x"]), {}, "frame 1 is not an array of numbers"),
    (frame(transform_matrix=(2 * np.eye(4)).tolist()), {}, "of view 1 has a rotation that is not"),
    (frame(transform_matrix=np.diag([-1, 1, 1, 1]).tolist()), {}, "view 1 is mirrored"),
    (bop_file(), {}, "it holds no size and has no PNG beside it"),
    (bop_file(cam_K=[1, 2]), {"size": 4}, "cam_K of image 0 has shape"),
    (bop_file(cam_R_w2c=[0] * 9), {"size": 4}, "a rotation is singular"),
    (bop_file(cam_R_w2c=[1e999] * 9), {"size": 4}, "cam_R_w2c of image 0 is not finite"),
    ({"scene_camera.json": json.dumps({"a": BOP["0"]})}, {"size": 4}, "the key 'a'; expected the"),
    ({"scene_camera.json": json.dumps({"0": {"cam_K": [1] * 9}})}, {"size": 4}, "lacks cam_R_w2c"),
    ({"images.txt": ""}, {}, r"cameras\.txt is missing"),
    (colmap(images="# none\n"), {}, r"images\.txt has no images"),
    (colmap(images="1 2 0 0 0 0 0 1 1 a.png\n"), {}, "quaternion of line 1 .* has length 2; exp"),
    (colmap(images="1 0 0 0 0 0 0 1 1 a.png\n"), {}, "has length 0; expected 1"),
    (colmap(images="1 x 0 0 0 0 0 1 1 a.png\n"), {}, "line 1 of images.txt holds 'x 0"),
    (colmap(images="1 1 0 0 0 0\n"), {}, "line 1 of images.txt has 6 words; expected 10"),
    (colmap(images="1 1 0 0 0 0 0 1 5 a.png\n"), {}, "no camera 5, which image a.png uses"),
    (
        colmap(images=COLMAP["images.txt"] + "2 1 0 0 0 0 0 1 2 b.png\n"),
        {},
        "image 1 is 32x48 pixels and image 0 64x48",
    ),
    (colmap(cameras="1 PINHOLE 64 48 50\n"), {}, "has 1 parameters; PINHOLE has fx fy cx cy"),
    (colmap(cameras="1 FOV 64 48 50 50 1 1 1\n"), {}, "the model in line 1 .* is FOV; expected"),
    ({"a.npy": "no array"}, {"size": 4, "fov_deg": 9}, "a.npy is not an array in .npy format"),
    ({"a.npy": ""}, {"fov_deg": 9}, "it holds poses only; give the size"),
    ({"a.npy": ""}, {"size": 4}, "give either the field of view or the intrinsics"),
    ({"a.npy": ""}, {"size": 4, "fov_deg": 9, "axes": "blender"}, "axes is 'blender'; expected"),
    ({"views.json": '{"views": [{}]}'}, {}, "KeyError: 'camera'"),
    ({"views.json": '{"a": 1}'}, {}, "camera 0 lacks model"),
    ({"views.json": "[]"}, {}, "no cameras; expected at least one"),
]


@pytest.mark.parametrize(("files", "given", "message"), BAD, ids=[m[:40] for *_, m in BAD])
def test_bad_files(tmp_path, files, given, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(
        ValueError, match=f"{tmp_path.name}.* holds no cameras .*{message}"
    ) as caught:
        rd.read_cameras(tmp_path, **given)
    assert "\n" not in str(caught.value)


def test_bad_arrays(tmp_path):
    given = {"size": 4, "fov_deg": 40}
    for array, message in (
        (np.zeros((3, 3)), r"float64 of shape \(1, 3, 3\); expected numbers in 3x4 or 4x4"),
        (np.full((3, 4), np.nan), "world_from_camera of view 0 is not finite"),
        (np.array([[{}] * 4] * 3), "not an array in .npy"),
    ):
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            rd.read_cameras(tmp_path / "a.npy", **given)


@pytest.mark.parametrize(
    ("name", "cameras", "words", "message"),
    [
        ("transforms.json", SKEWED, {}, "skew; transforms.json holds none"),
        ("transforms.json", EIGHT, {}, "view 0 is distorted by k4, k5 or k6"),
        ("transforms.json", ORTHOGRAPHIC, {}, "are orthographic; transforms.json holds persp"),
        ("transforms.json", LIMITED, {}, "near or far; nerf cannot hold them"),
        ("colmap", SKEWED, {"format": "colmap"}, "skew; COLMAP holds none"),
        ("colmap", ORTHOGRAPHIC, {"format": "colmap"}, "are orthographic; COLMAP holds"),
        ("scene_camera.json", FIVE, {}, "are distorted perspective; scene_camera.json holds"),
        ("p.npy", FISHEYE, {}, "are distorted fisheye; npy holds poses only"),
        ("p.npy", PLAIN, {"axes": "gl"}, "axes is 'gl'; expected opencv or opengl"),
        ("c.json", PLAIN, {"axes": "opengl"}, "axes is given, but raydepth has its own"),
        ("cameras", PLAIN, {}, "the name does not say the format"),
        ("cameras", PLAIN, {"format": "ply"}, "format is 'ply'; expected one of raydepth, nerf"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, cameras, words, message):
    with pytest.raises(ValueError, match=message):
        rd.write_cameras(tmp_path / name, cameras, **words)
    assert list(tmp_path.iterdir()) == []


def test_other_poses_in_the_folder_are_not_mixed_in(tmp_path):
    rd.write_cameras(tmp_path, PLAIN, format="npy")
    with pytest.raises(ValueError, match=r"holds 003\.npy of other cameras"):
        rd.write_cameras(tmp_path, PLAIN[:3], format="npy")


def test_json_of_others(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"a\.json holds no cameras \(it has neither frames"):
        rd.read_cameras(tmp_path / "a.json")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        rd.read_cameras(tmp_path / "none.json")


def test_the_shift_of_half_a_pixel_is_exact():
    """Of every principal point of at least half a pixel, as Sterbenz's lemma has it beyond 1."""
    points = np.concatenate([RNG.uniform(0.5, 70000, 1000), np.nextafter([0.5, 1, 2, 512], 1e9)])
    assert (points - bop.PIXEL_CENTRE + bop.PIXEL_CENTRE == points).all()
