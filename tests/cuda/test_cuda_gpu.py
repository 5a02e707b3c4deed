"""On a real device: the same bits as the CPU, arrays that others take, errors. Needs a GPU."""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest
import shapes
from fake_device import FakeDevice

import raydepth as rd
from raydepth.cuda import batch
from raydepth.cuda import device as devices
from raydepth.cuda.batch import run
from raydepth.cuda.chunks import Piece
from raydepth.cuda.device_code import jobs, threads
from raydepth.cuda.resident import flat_arrays, make_resident
from raydepth.cuda.ring import Ring
from raydepth.outputs.request import RenderRequest
from raydepth.rendering.cuda_views import views_for_cuda
from raydepth.rendering.hierarchies import build_bvh

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        devices.why_unusable() is not None, reason=f"no CUDA device: {devices.why_unusable()}"
    ),
]

SHAPES = {
    "soup": shapes.soup(1, n=2000),
    "sphere": shapes.icosphere(levels=5),
    "cube": shapes.cube(),
    "square": shapes.square(),
    "needles": shapes.needles(2),
    "terrain": shapes.terrain_with_screw(),
}


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.triangle_id, theirs.triangle_id)
    for kind in theirs.kinds:
        np.testing.assert_array_equal(ours._of_kind(kind), theirs._of_kind(kind))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 1.0), (1e5, 1e-6), (0.0, 1e9)])
@pytest.mark.parametrize("name", SHAPES)
def test_the_same_bits_as_the_cpu(name, offset, scale, model, dtype):
    vertices, faces = SHAPES[name]
    mesh = rd.Mesh((vertices + offset) * scale, faces)
    for radius in (0.1, 1.5, 700.0):
        options = {"ortho_width": 1.3} if model == "orthographic" else {}
        given = rd.cameras.fibonacci(3, size=(201, 133), radius=radius, **options)
        poses, intrinsics = given.world_from_camera.copy(), given.intrinsics.copy()
        poses[:, :3, 3] = (poses[:, :3, 3] + offset) * scale
        if model == "orthographic":
            intrinsics[:, [0, 1], [0, 1]] /= scale
        views = rd.Cameras(intrinsics, poses, (201, 133), model=model)
        options = {"kind": ("z", "ray"), "dtype": dtype}
        ours = rd.render(mesh, views, device="cuda", **options)
        assert ours.device == "cuda"
        assert_same(ours, rd.render(mesh, views, device="cpu", **options))


@pytest.mark.parametrize("seed", range(4))
def test_against_the_oracle(seed):
    vertices, faces = shapes.soup(seed, n=300)
    cameras = rd.cameras.random(1, seed=seed, size=(120, 90))
    rendering = rd.render(rd.Mesh(vertices, faces), cameras, kind=("z", "ray"), device="cuda")
    truth = oracle.brute_force(vertices, faces, cameras)
    oracle.assert_exact(rendering, 0, truth, max_uncertain=0.1)


def test_no_ray_slips_through_a_vertex_or_an_edge():
    vertices, faces = shapes.icosphere(levels=4)
    mesh = rd.Mesh(vertices, faces)
    targets = np.concatenate([vertices, vertices[faces[:, [0, 1]]].mean(axis=1)])
    for eye in ((0.0, 0.0, 0.0), (0.1, 0.2, -0.05)):
        ours = rd.cast_rays(mesh, eye, targets - np.array(eye), device="cuda")
        theirs = rd.cast_rays(mesh, eye, targets - np.array(eye), device="cpu")
        assert (ours.triangle_id >= 0).all()
        for our, their in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(our, their)


