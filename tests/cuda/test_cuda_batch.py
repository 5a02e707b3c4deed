"""Chunks, the ring, pinned results, many meshes: on a device that is the CPU."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapes
from fake_device import FakeDevice

import raydepth as rd
from raydepth.codecs.uint16 import encode_uint16
from raydepth.cuda import api, batch, resident, ring
from raydepth.cuda.batch import run
from raydepth.cuda.chunks import Request, chunks
from raydepth.cuda.device_code import threads
from raydepth.cuda.pinned import LEAST, pinned_pool
from raydepth.cuda.resident import Residents, flat_arrays
from raydepth.cuda.ring import Ring
from raydepth.outputs.request import RenderRequest
from raydepth.rendering import many
from raydepth.rendering.cuda_views import views_for_cuda
from raydepth.rendering.hierarchies import build_bvh

DEPTH = RenderRequest(("z",), np.dtype(np.float32), np.inf)


def spans(cut):
    return [[(p.request.payload, p.first, p.last) for p in chunk] for chunk in cut]


def request(name, mesh_bytes=10, n_views=2, view_bytes=5, size=(4, 4)):
    return Request(mesh_bytes, n_views, view_bytes, size, name)


def test_small_requests_share_a_chunk():
    cut = spans(chunks([request(i) for i in range(3)], 100, 100))
    assert cut == [[(0, 0, 2), (1, 0, 2), (2, 0, 2)]]


def test_a_full_mesh_budget_begins_a_chunk():
    cut = spans(chunks([request(i) for i in range(3)], 20, 100))
    assert cut == [[(0, 0, 2), (1, 0, 2)], [(2, 0, 2)]]


def test_views_are_cut_where_the_outputs_are_full():
    cut = spans(chunks([request("a", n_views=3), request("b", n_views=4)], 100, 20))
    assert cut == [[("a", 0, 3), ("b", 0, 1)], [("b", 1, 4)]]


def test_one_thing_too_large_goes_alone():
    cut = spans(chunks([request("a"), request("b", 999, 2, 999), request("c")], 20, 20))
    assert cut == [[("a", 0, 2)], [("b", 0, 1)], [("b", 1, 2)], [("c", 0, 2)]]


def test_a_chunk_has_one_image_size_and_so_many_jobs():
    cut = spans(chunks([request("a"), request("b", size=(4, 5))], 100, 100))
    assert cut == [[("a", 0, 2)], [("b", 0, 2)]]
    cut = spans(chunks([request("a", n_views=5)], 100, 100, max_jobs=2))
    assert cut == [[("a", 0, 2)], [("a", 2, 4)], [("a", 4, 5)]]


@pytest.mark.parametrize("seed", range(20))
def test_chunks_hold_everything_once_and_keep_to_budgets(seed):
    rng = np.random.default_rng(seed)
    requests = [
        request(i, *map(int, rng.integers(1, 30, 3)), size=(1, int(rng.integers(1, 3))))
        for i in range(30)
    ]
    cut = list(chunks(requests, 40, 60, max_jobs=7))
    seen = [(p.request.payload, v) for chunk in cut for p in chunk for v in range(p.first, p.last)]
    assert seen == [(r.payload, v) for r in requests for v in range(r.n_views)]
    for chunk in cut:
        n_jobs = sum(p.last - p.first for p in chunk)
        assert n_jobs <= 7
        assert len({p.request.size for p in chunk}) == 1
        outputs = sum((p.last - p.first) * p.request.view_bytes for p in chunk)
        assert outputs <= 60 or n_jobs == 1
        assert sum(p.request.mesh_bytes for p in chunk) <= 40 or len(chunk) == 1


def test_chunks_ask_for_a_request_only_when_they_need_it():
    asked = []

    def requests():
        for i in itertools.count():
            asked.append(i)
            yield request(i)

    next(chunks(requests(), 20, 100))
    assert asked == [0, 1, 2]


def test_pinned_memory_is_used_again_and_bounded():
    device = FakeDevice()
    pool = pinned_pool(device, kept=4 * LEAST)
    first = pool.empty((100,), np.float32)
    view = first[10:]
    del first
    assert pool.free_bytes == 0, "a view still refers to it"
    view[:] = 1.0
    del view
    assert pool.free_bytes == LEAST
    again = pool.empty((100,), np.int32)
    assert (device.used_pinned, pool.free_bytes) == (LEAST, 0)
    many = [pool.empty((LEAST,), np.uint8) for _ in range(9)]
    del again, many
    assert pool.free_bytes == 4 * LEAST


def test_only_so_much_memory_is_pinned_for_results_that_are_kept():
    device = FakeDevice()
    pool = pinned_pool(device, lent=3 * LEAST)
    results = [pool.empty((LEAST,), np.uint8) for _ in range(9)]
    assert device.used_pinned == 3 * LEAST
    del results[0]
    results += [pool.empty((LEAST,), np.uint8), pool.empty((LEAST,), np.uint8)]
    assert (device.used_pinned, pool.free_bytes) == (3 * LEAST, 0)
    del results
    assert pool.free_bytes == 3 * LEAST


def test_sizes_of_pinned_memory_waste_at_most_a_third():
    pool = pinned_pool(FakeDevice())
    for n_bytes in (LEAST + 1, 3 * LEAST, 100_001, 786_432, 5_000_000):
        array = pool.empty((n_bytes,), np.uint8)
        before = pool.free_bytes
        del array
        assert n_bytes <= pool.free_bytes - before <= max(1.5 * n_bytes, LEAST)


def test_results_take_ordinary_memory_when_no_more_can_be_pinned():
    pool = pinned_pool(FakeDevice(pinned=0))
    assert pool.empty((3, 4), np.float32).shape == (3, 4)


def meshes_and_views(n=12):
    for i in range(n):
        vertices, faces = shapes.soup(i, n=5 + 40 * (i % 3))
        size = (40, 30) if i % 5 else (33, 21)
        model = {"ortho_width": 1.5} if i % 4 == 3 else {}
        cameras = rd.cameras.fibonacci(1 + i % 4, size=size, **model)
        yield (
            rd.Mesh(vertices + i, faces),
            rd.Cameras(
                cameras.intrinsics, moved(cameras.world_from_camera, i), size, model=cameras.model
            ),
        )


def moved(poses, by):
    poses = poses.copy()
    poses[:, :3, 3] += by
    return poses


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.triangle_id, theirs.triangle_id)
    for kind in theirs.kinds:
        np.testing.assert_array_equal(ours[kind], theirs[kind])


def test_many_meshes_are_rendered_as_each_by_itself(fake_cuda):
    pairs = list(meshes_and_views())
    together = list(rd.render_many(pairs, kind=("z", "ray"), device="cuda"))
    assert len(together) == len(pairs)
    for (mesh, cameras), ours in zip(pairs, together, strict=True):
        assert (ours.device, ours.cameras) == ("cuda", cameras)
        assert_same(ours, rd.render(mesh, cameras, kind=("z", "ray"), device="cpu"))
    walks = [n_jobs for kernel, _, n_jobs in fake_cuda.launches if kernel == "find_visible"]
    assert len(walks) < len(pairs)
    assert max(walks) > max(len(cameras) for _, cameras in pairs)


def test_many_meshes_on_the_cpu():
    pairs = list(meshes_and_views(4))
    for (mesh, cameras), ours in zip(pairs, rd.render_many(pairs, device="cpu"), strict=True):
        assert ours.device == "cpu"
        assert_same(ours, rd.render(mesh, cameras, device="cpu"))


@pytest.mark.parametrize(
    ("mesh_budget", "output_budget", "max_jobs"),
    [(1, 1, 1), (20_000, 10_000, 65535), (1 << 20, 10_000, 3), (1 << 26, 1 << 26, 65535)],
)
def test_results_do_not_depend_on_how_a_batch_is_cut(
    mesh_budget, output_budget, max_jobs, monkeypatch
):
    monkeypatch.setattr(ring, "GROWTH", 1)  # no byte more than is asked for
    device = FakeDevice()
    pairs = list(meshes_and_views())
    found = list(
        run(
            Ring(device), DEPTH, [views_of(*pair) for pair in pairs],
            mesh_budget=mesh_budget, output_budget=output_budget, max_jobs=max_jobs,
        )
    )  # fmt: skip
    for (mesh, cameras), views in zip(pairs, found, strict=True):
        expected = rd.render(mesh, cameras, device="cpu")
        np.testing.assert_array_equal(views.triangle_id, expected.triangle_id)
        np.testing.assert_array_equal(views.depths["z"], expected.depth)
    if max_jobs == 1:
        assert device.most_in_flight == ring.N_SLOTS


def views_of(mesh, cameras):
    bvh = build_bvh(mesh)
    return views_for_cuda(flat_arrays(bvh), bvh, cameras)


def test_a_batch_larger_than_the_devices_memory_is_cut_up():
    device = FakeDevice(memory=400_000)
    cameras = rd.cameras.fibonacci(40, size=64)
    mesh = rd.Mesh(*shapes.icosphere(levels=1))
    n_bytes = 40 * 64 * 64 * 8
    assert n_bytes > 3 * device.memory
    (views,) = run(Ring(device), DEPTH, [views_of(mesh, cameras)])
    expected = rd.render(mesh, cameras, device="cpu")
    np.testing.assert_array_equal(views.depths["z"], expected.depth)
    assert device.most_used <= device.memory


def test_a_view_larger_than_the_devices_memory_is_refused():
    device = FakeDevice(memory=100_000)
    mesh, cameras = rd.Mesh(*shapes.cube()), rd.cameras.fibonacci(1, size=256)
    with pytest.raises(MemoryError, match="out of memory"):
        list(run(Ring(device), DEPTH, [views_of(mesh, cameras)]))


def test_memory_is_free_again_after_a_batch_also_after_a_broken_one():
    device = FakeDevice()
    slots = Ring(device)
    pairs = [views_of(*pair) for pair in meshes_and_views(9)]
    list(run(slots, DEPTH, pairs, max_jobs=2))
    pairs = [views_of(*pair) for pair in meshes_and_views(9)]
    broken = run(slots, DEPTH, pairs, max_jobs=2)
    next(broken)
    assert device.in_flight > 0
    broken.close()
    gc.collect()
    assert (device.used, device.in_flight) == (slots.held_bytes, 0)
    slots._release()
    assert device.used == 0


def test_meshes_are_read_as_needed(fake_cuda):
    read = []

    def endless():
        for i in itertools.count():
            read.append(i)
            yield rd.Mesh(*shapes.cube()), rd.cameras.fibonacci(1, size=(2048, 1024))

    results = rd.render_many(endless(), device="cuda", threads=1)
    next(results)
    assert len(read) < 40
    results.close()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_16_bits_are_those_of_write_depth(fake_cuda, device):
    pairs = list(meshes_and_views(6))
    found = list(rd.render_many(pairs, device=device, values_per_unit=20000))
    for (mesh, cameras), ours in zip(pairs, found, strict=True):
        expected = rd.render(mesh, cameras, device="cpu").depth
        assert ours.depth.dtype == np.uint16
        for view, truth in zip(ours.depth, expected, strict=True):
            np.testing.assert_array_equal(view, encode_uint16(truth, 20000))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_depth_that_does_not_fit_16_bits_is_refused(fake_cuda, device):
    mesh = rd.Mesh(*shapes.cube())
    near = rd.cameras.fibonacci(1, size=16)
    far = rd.cameras.fibonacci(1, size=16, radius=30, fov_deg=4)
    results = rd.render_many([(mesh, near), (mesh, far)], device=device, values_per_unit=5000)
    assert next(results).depth.any()
    with pytest.raises(ValueError, match="values_per_unit"):
        next(results)


def test_wrong_pairs_are_named():
    with pytest.raises(TypeError, match="pair 0 is a str and a int"):
        list(rd.render_many([("bunny.ply", 3)], device="cpu"))


def test_a_mesh_is_uploaded_once_and_forgotten_with_its_hierarchy(fake_cuda):
    mesh = rd.Mesh(*shapes.cube())
    cameras = rd.cameras.fibonacci(1, size=8)
    bvh = build_bvh(mesh)
    first = api.resident(bvh)
    rd.render(mesh, cameras, device="cuda")
    assert api.resident(bvh) is first
    del first, bvh, mesh
    gc.collect()
    assert fake_cuda.used == api._ring().held_bytes


def test_meshes_that_were_not_asked_for_the_longest_leave_the_device(fake_cuda):
    """Whoever keeps all meshes of a data set renders one after the other as often as they want."""
    fake_cuda.memory = 1_000_000
    cameras = rd.cameras.fibonacci(2, size=16)
    meshes = [rd.Mesh(*shapes.icosphere(levels=3)) for _ in range(12)]
    first = api.resident(build_bvh(meshes[0]))
    n_bytes = first.buffer.n_bytes
    fitting = fake_cuda.memory // 2 // n_bytes
    assert 3 < fitting < 8
    for mesh in meshes:
        ours = rd.render(mesh, cameras, device="cuda")
        np.testing.assert_array_equal(ours.depth, rd.render(mesh, cameras, device="cpu").depth)
        assert api.resident(build_bvh(meshes[0])) is first, "it is asked for all the time"
    held = api._ring().held_bytes
    assert fake_cuda.used == fitting * n_bytes + held
    last = api.resident(build_bvh(meshes[-1]))
    api.resident(build_bvh(meshes[1]))
    assert api.resident(build_bvh(meshes[-1])) is last


def test_what_is_only_kept_makes_room(fake_cuda):
    """One large view leaves large buffers behind, which are of no use to many small meshes."""
    fake_cuda.memory = 500_000
    large, small = rd.cameras.fibonacci(1, size=128), rd.cameras.fibonacci(40, size=16)
    meshes = [rd.Mesh(*shapes.icosphere(levels=1)) for _ in range(30)]
    rd.render(meshes[0], large, device="cuda")
    assert api._ring().held_bytes > fake_cuda.memory / 3
    together = rd.render_many(((mesh, small) for mesh in meshes), device="cuda")
    for mesh, ours in zip(meshes, together, strict=True):
        np.testing.assert_array_equal(ours.depth, rd.render(mesh, small, device="cpu").depth)
    rd.render(meshes[0], large, device="cuda")
    rd.render(meshes[0], large, device="cuda", to="device")


def test_what_slots_hold_is_free_for_the_next_batch(fake_cuda):
    fake_cuda.memory = 2_000_000
    mesh, cameras = rd.Mesh(*shapes.cube()), rd.cameras.fibonacci(40, size=64)
    n_launches = []
    for _ in range(3):
        fake_cuda.launches.clear()
        rd.render(mesh, cameras, device="cuda")
        n_launches.append(len(fake_cuda.launches))
    assert n_launches[0] == n_launches[1] == n_launches[2]


def test_only_so_many_bytes_of_slots_are_kept(monkeypatch):
    slots, views = Ring(FakeDevice()), rd.cameras.fibonacci(9, size=64)
    mesh = rd.Mesh(*shapes.cube())
    list(run(slots, DEPTH, [views_of(mesh, views)], output_budget=60_000))
    assert slots.held_bytes > 150_000
    slots._release()
    monkeypatch.setattr(ring, "KEPT", 100_000)
    list(run(slots, DEPTH, [views_of(mesh, views)], output_budget=60_000))
    assert 50_000 < slots.held_bytes <= 100_000


@pytest.mark.parametrize("size", [1, 4, 9])
def test_tables_and_multiples_count(size):
    """They are most of what many tiny views need."""
    device = FakeDevice(memory=300_000)
    cameras = rd.cameras.fibonacci(1, size=size)
    meshes = [rd.Mesh(*shapes.cube()) for _ in range(100)]
    found = list(run(Ring(device), DEPTH, (views_of(mesh, cameras) for mesh in meshes)))
    assert len(found) == 100
    assert device.most_used <= 0.8 * device.memory


def test_views_that_stay_on_the_device_are_rendered_some_at_a_time(fake_cuda, monkeypatch):
    monkeypatch.setattr(batch, "OUTPUT_BUDGET", 3 * threads.beam_bytes((32, 32)))
    mesh, cameras = rd.Mesh(*shapes.cube()), rd.cameras.fibonacci(10, size=32)
    ours = rd.render(mesh, cameras, device="cuda", to="device")
    assert [n for kernel, _, n in fake_cuda.launches if kernel == "resolve"] == [3, 3, 3, 1]
    expected = rd.render(mesh, cameras, device="cpu")
    np.testing.assert_array_equal(ours.depth.to_host(), expected.depth)


def test_many_threads_at_once(fake_cuda, monkeypatch):
    """With meshes that have to leave, and batches that nobody finishes."""
    monkeypatch.setattr(resident, "SHARE", 1e-4)
    fake_cuda.memory = 1 << 28
    cameras = rd.cameras.fibonacci(3, size=(40, 30))
    fisheye = rd.Cameras(
        rd.cameras.fisheye_intrinsics(80.0, 40), cameras.world_from_camera, 40, model="fisheye"
    )
    meshes = [rd.Mesh(*shapes.soup(i, n=50)) for i in range(12)]
    expected = {
        (i, views): rd.render(mesh, views, kind="ray", device="cpu").depth
        for i, mesh in enumerate(meshes)
        for views in (cameras, fisheye)
    }

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(12):
            i, how = int(rng.integers(12)), int(rng.integers(4))
            views = fisheye if how == 1 else cameras
            to = "device" if how == 2 else "host"
            if how < 3:
                ours = rd.render(meshes[i], views, kind="ray", device="cuda", to=to).depth
                ours = ours.to_host() if to == "device" else ours
                np.testing.assert_array_equal(ours, expected[i, views])
            else:
                pairs = ((mesh, cameras) for mesh in meshes)
                together = rd.render_many(pairs, kind="ray", device="cuda", threads=2)
                for j in range(int(rng.integers(1, 12))):
                    np.testing.assert_array_equal(next(together).depth, expected[j, cameras])
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    gc.collect()
    assert fake_cuda.in_flight == 0


def test_a_batch_that_nobody_finishes_may_end_in_any_thread(fake_cuda, monkeypatch):
    """Garbage is collected wherever memory is allocated: also in the batch's own threads."""
    building, dropped, collected = threading.Event(), threading.Event(), threading.Event()
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    def build(mesh):
        if mesh is meshes[5]:
            building.set()
            dropped.wait(10)
            gc.collect()
            collected.set()
        return build_bvh(mesh)

    class Loader:
        def __init__(self):
            self.results = rd.render_many(((m, cameras) for m in meshes), device="cuda", threads=1)

    cameras = rd.cameras.fibonacci(4, size=16)
    meshes = [rd.Mesh(*shapes.cube()) for _ in range(40)]
    monkeypatch.setattr(many, "build_bvh", build)
    monkeypatch.setattr(api, "render_batch", lambda v, o: run(api._ring(), o, v, mesh_budget=1))
    monkeypatch.setattr(many, "AHEAD", 1)
    loader = Loader()
    loader.itself = loader
    gc.disable()
    try:
        next(loader.results)
        assert building.wait(10)
        alive = weakref.ref(loader)
        del loader
        dropped.set()
        assert collected.wait(10)
        assert alive() is None
    finally:
        gc.enable()
    assert not complaints


