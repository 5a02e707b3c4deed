"""The hierarchy's structure: nothing lost, nothing outside its box, never too deep."""

from __future__ import annotations

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth.accel import builder, local_frame, refit, wide
from raydepth.accel.sah import MAX_LEAF
from raydepth.accel.subtree import MAX_DEPTH
from raydepth.bvh import build


def walk(bvh):
    """Check every box and link; return the slots of all leaves and the longest path."""
    links = bvh.nodes.view(np.int32)
    slots, seen, deepest = [], set(), 0
    todo = [(0, 1, np.full(3, -np.inf), np.full(3, np.inf))]
    while todo:
        node, depth, low, high = todo.pop()
        assert node not in seen
        seen.add(node)
        deepest = max(deepest, depth)
        for side in (0, 2):
            child_low, child_high = bvh.nodes[node, side, :3], bvh.nodes[node, side + 1, :3]
            link, count = links[node, side, 3], links[node, side + 1, 3]
            if (child_low > child_high).any():
                assert np.isinf(child_low).all()
                assert len(bvh.nodes) == 1
                continue
            assert (child_low >= low).all()
            assert (child_high <= high).all()
            if count:
                assert count <= MAX_LEAF
                corners = bvh.vertices[bvh.faces[bvh.slot_face[link : link + count]]]
                assert (corners.min(axis=(0, 1)) >= child_low).all()
                assert (corners.max(axis=(0, 1)) <= child_high).all()
                slots += range(link, link + count)
            else:
                todo.append((link, depth + 1, child_low, child_high))
    assert len(seen) == len(bvh.nodes)
    return slots, deepest


def staircase(n: int):
    """Pairs of triangles whose sizes and distances from the origin halve again and again."""
    size = 2.0 ** -np.arange(n)
    corner = np.zeros((n, 3, 3))
    corner[:, 1, 0] = corner[:, 2, 1] = size
    corner += size[:, None, None]
    corner = np.concatenate([corner, -corner])
    return corner.reshape(-1, 3), np.arange(6 * n, dtype=np.int32).reshape(-1, 3)


MESHES = {
    "one": lambda: (np.eye(3), np.array([[0, 1, 2]], np.int32)),
    "cube": shapes.cube,
    "icosphere": lambda: shapes.icosphere(levels=4),
    "soup": lambda: shapes.soup(0, n=3000),
    "needles": lambda: shapes.needles(0, n=3000),
    "terrain": shapes.terrain_with_screw,
    "staircase": lambda: staircase(90),
}


@pytest.mark.parametrize("name", MESHES)
def test_every_face_is_in_one_leaf(name):
    vertices, faces = MESHES[name]()
    bvh = build(vertices, faces)
    slots, deepest = walk(bvh)
    assert len(set(slots)) == len(slots)
    assert deepest == bvh.depth <= MAX_DEPTH
    kept = bvh.slot_face[slots]
    assert sorted(kept) == list(range(len(faces)))
    for slot in slots[:100]:
        assert set(bvh.faces[bvh.slot_face[slot]]) == set(faces[bvh.slot_face[slot]])


def test_depth_is_limited(monkeypatch):
    """The tree is cut short and still holds every face."""
    vertices, faces = shapes.soup(3, n=500)
    assert build(vertices, faces).depth > 7
    monkeypatch.setattr(builder, "MAX_DEPTH", 7)
    bvh = build(vertices, faces)
    slots, deepest = walk(bvh)
    assert deepest == bvh.depth <= 7
    assert sorted(bvh.slot_face[slots]) == list(range(500))


def walk_wide(bvh):
    """Check the eight-wide layout; return the faces of all its leaves."""
    nodes, leaves = bvh.wide
    boxes, links = nodes[:, :6], nodes.view(np.int32)[:, 6]
    corners, leaf_faces = leaves[:, :9], leaves.view(np.int32)[:, 9]
    faces, nodes, leaves = [], set(), set()
    todo = [(0, np.full(3, -np.inf), np.full(3, np.inf))]
    while todo:
        node, low, high = todo.pop()
        assert node not in nodes
        nodes.add(node)
        for lane in range(8):
            centre, half = boxes[node, :3, lane].astype(float), boxes[node, 3:, lane].astype(float)
            if half[0] < 0:
                assert np.isneginf(half).all()
                continue
            # Each box is widened a little by itself.
            assert (centre - half >= low - 1e-6).all()
            assert (centre + half <= high + 1e-6).all()
            link = links[node, lane]
            if link >= 0:
                todo.append((link, centre - half, centre + half))
                continue
            leaf, count = ~link // 8, ~link % 8 + 1
            assert leaf not in leaves
            leaves.add(leaf)
            assert (leaf_faces[leaf, count:] == leaf_faces[leaf, count - 1]).all()
            expected = bvh.vertices[bvh.faces[leaf_faces[leaf]]]
            stored = corners[leaf].reshape(3, 3, 8).transpose(2, 0, 1)
            assert (stored == expected.astype(np.float32)).all()
            assert (expected >= centre - half).all()
            assert (expected <= centre + half).all()
            faces += leaf_faces[leaf, :count].tolist()
    assert len(nodes) == len(links)
    assert len(leaves) == len(leaf_faces)
    return faces


