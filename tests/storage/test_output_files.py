"""Outputs besides depth in data sets: written, read back, verified, resumed and refused."""

from __future__ import annotations

import json
import tarfile
import zipfile
from importlib.util import find_spec

import imageio.v3
import numpy as np
import pytest
from mesh_files import write_obj
from shapes import icosphere, soup

import raydepth as rd
from raydepth.cli.commands import main
from raydepth.outputs.table import OUTPUTS, depth_and_others
from raydepth.runs.verify import verify_dataset
from raydepth.storage.forms import STORES
from raydepth.storage.output_files import decode_output, encode_output

OTHERS = tuple(name for name in OUTPUTS if name not in ("z", "ray"))
FORMS = [
    "png16", "npy", "npz", "webdataset",
    pytest.param(
        "zarr",
        marks=pytest.mark.skipif(find_spec("zarr") is None, reason="zarr is not installed"),
    ),
]  # fmt: skip
CAMERAS = rd.cameras.fibonacci(2, size=(40, 32))


@pytest.fixture
def meshes(tmp_path, monkeypatch):
    """A folder with two meshes, one of them with texture coordinates, and its own directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name, (vertices, faces) in {"ball": icosphere(0.4, 2), "soup": soup(3)}.items():
        lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
        lines += [f"vt {x!r} {y!r}" for x, y, _ in vertices.tolist()]
        lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in face) for face in faces.tolist()]
        (tmp_path / "in" / f"{name}.obj").write_text("\n".join(lines) + "\n")
    return tmp_path / "in"


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("form", FORMS)
def test_every_output_is_read_back_as_it_was_rendered(meshes, tmp_path, form):
    out = tmp_path / "out"
    report = rd.render_dataset(meshes, out, CAMERAS, outputs=OTHERS, file_format=form, hits=3)
    assert not report.failures
    for stored in rd.open_dataset(out):
        assert stored.outputs == OTHERS
        mesh = rd.load_mesh(meshes / f"{stored.name}.obj", uv=True)
        rendering = rd.render(mesh, CAMERAS, outputs=("z", *OTHERS), hits=3)
        for name in OTHERS:
            for view in range(2):
                values = stored.output(name, view)
                assert values.dtype == rendering[name].dtype
                np.testing.assert_array_equal(values, rendering[name][view], name)
        assert stored.metadata["instances"] == [stored.name]
        assert stored.depth(0).shape == (32, 40)
    found = verify_dataset(out)
    assert found.problems == []


def test_depth_keeps_its_files(meshes, tmp_path):
    for name, outputs in (("alone", ()), ("more", ("normal", "hit"))):
        rd.render_dataset(meshes, tmp_path / name, CAMERAS, outputs=outputs)
    alone, more = contents(tmp_path / "alone"), contents(tmp_path / "more")
    for path, content in alone.items():
        if path.suffix == ".png":
            assert more[path] == content
    names = {path.name for path in more.keys() - alone.keys()}
    assert names == {f"00{i}.{name}" for i in range(2) for name in ("normal.npy", "hit.png")}
    assert "outputs" not in json.loads(alone[next(p for p in alone if p.name == "views.json")])


def test_files_are_plain(meshes, tmp_path):
    """What other programs read: imageio PNGs, NumPy arrays, tarfile and zipfile the rest."""
    out = tmp_path / "out"
    rd.render_dataset(meshes / "ball.obj", out, CAMERAS, outputs=OTHERS)
    hit = rd.render(rd.load_mesh(meshes / "ball.obj"), CAMERAS, outputs="hit")["hit"][1]
    mask = imageio.v3.imread(out / "ball" / "001.hit.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.where(hit, 255, 0))
    side = imageio.v3.imread(out / "ball" / "001.facing.png")
    np.testing.assert_array_equal(side, np.where(hit, 255, 0))
    instance = imageio.v3.imread(out / "ball" / "001.instance.png")
    assert instance.dtype == np.uint16
    np.testing.assert_array_equal(instance, hit)
    normal = np.load(out / "ball" / "001.normal.npy")
    assert (normal.shape, normal.dtype) == ((32, 40, 3), np.float32)
    described = json.loads((out / "ball" / "views.json").read_text())["outputs"]
    assert described["facing"] == {
        "suffix": ".facing.png", "dtype": "uint8", "mapping": "255 front, 128 back", "miss": 0,
    }  # fmt: skip
    rd.render_dataset(meshes / "ball.obj", tmp_path / "npz", CAMERAS, outputs=("normal", "hit"),
                      file_format="npz")  # fmt: skip
    with np.load(tmp_path / "npz" / "ball.npz") as archive:
        np.testing.assert_array_equal(archive["001.normal"], normal)
    with zipfile.ZipFile(tmp_path / "npz" / "ball.npz") as archive:
        assert archive.testzip() is None
    rd.render_dataset(meshes, tmp_path / "tar", CAMERAS, outputs="normal", file_format="webdataset")
    with tarfile.open(next((tmp_path / "tar").glob("*.tar"))) as archive:
        assert "ball/001.normal.npy" in archive.getnames()


@pytest.mark.parametrize("form", FORMS)
def test_an_interrupted_run_goes_on_to_the_same_bytes(meshes, tmp_path, form):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    given = {"outputs": ("normal", "uv", "instance"), "file_format": form, "previews": False}
    rd.render_dataset(meshes, whole, CAMERAS, **given)

    class Stop(Exception):
        pass

    def stop(n_views):
        raise Stop

    with pytest.raises(Stop):
        rd.render_dataset(meshes, parts, CAMERAS, **given, on_views=stop)
    rd.render_dataset(meshes, parts, CAMERAS, **given)
    assert contents(parts) == contents(whole)
    again = rd.render_dataset(meshes, parts, CAMERAS, **given)
    assert again.n_there == 2


def test_a_taken_away_file_is_rendered_again(meshes, tmp_path):
    out = tmp_path / "out"
    rd.render_dataset(meshes, out, CAMERAS, outputs="normal")
    before = contents(out)
    (out / "ball" / "000.normal.npy").unlink()
    problems = verify_dataset(out).problems
    assert [problem.what for problem in problems] == ["missing"]
    rd.render_dataset(meshes, out, CAMERAS, outputs="normal")
    assert contents(out) == before


def test_other_outputs_than_the_folders_are_refused(meshes, tmp_path):
    out = tmp_path / "out"
    rd.render_dataset(meshes, out, CAMERAS, outputs=("normal",))
    for outputs, words in (
        ((), r'outputs \["normal"\]; this run has null'),
        (("hit",), r'outputs \["normal"\]; this run has \["hit"\]'),
    ):
        with pytest.raises(FileExistsError, match=words):
            rd.render_dataset(meshes, out, CAMERAS, outputs=outputs)


def test_verify_sees_a_changed_output(meshes, tmp_path):
    out = tmp_path / "out"
    rd.render_dataset(meshes / "ball.obj", out, CAMERAS, outputs=("normal", "hit"))
    path = out / "ball" / "000.normal.npy"
    normal = np.load(path)
    normal[0, 0, 0] += 1
    np.save(path, normal)
    hit = out / "ball" / "001.hit.png"
    hit.write_bytes(hit.read_bytes()[:-9])
    reasons = [problem.reason for problem in verify_dataset(out).problems]
    assert len(reasons) == 2
    assert "its normal is not what was written (sha256)" in reasons[0]
    assert "001.hit.png: truncated PNG file" in reasons[1]


def test_a_mesh_without_texture_fails_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_obj(tmp_path / "plain.obj", *icosphere(0.4, 1))
    report = rd.render_dataset("plain.obj", "out", CAMERAS, outputs="uv")
    (failure,) = report.failures
    assert "uv is asked for, but plain has no texture coordinates" in failure.reason


def test_on_the_command_line(meshes, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["render", str(meshes), "-o", str(out), "--views", "fibonacci:2", "--size", "32"]
    assert main([*command, "--outputs", "ray,normal,instance"]) == 0
    assert rd.open_dataset(out)["ball"].kind == "ray"
    assert rd.open_dataset(out)["ball"].output("normal", 0).shape == (32, 32, 3)
    assert main(["verify", str(out)]) == 0
    capsys.readouterr()
    for arguments, words in (
        (["--outputs", "z,colour"], "outputs hold 'colour'; expected some of disparity"),
        (["--outputs", "z,ray"], "ray and z depth are asked for; expected one kind in a data set"),
        (["--outputs", "hit,hit"], "outputs hold 'hit' twice"),
        (["--outputs", "hit", "--format", "ply"], "format ply does not hold 'hit'"),
        (["--outputs", "hits", "--hits", "99"], "hits is 99; expected a whole number from 1 to 64"),
    ):
        assert main([*command, *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "outputs", "expected"),
    [
        ("z", "normal", ("z", ("normal",))),
        ("z", ("ray", "hit"), ("ray", ("hit",))),
        ("ray", ("hit",), ("ray", ("hit",))),
        ("z", (), ("z", ())),
    ],
)
def test_kind_among_outputs(kind, outputs, expected):
    assert depth_and_others(kind, outputs) == expected


def test_one_kind_in_a_data_set():
    for kind, outputs in (("z", ("z", "ray")), ("ray", ("z",))):
        with pytest.raises(ValueError, match="ray and z depth are asked for; expected one kind"):
            depth_and_others(kind, outputs)


def test_each_form_says_what_it_holds():
    less = {form: store.outputs for form, store in STORES.items() if store.outputs < set(OTHERS)}
    assert less == {"ply": {"normal"}}


def test_a_point_cloud_for_each_mesh(meshes, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    out = tmp_path / "out"
    rd.render_dataset(meshes, out, CAMERAS, outputs=("z", "normal"), file_format="ply")
    assert sorted(path.name for path in out.glob("*.ply")) == ["ball.points.ply", "soup.points.ply"]
    for stored in rd.open_dataset(out):
        rendering = rd.render(
            rd.load_mesh(meshes / f"{stored.name}.obj"), CAMERAS, outputs=("z", "normal")
        )
        np.testing.assert_array_equal(stored.depths(), rendering.depth)
        np.testing.assert_array_equal(stored.output("normal", 1), rendering["normal"][1])
        cloud = rendering.points(normals=True)
        read = trimesh.load(out / f"{stored.name}.points.ply")
        np.testing.assert_array_equal(read.vertices, cloud.points.astype(np.float32))
        raw = read.metadata["_ply_raw"]["vertex"]["data"]
        np.testing.assert_array_equal(raw["nz"].ravel(), cloud.normals[:, 2].astype(np.float32))
        np.testing.assert_array_equal(raw["row"].ravel(), cloud.pixel[:, 0])
    assert verify_dataset(out).problems == []
    path = out / "ball.points.ply"
    path.write_bytes(path.read_bytes()[:-5])
    (first, _) = verify_dataset(out).problems
    assert "its header says" in first.reason
    with pytest.raises(ValueError, match="format ply does not hold 'uv'; expected one of png16"):
        rd.render_dataset(meshes, tmp_path / "other", CAMERAS, outputs="uv", file_format="ply")


def test_zarr_has_an_array_for_each_output(meshes, tmp_path, recwarn):
    zarr = pytest.importorskip("zarr")
    out = tmp_path / "out"
    rd.render_dataset(meshes / "ball.obj", out, CAMERAS, outputs=OTHERS, file_format="zarr", hits=3)
    group = zarr.open_group(out / "depth.zarr", mode="r")["ball"]
    assert {name for name, _ in group.members()} == {"depth", *OTHERS}
    mesh = rd.load_mesh(meshes / "ball.obj", uv=True)
    rendering = rd.render(mesh, CAMERAS, outputs=OTHERS, hits=3)
    for name in OTHERS:
        array, expected = group[name], rendering[name]
        assert array.dtype == expected.dtype
        assert array.shards == array.shape
        assert array.chunks == (1, *array.shape[1:])
        np.testing.assert_array_equal(array[:], expected, name)
        assert dict(array.attrs) == group.attrs["raydepth"]["outputs"][name]
    assert group["hits"].metadata.dimension_names == ("view", "hit", "row", "column")
    assert group["normal"].metadata.dimension_names == ("view", "row", "column", "channel")
    assert dict(group["normal"].attrs) == {"dtype": "float32", "mapping": "as it is", "miss": "0"}
    assert [str(warning.message) for warning in recwarn] == []


def test_a_damaged_zarr_output(meshes, tmp_path):
    pytest.importorskip("zarr")
    out = tmp_path / "out"
    given = {"outputs": ("normal", "hit"), "file_format": "zarr"}
    rd.render_dataset(meshes / "ball.obj", out, CAMERAS, **given)
    shard = out / "depth.zarr" / "ball" / "normal" / "c.0.0.0.0"
    content = shard.read_bytes()
    shard.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    (problem,) = verify_dataset(out).problems
    assert "normal: damaged Zarr chunk" in problem.reason
    shard.unlink()
    problems = verify_dataset(out).problems
    assert {problem.what for problem in problems} == {"missing"}
    node = out / "depth.zarr" / "ball" / "hit" / "zarr.json"
    node.write_text(node.read_text().replace('"bool"', '"uint8"').replace("false", "0"))
    with pytest.raises(ValueError, match=r"hit: .*it is uint8 of shape .* expected bool of 2"):
        rd.open_dataset(out)["ball"].output("hit", 0)


def test_coverage_survives_eight_bits():
    share = (np.arange(17, dtype=np.float32) / 16)[None]
    np.testing.assert_array_equal(
        decode_output("coverage", encode_output("coverage", share)), share
    )


def test_more_instances_than_sixteen_bits():
    with pytest.raises(ValueError, match="instance 65535 does not fit a 16-bit file"):
        encode_output("instance", np.array([[65535]], np.int32))
    most = np.array([[-1, 0, 65534]], np.int32)
    np.testing.assert_array_equal(decode_output("instance", encode_output("instance", most)), most)


def test_what_is_not_stored_is_named(meshes, tmp_path):
    rd.render_dataset(meshes, tmp_path / "out", CAMERAS, outputs="normal")
    mesh = rd.open_dataset(tmp_path / "out")["ball"]
    with pytest.raises(KeyError, match="ball has no output 'uv'; it has normal"):
        mesh.output("uv", 0)
    with pytest.raises(IndexError, match="ball has no view 2; it has 2"):
        mesh.output("normal", 2)
    np.save(tmp_path / "out" / "ball" / "000.normal.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"000.normal.npy: it has shape \(2, 2\)"):
        mesh.output("normal", 0)