def test_meshes_make_room_where_others_have_taken_the_memory(fake_cuda):
    meshes = [rd.Mesh(*shapes.cube()) for _ in range(5)]
    residents = Residents(fake_cuda)
    for mesh in meshes:
        residents.of(build_bvh(mesh))
    fake_cuda.memory = fake_cuda.used
    assert residents.of(build_bvh(rd.Mesh(*shapes.cube()))).buffer.n_bytes > 0
    fake_cuda.memory = 0
    with pytest.raises(MemoryError):
        residents.of(build_bvh(rd.Mesh(*shapes.cube())))


def test_the_second_rendering_makes_nothing_but_its_results(fake_cuda):
    """Streams, pinned memory and buffers take longer to make than to use."""
    mesh, cameras = rd.Mesh(*shapes.cube()), rd.cameras.fibonacci(3, size=(20, 16))
    rays = np.zeros((100, 3)), np.eye(3)[np.arange(100) % 3]

    def to_host():
        return rd.render(mesh, cameras, device="cuda").depth

    def to_device():
        return rd.render(mesh, cameras, device="cuda", to="device").depth

    def single_rays():
        return rd.cast_rays(mesh, *rays, device="cuda").distance

    for call, n_results in ((to_host, 0), (to_device, 2), (single_rays, 0)):
        call()
        fake_cuda.made.clear()
        call()
        assert fake_cuda.made == ["buffer"] * n_results, call


