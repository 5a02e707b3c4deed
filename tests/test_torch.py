"""raydepth.torch: what a DataLoader gives is what the library gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapes
from mesh_files import write_obj

import raydepth as rd

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'raydepth[torch]'")

from torch.utils.data import DataLoader  # noqa: E402

from raydepth.torch import RenderedViews, StoredViews  # noqa: E402


@pytest.fixture
def cameras() -> rd.Cameras:
    return rd.cameras.fibonacci(3, size=(12, 10))


@pytest.fixture
def meshes(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    for i in range(5):
        write_obj(Path(f"meshes/{i}.obj"), *shapes.icosphere(0.2 + 0.05 * i, levels=1))
    return "meshes"


def expected(i: int, cameras: rd.Cameras) -> np.ndarray:
    return rd.render(rd.load_mesh(f"meshes/{i}.obj"), cameras, device="cpu").depth


@pytest.mark.parametrize("n_workers", [0, 2])
def test_stored_views(meshes, cameras, n_workers):
    rd.render_dataset(meshes, "out", cameras, file_format="npy")
    views = StoredViews("out")
    assert len(views) == 15
    loader = DataLoader(views, batch_size=4, num_workers=n_workers)
    batches = list(loader)
    depth = torch.cat([batch["depth"] for batch in batches])
    assert depth.dtype == torch.float32
    assert depth.shape == (15, 10, 12)
    for i in range(5):
        np.testing.assert_array_equal(depth[3 * i : 3 * i + 3].numpy(), expected(i, cameras))
    assert batches[1]["mesh"] == ["1", "1", "2", "2"]
    assert batches[1]["view"].tolist() == [1, 2, 0, 1]
    pose = batches[1]["world_from_camera"][0].numpy()
    np.testing.assert_array_equal(pose, cameras.world_from_camera[1])
    with pytest.raises(IndexError, match="view 15 is out of range; there are 15"):
        views[15]
    np.testing.assert_array_equal(views[-1]["depth"].numpy(), expected(4, cameras)[2])


@pytest.mark.parametrize("n_workers", [0, 2, 3])
def test_rendered_views(meshes, cameras, n_workers):
    """Each view once, whoever renders it."""
    loader = DataLoader(RenderedViews(meshes, cameras), batch_size=None, num_workers=n_workers)
    found = {(view["mesh"], view["view"]): view["depth"].numpy() for view in loader}
    assert len(found) == 15 == sum(1 for _ in loader)
    for i in range(5):
        for view in range(3):
            np.testing.assert_array_equal(found[str(i), view], expected(i, cameras)[view])


def test_other_views_for_each_mesh(meshes, cameras):
    views = list(RenderedViews(meshes, lambda number: cameras[number % 3]))
    assert len(views) == 5
    np.testing.assert_array_equal(views[4]["depth"].numpy(), expected(4, cameras)[1])


def test_lenses_and_limits_come_along(meshes, cameras):
    views = list(DataLoader(RenderedViews(meshes, cameras), batch_size=15))
    assert views[0]["distortion"].shape == (15, 0)
    assert views[0]["near"].tolist() == [0.0] * 15
    assert views[0]["far"].tolist() == [np.inf] * 15
    distortion = np.array([[-0.1, 0.01, 0, 0, 0], [-0.2, 0, 0, 0, 0], [0.1, 0, 0, 0, 0]])
    others = rd.Cameras(
        cameras.intrinsics, cameras.world_from_camera, (12, 10), distortion=distortion,
        near=[0.5, 0.6, 0.7], far=9.0,
    )  # fmt: skip
    rd.render_dataset(meshes, "out", others, file_format="npy")
    for views in (RenderedViews(meshes, others), StoredViews("out")):
        (batch,) = DataLoader(views, batch_size=15)
        np.testing.assert_array_equal(batch["distortion"].numpy(), np.tile(distortion, (5, 1)))
        assert batch["near"].tolist() == [0.5, 0.6, 0.7] * 5
        assert batch["far"].tolist() == [9.0] * 15


def test_a_broken_mesh_is_left_out_with_a_warning(meshes, cameras):
    Path("meshes/2.obj").write_text("v 0 0\n")
    with pytest.warns(UserWarning, match=r"left out: meshes/2\.obj"):
        assert len(list(RenderedViews(meshes, cameras))) == 12


@pytest.mark.parametrize("n_workers", [0, 2])
def test_auto_gives_main_memory_whoever_renders(
    meshes, cameras, n_workers, fake_cuda, auto_may_be_cuda, monkeypatch
):
    launch = fake_cuda.launch

    def leave_a_trace(*arguments):
        Path("launched").touch()
        launch(*arguments)

    monkeypatch.setattr(fake_cuda, "launch", leave_a_trace)
    loader = DataLoader(RenderedViews(meshes, cameras), batch_size=None, num_workers=n_workers)
    found = {(view["mesh"], view["view"]): view["depth"].numpy() for view in loader}
    assert len(found) == 15
    np.testing.assert_array_equal(found["1", 1], expected(1, cameras)[1])
    assert Path("launched").exists() == (n_workers == 0)


def test_bent_rays_come_to_main_memory(meshes, cameras, fake_cuda):
    fisheye = rd.Cameras(
        rd.cameras.fisheye_intrinsics(120.0, 12), cameras.world_from_camera, 12, model="fisheye"
    )
    ours = [view["depth"] for view in RenderedViews(meshes, fisheye, kind="ray", device="cuda")]
    theirs = [view["depth"] for view in RenderedViews(meshes, fisheye, kind="ray", device="cpu")]
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_what_a_device_renders_stays_there(meshes, cameras, fake_cuda, monkeypatch):
    def refuse(*_):
        raise AssertionError("results went to main memory")

    monkeypatch.setattr(fake_cuda, "download", refuse)
    views = list(RenderedViews(meshes, cameras, device="cuda"))
    assert len(views) == 15
    np.testing.assert_array_equal(views[4]["depth"].numpy(), expected(1, cameras)[1])
