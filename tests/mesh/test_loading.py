"""load_mesh: every format as what it is, every way of being damaged as one clear line."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pytest

from raydepth.errors import MeshError
from raydepth.mesh.load import FORMATS, load_mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.float64)
# An arrowhead: a fan from its first corner covers 3.0, the polygon 2.0.
ARROW = np.array([[-1, 0, 0], [1, -2, 0], [0, 0, 0], [1, 2, 0]], dtype=np.float64)
# A comb of 7 corners, concave wherever a fan starts.
COMB = np.array(
    [[0, 0, 0], [6, 0, 0], [6, 3, 0], [4, 1, 0], [3, 3, 0], [2, 1, 0], [0, 3, 0]], dtype=np.float64
)


@pytest.fixture
def load(tmp_path):
    """Write a file and load it."""

    def write_and_load(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_mesh(path, **options)

    return write_and_load


@pytest.fixture
def refuse(load):
    """Write a file, load it, and give the one line by which it is refused."""

    def write_and_refuse(name, content):
        with pytest.raises(MeshError) as error:
            load(name, content)
        line = str(error.value)
        assert "\n" not in line
        assert f"{name}: " in line
        assert len(line) < 400
        return line.split(f"{name}: ", 1)[1]

    return write_and_refuse


def area(mesh):
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def triangles(mesh):
    return mesh.vertices[mesh.faces].tolist()


# --- what is no mesh file at all -------------------------------------------------------------


def test_missing_files_directories_and_unknown_formats(tmp_path, refuse):
    with pytest.raises(MeshError, match=r"gone\.ply: no such file$"):
        load_mesh(tmp_path / "gone.ply")
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(MeshError, match=r"folder\.obj: is a directory; expected a mesh file"):
        load_mesh(str(tmp_path / "folder.obj"))
    known = "expected one of .obj, .ply, .stl, .off, .glb, .gltf, .3mf, .dae"
    assert refuse("scene.max", "x") == f"unknown mesh format '.max'; {known}"
    assert refuse("scene.blend", "x") == (
        "is a Blender scene; expected a mesh file, or use blender.load_scene"
    )
    assert refuse("noname", "x") == f"unknown mesh format ''; {known}"
    assert refuse("a.obj.gz", gzip.compress(b"v 0 0 0")) == f"unknown mesh format '.gz'; {known}"


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_files(refuse, suffix):
    assert refuse("a" + suffix, b"") == "the file is empty"
    assert refuse("a" + suffix, b" \r\n\n") == "the file is empty"


@pytest.mark.parametrize("suffix", FORMATS)
def test_noise_is_refused_in_every_format(refuse, suffix):
    for seed in range(20):
        noise = np.random.default_rng(seed).bytes(3000)
        refuse("a" + suffix, noise)
        refuse("a" + suffix, base64.encodebytes(noise))


def test_files_of_another_format_than_their_name(refuse, examples):
    for suffix in FORMATS:
        for other, content in examples.items():
            if other != suffix and other != ".obj":
                found = FORMATS[other].name
                expected = FORMATS[suffix].name
                line = f"named like {expected}, but its content is {found}"
                assert refuse("a" + suffix, content) == line
        if suffix != ".obj":
            refuse("a" + suffix, examples[".obj"])
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    assert "Git LFS pointer" in refuse("a.glb", pointer)
    assert "a web page" in refuse("a.obj", "<!DOCTYPE html><html>v 1 2 3</html>")
    assert "gzip" in refuse("a.ply", gzip.compress(b"ply\n"))


def test_damaged_files_never_load_and_never_raise_anything_else(tmp_path, examples):
    """Cut every format at every 7th byte: a part of a file is no mesh, except in OBJ."""
    for suffix, content in examples.items():
        path = tmp_path / f"cut{suffix}"
        for end in range(0, len(content.rstrip()) - 1, 7):
            path.write_bytes(content[:end])
            if suffix == ".obj":
                continue
            with pytest.raises(MeshError):
                load_mesh(path)


def test_flipped_bytes_raise_nothing_but_mesh_errors(tmp_path, examples):
    rng = np.random.default_rng(11)
    for suffix, content in examples.items():
        path = tmp_path / f"flipped{suffix}"
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(len(damaged), size=3):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                mesh = load_mesh(path)
            except MeshError:
                continue
            assert np.isfinite(mesh.vertices).all()


def test_name_source_hash_and_normalisation(load, tmp_path):
    mesh = load("cube of mine.OBJ", OBJ, normalize="cube")
    assert mesh.name == "cube of mine"
    assert mesh.source == str(tmp_path / "cube of mine.OBJ")
    assert len(mesh.source_sha256) == 64
    assert mesh.bounds.tolist() == [[-0.5, -0.5, 0], [0.5, 0.5, 0]]
    with pytest.raises(ValueError, match="normalize is 'unit'"):
        load("a.obj", OBJ, normalize="unit")


def test_non_finite_vertices_and_zero_areas(load, refuse):
    text = "v 0 0 0\nv 1 0 0\nv 0 nan 0\nv 0 1 0\nf 1 2 4\nf 1 2 3\n"
    assert refuse("a.obj", text).startswith("non-finite vertices: 1 of 4, the first is vertex 2")
    assert refuse("b.obj", text.replace("nan", "1e999")).startswith("non-finite vertices")
    assert refuse("c.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n").startswith("nothing renderable")
    mesh = load("d.obj", OBJ + "f 1 1 2\n")
    assert len(mesh.faces) == 3
    assert mesh.notes == ("1 quad triangulated", "1 zero-area face is never hit")


def test_tiny_meshes_keep_their_vertices(load):
    mesh = load("a.obj", OBJ.replace("v 1", "v 1e-9"))
    assert len(mesh.vertices) == 4
    assert area(mesh) == pytest.approx(1e-9, rel=1e-12)


# --- OBJ -------------------------------------------------------------------------------------

OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"


@pytest.mark.parametrize(
    "text",
    [
        OBJ,
        OBJ.replace("\n", "\r\n"),
        OBJ.replace("\n", "\r"),
        OBJ.replace("\n", " \n\n\t\n"),
        OBJ.replace("f 1", "vp 1 2\nv_ 1 2 3\nfo 1 2 3\nvt\nf 1"),
        OBJ.rstrip(),
        OBJ.replace(" ", "\t"),
        "\ufeff" + OBJ.replace("v", "  v"),
        OBJ.replace("1 2 3 4", "1/7 2/8/9 3//4 4"),
        OBJ.replace("1 2 3 4", "-4 -3 -2 -1"),
        OBJ.replace("1 2 3 4", "1 2 \\\n 3\\\r\n4"),
        OBJ.replace("1 1 0", "1 1 0 # a corner").replace("3 4", "3 4 # a face"),
        OBJ.replace("0 1 0", "0 1 0 0.5 0.5 0.5"),
        "# C:\\meshes\\\n" + OBJ,
        "mtllib missing.mtl\nusemtl none\no gr\xf6\xdfe\ns off\nvt 0 0\nvn 0 0 1\n" + OBJ,
        "f 1 2 3 4\n" + OBJ.replace("f 1 2 3 4\n", ""),
    ],
)
def test_obj_in_all_its_spellings(load, text):
    for encoding in ("utf-8", "latin-1") if "\ufeff" not in text else ("utf-8",):
        mesh = load("a.obj", text.encode(encoding))
        assert triangles(mesh) == [SQUARE[[0, 1, 2]].tolist(), SQUARE[[0, 2, 3]].tolist()]
        assert mesh.notes == ("1 quad triangulated",)


def test_obj_relative_indices_count_from_where_they_stand(load):
    block = "v {0} 0 0\nv {1} 0 0\nv {0} 1 0\nf -3 -2 -1\n"
    mesh = load("a.obj", block.format(0, 1) + block.format(5, 6))
    assert mesh.faces.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_obj_keeps_the_order_of_mixed_polygons(load):
    mesh = load("a.obj", OBJ + "f 1 2 3\nf 4 3 2 1\nl 1 2\np 1\np 2\n")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [3, 2, 1], [3, 1, 0]]
    assert mesh.notes == (
        "2 quads triangulated",
        "1 line element skipped",
        "2 point elements skipped",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v 0 0 0\nv 1 0 0\nl 1 2\n", "no 'f' line (2 'v' lines, 1 line element skipped)"),
        ("hello\n", "no 'f' line (0 'v' lines)"),
        (OBJ + "f 1 2 5\n", "a face uses vertex 4 (counted from 0); there are 4 vertices"),
        (OBJ + "f 1 2 -5\n", "a face uses vertex -5, but only 4 'v' lines stand before it"),
        (OBJ + "f 0 1 2\n", "a face uses vertex 0; OBJ counts vertices from 1"),
        (OBJ + "f 1 2", "a face has fewer than three corners: '1 2'"),
        (OBJ + "f 1 2 x\n", "'x' is not a number"),
        (OBJ + "f 1 2 1.5\n", "'1.5' is not a number"),
        (OBJ + "f 1/1/1 2/2/2 3/", "truncated: the last face is cut off: '1/1/1 2/2/2 3/'"),
        (OBJ + "f 1 2 \\", "the file ends in a continued line"),
        (OBJ + "v 1 2\n", "a vertex has fewer than three coordinates: '1 2'"),
        (OBJ + "v\n", "a vertex has fewer than three coordinates: ''"),
        (OBJ + "v 1,5 2,5 3,5\n", "'1,5' is not a number"),
        (OBJ + "v 1.2.3 4 5\n", "'1.2.3' is not a number"),
    ],
)
def test_obj_refused(refuse, text, reason):
    assert reason in refuse("a.obj", text)


# --- polygons --------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", [ARROW, COMB])
@pytest.mark.parametrize("turned", range(7))
def test_concave_polygons_cover_their_own_area(load, corners, turned):
    corners = np.roll(corners, turned, axis=0)
    x, y = corners[:, 0], corners[:, 1]
    expected = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    rotation = np.linalg.qr(np.random.default_rng(turned).normal(size=(3, 3)))[0]
    for order in (1, -1):
        points = (corners[::order] @ rotation).tolist()
        lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in points]
        lines.append("f " + " ".join(str(i + 1) for i in range(len(points))))
        mesh = load("a.obj", "\n".join(lines))
        assert len(mesh.faces) == len(corners) - 2
        assert area(mesh) == pytest.approx(expected)


def test_polygons_with_a_hole_on_a_slit_and_with_straight_corners(load):
    outline = [
        (0, 0),
        (3, 0),
        (6, 0),
        (6, 6),
        (0, 6),
        (0, 0),
        (2, 2),
        (2, 4),
        (4, 4),
        (4, 2),
        (2, 2),
    ]
    lines = [f"v {x} {y} 0" for x, y in outline] + ["f " + " ".join(map(str, range(1, 12)))]
    mesh = load("a.obj", "\n".join(lines))
    assert area(mesh) == pytest.approx(36 - 4)


def test_a_polygon_that_crosses_itself_is_noted(load):
    mesh = load("a.obj", "v 0 0 0\nv 2 1 0\nv 2 0 0\nv 0 2 0\nf 1 2 3 4\n")
    assert "1 twisted or self-crossing polygon triangulated as a fan" in mesh.notes


def test_large_concave_polygons_do_not_take_long(load):
    angle = np.linspace(0, 2 * np.pi, 600, endpoint=False)
    radius = np.where(np.arange(600) % 2, 1.0, 0.5)
    points = np.column_stack((radius * np.cos(angle), radius * np.sin(angle)))
    lines = [f"v {x!r} {y!r} 0" for x, y in points.tolist()]
    mesh = load("a.obj", "\n".join(lines) + "\nf " + " ".join(map(str, range(1, 601))))
    assert area(mesh) == pytest.approx(600 * 0.5 * 0.5 * np.sin(2 * np.pi / 600))


# --- OFF -------------------------------------------------------------------------------------

OFF = "OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n"


@pytest.mark.parametrize(
    "text",
    [
        OFF,
        OFF.replace("\n", "\r\n"),
        OFF.replace("OFF\n", "OFF"),
        OFF.replace("OFF\n", "# by hand\nOFF # it is\n\n"),
        OFF.replace("OFF", "COFF").replace("1 1 0\n", "1 1 0 255 0 0 255\n"),
        OFF.replace("OFF", "NOFF").replace("0 1 0\n", "0 1 0 0 0 1\n"),
        OFF.replace("4 0 1 2 3", "4 0 1 2 3 0.5 0.5 0.5"),
    ],
)
def test_off_in_all_its_spellings(load, text):
    mesh = load("a.off", text)
    assert triangles(mesh) == [SQUARE[[0, 1, 2]].tolist(), SQUARE[[0, 2, 3]].tolist()]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("4 1 0\n0 0 0\n", "expected an OFF header, got '4 1 0"),
        (OFF.replace("OFF", "4OFF"), "expected plain text OFF"),
        (OFF.replace("OFF", "OFF BINARY"), "expected plain text OFF"),
        ("OFF\n", "expected the counts"),
        ("OFF\n4\n", "expected the counts of vertices, faces and edges, got '4'"),
        ("OFF\n-4 1 0\n", "expected the counts"),
        (
            OFF.replace("4 1 0", "4 1000000000 0"),
            "truncated: the header counts 4 vertices and 1000",
        ),
        (OFF.replace("4 1 0", "4 0 0"), "nothing renderable: 4 vertices and no faces"),
        (OFF.replace("4 0 1 2 3", "4 0 1 2"), "fewer indices than it declares: '4 0 1 2'"),
        (OFF.replace("4 0 1 2 3", "4 0 1 2 4"), "a face uses vertex 4"),
        (OFF.replace("4 0 1 2 3", "4 0 1 2 -1"), "a face uses vertex -1"),
        (OFF.replace("1 1 0\n", "1 one 0\n"), "'one' is not a number"),
    ],
)
def test_off_refused(refuse, text, reason):
    assert reason in refuse("a.off", text)


# --- PLY -------------------------------------------------------------------------------------

PLY = """ply
format ascii 1.0
comment gr\xfcn
obj_info none
element vertex 4
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
1 1 0
0 1 0
4 0 1 2 3
"""


def binary_ply(order, faces=((0, 1, 2, 3),), count="uchar", index="int", extra=b"", after=False):
    """Write the square and these faces, and between them and their colour, optionally, a scalar."""
    name = {"<": "binary_little_endian", ">": "binary_big_endian"}[order]
    header = PLY.replace("ascii", name).replace("face 1", f"face {len(faces)}")
    header = header.replace("list uchar int", f"list {count} {index}").partition("end_header")[0]
    header = header.replace("float x", "double x")
    if after:
        header += "property uchar red\nproperty list uchar float texcoord\n"
    dtype = [("x", order + "f8"), ("y", order + "f4"), ("z", order + "f4")]
    vertices = np.rec.fromarrays(SQUARE.T, dtype=dtype)
    body = vertices.tobytes()
    code = {"uchar": "B", "int": "i", "uint": "I", "ushort": "H"}
    for face in faces:
        body += struct.pack(f"{order}{code[count]}{len(face)}{code[index]}", len(face), *face)
        if after:
            body += struct.pack(f"{order}BB2f", 200, 2, 0.5, 0.5)
    return header.encode("latin-1") + b"end_header\n" + body + extra


def test_ply_ascii(load):
    for text in (PLY, PLY.replace("\n", "\r\n"), PLY.replace("vertex_indices", "vertex_index")):
        mesh = load("a.ply", text.encode("latin-1"))
        assert triangles(mesh) == [SQUARE[[0, 1, 2]].tolist(), SQUARE[[0, 2, 3]].tolist()]
        assert mesh.notes == ("1 quad triangulated",)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("count", "index"), [("uchar", "int"), ("int", "uint"), ("uint", "ushort")]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_binary(load, order, count, index, after):
    faces = [(0, 1, 2), (2, 3, 0)]
    mesh = load("a.ply", binary_ply(order, faces, count, index, after=after))
    assert mesh.faces.tolist() == [list(face) for face in faces]
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    mixed = [(0, 1, 2), (0, 1, 2, 3), (3, 2, 1)]
    mesh = load("b.ply", binary_ply(order, mixed, count, index, after=after))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [3, 2, 1]]


def test_ply_ascii_keeps_all_digits_and_mixed_faces(load):
    text = PLY.replace("face 1", "face 3").replace("4 0 1 2 3\n", "4 0 1 2 3\n3 0 1 2\n2 0 1\n")
    mesh = load("a.ply", text.replace("1 1 0", "1 1.0000000001 0"))
    assert mesh.vertices[2, 1] == 1.0000000001
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert "1 face with fewer than three corners skipped" in mesh.notes


def test_ply_lines_with_more_values_than_declared(load):
    text = PLY.replace("4 0 1 2 3\n", "4 0 1 2 3 9 1 1 1\n")
    mesh = load("a.ply", text)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert "1 line of more values than the header declares cut short" in mesh.notes


def test_ply_edges_are_noted(load):
    header, body = PLY.split("end_header\n")
    edges = "element edge 2\nproperty int vertex1\nproperty int vertex2\nend_header\n"
    mesh = load("a.ply", header + edges + body + "0 1\n1 2\n")
    assert mesh.notes == ("1 quad triangulated", "2 edges skipped")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PLY.partition("end_header")[0], "expected a PLY header from 'ply' to 'end_header'"),
        (
            PLY.replace("format ascii 1.0\n", ""),
            "unexpected line in the header: 'property float x'",
        ),
        (
            PLY.replace("ascii 1.0", "morse 1.0"),
            "unexpected line in the header: 'format morse 1.0'",
        ),
        (PLY.replace("float x", "quad x"), "unknown property type 'quad'"),
        (
            PLY.replace("vertex 4", "vertex -4"),
            "unexpected line in the header: 'element vertex -4'",
        ),
        (PLY.replace("vertex 4", "vertex 1000000000"), "truncated: the header declares 1000000000"),
        (
            PLY.replace("face 1", "face 1000000000"),
            "truncated: the header declares 1000000000 rows",
        ),
        (
            PLY.replace("4 0 1 2 3", "1e9 0 1 2 3"),
            "truncated: a row of 'face' has 5 values",
        ),
        (PLY.replace("4 0 1 2 3", "-4 0 1 2 3"), "a list has length"),
        (PLY.replace("4 0 1 2 3", "nan 0 1 2 3"), "a list has length"),
        (PLY.replace("4 0 1 2 3", "4 0 1 2 4"), "a face uses vertex 4"),
        (PLY.replace("4 0 1 2 3", "4 0 1 2 -1"), "a face uses vertex -1"),
        (PLY.replace("4 0 1 2 3", "4 0 1 2 1.5"), "a face index is not an integer"),
        (PLY.replace("4 0 1 2 3", "4 0 1 2 x"), "'x' is not a number"),
        (PLY + "7\n", "data follows after the last row that the header declares"),
        (PLY.replace("float x", "float u"), "declares no vertices with x, y and z"),
        (
            PLY.replace("float x", "float nx").replace("float", "double"),
            "no vertices with x, y and",
        ),
        (PLY.replace("list uchar int vertex_indices", "int first"), "no list vertex_indices"),
        (
            PLY.replace("face 1", "face 0").replace("4 0 1 2 3\n", ""),
            "nothing renderable: a point cloud (4 vertices, no faces)",
        ),
        (PLY.replace("element face", "element tristrips"), "triangle strips are not read"),
    ],
)
def test_ply_refused(refuse, text, reason):
    assert reason in refuse("a.ply", text)


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_binary_refused(refuse, order):
    assert "a face uses vertex -1" in refuse("a.ply", binary_ply(order, [(0, 1, -1)]))
    assert "a face uses vertex 9" in refuse("a.ply", binary_ply(order, [(0, 1, 9)]))
    assert "data follows" in refuse("a.ply", binary_ply(order, extra=b"\1\2\3"))
    mixed = binary_ply(order, [(0, 1, 2), (0, 1, 2, 3)])
    assert "truncated" in refuse("a.ply", mixed[:-3])
    assert "truncated" in refuse("a.ply", mixed.replace(b"vertex 4", b"vertex 999999999"))
    assert "truncated" in refuse("a.ply", mixed.replace(b"face 2", b"face 999999999"))


# --- STL -------------------------------------------------------------------------------------

STL = """solid my part
facet normal 0 0 1
  outer loop
    vertex 0 0 0
    vertex 1 0 0
    vertex 1 1 0
  endloop
