"""The hierarchy's structure: nothing lost, nothing outside its box, never too deep."""

from __future__ import annotations

import numpy as np
import pytest
import shapes

import raydepth as rd
from raydepth import bvh as bvh_module
from raydepth.bvh import MAX_DEPTH, MAX_LEAF, build


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
    """With a small limit, run as plain Python: the tree is cut short and still holds every face."""
    vertices, faces = shapes.soup(3, n=500)
    assert build(vertices, faces).depth > 9
    monkeypatch.setattr(bvh_module, "MAX_DEPTH", 9)
    monkeypatch.setattr(bvh_module, "_build_tree", bvh_module._build_tree.py_func)
    bvh = build(vertices, faces)
    slots, deepest = walk(bvh)
    assert deepest == bvh.depth <= 9
    assert sorted(bvh.slot_face[slots]) == list(range(500))


def test_same_tree_for_the_same_input():
    vertices, faces = shapes.soup(1, n=2000)
    first, second = build(vertices, faces), build(vertices.copy(), faces.copy())
    assert first.nodes.tobytes() == second.nodes.tobytes()
    assert first.slot_face.tobytes() == second.slot_face.tobytes()


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
        assert float(bvh_module._round_down(x)) < x < float(bvh_module._round_up(x))
    assert bvh_module._round_down(0.5) == bvh_module._round_up(0.5) == 0.5


def test_repr_says_what_it_holds():
    assert "12 faces" in repr(rd.build_bvh(rd.Mesh(*shapes.cube())))
