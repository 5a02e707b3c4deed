"""Texture coordinates and scene nodes, as readers give them."""

from __future__ import annotations

import numpy as np
import pytest

import raydepth as rd

OBJ = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0.25 0.5
vt 0.75 0.5 0
vt 1 1
f 1/1 2/2 3/3 4/1
f -4/-3 -3/-2 -2/-1
f 1//1 2 3/3
"""


@pytest.fixture
def load(tmp_path):
    def write_and_load(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return rd.load_mesh(path, **options)

    return write_and_load


def corner_uv(mesh):
    return mesh.texture.uv[mesh.texture.faces]


def test_obj_corners_have_their_own_coordinates(load):
    mesh = load("a.obj", OBJ, uv=True)
    plain = load("a.obj", OBJ)
    np.testing.assert_array_equal(mesh.faces, plain.faces)
    assert plain.texture is None
    a, b, c, nan = [0.25, 0.5], [0.75, 0.5], [1, 1], [np.nan] * 2
    np.testing.assert_array_equal(corner_uv(mesh), [[a, b, c], [a, c, a], [a, b, c], [nan, nan, c]])
    assert load("b.obj", OBJ, uv=True, normalize="cube").texture is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("vt 1 1", "vt 1"), "texture coordinates of fewer than two numbers: '1'"),
        (("3/3 4/1", "3/4 4/1"), "a face uses texture coordinates 3 .counted from 0.; there are 3"),
        (("-4/-3", "-4/-9"), "a face uses vt -9, but only 3 'vt' lines stand before it"),
        (("1/1 2/2", "1/x 2/2"), "is not a number"),
    ],
)
def test_obj_refused(load, change, reason):
    with pytest.raises(rd.MeshError, match=reason) as raised:
        load("a.obj", OBJ.replace(*change), uv=True)
    assert "\n" not in str(raised.value)


def ply(vertex, face, vertex_rows, face_rows):
    header = ["ply", "format ascii 1.0", f"element vertex {len(vertex_rows)}"]
    header += [f"property float {name}" for name in vertex.split()]
    header += [f"element face {len(face_rows)}", *(f"property list uchar {p}" for p in face)]
    return "\n".join([*header, "end_header", *vertex_rows, *face_rows]) + "\n"


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v"])
def test_ply_of_vertices(load, names):
    rows = ["0 0 0 0.5 1", "1 0 0 0.25 0", "1 1 0 0 0", "0 1 0 1 0.125"]
    mesh = load(
        "a.ply", ply(f"x y z {names}", ["int vertex_indices"], rows, ["4 0 1 2 3"]), uv=True
    )
    np.testing.assert_array_equal(
        corner_uv(mesh), [[[0.5, 1], [0.25, 0], [0, 0]], [[0.5, 1], [0, 0], [1, 0.125]]]
    )


def test_ply_of_corners(load):
    rows = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
    face = "4 0 1 2 3 8 0 0 0.5 0 0.5 0.5 0 0.25"
    text = ply("x y z", ["int vertex_indices", "float texcoord"], rows, [face])
    mesh = load("a.ply", text, uv=True)
    np.testing.assert_array_equal(
        corner_uv(mesh), [[[0, 0], [0.5, 0], [0.5, 0.5]], [[0, 0], [0.5, 0.5], [0, 0.25]]]
    )
    assert (
        load("b.ply", ply("x y z", ["int vertex_indices"], rows, ["4 0 1 2 3"]), uv=True).texture
        is None
    )


def test_gltf_and_trimesh(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    uv = np.random.default_rng(1).random((8, 2)).astype(np.float32)
    box = trimesh.creation.box()
    box.visual = trimesh.visual.TextureVisuals(uv=uv)
    scene = trimesh.Scene()
    for i in range(2):
        scene.add_geometry(box, node_name=f"box {i}", transform=np.diag([1.0 + i, 1, 1, 1]))
    scene.add_geometry(trimesh.creation.icosphere(1), node_name="plain")
    scene.export(tmp_path / "scene.glb")
    mesh = rd.load_mesh(tmp_path / "scene.glb", uv=True)
    assert sorted(mesh.instances) == ["box 0", "box 1", "plain"]
    n_faces = np.bincount(mesh.instance_of_faces)
    assert sorted(n_faces) == [12, 12, 80]
    has = np.isfinite(corner_uv(mesh)).all(axis=(1, 2))
    for name, n in zip(mesh.instances, np.arange(3), strict=True):
        assert has[mesh.instance_of_faces == n].all() == (name != "plain")
    # trimesh turns v over when it writes glTF; raydepth leaves it as it is.
    first = mesh.instance_of_faces == mesh.instances.index("box 0")
    written = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)[box.faces]
    np.testing.assert_allclose(corner_uv(mesh)[first], written, atol=1e-6)
    taken = rd.Mesh.from_trimesh(box)
    np.testing.assert_array_equal(corner_uv(taken), uv[box.faces])
    assert rd.Mesh.from_trimesh(trimesh.creation.box()).texture is None


DAE = """<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<library_geometries><geometry id="square"><mesh>
 <source id="positions"><float_array id="numbers" count="12">0 0 0 1 0 0 1 1 0 0 1 0</float_array>
  <technique_common><accessor source="#numbers" count="4" stride="3">
   <param name="X"/><param name="Y"/><param name="Z"/></accessor></technique_common></source>
 <source id="st"><float_array id="pairs" count="9">.25 .5 9 .75 .5 9 1 1 9</float_array>
  <technique_common><accessor source="#pairs" count="3" stride="3">
   <param name="S"/><param name="T"/><param name="P"/></accessor></technique_common></source>
 <vertices id="v"><input semantic="POSITION" source="#positions"/></vertices>
 <polylist count="1"><input semantic="VERTEX" source="#v" offset="0"/>
  <input semantic="TEXCOORD" source="#missing" offset="0" set="3"/>
  <input semantic="TEXCOORD" source="#st" offset="1" set="1"/>
  <vcount>4</vcount><p>0 0 1 1 2 2 3 0</p></polylist>
 <triangles count="1"><input semantic="VERTEX" source="#v" offset="0"/><p>0 1 2</p></triangles>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="scene"><node><instance_geometry url="#square"/></node>
 <node><translate>5 0 0</translate><instance_geometry url="#square"/></node></visual_scene>