endfacet
endsolid my part
"""


def binary_stl(header=b"", n=2, n_declared=None):
    body = np.zeros(n, dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("a", "<u2")])
    body["corners"] = np.array([SQUARE[[0, 1, 2]], SQUARE[[0, 2, 3]]])[:n]
    return struct.pack("<80sI", header, n if n_declared is None else n_declared) + body.tobytes()


@pytest.mark.parametrize("header", [b"", b"solid of revolution", b"\xff" * 80, b"ply\n"])
def test_stl_binary(load, header):
    mesh = load("a.stl", binary_stl(header))
    assert triangles(mesh) == [SQUARE[[0, 1, 2]].tolist(), SQUARE[[0, 2, 3]].tolist()]


def test_stl_ascii(load):
    for text in (STL, STL.replace("\n", "\r\n"), STL.upper(), STL.replace(" my part", "")):
        assert triangles(load("a.stl", text)) == [SQUARE[[0, 1, 2]].tolist()]
    two = (
        STL.replace("my part", "vertex facet") + "\n" + STL.replace("vertex 1 1 0", "vertex 1 2 0")
    )
    assert [triangle[2][1] for triangle in triangles(load("b.stl", two))] == [1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (binary_stl(n=0), "nothing renderable: no triangles"),
        (binary_stl()[:-1], "a binary STL of 2 triangles has 184 bytes, this file has 183"),
        (binary_stl() + b"\0", "a binary STL of 2 triangles has 184 bytes, this file has 185"),
        (
            binary_stl(n_declared=10**9),
            "a binary STL of 1000000000 triangles has 50000000084 bytes",
        ),
        (binary_stl(b"solid", n_declared=3), "a binary STL of 3 triangles has 234 bytes"),
        (binary_stl()[:60], "truncated: 60 bytes are less than a binary STL header"),
        ("solid\nendsolid\n", "nothing renderable: no triangles"),
        (STL.replace("endsolid my part\n", ""), "truncated: expected endsolid at the end"),
        (STL + STL[:60], "truncated: expected endsolid at the end"),
        (STL.replace("    vertex 1 1 0\n", ""), "expected 'vertex', got the line 'endloop'"),
        (STL.replace("endfacet\n", ""), "truncated: the last facet is incomplete"),
        (STL.replace("vertex 1 1 0", "vertex 1 1"), "fewer than three coordinates"),
        (STL.replace("vertex 1 1 0", "vertex 1 1 one"), "'one' is not a number"),
        (
            STL.replace("endfacet", "colour 1\nendfacet"),
            "expected 'endfacet', got the line 'colour",
        ),
    ],
)
def test_stl_refused(refuse, content, reason):
    assert reason in refuse("a.stl", content)


# --- glTF ------------------------------------------------------------------------------------


class Gltf:
    """Builds a glTF document and its one buffer."""

    def __init__(self):
        self.blob = b""
        self.document = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}

    def view(self, array, **fields):
        data = array.tobytes()
        view = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data), **fields}
        self.blob += data + b"\0" * (-len(data) % 4)
        self.document["bufferViews"].append(view)
        return len(self.document["bufferViews"]) - 1

    def accessor(self, values, dtype, **fields):
        values = np.asarray(values, dtype=dtype)
        kinds = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
        codes = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
        accessor = {
            "bufferView": self.view(values),
            "componentType": codes[dtype],
            "count": len(values),
            "type": kinds[1 if values.ndim == 1 else values.shape[1]],
            **fields,
        }
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1

    def mesh(self, vertices, indices=None, **fields):
        primitive = {"attributes": {"POSITION": self.accessor(vertices, "f4")}, **fields}
        if indices is not None:
            primitive["indices"] = self.accessor(indices, "u2")
        self.document.setdefault("meshes", []).append({"primitives": [primitive]})
        return len(self.document["meshes"]) - 1

    def nodes(self, *nodes, roots=(0,)):
        self.document["nodes"] = list(nodes)
        self.document["scenes"] = [{"nodes": list(roots)}]
        return self

    @property
    def primitive(self):
        return self.document["meshes"][0]["primitives"][0]

    def gltf(self, uri=None):
        uri = uri or "data:application/gltf-buffer;base64," + base64.b64encode(self.blob).decode()
        return json.dumps(
            {**self.document, "buffers": [{"uri": uri, "byteLength": len(self.blob)}]}
        )

    def glb(self):
        document = {**self.document, "buffers": [{"byteLength": len(self.blob)}]}
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.blob), b"BIN\0") + self.blob
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def square_gltf(indices=(0, 1, 2, 0, 2, 3), **fields):
    gltf = Gltf()
    gltf.mesh(SQUARE, indices, **fields)
    return gltf.nodes({"mesh": 0})


def test_gltf_embedded_binary_and_with_a_buffer_beside_it(load, tmp_path):
    gltf = square_gltf()
    (tmp_path / "the buffer.bin").write_bytes(gltf.blob)
    for mesh in (
        load("a.glb", gltf.glb()),
        load("a.gltf", gltf.gltf()),
        load("b.gltf", gltf.gltf("the%20buffer.bin")),
    ):
        assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
        np.testing.assert_array_equal(mesh.vertices, SQUARE)
        assert mesh.notes == ()


def test_gltf_nodes_are_placed_in_float64_and_instanced(load):
    gltf = Gltf()
    mesh = gltf.mesh(SQUARE, [0, 1, 2])
    half = np.sqrt(0.5)
    matrix = np.diag([1.0, 1, 1, 1])
    matrix[:3, 3] = (1e7 + 0.1, 0, 0)
    gltf.document["cameras"] = [{"type": "perspective", "perspective": {"yfov": 1, "znear": 1}}]
    gltf.nodes(
        {"children": [1, 2], "translation": [10, 0, 0], "camera": 0},
        {"mesh": mesh, "rotation": [0, 0, half, half], "scale": [2, 2, 2]},
        {"mesh": mesh, "matrix": matrix.T.ravel().tolist()},
        {"mesh": mesh, "name": "not in the scene"},
    )
    loaded = load("a.glb", gltf.glb())
    assert loaded.notes == ("2 instances of 1 geometry flattened",)
    turned = [[10, 0, 0], [10, 2, 0], [8, 2, 0]]
    np.testing.assert_allclose(triangles(loaded)[0], turned, atol=1e-14)
    assert triangles(loaded)[1][0] == [1e7 + 0.1 + 10, 0, 0]


@pytest.mark.parametrize(
    ("mode", "indices", "faces"),
    [
        (4, (0, 1, 2), [[0, 1, 2]]),
        (5, (0, 1, 3, 2), [[0, 1, 3], [1, 3, 2]]),
        (6, (0, 1, 2, 3), [[0, 1, 2], [0, 2, 3]]),
        (6, None, [[0, 1, 2], [0, 2, 3]]),
    ],
)
def test_gltf_triangle_modes(load, mode, indices, faces):
    assert load("a.glb", square_gltf(indices, mode=mode).glb()).faces.tolist() == faces


def test_gltf_points_and_lines_are_skipped_with_a_note(load, refuse):
    gltf = square_gltf()
    triangles = gltf.primitive
    lines, dots = {**triangles, "mode": 3}, {**triangles, "mode": 0}
    gltf.document["meshes"][0]["primitives"] = [lines, triangles, dots]
    notes = load("a.glb", gltf.glb()).notes
    assert notes == ("1 line primitive skipped", "1 point primitive skipped")
    gltf.document["meshes"][0]["primitives"] = [lines]
    assert refuse("b.glb", gltf.glb()) == (
        "nothing renderable: no triangles in its scene; 1 line primitive skipped"
    )


def test_gltf_interleaved_normalised_and_sparse_accessors(load):
    gltf = square_gltf()
    position = gltf.document["accessors"][0]
    padded = np.concatenate((SQUARE, 9 * np.ones((4, 2))), axis=1).astype("f4")
    position["bufferView"] = gltf.view(padded, byteStride=20)
    np.testing.assert_array_equal(load("a.glb", gltf.glb()).vertices, SQUARE)

    gltf = square_gltf()
    position = gltf.document["accessors"][0]
    position.update(componentType=5120, normalized=True)
    position["bufferView"] = gltf.view((SQUARE * 127).astype("i1"), byteStride=3)
    np.testing.assert_array_equal(load("b.glb", gltf.glb()).vertices, SQUARE)

    gltf = square_gltf()
    position = gltf.document["accessors"][0]
    del position["bufferView"]
    position["sparse"] = {
        "count": 3,
        "indices": {"bufferView": gltf.view(np.array([1, 2, 3], "u1")), "componentType": 5121},
        "values": {"bufferView": gltf.view(SQUARE[1:].astype("f4"))},
    }
    np.testing.assert_array_equal(load("c.glb", gltf.glb()).vertices, SQUARE)


def test_gltf_morph_targets_and_skins(load):
    gltf = square_gltf()
    gltf.primitive["targets"] = [{"POSITION": gltf.accessor(np.ones((4, 3)), "f4")}]
    gltf.document["meshes"][0]["weights"] = [0.5]
    np.testing.assert_array_equal(load("a.glb", gltf.glb()).vertices, SQUARE + 0.5)

    gltf = square_gltf()
    bind = np.tile(np.eye(4).T.ravel(), (2, 1))
    bind[1, 12:15] = (0, 0, 1)  # the second joint's inverse bind matrix lifts by one
    gltf.document["skins"] = [
        {"joints": [1, 2], "inverseBindMatrices": gltf.accessor(bind, "f4")},
    ]
    gltf.primitive["attributes"]["JOINTS_0"] = gltf.accessor([[0, 1, 0, 0]] * 4, "u1")
    gltf.primitive["attributes"]["WEIGHTS_0"] = gltf.accessor([[0.5, 0.5, 0, 0]] * 4, "f4")
    gltf.nodes(
        {"mesh": 0, "skin": 0, "translation": [99, 99, 99]},
        {"translation": [1, 0, 0], "children": [2]},
        {"translation": [2, 0, 0]},
        roots=(0, 1),
    )
    expected = SQUARE + 0.5 * np.array([1, 0, 0]) + 0.5 * np.array([3, 0, 1])
    np.testing.assert_array_equal(load("b.glb", gltf.glb()).vertices, expected)


def test_gltf_with_more_instances_than_indices_is_refused_at_once(refuse):
    gltf = Gltf()
    gltf.mesh(SQUARE, np.zeros(3 * 110_000, "u2"))
    gltf.nodes(*[{"mesh": 0}] * 20_000, roots=range(20_000))
    assert "2200000000 faces with all instances" in refuse("a.glb", gltf.glb())


def edited(edit):
    """Give a GLB of the square after an edit of the builder."""
    gltf = square_gltf()
    edit(gltf)
    return gltf.glb()


def use_draco(gltf):
    del gltf.document["accessors"][0]["bufferView"]
    gltf.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0}}


def use_meshopt(gltf):
    gltf.document["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": {"buffer": 0}}
    gltf.document["bufferViews"][0]["buffer"] = 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (square_gltf().glb()[:-1], "truncated: the header declares"),
        (square_gltf().glb()[:15], "truncated within the GLB header"),
        (square_gltf().glb().replace(b"glTF\2", b"glTF\1"), "glTF version 1; expected 2"),
        (square_gltf().glb().replace(b'"2.0"', b'"1.0"'), "glTF version 1.0; expected 2.0"),
        (edited(lambda g: g.document.update(nodes=[])), "nodes[0] is referred to, but there are 0"),
        (edited(lambda g: g.nodes({})), "nothing renderable: no triangles in its scene"),
        (edited(lambda g: g.nodes({"children": [0]})), "its own ancestor"),
        (edited(lambda g: g.nodes({"mesh": 7})), "meshes[7] is referred to, but there are 1"),
        (
            edited(lambda g: g.document["accessors"][0].update(count=10**9)),
            "an accessor of 1000000000 rows does not fit its 48 bytes",
        ),
        (
            edited(lambda g: g.document["bufferViews"][0].update(byteLength=10**9)),
            "truncated: buffer view 0 lies beyond its buffer's end",
        ),
        (
            edited(lambda g: g.document["accessors"][0].pop("bufferView")),
            "accessor 0 has no data of its own",
        ),
        (
            edited(lambda g: g.document["accessors"][0].update(type="VEC4")),
            "accessor 0 is VEC4; expected VEC3",
        ),
        (square_gltf((0, 1, 4)).glb(), "a face uses vertex 4"),
        (square_gltf((0, 1)).glb(), "2 indices do not make triangles"),
        (square_gltf(mode=9).glb(), "primitive mode 9 is unknown"),
        (
            edited(lambda g: g.document.update(extensionsRequired=["ACME_shapes"])),
            "needs the glTF extension ACME_shapes, which is not read",
        ),
        (
            edited(lambda g: g.nodes({"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {}}})),
            "needs the glTF extension EXT_mesh_gpu_instancing",
        ),
        (edited(use_meshopt), "buffers[1] is referred to"),
    ],
)
def test_glb_refused(refuse, content, reason):
    assert reason in refuse("a.glb", content)


def test_gltf_text_refused(refuse, tmp_path):
    gltf = square_gltf()
    assert "buffer gone.bin cannot be read (No such file" in refuse("a.gltf", gltf.gltf("gone.bin"))
    (tmp_path / "short.bin").write_bytes(gltf.blob[:-5])
    assert "truncated: buffer 0 has" in refuse("a.gltf", gltf.gltf("short.bin"))
    assert "is not a local file" in refuse("a.gltf", gltf.gltf("https://x.org/a.bin"))
    assert "its JSON does not parse" in refuse("a.gltf", gltf.gltf()[:-9])
    assert "no 'asset' in it" in refuse("a.gltf", '{"nodes": []}')


def test_gltf_compressed_without_a_decoder(refuse, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = refuse("a.glb", edited(use_draco))
    assert line == "compressed with Draco; reading it needs: pip install DracoPy"
    gltf = square_gltf()
    use_meshopt(gltf)
    document = json.loads(gltf.gltf())
    document["buffers"].append({"byteLength": 48})
    line = refuse("b.gltf", json.dumps(document))
    assert line == "compressed with meshopt, which is not read; save it uncompressed"


def test_gltf_compressed_with_draco(load):
    pytest.importorskip("DracoPy")
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(2)
    data = trimesh.exchange.gltf.export_glb(trimesh.Scene(sphere), extension_draco=True)
    mesh = load("a.glb", data)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], sphere.triangles, atol=1e-4)


def test_gltf_texture_coordinates_compressed_with_draco(tmp_path):
    DracoPy = pytest.importorskip("DracoPy")
    uv = np.array([[0.0, 0.25], [1.0, 0.25], [1.0, 0.75], [0.0, 0.75]])
    for coordinates in (uv, None):
        packed = DracoPy.encode(
            SQUARE.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]]), tex_coord=coordinates
        )
        gltf = square_gltf()
        gltf.primitive["attributes"]["TEXCOORD_0"] = gltf.accessor(uv, "f4")
        for accessor in gltf.document["accessors"]:
            del accessor["bufferView"]
        view = gltf.view(np.frombuffer(packed, np.uint8))
        gltf.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": view}}
        (tmp_path / "a.glb").write_bytes(gltf.glb())
        mesh = load_mesh(tmp_path / "a.glb", uv=True)
        if coordinates is None:
            assert mesh.texture is None
            continue
        # Draco changes the order of vertices, and rounds.
        x, y, _ = np.moveaxis(mesh.vertices[mesh.faces], -1, 0)
        expected = np.stack([x, 0.25 + 0.5 * y], axis=-1)
        np.testing.assert_allclose(mesh.texture.uv[mesh.texture.faces], expected, atol=1e-3)
        assert load_mesh(tmp_path / "a.glb").texture is None


# --- 3MF -------------------------------------------------------------------------------------

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
PRODUCTION = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06"
RELATIONSHIPS = """<Relationships
 xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship
 Target="/3D/3dmodel.model" Id="rel0"
 Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>"""
TRIANGLE_3MF = """<mesh><vertices><vertex x="0" y="0" z="0"/><vertex x="1" y="0" z="0"/>
<vertex x="0" y="{height}" z="0"/></vertices>
<triangles><triangle v1="0" v2="1" v3="2"/></triangles></mesh>"""


def model(resources, build):
    return (
        f'<?xml version="1.0"?><model unit="inch" xmlns="{CORE}" xmlns:p="{PRODUCTION}">'
        f"<resources>{resources}</resources><build>{build}</build></model>"
    )


def threemf(root, **parts):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", RELATIONSHIPS)
        archive.writestr("3D/3dmodel.model", root)
        for name, content in parts.items():
            archive.writestr(f"3D/Objects/{name}.model", content)
    return stream.getvalue()


ONE = f'<object id="1">{TRIANGLE_3MF.format(height=1)}</object>'


def test_3mf_objects_components_and_transforms(load):
    components = (
        '<object id="2"><components><component objectid="1"/>'
        '<component objectid="1" transform="0 1 0 -1 0 0 0 0 1 5 0 0"/></components></object>'
    )
    build = '<item objectid="2" transform="2 0 0 0 2 0 0 0 2 0 0 1"/>'
    mesh = load("a.3mf", threemf(model(ONE + components, build)))
    assert triangles(mesh) == [
        [[0, 0, 1], [2, 0, 1], [0, 2, 1]],
        [[10, 0, 1], [10, 2, 1], [8, 0, 1]],
    ]
    assert mesh.notes == ("2 instances of 1 geometry flattened",)


def test_3mf_objects_in_other_parts_are_told_apart_by_part_and_id(load):
    parts = {
        name: model("".join(f'<object id="{i}">{TRIANGLE_3MF.format(height=h)}</object>'
                            for i, h in heights), "")
        for name, heights in {"a": [(1, 10), (2, 20)], "b": [(1, 30)]}.items()
    }  # fmt: skip
    components = "".join(
        f'<component objectid="{i}" p:path="/3D/Objects/{name}.model"/>'
        for name, i in (("a", 2), ("b", 1), ("a", 1))
    )
    root = model(
        f'<object id="1"><components>{components}</components></object>', '<item objectid="1"/>'
    )
    mesh = load("a.3mf", threemf(root, **parts))
    assert [triangle[2][1] for triangle in triangles(mesh)] == [20, 30, 10]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (threemf(model(ONE, '<item objectid="1"/>'))[:-30], "truncated or not 3MF"),
        (threemf(model(ONE, '<item objectid="1"/>')[:-20]), "in the archive is damaged"),
        (threemf(model(ONE, "")), "nothing renderable"),
        (threemf(model(ONE, '<item objectid="7"/>')), "object 7 is referred to, but not defined"),
        (threemf(model(ONE.replace(' v3="2"', ""), '<item objectid="1"/>')), "attribute 'v3'"),
        (threemf(model(ONE.replace('v3="2"', 'v3="3"'), '<item objectid="1"/>')), "uses vertex 3"),
        (threemf(model(ONE.replace('x="1"', 'x="1,5"'), '<item objectid="1"/>')), "'1,5' is not a"),
        (
            threemf(
                model(
                    '<object id="1"><components><component objectid="1"/></components></object>',
                    '<item objectid="1"/>',
                )
            ),
            "object 1 contains itself",
        ),
        (
            threemf(model(ONE, '<item objectid="1" p:path="/3D/Objects/gone.model"/>')),
            "3D/Objects/gone.model is missing",
        ),
    ],
)
def test_3mf_refused(refuse, content, reason):
    assert reason in refuse("a.3mf", content)


def test_a_zip_that_is_no_3mf(refuse):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.stl", binary_stl())
    assert "_rels/.rels is missing" in refuse("a.3mf", stream.getvalue())


# --- COLLADA ---------------------------------------------------------------------------------

DAE = """<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<library_geometries><geometry id="square"><mesh>
 <source id="positions"><float_array id="numbers" count="12">0 0 0 1 0 0 1 1 0 0 1 0</float_array>
  <technique_common><accessor source="#numbers" count="4" stride="3">
   <param name="X"/><param name="Y"/><param name="Z"/></accessor></technique_common></source>
 <vertices id="v"><input semantic="POSITION" source="#positions"/></vertices>
 <polylist count="1"><input semantic="VERTEX" source="#v" offset="0"/>
  <input semantic="NORMAL" source="#n" offset="1"/>
  <vcount>4</vcount><p>0 9 1 9 2 9 3 9</p></polylist>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="scene"><node>
 <translate>10 0 0</translate><rotate>0 0 2 90</rotate><scale>2 2 2</scale>
 <instance_geometry url="#square"/></node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#scene"/></scene>
