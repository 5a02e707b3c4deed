"""Forms of storage: the same meshes, views and depth from each, whole or not there."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import tarfile
import time
from pathlib import Path

import imageio.v3
import numpy as np
import pytest
import shapes
from mesh_files import contents

import raydepth as rd
from raydepth.dataset import write_mesh as rd_dataset
from raydepth.dataset.settings import Settings
from raydepth.dataset.view_encoder import ViewRenderer
from raydepth.export import stored_depth
from raydepth.storage.base import MeshViews, Store
from raydepth.storage.folder import FolderStore
from raydepth.storage.forms import STORES as ALL_STORES
from raydepth.storage.forms import located, store_of
from raydepth.storage.layouts import LAYOUTS

# Forms whose package is not installed are tried where it is, and by `test_packages.py`.
STORES = {
    name: store
    for name, store in ALL_STORES.items()
    if store.package is None or importlib.util.find_spec(store.package[0])
}
SIZE = (24, 20)
NAMES = ["b", "a.v2", "c d", "Würfel/0001"]
UINT16 = [name for name, store in STORES.items() if store.stores_uint16]


def views_of(i: int) -> tuple[rd.Mesh, rd.Cameras, np.ndarray]:
    """Mesh `i`, its cameras and what they see: (n_views, height, width) float32."""
    mesh = rd.Mesh(*shapes.icosphere(0.3 + 0.05 * i, levels=2), name=f"mesh {i}")
    cameras = rd.cameras.fibonacci(3 + i % 2, size=SIZE)
    return mesh, cameras, rd.render(mesh, cameras).depth


def encoded(store: Store, name: str, i: int, *, kind: str = "z") -> MeshViews:
    """What a pipeline hands to `Store.write`; pickled on its way, as between processes."""
    mesh, cameras, depths = views_of(i)
    scale = store.values_per_unit
    settings = Settings(cameras, kind=kind, file_format=store.file_format, values_per_unit=scale)
    description = ViewRenderer(settings).describe(mesh)
    stores = "uint16" if store.stores_uint16 else "float32"
    views = [
        store.encode(
            stored_depth(
                stores, depth, kind=kind, camera=camera, mesh=mesh.to_json(), values_per_unit=scale
            )
        )
        for depth, camera in zip(depths, cameras, strict=True)
    ]
    preview = b"\x89PNG\r\n\x1a\n a picture"
    mesh_views = MeshViews(name, description)
    for view in views:
        mesh_views.add(view)
    mesh_views.finish(description, preview)
    return pickle.loads(pickle.dumps(mesh_views))


def write_all(file_format: str, out: Path, names=NAMES) -> None:
    store = store_of(file_format)
    n = store.meshes_per_unit
    for index, first in enumerate(range(0, len(names), n)):
        unit = [encoded(store, name, i + first) for i, name in enumerate(names[first : first + n])]
        store.write(out, unit, index=index)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    """The same data set in each form."""
    folder = tmp_path_factory.mktemp("sets")
    for file_format in STORES:
        write_all(file_format, folder / file_format)
    return {file_format: folder / file_format for file_format in STORES}


@pytest.mark.parametrize("file_format", STORES)
def test_every_form_gives_the_same(sets, file_format):
    dataset = rd.open_dataset(sets[file_format])
    assert dataset.names == sorted(NAMES)
    assert len(dataset) == len(NAMES)
    for name in NAMES:
        mesh, cameras, expected = views_of(NAMES.index(name))
        found = dataset[name]
        assert (found.name, found.kind, len(found)) == (name, "z", len(cameras))
        assert found.metadata["mesh"] == mesh.to_json()
        assert found.metadata["file_format"] == file_format
        np.testing.assert_array_equal(found.cameras.intrinsics, cameras.intrinsics)
        np.testing.assert_array_equal(found.cameras.world_from_camera, cameras.world_from_camera)
        assert (found.cameras.width, found.cameras.height) == SIZE
        depths = found.depths()
        assert depths.dtype == np.float32
        assert np.isinf(expected).any()
        if file_format in UINT16:
            scale = STORES[file_format].values_per_unit
            values = np.rint(expected.astype(np.float64) * scale)
            expected = (values / scale).astype(np.float32)
        np.testing.assert_array_equal(depths, expected)
        for i, depth in enumerate(found):
            np.testing.assert_array_equal(depth, expected[i])
        np.testing.assert_array_equal(found.depth(-1), expected[-1])


@pytest.mark.parametrize("file_format", STORES)
def test_same_input_gives_same_bytes(sets, file_format, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e9)
    write_all(file_format, tmp_path)
    assert contents(tmp_path) == contents(sets[file_format])
    # Written over what is there, nothing changes.
    write_all(file_format, tmp_path)
    assert contents(tmp_path) == contents(sets[file_format])


@pytest.mark.parametrize("file_format", STORES)
def test_found_and_removed(file_format, tmp_path):
    store = store_of(file_format)
    assert store.found(tmp_path, "x/y") is None
    assert located(tmp_path, "x/y") is None
    unit = [encoded(store, "x/y", 0)]
    store.write(tmp_path, unit)
    assert store.found(tmp_path, "x/y") == unit[0].description
    place, description = located(tmp_path, "x/y")
    assert place == store.place(tmp_path, "x/y")
    assert place.exists()
    assert description == unit[0].description
    store.remove(tmp_path, "x/y")
    assert store.found(tmp_path, "x/y") is None
    assert not place.exists()
    store.remove(tmp_path, "x/y")  # nothing to do


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("file_format", STORES)
def test_a_mesh_is_there_whole_or_not_at_all(file_format, tmp_path, error):
    store = store_of(file_format)
    unit = encoded(store, "m", 0)
    whole = unit.views

    def views():
        yield whole[0]
        raise error

    unit.views = views()
    with pytest.raises(error):
        store.write(tmp_path, [unit])
    assert contents(tmp_path) == {}
    unit.views = whole
    store.write(tmp_path, [unit])
    before = contents(tmp_path)
    unit.views = views()
    with pytest.raises(error):
        store.write(tmp_path, [unit])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file_format", STORES)
def test_too_few_or_too_many_views_are_refused(file_format, tmp_path):
    store = store_of(file_format)
    for change in (lambda views: views[:-1], lambda views: [*views, views[0]]):
        unit = encoded(store, "m", 0)
        unit.views = change(unit.views)
        with pytest.raises(ValueError, match=r"(only \d|too many) views; expected \d"):
            store.write(tmp_path, [unit])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("file_format", STORES)
def test_description_and_preview_may_come_last(file_format, tmp_path):
    """A writer streams views and knows their ranges only at the end."""
    store = store_of(file_format)
    unit = encoded(store, "m", 0)
    views, preview, unit.preview = unit.views, unit.preview, None

    def streamed():
        yield from views
        unit.description["notes"] = ["late"]
        unit.preview = preview

    unit.views = streamed()
    store.write(tmp_path, [unit])
    (mesh,) = rd.open_dataset(tmp_path)
    assert mesh.metadata["notes"] == ["late"]
    previews = [content for content in contents(tmp_path).values() if b"a picture" in content]
    assert len(previews) == (file_format not in ("zarr", "ply"))


@pytest.mark.parametrize("file_format", STORES)
def test_names_of_views_sort_as_the_views_do(file_format):
    store = store_of(file_format)
    names = [store.file_of(7, n_views).removesuffix(store.suffix) for n_views in (8, 1000, 1001)]
    if file_format in LAYOUTS:
        assert names == ["depth/000007"] * 3, "as BOP has it"
    else:
        assert names == ["007", "007", "0007"]


def test_an_unknown_form_names_the_known():
    for wrong in ("jpg", None, ["png16"]):
        with pytest.raises(ValueError, match=r"format is .*; expected one of png16, npy"):
            store_of(wrong)


# --- Opening


@pytest.mark.parametrize("file_format", STORES)
def test_opening_reads_no_pixels(sets, file_format, monkeypatch):
    dataset = rd.open_dataset(sets[file_format])
    monkeypatch.setattr(np, "load", None)
    assert len(dataset[0:2]) == 2
    assert dataset.names[1] == dataset[1].name
    assert [mesh.name for mesh in dataset] == dataset.names


def test_indices(sets):
    dataset = rd.open_dataset(sets["npy"])
    assert dataset[-1].name == dataset["c d"].name == "c d"
    assert dataset[1:].names == sorted(NAMES)[1:]
    for wrong, error in ((9, IndexError), ("nobody", KeyError)):
        with pytest.raises(error):
            dataset[wrong]
    mesh = dataset["b"]
    for view in (3, -4):
        with pytest.raises(IndexError, match=r"b has no view .*; it has 3"):
            mesh.depth(view)


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        rd.open_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="file is a file; expected the folder of a data set"):
        rd.open_dataset(tmp_path / "file")
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match="holds no finished mesh of raydepth"):
        rd.open_dataset(tmp_path)


def test_two_forms_in_one_folder(tmp_path):
    for file_format in ("npy", "npz"):
        write_all(file_format, tmp_path, ["a" + file_format])
    with pytest.raises(ValueError, match=r"several forms \(anpy, anpz\.npz\); expected one"):
        rd.open_dataset(tmp_path)


@pytest.mark.parametrize("file_format", STORES)
def test_what_else_lies_there_is_not_a_mesh(sets, file_format, tmp_path):
    write_all(file_format, tmp_path)
    (tmp_path / "failures.jsonl").write_text("{}\n")
    (tmp_path / ".b.partial").mkdir()
    (tmp_path / ".raydepth-0.tmp").write_bytes(b"half")
    assert rd.open_dataset(tmp_path).names == sorted(NAMES)


# --- Damage


def refused(act, *words: str) -> None:
    with pytest.raises(ValueError, match=words[0]) as caught:
        act()
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def change_description(path: Path, change) -> None:
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="other"), "does not declare format"),
        (lambda d: d.update(format_version=2), "format_version is 2"),
        (lambda d: d.pop("kind"), "lacks kind"),
        (lambda d: d.update(views=[]), "invalid views"),
        (lambda d: d.update(views=[1]), "invalid views"),
        (lambda d: d["views"][0].update(camera={}), "its cameras are damaged"),
        (lambda d: d["views"][0].update(file="../b/000.png"), "expected a file in its folder"),
        (
            lambda d: d.update(values_per_unit=5000),
            "its values_per_unit is 10000; that of its mesh is 5000",
        ),
        (lambda d: d.update(kind="ray"), "its kind is 'z'"),
    ],
)
def test_a_damaged_description(tmp_path, change, words):
    write_all("png16", tmp_path, ["m"])
    change_description(tmp_path / "m/views.json", change)
    (mesh,) = rd.open_dataset(tmp_path)
    refused(lambda: mesh.depth(0), words, str(tmp_path / "m"))


@pytest.mark.parametrize(
    "file_format", [name for name, store in STORES.items() if isinstance(store, FolderStore)]
)
def test_a_damaged_file_of_a_folder(tmp_path, file_format):
    write_all(file_format, tmp_path, ["m"])
    (mesh,) = rd.open_dataset(tmp_path)
    file = tmp_path / "m" / mesh.metadata["views"][1]["file"]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    refused(lambda: mesh.depth(1), file.name, str(tmp_path / "m"))
    mesh.depth(0)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        mesh.depth(1)


def test_a_damaged_npz(tmp_path):
    write_all("npz", tmp_path, ["m"])
    path = tmp_path / "m.npz"
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        (mesh,) = rd.open_dataset(tmp_path)
        refused(lambda mesh=mesh: mesh.depth(0), "damaged or not a .npz file of views", str(path))
    np.savez(path, depth=np.ones((2, 2)))
    (mesh,) = rd.open_dataset(tmp_path)
    refused(lambda: len(mesh), "damaged or not a .npz file of views", str(path))
    with pytest.raises(FileExistsError, match="holds no views written by raydepth"):
        store_of("npz").found(tmp_path, "m")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        len(mesh)


def test_npz_is_read_by_numpy_alone(sets):
    with np.load(sets["npz"] / "b.npz") as archive:
        assert archive.files == ["000", "001", "002", "preview.png", "raydepth"]
        np.testing.assert_array_equal(archive["001"], views_of(0)[2][1])
        assert json.loads(str(archive["raydepth"]))["kind"] == "z"
        assert archive["preview.png"].startswith(b"\x89PNG")


def test_hidden_folders_of_a_removal_are_cleared_by_the_next_writer(tmp_path):
    store = store_of("npy")
    write_all("npy", tmp_path, ["m"])
    # What a process that was killed while it removed the mesh left behind.
    (tmp_path / ".m.partial").mkdir()
    os.rename(tmp_path / "m", tmp_path / ".m.partial" / "m.removed")
    assert store.found(tmp_path, "m") is None
    write_all("npy", tmp_path, ["m"])
    assert os.listdir(tmp_path) == ["m"]


# --- Zarr


@pytest.fixture
def zarr_set(tmp_path) -> Path:
    pytest.importorskip("zarr")
    write_all("zarr", tmp_path, ["x/m"])
    return tmp_path / "depth.zarr"


def test_zarr_is_read_by_zarr_alone(zarr_set, recwarn):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(zarr_set, mode="r")
    assert [name for name, _ in root.members(max_depth=None)] == ["x", "x/m", "x/m/depth"]
    group = root["x/m"]
    array = group["depth"]
    mesh, cameras, expected = views_of(0)
    assert (array.shape, array.dtype) == ((len(cameras), *SIZE[::-1]), np.uint16)
    assert array.chunks == (1, *SIZE[::-1])
    assert array.shards == array.shape
    assert array.metadata.dimension_names == ("view", "row", "column")
    assert dict(array.attrs) == {"kind": "z", "values_per_unit": 10000, "miss": 0}
    description = group.attrs["raydepth"]
    assert description["mesh"] == mesh.to_json()
    values = np.where(np.isinf(expected), 0, np.rint(expected.astype(np.float64) * 10000))
    np.testing.assert_array_equal(array[:], values)
    np.testing.assert_array_equal(array[1, 3:9, ::2], values[1, 3:9, ::2])
    assert [str(warning.message) for warning in recwarn] == []


def test_zarr_has_three_files_a_mesh(zarr_set):
    files = [name for name in contents(zarr_set) if name.startswith("x/m/")]
    assert sorted(files) == ["x/m/depth/c.0.0.0", "x/m/depth/zarr.json", "x/m/zarr.json"]


def test_every_damaged_byte_of_a_zarr_chunk_is_noticed(zarr_set):
    shard = zarr_set / "x/m/depth/c.0.0.0"
    content = shard.read_bytes()
    index_begins = len(content) - 3 * 16 - 4
    for place in [*range(0, index_begins, 31), *range(index_begins, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 16
        shard.write_bytes(damaged)
        (mesh,) = rd.open_dataset(zarr_set.parent)
        refused(mesh.depths, "damaged Zarr chunk", str(zarr_set / "x/m"))
    for length in (0, 10, len(content) // 2, len(content) - 1):
        shard.write_bytes(content[:length])
        (mesh,) = rd.open_dataset(zarr_set.parent)
        refused(mesh.depths, "damaged Zarr chunk")
    shard.unlink()
    (mesh,) = rd.open_dataset(zarr_set.parent)
    with pytest.raises(FileNotFoundError, match=r"c\.0\.0\.0"):
        mesh.depth(0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"attributes": {"raydepth": 1}}'])
def test_a_damaged_zarr_group(zarr_set, content):
    (zarr_set / "x/m/zarr.json").write_bytes(content)
    (mesh,) = rd.open_dataset(zarr_set.parent)
    refused(lambda: len(mesh), str(zarr_set / "x/m"))
    with pytest.raises(FileExistsError, match="holds no attributes written by raydepth"):
        store_of("zarr").found(zarr_set.parent, "x/m")


def test_a_zarr_array_of_someone_else(zarr_set):
    node = zarr_set / "x/m/depth/zarr.json"
    for change in ({"shape": [4, 20, 24]}, {"data_type": "int16"}, {"codecs": []}):
        before = node.read_text()
        node.write_text(json.dumps(json.loads(before) | change))
        (mesh,) = rd.open_dataset(zarr_set.parent)
        refused(lambda mesh=mesh: mesh.depth(0), "damaged Zarr array", str(zarr_set / "x/m"))
        node.write_text(before)


# --- Tar shards


def shards(out: Path, n: int = 5) -> list[Path]:
    """Five meshes in shards of two."""
    store = store_of("webdataset")
    units = [encoded(store, f"m{i}.v1/s", i) for i in range(n)]
    for index in range(0, n, 2):
        store.write(out, units[index : index + 2], index=index // 2)
    return sorted(out.iterdir())


def test_tar_shards(tmp_path):
    assert [path.name for path in shards(tmp_path)] == [f"shard-00000{i}.tar" for i in range(3)]
    dataset = rd.open_dataset(tmp_path)
    assert dataset.names == [f"m{i}.v1/s" for i in range(5)]
    assert [mesh.place.name[11] for mesh in dataset] == ["0", "0", "1", "1", "2"]
    for i, mesh in enumerate(dataset):
        np.testing.assert_allclose(mesh.depths(), views_of(i)[2], rtol=0, atol=0.5e-4 + 1e-7)
    place, description = located(tmp_path, "m3.v1/s")
    assert place == tmp_path / "shard-000001.tar"
    assert description == dataset[3].metadata
    store_of("webdataset").remove(tmp_path, "m3.v1/s")
    assert rd.open_dataset(tmp_path).names == [f"m{i}.v1/s" for i in (0, 1, 4)]


def test_a_tar_shard_is_read_by_tarfile(tmp_path):
    first, *_ = shards(tmp_path)
    with tarfile.open(first) as archive:
        members = archive.getmembers()
        names = [member.name for member in members]
        image = archive.extractfile("m0.v1/s/001.png").read()
        metadata = json.load(archive.extractfile("m0.v1/s/001.json"))
    assert names[:4] == [
        "__raydepth__/index.json",
        "m0.v1/s/000.png",
        "m0.v1/s/000.json",
        "m0.v1/s/001.png",
    ]
    assert "__raydepth__/m0.v1/s/views.json" in names
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }
    assert metadata == json.loads(imageio.v3.immeta(image)["raydepth"])


def test_a_tar_shard_is_read_by_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(path) for path in shards(tmp_path)]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    dataset = rd.open_dataset(tmp_path)
    expected = [f"{mesh.name}/{i:03}" for mesh in dataset for i in range(len(mesh))]
    assert [sample["__key__"] for sample in samples] == expected
    assert all({"png", "json"} <= sample.keys() for sample in samples)
    sample = samples[4]
    values = imageio.v3.imread(sample["png"])
    depth = np.where(values == 0, np.inf, values / sample["json"]["values_per_unit"])
    np.testing.assert_array_equal(depth.astype(np.float32), dataset[1].depth(1))


def test_a_damaged_tar_shard(tmp_path):
    path, *others = shards(tmp_path, 2)
    assert others == []
    content = path.read_bytes()
    meshes = rd.open_dataset(tmp_path)
    for length in (0, 100, 600, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(lambda: rd.open_dataset(tmp_path), "damaged or not a tar shard", str(path))
    path.write_bytes(content[: len(content) // 2])
    refused(lambda: len(meshes[1]), "truncated tar file", str(path))
    start = content.index(b"\x89PNG")
    damaged = bytearray(content)
    damaged[start + 200] ^= 1
    path.write_bytes(damaged)
    refused(rd.open_dataset(tmp_path)[0].depths, "fails its checksum", "000.png", str(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"raydepth-shard"', b'"raydepth-other"'),
        (b'"format_version": 1', b'"format_version": 2'),
        (b'"meshes"', b'"mashes"'),
        (b'"views": [[', b'"views": [{'),
        (b'"description": [', b'"description": ['[:-1] + b"{"),
    ],
)
def test_a_damaged_index_of_a_tar_shard(tmp_path, old, new):
    path, *_ = shards(tmp_path, 2)
    content = path.read_bytes()
    assert content.count(old) >= 1
    path.write_bytes(content.replace(old, new, 1))
    refused(lambda: rd.open_dataset(tmp_path), "damaged or not a tar shard", str(path))


def test_a_tar_of_someone_else(tmp_path):
    with tarfile.open(tmp_path / "shard-000000.tar", "w") as archive:
        archive.add(__file__, "a.py")
    refused(lambda: rd.open_dataset(tmp_path), "does not begin with __raydepth__/index.json")


def test_a_mesh_in_two_tar_shards(tmp_path):
    first, *_ = shards(tmp_path, 2)
    (tmp_path / "shard-000007.tar").write_bytes(first.read_bytes())
    refused(lambda: rd.open_dataset(tmp_path), "and shard-000000.tar both hold m0.v1/s")


def test_webdataset_is_not_for_single_meshes(tmp_path):
    mesh, cameras, _ = views_of(0)
    with pytest.raises(ValueError, match="webdataset is for data sets of many meshes"):
        rd_dataset.write_views(mesh, cameras, tmp_path / "m", file_format="webdataset")
    assert list(tmp_path.iterdir()) == []


# --- Many meshes


@pytest.mark.parametrize("file_format", STORES)
def test_opening_many_meshes_opens_none(file_format, tmp_path, monkeypatch):
    """Only the index of a shard is read, whatever the number of meshes."""
    write_all(file_format, tmp_path, [f"m{i}" for i in range(30)])
    opened = []
    builtin_open = open

    def noted(file, *args, **more):
        opened.append(file)
        return builtin_open(file, *args, **more)

    monkeypatch.setattr("builtins.open", noted)
    monkeypatch.setattr(Path, "read_bytes", opened.append)
    dataset = rd.open_dataset(tmp_path)
    assert len(dataset) == 30
    assert [mesh.name for mesh in dataset][:2] == ["m0", "m1"]
    assert len(opened) == (1 if file_format == "webdataset" else 0)
