"""Mesh: what it refuses, what it records, and its normalisations."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import trimesh

import raydepth as rd
from raydepth.errors import MeshError
from raydepth.mesh.contents import Texture
from raydepth.mesh.mesh import Mesh

TRIANGLE = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
TETRAHEDRON = (
    np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1]], dtype=np.float64),
    np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]),
)


def test_arrays_are_converted_copied_and_read_only():
    vertices = np.array(TRIANGLE, dtype=np.float32)
    faces = np.array([[0, 1, 2]], dtype=np.uint64)
    mesh = Mesh(vertices, faces)
    assert mesh.vertices.dtype == np.float64
    assert mesh.faces.dtype == np.int32
    vertices[0] = 7
    faces[0] = 0
    assert mesh.vertices[0].tolist() == [0, 0, 0]
    assert mesh.faces.tolist() == [[0, 1, 2]]
    for array in (mesh.vertices, mesh.faces, mesh.mesh_from_source):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        mesh.name = "other"
    assert repr(mesh) == "Mesh('mesh', 3 vertices, 1 faces)"


@pytest.mark.parametrize(
    ("vertices", "faces", "reason"),
    [
        ([], [[0, 1, 2]], "no vertices"),
        (TRIANGLE, [], "no faces"),
        ([[0, 0], [1, 0], [0, 1]], [[0, 1, 2]], r"shape \(3, 2\); expected \(n_vertices, 3\)"),
        ([[0, 0, 0], [1, 0]], [[0, 1, 2]], "vertices is not an array of numbers"),
        ([["a", "b", "c"]], [[0, 0, 0]], "vertices is not an array of numbers"),
        (TRIANGLE, [[0, 1, 2, 0]], r"shape \(1, 4\); expected \(n_faces, 3\)"),
        (TRIANGLE, [[0, 1, 2], [0, 1]], "rows of three vertex indices"),
        (TRIANGLE, [[0.0, 1.0, 2.0]], "float64; expected integers"),
        (TRIANGLE, [[0, 1, 3]], "a face uses vertex 3 .* 3 vertices"),
        (TRIANGLE, [[0, 1, -1]], "a face uses vertex -1"),
        (TRIANGLE, np.array([[0, 1, 2**64 - 1]], dtype=np.uint64), "a face uses vertex 1844"),
        ([*TRIANGLE, [0, np.nan, 0]], [[0, 1, 2]], "non-finite vertices: 1 of 4, .* vertex 3"),
        ([*TRIANGLE[:2], [0, np.inf, 0]], [[0, 1, 2]], "non-finite vertices"),
        (np.array(TRIANGLE) * 2e30, [[0, 1, 2]], "a coordinate is 2e[+]30"),
        (np.array(TRIANGLE) * 1e-31, [[0, 1, 2]], "the faces span 1e-31"),
        (TRIANGLE, [[0, 1, 1]], "none of its 1 faces has an area"),
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2]] * 600, "none of its 600 faces"),
    ],
)
def test_what_is_no_mesh_is_refused_by_name(vertices, faces, reason):
    with pytest.raises(MeshError, match=f"^lid: .*{reason}") as error:
        Mesh(vertices, faces, name="lid")
    assert "\n" not in str(error.value)


def test_the_source_goes_before_the_name_in_errors():
    with pytest.raises(MeshError, match=r"^a/b\.ply: no faces$"):
        Mesh(TRIANGLE, [], name="b", source="a/b.ply")


def test_one_face_with_an_area_is_enough_and_the_others_are_counted():
    faces = [[0, 1, 1]] * 700 + [[0, 1, 2]]
    mesh = Mesh(TRIANGLE, faces)
    assert mesh.zero_area_faces == 700
    assert len(mesh.faces) == 701


def test_bounds_leave_unused_vertices_out():
    mesh = Mesh([*TRIANGLE, [100, 100, 100]], [[0, 1, 2]])
    assert mesh.bounds.tolist() == [[0, 0, 0], [1, 1, 0]]


def test_sha256_is_of_vertices_then_faces():
    vertices, faces = TETRAHEDRON
    mesh = Mesh(vertices, faces)
    expected = hashlib.sha256(vertices.astype("<f8").tobytes() + faces.astype("<i4").tobytes())
    assert mesh.sha256 == expected.hexdigest()
    assert Mesh(vertices, faces[::-1]).sha256 != mesh.sha256


def test_to_json():
    mesh = Mesh(*TETRAHEDRON, name="tet").normalized("cube")
    assert mesh.to_json() == {
        "name": "tet",
        "sha256": mesh.sha256,
        "n_vertices": 4,
        "n_faces": 4,
        "normalization": "cube",
        "mesh_from_source": mesh.mesh_from_source.tolist(),
    }


@pytest.mark.parametrize("offset", [0.0, 1.0, -1e7])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_sphere_normalisation_puts_the_farthest_vertex_at_one_half(scale, offset):
    if scale == 1e-9 and offset:
        scale = 1e-3  # further apart they are the same float64
    vertices = np.random.default_rng(7).normal(size=(50, 3)) * scale + offset
    faces = np.arange(48).reshape(-1, 3)  # the last two vertices are not used
    mesh = Mesh(vertices, faces).normalized("sphere")
    radii = np.linalg.norm(mesh.vertices[:48], axis=1)
    assert radii.max() == pytest.approx(0.5, rel=4e-16)
    np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=4e-16)
    assert mesh.normalization == "sphere"
    mapped = vertices @ mesh.mesh_from_source[:3, :3].T + mesh.mesh_from_source[:3, 3]
    np.testing.assert_allclose(mapped, mesh.vertices, atol=1e-15 * max(1, abs(offset / scale)))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_cube_normalisation_makes_the_longest_side_one(scale):
    vertices, faces = TETRAHEDRON
    mesh = Mesh(vertices * scale + scale, faces).normalized("cube")
    np.testing.assert_allclose(np.ptp(mesh.bounds, axis=0), [1, 2 / 3, 1 / 3], rtol=1e-15)
    np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0, atol=4e-16)


def test_normalisations_compose_and_none_changes_nothing():
    vertices, faces = TETRAHEDRON
    source = Mesh(vertices, faces, notes=("a note",))
    assert source.normalized("none") is source
    mesh = source.normalized("sphere").normalized("cube")
    mapped = vertices @ mesh.mesh_from_source[:3, :3].T + mesh.mesh_from_source[:3, 3]
    np.testing.assert_allclose(mapped, mesh.vertices, atol=1e-15)
    assert mesh.notes == ("a note",)


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="normalize is 'unit'; expected one of none, "):
        Mesh(*TETRAHEDRON).normalized("unit")


def test_from_trimesh_takes_meshes_and_scenes():
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box()
    mesh = Mesh.from_trimesh(box, name="box", normalize="cube")
    assert (mesh.name, mesh.normalization, len(mesh.faces)) == ("box", "cube", 12)

    scene = trimesh.Scene()
    scene.add_geometry(box, geom_name="box")
    scene.add_geometry(trimesh.PointCloud([[0, 0, 9.0]]))
    scene.graph.update("shifted", geometry="box", matrix=np.diag([2.0, 2, 2, 1]))
    mesh = Mesh.from_trimesh(scene)
    assert len(mesh.faces) == 24
    assert mesh.bounds.tolist() == [[-1, -1, -1], [1, 1, 1]]
    assert mesh.notes == (
        "1 geometry without faces skipped",
        "2 instances of 1 geometry flattened",
    )


def test_from_trimesh_refuses_what_holds_no_faces():
    trimesh = pytest.importorskip("trimesh")
    with pytest.raises(MeshError, match=r"^empty: nothing renderable"):
        Mesh.from_trimesh(trimesh.Scene(), name="empty")
    with pytest.raises(MeshError, match=r"expected a trimesh\.Trimesh or trimesh\.Scene, got list"):
        Mesh.from_trimesh([1, 2])


def test_meshes_load_without_trimesh():
    code = (
        "import sys, raydepth.mesh.load;"
        "sys.exit(any(name in sys.modules for name in ('trimesh', 'imageio', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what a conversion would drop, and copies -----------------------------------------------------


@pytest.mark.parametrize(
    ("vertices", "message"),
    [
        (np.ma.masked_array(np.eye(3)), "vertices: masked array; expected plain numbers"),
        (np.eye(3) * 1j, "vertices: complex128 values; expected real numbers"),
        (np.zeros((3, 3), "M8[s]"), "vertices: datetime64.* values; expected real numbers"),
        ("here", "vertices is not an array of numbers"),
    ],
)
def test_masks_and_imaginary_parts_are_not_dropped(vertices, message):
    with pytest.raises(MeshError, match=message):
        Mesh(vertices, [[0, 1, 2]])
    if not isinstance(vertices, str):
        with pytest.raises(MeshError, match="faces: masked array"):
            Mesh(np.eye(3), np.ma.masked_array([[0, 1, 2]]))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_stay_as_they_were_checked(copied):
    """Their hash and hierarchy are kept with them, so nobody may move their vertices."""
    texture = Texture(np.zeros((1, 2)), np.zeros((1, 3), np.int32))
    mesh = copied(Mesh(np.eye(3), [[0, 1, 2]], texture=texture))
    cameras = copied(rd.cameras.ring(2, size=8))
    for array in (
        mesh.vertices, mesh.faces, mesh.bounds, mesh.mesh_from_source, *mesh.texture,
        cameras.world_from_camera, cameras.intrinsics,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert mesh.sha256 == Mesh(np.eye(3), [[0, 1, 2]]).sha256


@pytest.mark.parametrize("mirrored", [False, True])
def test_mirrored_nodes_keep_their_fronts_outside(mirrored, tmp_path):
    """glTF 2.0: the sign of the determinant of the global transform defines the winding."""
    scene, transform = trimesh.Scene(), np.diag([-0.5 if mirrored else 0.5, 0.7, 0.6, 1.0])
    scene.add_geometry(trimesh.creation.icosphere(subdivisions=2), transform=transform)
    scene.export(tmp_path / "ball.glb")
    for mesh in (Mesh.from_trimesh(scene), rd.load_mesh(tmp_path / "ball.glb")):
        seen = rd.render(
            mesh, rd.cameras.ring(3, radius=3, size=24), device="cpu",
            outputs=("facing", "normal", "smooth_normal", "point"),
        )  # fmt: skip
        hit = seen["facing"] != 0
        assert (seen["facing"][hit] == 1).all()
        for name in ("normal", "smooth_normal"):
            assert ((seen[name] * seen["point"]).sum(axis=-1)[hit] > 0).all()
