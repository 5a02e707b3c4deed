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
from raydepth.cuda import exact, jobs, layout, threads, trace
from raydepth.cuda.intrinsics import fma
from raydepth.rendering import local_ray_basis, projections

f4 = np.float32


@njit(error_model="numpy")
def _both_distances(vertices, faces, origins, directions, ours, theirs):
    for i in range(len(origins)):
        o, d = origins[i], directions[i]
        kx, ky, kz, sx, sy = kernels.shear(d)
        theirs[i] = kernels.hit_distance(
            kernels.pointer(vertices), kernels.pointer(faces), i, o, d, kx, ky, kz, sx, sy
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
    assert {"find_visible", "resolve"} == {kernel for kernel, _, _ in fake_cuda.launches}


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
    assert fake_cuda.launches[0][0] == "find_visible_exactly"
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
def _judge(corners, errors, verdicts, numbers):
    for i in range(len(corners)):
        c = corners[i]
        verdict, u, v, w, bound = trace.judge(
            c[0, 0], c[0, 1], c[1, 0], c[1, 1], c[2, 0], c[2, 1], errors[i]
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
    errors = f4(7 * 2.0**-24) + f4(4.5 * 2.0**-24) * rng.uniform(0, 2, n).astype(f4)
    verdicts, numbers = np.empty(n, int), np.empty((n, 4), f4)
    _judge(corners, errors, verdicts, numbers)
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
def _shear_all(points, k, origin, g, out):
    sign = 1.0 if g[k] > 0.0 else -1.0
    rows = trace.shear_rows(k, sign, origin[0], origin[1], origin[2], g[0], g[1], g[2])
    px, py, pz, pc, qx, qy, qz, qc, rx, ry, rz, rc = rows
    for i in range(len(points)):
        x, y, z = f4(points[i, 0]), f4(points[i, 1]), f4(points[i, 2])
        out[i, 0] = trace.sheared(x, y, z, px, py, pz, pc)
        out[i, 1] = trace.sheared(x, y, z, qx, qy, qz, qc)
        out[i, 2] = trace.sheared(x, y, z, rx, ry, rz, rc)
    return max(abs(pc), abs(qc))


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_on_sheared_coordinates_holds(seed):
    """Against float64, whose own errors are 2^29 times smaller."""
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(200):
        points = rng.uniform(-1, 1, (200, 3))
        origin = rng.uniform(-1, 1, 3)
        g = rng.uniform(-1, 1, 3)
        k = seed % 3
        g[k] = rng.choice([-1.0, 1.0])
        origin -= 1.75 * g
        out = np.empty((200, 3), f4)
        constant = _shear_all(points, k, origin, g, out)
        i, j = [(1, 2), (2, 0), (0, 1)][k]
        along = (points[:, k] - origin[k]) / g[k]
        real = np.stack(
            [points[:, i] - origin[i] - g[i] * along, points[:, j] - origin[j] - g[j] * along], 1
        )
        error = trace.SHEAR_ERROR + trace.SHEAR_ERROR_PER_CONSTANT * constant
        assert np.abs(out[:, :2] - real).max() <= error
        worst = max(worst, np.abs(out[:, :2] - real).max() / error)
        # 9u, of what distance_range allows.
        assert np.abs(out[:, 2] - along).max() <= 9 * 2.0**-24
    assert worst > 0.1, "the bound is so wide that the test says nothing"


@njit(error_model="numpy")
def _enter_all(centres, halves, origins, g, entered):
    for i in range(len(centres)):
        c, h, o = centres[i], halves[i], origins[i]
        ix = f4(1.0) / trace._slope(g[i, 0])
        iy = f4(1.0) / trace._slope(g[i, 1])
        iz = f4(1.0) / trace._slope(g[i, 2])
        enters, leaves = trace.enter(
            c[0], c[1], c[2], h[0], h[1], h[2], ix, iy, iz,
            f4(-o[0]) * ix, f4(-o[1]) * iy, f4(-o[2]) * iz, trace.as_int(f4(np.inf)),
        )  # fmt: skip
        entered[i] = enters <= leaves


@pytest.mark.parametrize("seed", range(3))
def test_no_ray_misses_a_box_that_it_meets(seed):
    """Rays at points on the very corners and edges of boxes, also along the axes."""
    rng = np.random.default_rng(seed)
    n = 100_000
    low = rng.uniform(-1, 1, (n, 3))
    high = np.minimum(low + 10.0 ** rng.uniform(-7, 0, (n, 3)), 1.0)
    nodes = np.zeros((n, 4, 4), f4)
    for child in (0, 2):
        nodes[:, child, :3] = np.nextafter(low.astype(f4), f4(-2))
        nodes[:, child + 1, :3] = np.nextafter(high.astype(f4), f4(2))
    nodes.view(np.int32)[:, 1::2, 3] = 1
    flat = np.empty((4 * n, 4), f4)
    layout._flatten_nodes(nodes, nodes.view(np.int32), flat, flat.view(np.int32))
    corner = rng.integers(0, 2, (n, 3)).astype(bool)
    targets = np.where(corner, low, high)
    inside = rng.random((n, 3)) < 0.3
    targets = np.where(inside, low + (high - low) * rng.random((n, 3)), targets)
    g = rng.uniform(-1, 1, (n, 3))
    g[rng.random((n, 3)) < 0.2] = 0.0
    g[rng.random((n, 3)) < 0.1] *= 1e-12
    axis = rng.integers(0, 3, n)
    g[np.arange(n), axis] = rng.choice([-1.0, 1.0], n)
    origins = targets - g * rng.uniform(0, 3, (n, 1))
    entered = np.empty(n, bool)
    _enter_all(flat[::4, :3].copy(), flat[1::4, :3].copy(), origins, g, entered)
    assert entered.all()
    # The same rays miss boxes that are somewhere else.
    elsewhere = flat[::4, :3] + f4(0.5) * (2 * corner - 1).astype(f4)
    _enter_all(elsewhere, flat[1::4, :3].copy(), origins, g, entered)
    assert entered.mean() < 0.5


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
        basis = local_ray_basis(bvh, cameras)
        assert projections(basis, "perspective").shape == (1, jobs.ORIGINS - jobs.PROJECTION)