@pytest.mark.parametrize("name", ["soup", "sphere", "terrain"])
def test_beams_are_the_cpus(name):
    """What they decide; numbers but for the last bits, since the device fuses sums."""
    cameras = rd.cameras.fibonacci(3, size=(201, 133))
    bvh = build_bvh(rd.Mesh(*SHAPES[name]))
    options = RenderRequest(("z",), np.dtype(np.float32), np.inf)
    n_bytes = threads.beam_bytes((201, 133))
    records = []
    for device in (devices.device(), FakeDevice()):
        resident = make_resident(device, flat_arrays(bvh))
        views = views_for_cuda(resident, bvh, cameras)
        rows, _ = jobs.table(3)
        piece = Piece(batch.request(views, options), 0, 3)
        batch.fill_jobs(rows, piece, resident.addresses, options)
        beams, table = device.empty(3 * n_bytes), device.empty(rows.nbytes)
        jobs.fill_outputs(rows, jobs.BEAMS, beams.address, n_bytes)
        stream, found = device.stream(), np.empty(3 * n_bytes, np.uint8)
        device.upload(table, 0, rows, stream)
        n_blocks = threads.launches((201, 133))["set_up_beams"]
        device.launch("set_up_beams", n_blocks, 3, (np.uint64(table.address),), stream)
        device.download(found, beams, 0, stream)
        device.wait(stream)
        records.append(found.view(np.float32).reshape(-1, 32))
    ours, theirs = records
    codes = np.array([3, 28])  # kind, axis and whether moved; where rays begin
    same = (ours.view(np.int32)[:, codes] == theirs.view(np.int32)[:, codes]).all(axis=1)
    assert same.mean() > 0.999
    numbers = np.delete(np.arange(32), [3, 26, 27, 28])
    np.testing.assert_allclose(ours[:, numbers], theirs[:, numbers], rtol=1e-6, atol=1e-9)
    starts = [array.view(np.float64)[:, 13] for array in records]
    np.testing.assert_allclose(*starts, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_limits_are_the_cpus(seed):
    mesh = rd.Mesh(*shapes.soup(seed, n=2000))
    for options in ({"radius": 0.2}, {"radius": 1.5}, {"radius": 1.5, "ortho_width": 1.2}):
        given = rd.cameras.fibonacci(3, size=(131, 77), **options)
        for near, far in ((1.3, None), ([0.1, 1.4, 1.6], [0.3, 1.7, 1.65]), (0.0, 1.5)):
            views = rd.Cameras(
                given.intrinsics, given.world_from_camera, (131, 77), model=given.model,
                near=near, far=far,
            )  # fmt: skip
            ours = rd.render(mesh, views, kind=("z", "ray"), device="cuda")
            assert_same(ours, rd.render(mesh, views, kind=("z", "ray"), device="cpu"))


def test_views_that_share_no_launch_come_in_order():
    mesh = rd.Mesh(*shapes.soup(3, n=500))
    flat = rd.cameras.fibonacci(2, size=(64, 48))
    fish = rd.Cameras(flat.intrinsics, flat.world_from_camera, (64, 48), model="fisheye",
                      distortion=[0.05, 0.01, 0.0, 0.0])  # fmt: skip
    pairs = [(mesh, views) for views in (flat, fish, fish, flat, flat, fish)]
    for options in ({}, {"values_per_unit": 20000}):
        found = rd.render_many(pairs, kind="ray", device="cuda", **options)
        expected = rd.render_many(pairs, kind="ray", device="cpu", **options)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.device == "cuda"
            assert_same(ours, theirs)


def pairs_of(n):
    for i in range(n):
        vertices, faces = shapes.soup(i, n=5 + 400 * (i % 3))
        size = (160, 120) if i % 5 else (131, 77)
        yield rd.Mesh(vertices, faces), rd.cameras.fibonacci(1 + i % 4, size=size)


def test_many_meshes_are_rendered_as_each_by_itself():
    pairs = list(pairs_of(40))
    for (mesh, cameras), ours in zip(pairs, rd.render_many(pairs, device="cuda"), strict=True):
        assert_same(ours, rd.render(mesh, cameras, device="cpu"))


def test_16_bits_are_the_cpus():
    pairs = list(pairs_of(12))
    options = {"values_per_unit": 20000}
    together = zip(
        rd.render_many(pairs, device="cuda", **options),
        rd.render_many(pairs, device="cpu", **options),
        strict=True,
    )
    for ours, theirs in together:
        np.testing.assert_array_equal(ours.depth, theirs.depth)
    far = rd.cameras.fibonacci(1, size=16, radius=30, fov_deg=4)
    with pytest.raises(ValueError, match="values_per_unit"):
        list(rd.render_many([(rd.Mesh(*shapes.cube()), far)], device="cuda", values_per_unit=5000))


def test_results_do_not_depend_on_how_a_batch_is_cut():
    device = devices.device()
    mesh, cameras = rd.Mesh(*SHAPES["sphere"]), rd.cameras.fibonacci(13, size=200)
    bvh = build_bvh(mesh)
    views = views_for_cuda(flat_arrays(bvh), bvh, cameras)
    options = RenderRequest(("z",), np.dtype(np.float32), np.inf)
    (found,) = run(Ring(device), options, [views], output_budget=700_000)
    expected = rd.render(mesh, cameras, device="cpu")
    np.testing.assert_array_equal(found.depths["z"], expected.depth)


def test_the_devices_own_hierarchy_gives_the_same_bits():
    for vertices, faces in SHAPES.values():
        mesh = rd.Mesh(vertices, faces)
        centre, extent = mesh.bounds.mean(axis=0), np.ptp(mesh.bounds, axis=0).max()
        cameras = rd.cameras.fibonacci(3, size=150, radius=1.5 * extent)
        poses = cameras.world_from_camera.copy()
        poses[:, :3, 3] += centre
        cameras = rd.Cameras(cameras.intrinsics, poses, 150)
        ours = rd.render(rd.DeviceMesh(vertices, faces), cameras)
        assert_same(ours, rd.render(mesh, cameras, device="cpu"))


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_other_libraries_take_results_and_give_meshes_without_a_copy(library):
    module = pytest.importorskip(library)
    vertices, faces = SHAPES["sphere"]
    cameras = rd.cameras.fibonacci(2, size=(64, 48))
    expected = rd.render(rd.Mesh(vertices, faces), cameras, device="cpu")
    if library == "torch":
        given = [module.as_tensor(array, device="cuda") for array in (vertices, faces)]
        poses = module.as_tensor(cameras.world_from_camera.copy(), device="cuda")
    else:
        given = [module.asarray(array) for array in (vertices, faces)]
        poses = module.asarray(cameras.world_from_camera)
    cameras = rd.Cameras(cameras.intrinsics, poses, (64, 48))
    result = rd.render(rd.DeviceMesh(*given), cameras, to="device")
    if library == "torch":
        taken = [module.from_dlpack(result.depth), module.as_tensor(result.depth, device="cuda")]
        pointers = [tensor.data_ptr() for tensor in taken]
    else:
        taken = [module.from_dlpack(result.depth), module.asarray(result.depth)]
        pointers = [array.data.ptr for array in taken]
    assert set(pointers) == {result.depth.address}
    for array in taken:
        on_host = array.cpu().numpy() if library == "torch" else array.get()
        np.testing.assert_array_equal(on_host, expected.depth)
    np.testing.assert_array_equal(result.triangle_id.to_host(), expected.triangle_id)


def test_too_much_memory_is_one_line():
    with pytest.raises(MemoryError, match="out of memory") as caught:
        devices.device().empty(1 << 46)
    assert "\n" not in str(caught.value)


def test_repeated_calls_give_the_same_bits_and_no_memory_is_lost():
    mesh, cameras = rd.Mesh(*SHAPES["soup"]), rd.cameras.fibonacci(4, size=256)
    device = devices.device()
    first = rd.render(mesh, cameras, device="cuda")
    free = device.free_bytes()
    for _ in itertools.repeat(None, 20):
        assert_same(rd.render(mesh, cameras, device="cuda"), first)
    assert device.free_bytes() > free - (1 << 28)