def test_a_failure_leaves_the_ring_usable(fake_cuda, monkeypatch):
    mesh, cameras = rd.Mesh(*shapes.cube()), rd.cameras.fibonacci(3, size=16)
    expected = rd.render(mesh, cameras, device="cuda").depth
    launch = fake_cuda.launch

    def fail(kernel, *arguments):
        if kernel == "resolve":
            raise rd.DeviceError("cannot run resolve")
        launch(kernel, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fake_cuda, "launch", fail)
        with pytest.raises(rd.DeviceError, match="cannot run resolve"):
            rd.render(mesh, cameras, device="cuda")
    assert fake_cuda.in_flight == 0
    np.testing.assert_array_equal(rd.render(mesh, cameras, device="cuda").depth, expected)


def test_many_single_rays_are_cut_up(fake_cuda, monkeypatch):
    monkeypatch.setattr(api, "RAYS", 37)
    mesh = rd.Mesh(*shapes.icosphere(levels=2))
    rng = np.random.default_rng(0)
    origins, directions = rng.normal(size=(2, 500, 3))
    ours = rd.cast_rays(mesh, origins, directions, device="cuda")
    theirs = rd.cast_rays(mesh, origins, directions, device="cpu")
    for field in ("distance", "triangle_id", "barycentric"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    assert fake_cuda.most_in_flight == ring.N_SLOTS
    assert len(rd.cast_rays(mesh, origins[:0], directions[:0], device="cuda").distance) == 0


def test_results_can_stay_on_the_device(fake_cuda):
    mesh = rd.Mesh(*shapes.icosphere(levels=2))
    cameras = rd.cameras.fibonacci(3, size=(40, 30))
    ours = rd.render(mesh, cameras, kind=("z", "ray"), device="cuda", to="device")
    theirs = rd.render(mesh, cameras, kind=("z", "ray"), device="cpu")
    np.testing.assert_array_equal(ours.triangle_id.to_host(), theirs.triangle_id)
    np.testing.assert_array_equal(ours.ray_depth.to_host(), theirs.ray_depth)
    # The fake's memory is NumPy's to take, by the same capsule that Torch and CuPy get.
    shared = np.from_dlpack(ours.z_depth)
    assert shared.ctypes.data == ours.z_depth.address
    del ours
    gc.collect()
    np.testing.assert_array_equal(shared, theirs.z_depth)
    del shared
    gc.collect()
    held = api._ring().held_bytes
    assert fake_cuda.used == api.resident(build_bvh(mesh)).buffer.n_bytes + held


def test_an_array_on_the_device_says_where_it_is(fake_cuda):
    mesh = rd.Mesh(*shapes.cube())
    result = rd.render(mesh, rd.cameras.fibonacci(2, size=8), device="cuda", to="device")
    interface = result.depth.__cuda_array_interface__
    assert interface["shape"] == (2, 8, 8)
    assert interface["typestr"] == "<f4"
    assert interface["data"] == (result.depth.address, False)
    assert result.triangle_id.__dlpack_device__() == (1, 0)
    capsule = result.depth.__dlpack__()
    assert "dltensor" in repr(capsule)
    del capsule, result
    gc.collect()
    from raydepth.cuda import arrays

    assert not arrays._shared


@pytest.mark.parametrize("method", ["to_host", "cpu", "get", "copy_to_host"])
def test_cameras_may_be_on_the_device(method):
    """They come to the host by the method that raydepth, Torch, CuPy and Numba have for that."""
    given = rd.cameras.fibonacci(2, size=8)

    class OnDevice:
        def __init__(self, array):
            array = np.ascontiguousarray(array)
            self.__cuda_array_interface__ = {**array.__array_interface__, "stream": None}
            setattr(self, method, lambda: array)

    ours = rd.Cameras(OnDevice(given.intrinsics), OnDevice(given.world_from_camera), 8)
    np.testing.assert_array_equal(ours.intrinsics, given.intrinsics)
    np.testing.assert_array_equal(ours.world_from_camera, given.world_from_camera)
    foreign = OnDevice(given.intrinsics)
    delattr(foreign, method)
    with pytest.raises(ValueError, match="intrinsics is in the memory of a device; expected"):
        rd.Cameras(foreign, given.world_from_camera, 8)