</library_visual_scenes>
<scene><instance_visual_scene url="#scene"/></scene>
</COLLADA>
"""


def test_collada_corners_have_their_own_coordinates(load):
    mesh, plain = load("a.dae", DAE, uv=True), load("a.dae", DAE)
    assert plain.texture is None
    np.testing.assert_array_equal(mesh.faces, plain.faces)
    np.testing.assert_array_equal(mesh.vertices, plain.vertices)
    a, b, c, nan = [0.25, 0.5], [0.75, 0.5], [1, 1], [np.nan] * 2
    once = [[a, b, c], [a, c, a], [nan] * 3]
    np.testing.assert_array_equal(corner_uv(mesh), once + once)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("2 2 3 0", "2 3 3 0"), "a face uses texture coordinates 3 .counted from 0.; there are 3"),
        (('count="3" stride="3"', 'count="4" stride="3"'), "'st' does not hold 4 texture coord"),
        (('<param name="T"/><param name="P"/>', ""), "'st' does not hold 3 texture coordinates"),
        (('source="#st"', 'source="#ts"'), "<input> refers to '#ts', which is not in the file"),
    ],
)
def test_collada_refused(load, change, reason):
    assert change[0] in DAE
    with pytest.raises(rd.MeshError, match=reason) as raised:
        load("a.dae", DAE.replace(*change), uv=True)
    assert "\n" not in str(raised.value)
    load("a.dae", DAE.replace(*change))


def test_the_duck_has_texture_coordinates(shared_meshes):
    mesh = rd.load_mesh(shared_meshes / "formats" / "duck.dae", uv=True)
    uv = corner_uv(mesh)
    assert uv.shape == (len(mesh.faces), 3, 2)
    assert 0 <= uv.min() < uv.max() <= 1


def test_other_formats_have_none(load):
    off = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    mesh = load("a.off", off, uv=True)
    assert mesh.texture is None
    assert mesh.instances == ("a",)


def test_real_files_agree_with_trimesh(shared_meshes):
    trimesh = pytest.importorskip("trimesh")
    path = shared_meshes / "formats" / "fuze.obj"
    mesh = rd.load_mesh(path, uv=True)
    other = trimesh.load(path, process=False, force="mesh")
    ours = corner_uv(mesh)
    corners = np.concatenate([mesh.vertices[mesh.faces], ours], axis=-1)
    theirs = np.concatenate(
        [other.vertices[other.faces], np.asarray(other.visual.uv)[other.faces]], axis=-1
    )
    np.testing.assert_allclose(corners, theirs, atol=1e-9)


def test_nodes_of_collada_and_3mf(shared_meshes):
    formats = shared_meshes / "formats"
    for name in ("duck.dae", "cube_and_sphere_same_name.3mf", "counterXP.3MF"):
        mesh = rd.load_mesh(formats / name)
        assert all(mesh.instances)
        assert np.bincount(mesh.instance_of_faces).sum() == len(mesh.faces)