</COLLADA>
"""
PLAIN_DAE = DAE.replace("10 0 0", "0 0 0").replace("2 90", "2 0").replace("2 2 2<", "1 1 1<")
POLYLIST = DAE[DAE.index("<polylist") : DAE.index("</polylist>") + len("</polylist>")]


def dae_with(primitive):
    inputs = '<input semantic="VERTEX" source="#v" offset="0"/>'
    return PLAIN_DAE.replace(POLYLIST, primitive.replace("INPUTS", inputs))


def test_collada_polygons_at_their_nodes(load):
    mesh = load("a.dae", DAE)
    expected = [[10, 0, 0], [10, 2, 0], [8, 2, 0]]
    np.testing.assert_allclose(triangles(mesh)[0], expected, atol=1e-14)
    assert mesh.notes == ("1 quad triangulated",)


@pytest.mark.parametrize(
    ("primitive", "faces"),
    [
        ('<triangles count="1">INPUTS<p>0 1 2</p></triangles>', [[0, 1, 2]]),
        ('<polygons count="1">INPUTS<p>0 1 2 3</p></polygons>', [[0, 1, 2], [0, 2, 3]]),
        ('<trifans count="1">INPUTS<p>0 1 2 3</p></trifans>', [[0, 1, 2], [0, 2, 3]]),
        ('<tristrips count="1">INPUTS<p>0 1 3 2</p></tristrips>', [[0, 1, 3], [1, 3, 2]]),
    ],
)
def test_collada_primitives(load, primitive, faces):
    mesh = load("a.dae", dae_with(primitive))
    assert mesh.vertices[mesh.faces].tolist() == SQUARE[faces].tolist()


def test_collada_library_nodes_matrices_and_skins(load):
    node = (
        '<library_nodes><node id="part"><matrix>1 0 0 3 0 1 0 0 0 0 1 0 0 0 0 1</matrix>'
        '<instance_geometry url="#square"/></node></library_nodes>'
        '<library_controllers><controller id="skin"><skin source="#square">'
        "<bind_shape_matrix>1 0 0 0 0 1 0 0 0 0 1 7 0 0 0 1</bind_shape_matrix>"
        "</skin></controller></library_controllers><library_visual_scenes>"
    )
    text = PLAIN_DAE.replace("<library_visual_scenes>", node).replace(
        "</node></visual_scene>",
        '<instance_node url="#part"/><instance_controller url="#skin"/></node></visual_scene>',
    )
    mesh = load("a.dae", text)
    offsets = [triangle[0] for triangle in triangles(mesh)[::2]]
    assert offsets == [[0, 0, 0], [3, 0, 0], [0, 0, 7]]
    assert "3 instances of 1 geometry flattened" in mesh.notes
    assert "1 skinned or morphed geometry shown in its bind pose" in mesh.notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DAE[:-30], "truncated or not COLLADA"),
        ("<COLLADA/>", "the file instantiates no visual scene"),
        ("<svg/>", "expected COLLADA, got XML with the root element <svg>"),
        (DAE.replace('url="#square"', 'url="#circle"'), "refers to '#circle', which is not in the"),
        (DAE.replace("1 1 0 0 1 0", "1 1 0 0 1"), "'numbers' has 11 values; expected 12"),
        (DAE.replace('count="4"', 'count="999999999"'), "does not hold 999999999 positions"),
        (DAE.replace("3 9</p>", "4 9</p>"), "a face uses vertex 4"),
        (DAE.replace(" 3 9</p>", "</p>"), "<polylist> declares 4, but holds 3"),
        (DAE.replace("<scale>2 2 2<", "<scale>2 2<"), "<scale> with 2 numbers is not read"),
        (
            dae_with('<lines count="1">INPUTS<p>0 1</p></lines>'),
            "nothing renderable: no triangles in its scene; 1 line primitive skipped",
        ),
        (
            dae_with('<polygons count="1">INPUTS<ph/></polygons>'),
            "polygons with holes are not read",
        ),
        (dae_with('<triangles count="1"><p>0 1 2</p></triangles>'), "names no vertex positions"),
        (
            DAE.replace("<node>", '<node id="n"><instance_node url="#n"/>'),
            "a node contains itself",
        ),
    ],
)
def test_collada_refused(refuse, text, reason):
    assert reason in refuse("a.dae", text)


# --- all of them -----------------------------------------------------------------------------


@pytest.fixture
def examples():
    """One small, whole file of every format."""
    return {
        ".obj": OBJ.encode(),
        ".ply": PLY.encode(),
        ".stl": binary_stl(),
        ".off": OFF.encode(),
        ".glb": square_gltf().glb(),
        ".gltf": square_gltf().gltf().encode(),
        ".3mf": threemf(model(ONE, '<item objectid="1"/>')),
        ".dae": DAE.encode(),
    }


def test_readers_agree_with_trimesh_where_trimesh_is_right(load, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(2)
    for suffix in (".obj", ".ply", ".stl", ".off", ".glb"):
        path = tmp_path / f"sphere{suffix}"
        sphere.export(path)
        mesh = load_mesh(path)
        np.testing.assert_allclose(mesh.vertices[mesh.faces], sphere.triangles, atol=1e-7)


def test_all_real_meshes_have_the_faces_of_their_manifest(shared_meshes):
    manifests = [shared_meshes / "MANIFEST.csv", shared_meshes / "batch" / "MANIFEST.csv"]
    seen = 0
    for manifest in manifests:
        with manifest.open(newline="") as lines:
            for row in csv.DictReader(lines):
                path = manifest.parent / row["path"]
                if path.suffix.lower() not in FORMATS:
                    with pytest.raises(MeshError, match="unknown mesh format"):
                        load_mesh(path)
                    continue
                assert len(load_mesh(path).faces) == int(row["faces_flattened"]), path
                seen += 1
    assert seen > 50