@pytest.mark.parametrize("name", MESHES)
def test_the_wide_layout_holds_the_same_faces(name):
    bvh = build(*MESHES[name]())
    assert sorted(walk_wide(bvh)) == sorted(bvh.slot_face)


def arrays(bvh):
    return [bvh.nodes, bvh.slot_face, *bvh.wide, bvh.vertices, bvh.faces]


@pytest.mark.parametrize("threads", [2, 7])
def test_same_tree_for_any_number_of_threads(threads, monkeypatch):
    """With small pieces, so that each stage has several; some faces are flat, some coincide."""
    monkeypatch.setattr(builder, "SUBTREE", 100)
    for module in (builder, local_frame, wide, refit):
        monkeypatch.setattr(module, "PIECE", 100)
    vertices, faces = shapes.soup(4, n=3000)
    faces[500:700, 2] = faces[500:700, 1]
    faces[1000:1200] = faces[1000]
    expected = [*range(500), *range(700, 1001), *range(1200, 3000)]
    one, many = build(vertices, faces, threads=1), build(vertices, faces, threads=threads)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays(one), arrays(many), strict=True))
    slots, deepest = walk(many)
    assert deepest == many.depth == one.depth
    assert sorted(many.slot_face[slots]) == sorted(walk_wide(many)) == expected
    there = vertices[:, ::-1] * 2.0
    one, many = one.refit(there, threads=1), many.refit(there, threads=threads)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays(one), arrays(many), strict=True))


def test_same_tree_for_the_same_input():
    vertices, faces = shapes.soup(1, n=2000)
    first, second = build(vertices, faces), build(vertices.copy(), faces.copy())
    assert first.nodes.tobytes() == second.nodes.tobytes()
    assert first.slot_face.tobytes() == second.slot_face.tobytes()


def test_any_memory_layout():
    vertices, faces = shapes.soup(6)
    other = build(np.asfortranarray(vertices), np.asfortranarray(faces.astype(np.int64)))
    assert other.nodes.tobytes() == build(vertices, faces).nodes.tobytes()


def test_identical_triangles_collapse_to_the_first():
    triangle = np.array([(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.5)])
    n = 100_000
    vertices = np.tile(triangle, (n, 1))
    faces = np.arange(3 * n, dtype=np.int32).reshape(-1, 3)
    faces[1::3] = faces[1::3, [1, 2, 0]]
    faces[2::3] = faces[2::3, ::-1]
    bvh = build(vertices, faces)
    slots, deepest = walk(bvh)
    assert deepest == 1
    assert bvh.slot_face[slots].tolist() == [0]


