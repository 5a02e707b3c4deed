"""What the CUDA kernels are made of, run on the CPU: float64 bits, float32 bounds, the walk."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import oracle
import pytest
import shapes
from numba import njit

import raydepth as rd
from raydepth import kernels
from raydepth.bvh import build
from raydepth.cuda.device_code import beams, exact, intrinsics, jobs, layout, threads, trace
from raydepth.cuda.device_code.intrinsics import fma
from raydepth.rendering.frames import frames_of
from raydepth.simd import vectors

f4 = np.float32


@njit(error_model="numpy")
def _both_distances(vertices, faces, origins, directions, ours, theirs):
    for i in range(len(origins)):
        o, d = origins[i], directions[i]
        kx, ky, kz, sx, sy = kernels.shear(d)
        theirs[i] = kernels.hit_distance(
            vectors.pointer(vertices), vectors.pointer(faces), i, o, d, kx, ky, kz, sx, sy
        )
        ours[i] = exact.hit_distance(
            np.uint64(vertices.ctypes.data), np.uint64(faces.ctypes.data), np.int64(i),
            o[0], o[1], o[2], d[0], d[1], d[2],
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_hit_distance_has_the_cpus_bits(seed):
    rng = np.random.default_rng(seed)
    n = 20_000
    vertices = rng.normal(size=(3 * n, 3)) * np.exp(rng.normal(size=(3 * n, 1)) * 3)
    faces = np.arange(3 * n, dtype=np.int32).reshape(-1, 3)
    origins = rng.normal(size=(n, 3)) * 3
    inside = rng.dirichlet(np.ones(3), n)
    targets = np.einsum("nv,nvi->ni", inside, vertices.reshape(n, 3, 3))
    directions = (targets - origins) * np.exp(rng.normal(size=(n, 1)) * 5)
    directions[:100, 0] = 0.0
    ours, theirs = np.empty(n), np.empty(n)
    _both_distances(vertices, faces, origins, directions, ours, theirs)
    assert np.isfinite(theirs).mean() > 0.4
    np.testing.assert_array_equal(ours, theirs)


@njit(error_model="numpy")
def _shared_blocks(table, n_blocks, pixels):
    for block in range(n_blocks):
        for thread in range(threads.THREADS):
            column, row, pixel = threads.pixel_of(table, 0, np.int32(block), np.int32(thread))
            if pixel >= 0:
                pixels[row, column] += 1 if pixel == row * pixels.shape[1] + column else 2


@pytest.mark.parametrize("size", [(1, 1), (16, 8), (17, 9), (640, 360), (5, 300)])
def test_every_pixel_has_one_thread(size):
    rows, _ = jobs.table(1)
    rows[0, jobs.SIZE] = size[0] + (size[1] << 32)
    pixels = np.zeros((size[1], size[0]), int)
    _shared_blocks(np.uint64(rows.ctypes.data), threads.blocks_of(size), pixels)
    assert (pixels == 1).all()


def test_a_warp_is_8_by_4_pixels():
    rows, _ = jobs.table(1)
    rows[0, jobs.SIZE] = 64 + (64 << 32)

    @njit
    def place(table, block, thread):
        column, row, _ = threads.pixel_of(table, 0, np.int32(block), np.int32(thread))
        return column, row

    for warp in range(4):
        seen = {place(np.uint64(rows.ctypes.data), 5, 32 * warp + lane) for lane in range(32)}
        columns, lines = {c for c, _ in seen}, {r for _, r in seen}
        assert (len(seen), len(columns), len(lines)) == (32, 8, 4)
        assert (min(columns) % 8, min(lines) % 4) == (0, 0)


def _splinters(seed):
    """Long, thin triangles, but not too thin to be seen."""
    vertices, faces = shapes.needles(seed)
    vertices[2::3] += np.random.default_rng(seed).normal(size=(300, 3)) * 3e-3
    return vertices, faces


SHAPES = {
    "soup": shapes.soup(1),
    "sphere": shapes.icosphere(),
    "cube": shapes.cube(),
    "square": shapes.square(),
    "needles": shapes.needles(2),
    "splinters": _splinters(3),
    "terrain": shapes.terrain_with_screw(),
}


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 1.0), (1e5, 1e-6)])
@pytest.mark.parametrize("name", SHAPES)
def test_the_device_renders_the_cpus_bits(fake_cuda, name, offset, scale, model):
    vertices, faces = SHAPES[name]
    mesh = rd.Mesh((vertices + offset) * scale, faces)
    if model == "perspective":
        cameras = rd.cameras.fibonacci(2, size=(97, 64), radius=1.5)
        close = rd.cameras.fibonacci(1, size=(97, 64), radius=0.3)
    else:
        cameras = rd.cameras.fibonacci(2, size=(97, 64), ortho_width=1.3, radius=700)
        close = rd.cameras.fibonacci(1, size=(97, 64), ortho_width=1.3, radius=0.1)
    for given in (cameras, close):
        poses, intrinsics = given.world_from_camera.copy(), given.intrinsics.copy()
        poses[:, :3, 3] = (poses[:, :3, 3] + offset) * scale
        if model == "orthographic":
            intrinsics[:, [0, 1], [0, 1]] /= scale
        views = rd.Cameras(intrinsics, poses, (97, 64), model=model)
        kind = ("z", "ray")
        ours = rd.render(mesh, views, kind=kind, dtype=np.float64, device="cuda")
        theirs = rd.render(mesh, views, kind=kind, dtype=np.float64, device="cpu")
        assert ours.device == "cuda"
        np.testing.assert_array_equal(ours.triangle_id, theirs.triangle_id)
        np.testing.assert_array_equal(ours.z_depth, theirs.z_depth)
        np.testing.assert_array_equal(ours.ray_depth, theirs.ray_depth)
        assert given is close or name == "needles" or (theirs.triangle_id >= 0).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_device_against_the_oracle(fake_cuda, seed):
    vertices, faces = shapes.soup(seed, n=300)
    cameras = rd.cameras.random(1, seed=seed, size=(80, 60))
    rendering = rd.render(rd.Mesh(vertices, faces), cameras, kind=("z", "ray"), device="cuda")
    truth = oracle.brute_force(vertices, faces, cameras)
    oracle.assert_exact(rendering, 0, truth, max_uncertain=0.1)


def test_origins_too_far_for_float32_are_left_to_float64(fake_cuda):
    mesh = rd.Mesh(*shapes.icosphere(levels=2))
    cameras = rd.cameras.fibonacci(2, size=48, ortho_width=1.2, radius=1e9)
    ours = rd.render(mesh, cameras, device="cuda", dtype=np.float64)
    theirs = rd.render(mesh, cameras, device="cpu", dtype=np.float64)
    np.testing.assert_array_equal(ours.triangle_id, theirs.triangle_id)
    np.testing.assert_array_equal(ours.depth, theirs.depth)


def test_no_ray_slips_through_a_vertex_or_an_edge(fake_cuda):
    """Rays aimed exactly at what faces share, from outside and from within."""
    vertices, faces = shapes.icosphere(levels=2)
    mesh = rd.Mesh(vertices, faces)
    middles = vertices[faces[:, [0, 1]]].mean(axis=1)
    targets = np.concatenate([vertices, middles])
    for eye in ((0.0, 0.0, 0.0), (0.1, 0.2, -0.05), (-0.3, 0.1, 0.2)):
        hits = rd.cast_rays(mesh, eye, targets - np.array(eye), device="cuda")
        expected = rd.cast_rays(mesh, eye, targets - np.array(eye), device="cpu")
        assert (hits.triangle_id >= 0).all()
        np.testing.assert_array_equal(hits.triangle_id, expected.triangle_id)
        np.testing.assert_array_equal(hits.distance, expected.distance)
        np.testing.assert_array_equal(hits.barycentric, expected.barycentric)


@pytest.mark.parametrize("seed", range(3))
def test_any_rays_have_the_cpus_bits(fake_cuda, seed):
    rng = np.random.default_rng(seed)
    mesh = rd.Mesh(*shapes.soup(seed))
    origins = rng.normal(size=(3000, 3)) * 10.0 ** rng.integers(-3, 9, (3000, 1))
    directions = rng.uniform(-0.5, 0.5, (3000, 3)) - origins
    directions *= 10.0 ** rng.integers(-200, 200, (3000, 1))
    directions[:300, 0] = 0.0
    directions[:100, 1] = -0.0
    directions[0] = 0.0
    ours = rd.cast_rays(mesh, origins, directions, device="cuda")
    theirs = rd.cast_rays(mesh, origins, directions, device="cpu")
    assert (theirs.triangle_id >= 0).mean() > 0.3
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)


@njit(error_model="numpy")
def _judge(corners, slacks, verdicts, numbers):
    for i in range(len(corners)):
        c = corners[i]
        verdict, u, v, w, bound = trace.judge(
            c[0, 0],
            c[0, 1],
            c[1, 0],
            c[1, 1],
            c[2, 0],
            c[2, 1],
            slacks[i],
            slacks[i] * slacks[i] * beams.LEAST_PER_SLACK,
        )
        verdicts[i] = verdict
        numbers[i] = u, v, w, bound


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_on_edge_functions_holds(seed):
    """Exact rational arithmetic on corners moved by as much as they may be off."""
    rng = np.random.default_rng(seed)
    n = 3000
    size = 10.0 ** rng.uniform(-6, 0, (n, 1, 1))
    corners = rng.normal(size=(n, 3, 2)) * size
    corners[: n // 2] -= rng.dirichlet(np.ones(3), n // 2)[:, None] @ corners[: n // 2]
    corners[: n // 4] += rng.normal(size=(n // 4, 1, 2)) * size[: n // 4] * 1e-3
    corners = corners.astype(f4)
    # From what is the least of a beam's to that of the steepest and farthest.
    errors = (rng.uniform(13, 40, n) * 2.0**-24).astype(f4)
    verdicts, numbers = np.empty(n, int), np.empty((n, 4), f4)
    slacks = np.nextafter((beams.SLACK_PER_ERROR * errors.astype(float)).astype(f4), f4(1))
    _judge(corners, slacks, verdicts, numbers)
    moved = corners + rng.choice([-1, 1], corners.shape) * errors[:, None, None].astype(float)
    for i in range(n):
        (ax, ay), (bx, by), (cx, cy) = [[Fraction(float(x)) for x in row] for row in moved[i]]
        true = (cx * by - cy * bx, ax * cy - ay * cx, bx * ay - by * ax)
        bound = Fraction(float(numbers[i, 3]))
        for computed, real in zip(numbers[i, :3], true, strict=True):
            assert abs(Fraction(float(computed)) - real) <= bound
        same_sign = all(x >= 0 for x in true) or all(x <= 0 for x in true)
        assert verdicts[i] != trace.MET or same_sign
        assert verdicts[i] != trace.MISSED or not same_sign
    counts = np.bincount(verdicts, minlength=3)
    assert counts[trace.MET] > n // 8
    assert counts[trace.MISSED] > n // 8
    assert counts[trace.DOUBTFUL] > 10


@njit(error_model="numpy")
def _rays_of(table, nodes, records, n_columns, numbers):
    """Every ray of the first beam of each block of two: what beams.ray says of it."""
    for block in range(len(numbers)):
        beam = np.int64(threads.BEAMS_OF_BLOCK * block)
        column, row = threads.corner_of(n_columns, np.int32(block), np.int32(0))
        beams.set_up(table, 0, nodes, records, beam, column, row)
        for lane in range(32):
            p, q, r, i, n, slack, _, behind = beams.ray(records, beam, np.int32(lane))
            for j in range(4):
                numbers[block, lane, j] = p[j]
                numbers[block, lane, 4 + j] = q[j]
                numbers[block, lane, 8 + j] = r[j]
            for j in range(3):
                numbers[block, lane, 12 + j] = i[j]
                numbers[block, lane, 15 + j] = n[j]
            numbers[block, lane, 18] = slack
            numbers[block, lane, 19] = behind
            numbers[block, lane, 20] = beams.kind_of(records, beam)
            numbers[block, lane, 21] = beams.start_of(records, beam)[1]


def rays_of_beams(cameras, size=64):
    """For each block of a view of a mesh that is its own local frame: pixels, rays, numbers."""
    bvh = build(*shapes.cube())
    basis = frames_of(cameras, bvh).basis
    rows, _ = jobs.table(1)
    jobs.fill_views(rows, (0, 0, 0, 0), basis, np.zeros((1, 14)), (size, size), scale=1.0, miss=0.0)
    n_blocks = threads.blocks_of((size, size))
    records = np.full(threads.beam_bytes((size, size)) + 16, 0xA5, np.uint8)
    address = np.uint64(-(-records.ctypes.data // 16) * 16)
    numbers = np.empty((n_blocks, 32, 22))
    nodes, _ = layout.flatten(bvh)
    tree = np.uint64(nodes.ctypes.data)
    _rays_of(np.uint64(rows.ctypes.data), tree, address, np.int32(size), numbers)
    lane, block = np.arange(32), np.arange(n_blocks)[:, None]
    x = 16 * (block % -(-size // 16)) + lane % 8 + 0.5
    y = 8 * (block // -(-size // 16)) + lane // 8 + 0.5
    o, ox, oy, d, dx, dy = basis[0]
    origins = o + x[..., None] * ox + y[..., None] * oy
    return origins, d + x[..., None] * dx + y[..., None] * dy, numbers


def views_of(seed):
    """Cameras far and near, wide and narrow."""
    rng = np.random.default_rng(seed)
    for _ in range(30):
        radius = 10.0 ** rng.uniform(-1, 3)
        options = {"fov_deg": min(rng.choice([60.0, 300.0]) / radius, 150.0)}
        if rng.random() < 0.4:
            options = {"ortho_width": rng.uniform(0.1, 3)}
        views = rd.cameras.random(
            1, seed=int(rng.integers(1 << 30)), size=64, radius=radius, **options
        )
        poses = views.world_from_camera.copy()
        poses[:, :3, 3] += rng.normal(size=3) * 0.5
        yield rd.Cameras(views.intrinsics, poses, 64, model=views.model)


def of(vectors, axis):
    """A component of each ray's vector, of an axis for each beam."""
    return np.take_along_axis(vectors, np.broadcast_to(axis, vectors.shape[:2])[..., None], 2)[
        ..., 0
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_bounds_on_a_beams_rays_hold(seed):
    """Sheared coordinates and distances of points of the mesh, against float64."""
    rng = np.random.default_rng(seed)
    worst = np.zeros(2)
    kinds = set()
    for cameras in views_of(seed):
        origins, directions, numbers = rays_of_beams(cameras)
        kinds |= set(numbers[:, 0, 20])
        known = numbers[:, 0, 20] == beams.FLOAT32
        if not known.any():
            continue
        o, d, numbers = origins[known], directions[known], numbers[known]
        points = rng.uniform(-1, 1, (len(o), 32, 3))
        given = [points.astype(f4)[..., axis] for axis in range(3)]
        k = np.abs(d[:, [27, 28, 3, 4]].mean(axis=1)).argmax(axis=-1)[:, None]
        ours = [
            _sheared_all(*given, *numbers[..., 4 * j : 4 * j + 4].astype(f4).transpose(2, 0, 1))
            for j in range(3)
        ]
        # Directions in the beam's units: those of the middle have a component of 1 along k.
        middle = np.abs(of(d, k)[:, [11, 12, 19, 20]].mean(axis=1))
        g = d / middle[:, None, None]
        error = numbers[..., 18] / beams.SLACK_PER_ERROR
        for j in range(2):
            i = (k + 1 + j) % 3
            real = of(g, k) * (of(points, i) - of(o, i)) - of(g, i) * (of(points, k) - of(o, k))
            relative = np.abs(ours[j] - real) / error
            assert relative.max() <= 1.0
            worst[0] = max(worst[0], relative.max())
        start = numbers[..., 21]
        moved = of(o, k) + start * of(d, k)
        distance = np.sign(of(d, k)) * (of(points, k) - moved)
        assert np.abs(ours[2] - distance).max() <= 16 * 2.0**-24
        worst[1] = max(worst[1], np.abs(ours[2] - distance).max() * 2.0**24 / 16)
        # Moved origins have not passed the mesh.
        at = o + start[..., None] * d
        assert np.abs(at).max() <= beams.NEAREST + 1e-6
        ahead = np.einsum("bri,bri->br", at, d) / np.linalg.norm(d, axis=-1)
        assert (ahead[start[:, 0] > 0] < 0).all()
        assert (np.linalg.norm(at[start[:, 0] > 0], axis=-1) > 3**0.5).all()
        assert ((numbers[..., 19] < 0) == (start > 0)).all()
    assert kinds == {beams.NOTHING, beams.FLOAT32, beams.FLOAT64}
    assert worst.min() > 0.1, "a bound is so wide that the test says nothing"


@njit(error_model="numpy")
def _sheared_each(x, y, z, a, b, c, d, out):
    for i in range(len(x)):
        out[i] = trace.sheared(x[i], y[i], z[i], a[i], b[i], c[i], d[i])


def _sheared_all(*arrays):
    out = np.empty(arrays[0].size, f4)
    _sheared_each(*[np.ascontiguousarray(array).reshape(-1) for array in arrays], out)
    return out.reshape(arrays[0].shape).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_beams_that_are_passed_over_meet_nothing(seed):
    """And the others are not many more than have to be looked at."""
    n_passed = n_hit = n_looked_at = 0
    for cameras in views_of(100 + seed):
        _, _, numbers = rays_of_beams(cameras)
        passed = numbers[:, 0, 20] == beams.NOTHING
        seen = rd.render(rd.Mesh(*shapes.cube()), cameras, device="cpu").triangle_id[0] >= 0
        hit = seen.reshape(8, 8, 4, 16)[:, :4, :, :8].any(axis=(1, 3)).reshape(-1)
        assert not (hit & passed).any()
        n_passed += passed.sum()
        n_hit += hit.sum()
        n_looked_at += (~passed & (numbers[:, 0, 20] == beams.FLOAT32)).sum()
    assert n_passed > 40
    assert n_looked_at < 2 * n_hit


def test_most_beams_are_float32s():
    """Of cameras as people use them."""
    for options in ({}, {"fov_deg": 90.0, "radius": 0.8}, {"ortho_width": 1.2}):
        cameras = rd.cameras.fibonacci(1, size=256, **options)
        _, _, numbers = rays_of_beams(cameras, 256)
        kinds = np.bincount(numbers[:, 0, 20].astype(int), minlength=3)
        assert kinds[beams.FLOAT64] == 0
        assert kinds[beams.FLOAT32] > 0.1 * kinds.sum()


@njit(error_model="numpy")
def _enter_all(centres, halves, i, n, entered):
    for b in range(len(centres)):
        c, h = centres[b], halves[b]
        enters, leaves = trace.enter(
            c[0], c[1], c[2], h[0], h[1], h[2], i[b, 0], i[b, 1], i[b, 2], n[b, 0], n[b, 1],
            n[b, 2], intrinsics.as_int(f4(np.inf)),
        )  # fmt: skip
        entered[b] = enters <= leaves


@pytest.mark.parametrize("seed", range(4))
def test_no_ray_misses_a_box_that_it_meets(seed):
    """A beam's rays at points on the very corners and edges of boxes."""
    rng = np.random.default_rng(seed)
    n_boxes = n_elsewhere = n_without = 0
    for cameras in views_of(200 + seed):
        o, d, numbers = (
            array.reshape(-1, array.shape[-1]) for array in rays_of_beams(cameras)
        )  # fmt: skip
        # A point of each ray in the middle of what the mesh can fill.
        d = d / np.linalg.norm(d, axis=-1, keepdims=True)
        along = -np.einsum("ri,ri->r", o, d) + rng.uniform(-1, 1, len(o))
        target = o + along[:, None] * d
        known = (numbers[:, 20] == beams.FLOAT32) & (along > 0) & (np.abs(target) < 1).all(axis=1)
        target, numbers = target[known], numbers[known]
        n = len(target)
        if n == 0:
            continue
        size = 10.0 ** rng.uniform(-7, 0, (n, 3))
        part = rng.choice([0.0, 1.0, 0.5], (n, 3), p=[0.4, 0.4, 0.2])
        low, high = target - part * size, target + (1 - part) * size
        nodes = np.zeros((n, 4, 4), f4)
        for child in (0, 2):
            nodes[:, child, :3] = np.nextafter(np.maximum(low, -1).astype(f4), f4(-2))
            nodes[:, child + 1, :3] = np.nextafter(np.minimum(high, 1).astype(f4), f4(2))
        nodes.view(np.int32)[:, 1::2, 3] = 1
        flat = np.empty((4 * n, 4), f4)
        layout._flatten_nodes(nodes, nodes.view(np.int32), flat, flat.view(np.int32))
        i, minus_oi = numbers[:, 12:15].astype(f4), numbers[:, 15:18].astype(f4)
        entered = np.empty(n, bool)
        _enter_all(flat[::4, :3].copy(), flat[1::4, :3].copy(), i, minus_oi, entered)
        assert entered.all()
        n_boxes += n
        _enter_all(flat[::4, :3].copy(), flat[1::4, :3] - layout.PAD, i, minus_oi, entered)
        n_without += (~entered).sum()
        # The same rays miss boxes that are somewhere else.
        elsewhere = flat[::4, :3] + f4(0.5) * rng.choice([-1, 1], (n, 3)).astype(f4)
        _enter_all(elsewhere, flat[1::4, :3].copy(), i, minus_oi, entered)
        n_elsewhere += entered.sum()
    assert n_boxes > 3000
    assert n_without > 0, "rays meet the boxes by so much that the test says nothing"
    assert n_elsewhere < 0.5 * n_boxes


def test_a_ray_beside_a_box_meets_it_within_the_pad_and_not_beyond():
    """Straight along x; reciprocals of the other components are those of the least slope."""
    steep = 2.0**40
    i = np.array([[1.0, steep, steep]], f4)
    centre, half = np.full((1, 3), f4(0.5)), np.full((1, 3), f4(2.0**-10))
    entered = np.empty(1, bool)
    for off, expected in ((0.5, True), (2.0, False)):
        y = 0.5 + 2.0**-10 + off * float(layout.PAD)
        minus_oi = np.array([[3.0, -y * steep, -0.5 * steep]], f4)
        _enter_all(centre, half + layout.PAD, i, minus_oi, entered)
        assert entered[0] == expected


def test_flatten_keeps_every_face_and_pads_every_box():
    bvh = build(*shapes.soup(3))
    nodes, triangles = layout.flatten(bvh)
    links = nodes.view(np.int32)[:, 3]
    seen = np.zeros(len(bvh.slot_face), int)
    for link in links[::2]:
        if link < 0:
            first, count = ~link >> layout.COUNT_BITS, ~link & 15
            seen[first : first + count] += 1
    assert (seen == 1).all()
    np.testing.assert_array_equal(triangles.view(np.int32)[::3, 3], bvh.slot_face)
    low, high = bvh.nodes[:, ::2, :3], bvh.nodes[:, 1::2, :3]
    centre = nodes[:, :3].reshape(-1, 4, 3)[:, ::2].astype(float)
    half = nodes[:, :3].reshape(-1, 4, 3)[:, 1::2].astype(float)
    assert (centre - half <= low - 2.0**-19).all()
    assert (centre + half >= high + 2.0**-19).all()


def test_a_tree_of_one_leaf_has_it_twice():
    nodes, _ = layout.flatten(build(*shapes.square()))
    np.testing.assert_array_equal(nodes[:2], nodes[2:])
    assert nodes.view(np.int32)[0, 3] < 0


def test_fma_rounds_once():
    @njit
    def compute(a, b, c):
        return fma(a, b, c)

    a = f4(1 + 2.0**-12)
    assert compute(a, a, f4(-1.0)) == f4(2.0**-11 + 2.0**-24)
    assert a * a - f4(1.0) != f4(2.0**-11 + 2.0**-24)


def test_bounds_and_constants_of_the_local_frame():
    """`FARTHEST_ORIGIN` and the ball rest on coordinates of at most 1."""
    for name in SHAPES:
        bvh = build(*SHAPES[name])
        assert np.abs(bvh.vertices).max() <= 1.0
        cameras = rd.cameras.fibonacci(1)
        assert frames_of(cameras, bvh).projection.shape == (1, jobs.BEAMS - jobs.PROJECTION)
