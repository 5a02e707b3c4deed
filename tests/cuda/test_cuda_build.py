"""The device's own builder, every step of it run on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import shapes
from numba import njit

import raydepth as rd
from raydepth.accel.local_frame import prepare
from raydepth.cuda.build import _Builder
from raydepth.cuda.device_code import lbvh
from raydepth.cuda.device_code.layout import COUNT_BITS, STACK


def built(device, vertices, faces, leaf_size=4):
    builder = _Builder(device, vertices, faces)
    builder.run(leaf_size)
    return builder


def fetched(builder, word, shape, dtype):
    out = np.empty(shape, dtype)
    offset = int(builder.table[word]) - builder.kept.address
    builder.device.download(out, builder.kept, offset, builder.stream)
    builder.device.wait(builder.stream)
    return out


def tree(builder):
    """Links (n_nodes, 2), boxes as low and high (n_nodes, 2, 3), faces by slot."""
    n = builder.n_faces
    nodes = fetched(builder, lbvh.NODES, (max(n - 1, 1), 4, 4), np.float32)
    triangles = fetched(builder, lbvh.TRIANGLES, (n, 3, 4), np.float32)
    centre, half = nodes[:, ::2, :3].astype(float), nodes[:, 1::2, :3].astype(float)
    return (
        nodes.view(np.int32)[:, ::2, 3],
        centre - half,
        centre + half,
        triangles.view(np.int32)[:, 0, 3],
        triangles[:, :, :3],
    )


SHAPES = {
    "soup": shapes.soup(1, n=500),
    "sphere": shapes.icosphere(levels=2),
    "cube": shapes.cube(),
    "square": shapes.square(),
    "terrain": shapes.terrain_with_screw(),
    "far": (shapes.icosphere(levels=2)[0] * 1e-3 + 1e6, shapes.icosphere(levels=2)[1]),
}


@pytest.mark.parametrize("leaf_size", [1, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_invariants(fake_cuda, name, leaf_size):
    """Each live face in one leaf, every face within all boxes above it, bounded depth."""
    vertices, faces = SHAPES[name]
    builder = built(fake_cuda, vertices, faces, leaf_size)
    links, low, high, slot_face, triangles = tree(builder)
    seen, deepest = [], 0
    todo = [(0, 0, np.full(3, -np.inf), np.full(3, np.inf))]
    if len(faces) <= leaf_size:
        np.testing.assert_array_equal(links[0, 0], links[0, 1])
        links[0, 1] = 0
    while todo:
        node, depth, outer_low, outer_high = todo.pop()
        deepest = max(deepest, depth)
        for side in range(2):
            box_low, box_high = low[node, side], high[node, side]
            if len(faces) <= leaf_size and side == 1:
                continue
            assert (box_low >= outer_low - 1e-6).all()
            assert (box_high <= outer_high + 1e-6).all()
            link = links[node, side]
            if link >= 0:
                todo.append((link, depth + 1, box_low, box_high))
                continue
            first, count = ~link >> COUNT_BITS, ~link & 15
            assert 1 <= count <= leaf_size
            for slot in range(first, first + count):
                seen.append(slot_face[slot])
                assert (triangles[slot] >= box_low + 1e-6).all()
                assert (triangles[slot] <= box_high - 1e-6).all()
    assert sorted(seen) == list(range(len(faces)))
    assert deepest < STACK


@pytest.mark.parametrize("name", SHAPES)
def test_the_local_frame_is_the_cpus(fake_cuda, name):
    vertices, faces = SHAPES[name]
    expected = prepare(vertices, faces, 1)
    builder = built(fake_cuda, vertices, faces)
    np.testing.assert_array_equal(builder.centre, expected.centre)
    assert builder.scale == expected.scale
    local = fetched(builder, lbvh.VERTICES, vertices.shape, np.float64)
    np.testing.assert_array_equal(local.view(np.int64), expected.vertices.view(np.int64))
    corners = fetched(builder, lbvh.CORNERS, faces.shape, np.int32)
    np.testing.assert_array_equal(corners, expected.corners)


@pytest.mark.parametrize("model", ["perspective", "orthographic"])
@pytest.mark.parametrize("name", SHAPES)
def test_it_renders_the_same_bits(fake_cuda, name, model):
    vertices, faces = SHAPES[name]
    mesh = rd.Mesh(vertices, faces)
    centre, extent = mesh.bounds.mean(axis=0), np.ptp(mesh.bounds, axis=0).max()
    options = {"ortho_width": 1.2 * extent} if model == "orthographic" else {}
    cameras = rd.cameras.fibonacci(2, size=(64, 48), radius=1.5 * extent, **options)
    poses = cameras.world_from_camera.copy()
    poses[:, :3, 3] += centre
    cameras = rd.Cameras(cameras.intrinsics, poses, (64, 48), model=model)
    on_device = rd.DeviceMesh(vertices, faces)
    assert "DeviceMesh" in repr(on_device)
    ours = rd.render(on_device, cameras, dtype=np.float64)
    theirs = rd.render(mesh, cameras, dtype=np.float64, device="cpu")
    assert (theirs.triangle_id >= 0).any()
    np.testing.assert_array_equal(ours.triangle_id, theirs.triangle_id)
    np.testing.assert_array_equal(ours.depth, theirs.depth)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 4096, 5000, 70_000])
def test_the_sort_is_stable_and_complete(fake_cuda, n):
    """Of faces with few different codes, so that many are equal; some without an area."""
    rng = np.random.default_rng(n)
    places = rng.uniform(-1, 1, (10, 3))
    corners = places[rng.integers(0, 10, n)][:, None] + rng.normal(size=(1, 3, 3)) * 1e-9
    dead = rng.random(n) < 0.2
    dead[0] = False
    corners[dead, 2] = corners[dead, 1]
    faces = np.arange(3 * n, dtype=np.int32).reshape(-1, 3)
    builder = built(fake_cuda, corners.reshape(-1, 3), faces)
    assert builder.table[lbvh.N_LIVE] == n - dead.sum()
    slot_face = tree(builder)[3]
    assert sorted(slot_face) == list(range(n))
    live = slot_face[: n - dead.sum()]
    assert not dead[live].any()
    place_of = np.abs(corners[:, 0, None] - places).max(axis=2).argmin(axis=1)
    runs = np.flatnonzero(np.diff(place_of[live])) + 1
    assert len(runs) <= 9, "equal codes do not lie together"
    for run in np.split(live, runs):
        assert (np.diff(run) > 0).all(), "equal codes are out of order"


def test_faces_without_area_are_left_out(fake_cuda):
    vertices, faces = shapes.icosphere(levels=1)
    degenerate = np.concatenate([faces, faces[:5, [0, 0, 1]], faces[:5]]).astype(np.int32)
    ours = rd.render(rd.DeviceMesh(vertices, degenerate), rd.cameras.fibonacci(1, size=64))
    theirs = rd.render(
        rd.Mesh(vertices, degenerate), rd.cameras.fibonacci(1, size=64), device="cpu"
    )
    np.testing.assert_array_equal(ours.triangle_id, theirs.triangle_id)


def test_arrays_on_the_device_are_read_where_they_are(fake_cuda):
    vertices, faces = shapes.icosphere(levels=2)
    for dtype in (np.float32, np.float64):
        given = vertices.astype(dtype)

        class OnDevice:
            def __init__(self, array):
                self.array = array
                self.__cuda_array_interface__ = {
                    **array.__array_interface__, "strides": None, "version": 3,
                }  # fmt: skip

        ours = rd.render(
            rd.DeviceMesh(OnDevice(given), OnDevice(faces)), rd.cameras.fibonacci(1, size=64)
        )
        theirs = rd.render(
            rd.Mesh(given.astype(float), faces), rd.cameras.fibonacci(1, size=64), device="cpu"
        )
        np.testing.assert_array_equal(ours.depth, theirs.depth)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": np.zeros((4, 2))}, r"vertices have shape \(4, 2\); expected \(n, 3\)"),
        ({"vertices": np.zeros((4, 3), int)}, "vertices are int64; expected float64 or float32"),
        ({"faces": np.zeros((0, 3), np.int32)}, r"faces have shape \(0, 3\)"),
        ({"faces": np.array([[0, 1, 9]], np.int32)}, "1 indices out of range; expected 0 to 3"),
        ({"faces": np.array([[0, -1, 2]], np.int32)}, "1 indices out of range"),
        ({"faces": np.array([[0, 1, 1]], np.int32)}, "no face has an area"),
        ({"vertices": np.full((4, 3), np.nan)}, "vertices hold NaN or numbers beyond 1e"),
        ({"vertices": np.full((4, 3), 1e31)}, "vertices hold NaN or numbers beyond 1e"),
        ({"vertices": np.ones((4, 3))}, "no face has an area"),
    ],
)
def test_what_is_no_mesh_is_refused(fake_cuda, change, message):
    vertices, faces = shapes.square()
    arrays = {"vertices": vertices, "faces": faces, **change}
    with pytest.raises(rd.MeshError, match=message):
        rd.DeviceMesh(**arrays)


def test_a_mesh_on_the_device_cannot_be_rendered_on_the_cpu(fake_cuda):
    mesh = rd.DeviceMesh(*shapes.cube())
    with pytest.raises(ValueError, match="the mesh is on the CUDA device"):
        rd.render(mesh, rd.cameras.fibonacci(1, size=8), device="cpu")


def test_codes_interleave_and_lengths_count_bits():
    @njit
    def spread(x):
        return lbvh._spread(x)

    @njit
    def length(x):
        return lbvh._length(x)

    rng = np.random.default_rng(0)
    for x in rng.integers(0, 1 << 21, 200):
        assert spread(int(x)) == sum((int(x) >> b & 1) << (3 * b) for b in range(21))
    for x in [0, 1, 2, 3, 255, 256, *(1 << np.arange(62)).tolist(), 2**62 - 1]:
        assert length(x) == int(x).bit_length()