def test_negative_zero_is_zero():
    triangle = np.array([(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
    vertices = np.concatenate([triangle, triangle * [1, 1, -1]] * 8)
    faces = np.arange(48, dtype=np.int32).reshape(-1, 3)
    slots, _ = walk(build(vertices, faces))
    assert len(slots) == 1


def test_concentric_triangles_are_all_kept():
    """Same centre, different size: nothing to split by, nothing to drop."""
    triangle = np.array([(1.0, 0.0, 0.0), (-1.0, 1.0, 0.0), (-1.0, -1.0, 0.0)])
    triangle -= (triangle.min(axis=0) + triangle.max(axis=0)) / 2
    sizes = 1 + np.arange(1000) / 1024
    vertices = (triangle * sizes[:, None, None]).reshape(-1, 3)
    faces = np.arange(3000, dtype=np.int32).reshape(-1, 3)
    bvh = build(vertices, faces)
    slots, _ = walk(bvh)
    assert sorted(bvh.slot_face[slots]) == list(range(1000))
    assert bvh.depth <= 10


def test_zero_area_faces_are_left_out():
    vertices, faces = shapes.square()
    bvh = build(vertices, np.concatenate([faces, [(0, 0, 1), (1, 1, 1)]]).astype(np.int32))
    slots, _ = walk(bvh)
    assert sorted(bvh.slot_face[slots]) == [0, 1]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_local_frame_loses_nothing(scale, offset):
    vertices, faces = shapes.soup(2)
    world = vertices * scale + offset
    bvh = build(world, faces)
    mantissa, _ = np.frexp(bvh.scale)
    assert mantissa == 0.5, "a power of two"
    assert 0.25 <= np.abs(bvh.vertices).max() <= 1
    back = bvh.vertices / bvh.scale + bvh.centre
    assert np.abs(back - world).max() <= np.spacing(np.abs(world).max())


def test_unused_vertices_do_not_matter():
    vertices, faces = shapes.cube()
    far = build(np.concatenate([vertices, [(1e6, 0, 0)]]), faces)
    assert far.nodes.tobytes() == build(vertices, faces).nodes.tobytes()


def test_boxes_are_rounded_outwards():
    third = np.array([1 / 3, -1 / 3, 0.1])
    for x in third:
        assert x - 1e-7 < float(local_frame._round_down(x)) < x
    assert local_frame._round_down(0.5) == 0.5


def test_repr_says_what_it_holds():
    assert "12 faces" in repr(rd.build_bvh(rd.Mesh(*shapes.cube())))


def moved(vertices, seed=0):
    """Turned, bent, shifted far away and shaken."""
    rng = np.random.default_rng(seed)
    x, y, z = (vertices * 3.0).T
    bent = np.stack([z + 0.3 * np.sin(x), x, y + 0.2 * x * x], axis=1)
    return bent + 1000.0 + rng.normal(scale=0.01, size=vertices.shape)


@pytest.mark.parametrize("name", MESHES)
def test_refit_gives_what_build_gives(name):
    vertices, faces = MESHES[name]()
    bvh = build(vertices, faces)
    there = moved(vertices)
    fitted, built = bvh.refit(there), build(there, faces)
    slots, deepest = walk(fitted)
    assert deepest == fitted.depth == bvh.depth
    assert sorted(fitted.slot_face[slots]) == sorted(walk_wide(fitted)) == list(range(len(faces)))
    for field in ("vertices", "faces", "centre"):
        np.testing.assert_array_equal(getattr(fitted, field), getattr(built, field))
    assert fitted.scale == built.scale
    low, high = there.min(axis=0), there.max(axis=0)
    middle = (low + high) / 2
    eyes = middle + np.linalg.norm(high - low) * np.array([(1.0, 0.3, 0.2), (-0.3, -0.5, 0.9)])
    lens = rd.cameras.perspective_intrinsics(50, 48)
    views = rd.Cameras(lens, rd.cameras.look_at(eyes, np.tile(middle, (2, 1))), 48)
    a, b = rd.render(fitted, views, kind=("z", "ray")), rd.render(built, views, kind=("z", "ray"))
    assert (a.triangle_id >= 0).any() or name == "needles"
    for field in ("triangle_id", "z_depth", "ray_depth"):
        assert getattr(a, field).tobytes() == getattr(b, field).tobytes()


def test_refit_to_the_same_place_gives_the_same_tree():
    vertices, faces = shapes.soup(5, n=500)
    bvh = build(vertices, faces)
    fitted = bvh.refit(vertices)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays(bvh), arrays(fitted), strict=True))


def test_refit_has_the_limits_of_meshes():
    vertices, faces = shapes.cube()
    just_inside, too_far = vertices * 2e30, vertices * 2.1e30
    rd.Mesh(just_inside, faces)
    build(vertices, faces).refit(just_inside)
    with pytest.raises(rd.MeshError, match=r"1\.05e\+30; expected at most 1e\+30"):
        rd.Mesh(too_far, faces)
    with pytest.raises(ValueError, match=r"numbers beyond 1e\+30"):
        build(vertices, faces).refit(too_far)


def test_refit_may_flatten_faces():
    vertices, faces = shapes.icosphere(levels=2)
    there = vertices.copy()
    there[faces[7, 1]] = there[faces[7, 0]]
    slots, _ = walk(build(vertices, faces).refit(there))
    assert len(slots) == len(faces)


def test_refit_sees_faces_that_were_left_out():
    vertices, faces = shapes.cube()
    faces = np.concatenate([faces, [(0, 0, 1)]]).astype(np.int32)
    apart = np.concatenate([vertices, vertices[:1]])
    faces[12] = 0, 8, 1
    bvh = build(apart, faces)
    bvh.refit(apart * 2.0)
    apart[8] += 1.0
    with pytest.raises(ValueError, match="face 12 had no area or coincided"):
        bvh.refit(apart)


def test_refit_of_coincident_faces():
    """Twenty faces in one place are one in the tree: they may move together, not apart."""
    triangle = np.array([(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.5)])
    vertices, faces = np.tile(triangle, (20, 1)), np.arange(60, dtype=np.int32).reshape(-1, 3)
    bvh = build(vertices, faces)
    assert len(bvh.slot_face) == 1
    assert len(bvh.refit(vertices[:, ::-1] + 1.0).slot_face) == 1
    vertices[30] += 1.0
    with pytest.raises(ValueError, match="face 10 had no area or coincided"):
        bvh.refit(vertices)
    # Where the one in the tree has left, the lowest of the others would be seen.
    vertices = np.tile(triangle, (20, 1))
    vertices[0] += 1.0
    with pytest.raises(ValueError, match="face 1 had no area or coincided"):
        bvh.refit(vertices)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:-1], r"vertices have shape \(7, 3\); expected \(8, 3\)"),
        (lambda v: v.ravel(), r"vertices have shape \(24,\); expected \(8, 3\)"),
        (lambda v: v * np.nan, "vertices hold NaN or numbers beyond 1e\\+30"),
        (lambda v: v * 1e31, "vertices hold NaN or numbers beyond 1e\\+30"),
        (lambda v: v * 0.0, "no face has an area"),
    ],
)
def test_refit_refuses(change, message):
    vertices, faces = shapes.cube()
    with pytest.raises(ValueError, match=message):
        build(vertices, faces).refit(change(vertices))
