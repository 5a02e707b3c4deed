"""Depth to files and back: nothing lost, nothing clipped, nothing half understood."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import re
import struct
import time
import zipfile
import zlib

import imageio.v3
import numpy as np
import pytest
from PIL import Image, ImageFile

import raydepth as rd
from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import perspective_intrinsics
from raydepth.camera.poses import look_at
from raydepth.codecs.formats import FORMATS
from raydepth.codecs.uint16 import encode_uint16, fitting_values_per_unit
from raydepth.export import decode_depth, encode_depth, read_depth, write_depth
from raydepth.version import __version__

# Formats whose package is not installed are tried where it is, and by `test_packages.py`.
SUFFIXES = tuple(
    suffix
    for suffix, format_ in FORMATS.items()
    if format_.package is None or importlib.util.find_spec(format_.package[0])
)
FLOAT_SUFFIXES = tuple(suffix for suffix in SUFFIXES if suffix != ".png")
HEIGHT, WIDTH = 37, 53


def some_depth(dtype=np.float32, seed=0):
    """Depths of 0.5 to 6.5 units, a third of them misses."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 6.5, (HEIGHT, WIDTH)).astype(dtype)
    depth[rng.random(depth.shape) < 1 / 3] = np.inf
    return depth


def some_camera(size=(WIDTH, HEIGHT)):
    return Cameras(
        perspective_intrinsics(39.7, size), look_at([0.1, -1.37, 1 / 3]), size, model="perspective"
    )


SOME_MESH = {"name": "Würfel \udcff ☃", "sha256": "00ff", "mesh_from_source": [[0.1, 1 / 3]]}


# --- 16-bit values


def test_uint16_value_is_round_of_depth_times_values_per_unit():
    depth = np.array([[1.0, 1.25, 1.5, 6.5535, 0.0001, np.inf]], dtype=np.float32)
    values = encode_uint16(depth)
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, [[10000, 12500, 15000, 65535, 1, 0]])


def test_uint16_halfway_goes_to_even():
    depth = np.array([[1.5, 2.5, 3.5, 65534.5]])
    np.testing.assert_array_equal(encode_uint16(depth, 1), [[2, 2, 4, 65534]])


def test_uint16_product_is_float64_for_float32_depth():
    # In float32 the product 4097.5 * 1.0001220703125 loses the digits that decide the rounding.
    depth = np.float32(4097.0)
    scale = 4097.5001 / 4097.0
    assert np.float32(depth) * np.float32(scale) == np.float32(4097.5)
    np.testing.assert_array_equal(encode_uint16(np.array([[depth]]), scale), [[4098]])


def test_uint16_largest_depth_that_fits_and_smallest_that_does_not():
    below = np.nextafter(65535.5, 0)
    np.testing.assert_array_equal(encode_uint16(np.array([[below]]), 1), [[65535]])
    with pytest.raises(ValueError, match="does not fit"):
        encode_uint16(np.array([[65535.5]]), 1)
    np.testing.assert_array_equal(encode_uint16(np.array([[np.nextafter(0.5, 1)]]), 1), [[1]])
    with pytest.raises(ValueError, match="does not fit"):
        encode_uint16(np.array([[0.5]]), 1)


@pytest.mark.parametrize("miss", [np.inf, np.nan, 0, -1.0, 1e10, 123.456, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uint16_miss_may_be_any_value(miss, dtype):
    depth = np.array([[1.0, miss], [miss, 2.0]], dtype=dtype)
    np.testing.assert_array_equal(encode_uint16(depth, 10, miss), [[10, 0], [0, 20]])


def test_uint16_too_far_says_how_many_how_far_and_what_fits():
    depth = np.full((10, 10), 2.0)
    depth[0, :3] = [7.0, 7.25, 6.6]
    with pytest.raises(ValueError, match="does not fit") as caught:
        encode_uint16(depth, 10000)
    assert str(caught.value) == (
        "3 of 100 pixels hold a depth that does not fit 16 bits at values_per_unit=10000 "
        "(0.0001 to 6.5535 units): the largest is 7.25; values_per_unit=5000 would fit"
    )
    assert encode_uint16(depth, 5000).max() == 36250


def test_uint16_too_near_says_how_many_how_near_and_what_fits():
    depth = np.array([[1e-5, 2e-5, 0.001, np.inf]])
    with pytest.raises(ValueError, match="does not fit") as caught:
        encode_uint16(depth, 10000)
    assert re.search(r"2 of 4 pixels .* the smallest is 1e-05; values_per_unit=50000000 would fit$",
                     str(caught.value))  # fmt: skip
    np.testing.assert_array_equal(encode_uint16(depth, 5e7), [[500, 1000, 50000, 0]])


def test_uint16_says_when_no_scale_fits():
    with pytest.raises(
        ValueError, match="is 100 and the smallest is 1e-05; no values_per_unit fits"
    ):
        encode_uint16(np.array([[1e-5, 100.0]]), 10000)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "1 NaN"),
        (-1.5, "the smallest -1.5"),
        (0.0, "the smallest 0"),
        (-np.inf, "the smallest -inf"),
        (np.inf, "the largest inf"),
    ],
)
def test_what_is_neither_depth_nor_miss_is_refused(tmp_path, suffix, value, said):
    depth = np.array([[1.0, -7.0, value]])
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ValueError, match=r"1 of 3 pixels hold an invalid depth") as caught:
        write_depth(path, depth, kind="z", miss=-7.0)
    assert said in str(caught.value)
    assert "miss=-7" in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(200))
def test_fitting_values_per_unit_fits_both_ends(seed):
    rng = np.random.default_rng(seed)
    farthest = 10 ** rng.uniform(-20, 20)
    nearest = farthest / 10 ** rng.uniform(0, 4.6)
    scale = fitting_values_per_unit(nearest, farthest)
    assert scale is not None
    np.testing.assert_array_less(
        encode_uint16(np.array([[nearest, farthest]]), scale), 65536
    )  # raises if not
    if nearest * 10000 > farthest:
        # With a decade to spare it is as round as can be.
        assert f"{scale:e}"[0] in "125"
        assert float(f"{scale:.0e}") == scale


def test_fitting_values_per_unit_takes_the_largest_round_one():
    assert fitting_values_per_unit(1.0, 6.5535) == 10000
    assert fitting_values_per_unit(1.0, 6.5536) == 5000
    assert fitting_values_per_unit(1.0, 200.0) == 200
    assert fitting_values_per_unit(0.9, 65000.0) == 1
    assert fitting_values_per_unit(1.0, 131072.0) is None
    # 2 would lose the near end, 5 the far end.
    assert fitting_values_per_unit(0.2, 20000.0) == 3


# --- round trips


@pytest.mark.parametrize("kind", ["z", "ray"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_keeps_everything(tmp_path, suffix, kind):
    path = tmp_path / f"a{suffix}"
    depth, camera = some_depth(), some_camera()
    write_depth(path, depth, kind=kind, camera=camera, mesh=SOME_MESH)
    image = read_depth(path)
    assert image.depth.dtype == np.float32
    assert image.depth.shape == depth.shape
    np.testing.assert_array_equal(np.isposinf(image.depth), np.isposinf(depth))
    if suffix == ".png":
        hit = np.isfinite(depth)
        error = np.abs(image.depth[hit].astype(np.float64) - depth[hit])
        assert error.max() <= 0.5 / 10000 + np.spacing(np.float32(6.5)) / 2
        assert image.values_per_unit == 10000
        assert image.metadata["miss"] == 0
    else:
        assert image.depth.tobytes() == depth.tobytes()
        assert image.values_per_unit is None
        assert image.metadata["values_per_unit"] is None
        assert image.metadata["miss"] == "inf"
    assert image.kind == kind
    assert image.mesh == SOME_MESH
    assert image.camera.model == "perspective"
    assert (image.camera.width, image.camera.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(image.camera.intrinsics, camera.intrinsics)
    np.testing.assert_array_equal(image.camera.world_from_camera, camera.world_from_camera)
    assert image.metadata["format"] == "raydepth-depth"
    assert image.metadata["format_version"] == 1
    assert image.metadata["raydepth_version"] == __version__


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_camera_and_mesh(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_depth(str(path), some_depth(), kind="z")
    image = read_depth(str(path))
    assert image.camera is None
    assert image.mesh is None


def test_mesh_object_is_asked_for_its_json(tmp_path):
    class Named:
        def to_json(self):
            return {"name": "sphere"}

    write_depth(tmp_path / "a.png", some_depth(), kind="z", mesh=Named())
    assert read_depth(tmp_path / "a.png").mesh == {"name": "sphere"}


@pytest.mark.parametrize("miss", [np.inf, np.nan, 0.0, -1.0, -np.inf, 1e10, 100.1])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_miss_value_reads_back_as_inf_and_input_stays(tmp_path, suffix, miss):
    path = tmp_path / f"a{suffix}"
    depth = some_depth()
    given = np.where(np.isinf(depth), np.float32(miss), depth)
    before = given.tobytes()
    given.flags.writeable = False
    write_depth(path, given, kind="z", miss=miss)
    assert given.tobytes() == before
    read = read_depth(path).depth
    if suffix == ".png":
        np.testing.assert_array_equal(np.isposinf(read), np.isposinf(depth))
    else:
        assert read.tobytes() == depth.tobytes()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_float64_stays_float64(tmp_path, suffix):
    depth = some_depth(np.float64)
    write_depth(tmp_path / f"a{suffix}", depth, kind="z")
    read = read_depth(tmp_path / f"a{suffix}").depth
    assert read.dtype == np.float64
    assert read.tobytes() == depth.tobytes()


def test_tiff_rounds_float64_to_float32(tmp_path):
    depth = some_depth(np.float64)
    write_depth(tmp_path / "a.tiff", depth, kind="z")
    assert read_depth(tmp_path / "a.tiff").depth.tobytes() == depth.astype(np.float32).tobytes()


@pytest.mark.parametrize("value", [1e-60, 1e60])
def test_tiff_refuses_what_float32_cannot_hold(tmp_path, value):
    with pytest.raises(ValueError, match=r"1 of 2 pixels hold a depth that float32 cannot"):
        write_depth(tmp_path / "a.tiff", np.array([[value, 1.0]]), kind="z")
    write_depth(tmp_path / "a.npy", np.array([[value, 1.0]]), kind="z")
    assert read_depth(tmp_path / "a.npy").depth[0, 0] == value


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_layout_and_byte_order_do_not_matter(suffix):
    depth = some_depth()
    expected = encode_depth(suffix, depth, kind="z")
    fortran = np.asfortranarray(depth)
    every_other = np.repeat(depth, 2, axis=1)[:, ::2]
    big_endian = depth.astype(">f4")
    for same in (fortran, every_other, big_endian):
        assert encode_depth(suffix, same, kind="z") == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_float16_is_kept_as_float32(suffix):
    depth = some_depth(np.float16)
    as_float32 = encode_depth(suffix, depth.astype(np.float32), kind="z")
    assert encode_depth(suffix, depth, kind="z") == as_float32


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (3, 2), (2, 4)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_small_and_narrow_images(suffix, shape):
    depth = np.full(shape, 1.5, dtype=np.float32)
    read = decode_depth(suffix, encode_depth(suffix, depth, kind="z")).depth
    np.testing.assert_array_equal(read, depth)


@pytest.mark.parametrize("values_per_unit", [10000, 5000.0, 256, 1 / 3, 0.1, 1e-33, 1e30, 1e37])
def test_png_gives_back_its_values_at_any_scale(values_per_unit):
    # Every value there is, read and written again, is the same value.
    values = np.arange(65536.0).reshape(256, 256)
    values[0, 0] = np.inf
    parts = encode_depth(".png", values / values_per_unit, kind="z",
                         values_per_unit=values_per_unit)  # fmt: skip
    image = decode_depth(".png", parts)
    assert image.values_per_unit == values_per_unit
    np.testing.assert_array_equal(
        imageio.v3.imread(parts[""]), np.where(np.isinf(values), 0, values)
    )
    np.testing.assert_array_equal(image.depth, (values / values_per_unit).astype(np.float32))
    again = encode_depth(".png", image.depth, kind="z", values_per_unit=values_per_unit)
    assert again == parts


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_input_gives_same_bytes(suffix, monkeypatch):
    def encoded(scale):
        return encode_depth(suffix, some_depth(), kind="z", camera=some_camera(), mesh=SOME_MESH,
                            values_per_unit=scale)  # fmt: skip

    before = encoded(10000)
    now = time.localtime(1_000_000_000)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    monkeypatch.setattr(time, "localtime", lambda *_: now)
    assert encoded(10000.0) == before
    assert encoded(np.float32(10000)) == before


def test_upper_case_suffix(tmp_path):
    write_depth(tmp_path / "A.PNG", some_depth(), kind="z")
    assert read_depth(tmp_path / "A.PNG").values_per_unit == 10000


def test_npy_has_its_metadata_beside_it(tmp_path):
    write_depth(tmp_path / "000.npy", some_depth(), kind="z")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000.npy", "000.npy.json"]
    # The array appears last: whoever sees it finds its metadata.
    assert list(encode_depth(".npy", some_depth(), kind="z")) == [".json", ""]
    assert json.loads((tmp_path / "000.npy.json").read_text())["kind"] == "z"


# --- readers without raydepth


def test_png_is_read_by_the_three_documented_lines(tmp_path, monkeypatch):
    import numpy

    import raydepth.export

    depth = some_depth()
    monkeypatch.chdir(tmp_path)
    write_depth("000.png", depth, kind="z")
    v = imageio.v3.imread("000.png")
    meta = json.loads(imageio.v3.immeta("000.png")["raydepth"])
    z = numpy.where(v == 0, numpy.inf, v / meta["values_per_unit"])
    assert v.dtype == np.uint16
    assert v.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(z.astype(np.float32), read_depth("000.png").depth)

    # The lines in the documentation are these, and work as they stand there.
    lines = [
        line.strip()
        for line in raydepth.export.__doc__.splitlines()
        if re.match(r"    (import|v =|meta =|z =)", line)
    ]
    assert len(lines) == 4
    found = {}
    exec("\n".join(lines), found)
    np.testing.assert_array_equal(found["z"], z)


def test_png_is_one_plain_16_bit_grey_channel(tmp_path):
    write_depth(tmp_path / "a.png", some_depth(), kind="z")
    data = (tmp_path / "a.png").read_bytes()
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    assert (width, height, bits, colour, interlaced) == (WIDTH, HEIGHT, 16, 0, 0)
    # One uncompressed text chunk in front of the pixels, and nothing that changes their meaning.
    assert [kind for kind, _ in png_chunks(data)] == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


# imageio without the tifffile package reads TIFF with a copy of it that it means to drop.
@pytest.mark.filterwarnings("ignore:ImageIO.s vendored tifffile:DeprecationWarning")
def test_float_files_are_read_by_their_own_libraries(tmp_path):
    depth = some_depth()
    for suffix in FLOAT_SUFFIXES:
        write_depth(tmp_path / f"a{suffix}", depth, kind="ray")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), depth)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["depth"], depth)
        assert json.loads(str(archive["raydepth"]))["kind"] == "ray"
    read = imageio.v3.imread(tmp_path / "a.tiff")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, depth)
    tags = imageio.v3.immeta(tmp_path / "a.tiff", plugin="pillow")
    assert json.loads(tags["ImageDescription"])["kind"] == "ray"


@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz", ".tiff"])
@pytest.mark.parametrize("miss", [np.inf, 0.0, np.nan])
def test_what_is_masked_is_a_miss(tmp_path, suffix, miss):
    depth = np.ma.masked_array(np.full((4, 5), 2.0, np.float32))
    depth[0, 1:3] = np.ma.masked
    rd.write_depth(tmp_path / f"a{suffix}", depth, kind="z", miss=miss)
    read = rd.read_depth(tmp_path / f"a{suffix}").depth
    assert np.array_equal(np.isinf(read), depth.mask)
    camera = rd.cameras.ring(1, size=(5, 4))
    assert np.array_equal(np.isinf(rd.ray_from_z(depth, camera)), depth.mask)


# --- refused when writing


@pytest.mark.parametrize(
    ("depth", "said"),
    [
        (np.ones((2, 2), dtype=np.int32), "dtype int32; expected float16, float32 or float64"),
        (np.ones((2, 2), dtype=np.longdouble), "expected float16, float32 or float64"),
        (np.ones((2, 2), dtype=bool), "dtype bool"),
        (np.ones((3, 2, 2)), r"shape \(3, 2, 2\); expected \(height, width\), one view"),
        (np.ones(4), r"shape \(4,\)"),
        (np.ones((0, 4)), r"shape \(0, 4\)"),
        ([["far", "near"]], "dtype <U4"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_wrong_array_is_refused(tmp_path, suffix, depth, said):
    with pytest.raises(ValueError, match=said):
        write_depth(tmp_path / f"a{suffix}", depth, kind="z")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "depth"}, "kind is 'depth'; expected 'z' or 'ray'"),
        ({"values_per_unit": 0}, "values_per_unit is 0; expected a number between 1e-33 and 1e"),
        ({"values_per_unit": -1.0}, "values_per_unit is -1.0"),
        ({"values_per_unit": math.nan}, "values_per_unit is nan"),
        ({"values_per_unit": math.inf}, "values_per_unit is inf"),
        ({"values_per_unit": 1e38}, "values_per_unit is 1e\\+38"),
        ({"values_per_unit": "10000"}, "values_per_unit is '10000'"),
        ({"values_per_unit": True}, "values_per_unit is True"),
        ({"miss": None}, "miss is None; expected the number"),
        ({"miss": "inf"}, "miss is 'inf'"),
        ({"camera": {"width": 3}}, "camera is dict; expected Cameras of one view"),
        ({"camera": some_camera()[[0, 0]]}, "camera is 2 views; expected Cameras of one view"),
        ({"camera": some_camera((HEIGHT, WIDTH))}, "is 37x53 pixels and the depth's 53x37"),
        ({"mesh": "bunny.ply"}, "mesh is str; expected a Mesh, a dict or None"),
        ({"mesh": {"bounds": np.zeros(3)}}, "mesh does not hold plain JSON data"),
        ({"mesh": {"radius": math.inf}}, "mesh does not hold plain JSON data"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_wrong_argument_is_refused(tmp_path, suffix, arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        write_depth(tmp_path / f"a{suffix}", some_depth(), **{"kind": "z", **arguments})
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffix_names_the_known(tmp_path):
    for name in ("a.jpg", "a", "a.hdr"):
        with pytest.raises(ValueError, match=r"unknown suffix .*; expected \.png, \.npy"):
            write_depth(tmp_path / name, some_depth(), kind="z")
        with pytest.raises(ValueError, match=r"unknown suffix .*; expected \.png, \.npy"):
            read_depth(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_folder_and_missing_file(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        write_depth(tmp_path / "nowhere" / f"a{suffix}", some_depth(), kind="z")
    with pytest.raises(FileNotFoundError, match=f"a{suffix}"):
        read_depth(tmp_path / f"a{suffix}")


def test_refused_depth_leaves_the_file_that_was_there(tmp_path):
    write_depth(tmp_path / "a.png", np.full((2, 2), 1.5), kind="z")
    with pytest.raises(ValueError, match="does not fit"):
        write_depth(tmp_path / "a.png", np.full((2, 2), 7.0), kind="z")
    assert (read_depth(tmp_path / "a.png").depth == 1.5).all()


# --- refused when reading


def png_chunks(data):
    chunks, start = [], 8
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    return chunks


def png_of(chunks):
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        checksum = zlib.crc32(kind + content)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return data


def replaced_text(suffix, change):
    """Parts of a good file whose JSON text is `change(text)`."""
    metadata = json.loads(encode_depth(".npy", some_depth(), kind="z")[".json"])
    if suffix == ".png":
        metadata |= {"values_per_unit": 10000, "miss": 0}
    pixels = encode_uint16(some_depth()) if suffix == ".png" else some_depth()
    return FORMATS[suffix].encode(pixels, change(json.dumps(metadata)))


def changed(**values):
    return lambda text: json.dumps(json.loads(text) | values)


def without(key):
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != key})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-1], "its raydepth metadata is damaged"),
        (changed(format="other"), "does not declare format 'raydepth-depth'"),
        (without("format"), "does not declare format 'raydepth-depth'"),
        (changed(format_version=2), "format_version is 2; this raydepth reads 1"),
        (without("format_version"), "format_version is None"),
        (changed(kind="depth"), "kind is 'depth'; expected 'z' or 'ray'"),
        (without("kind"), "metadata lacks kind"),
        (without("camera"), "metadata lacks camera"),
        (changed(camera={"width": 3}), "its camera is damaged"),
        (changed(camera=some_camera((9, 9)).to_json()), "9x9 pixels and the depth's 53x37"),
        (changed(mesh="bunny"), "its mesh is 'bunny'"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_metadata_is_refused(tmp_path, suffix, change, said):
    for end, content in replaced_text(suffix, change).items():
        (tmp_path / f"a{suffix}{end}").write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        read_depth(tmp_path / f"a{suffix}")
    assert str(caught.value).startswith(str(tmp_path / f"a{suffix}: "))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unchanged_metadata_is_read(suffix):
    # The control of the test above: what it builds is refused for the change alone.
    assert decode_depth(suffix, replaced_text(suffix, lambda text: text)).kind == "z"


@pytest.mark.parametrize("text", ["[1, 2]", '"raydepth-depth"'])
@pytest.mark.parametrize("suffix", [".png", ".npy", ".npz"])
def test_metadata_that_is_no_object_is_refused(suffix, text):
    with pytest.raises(ValueError, match="does not declare format"):
        decode_depth(suffix, replaced_text(suffix, lambda _: text))


@pytest.mark.parametrize("scale", [0, None, "10000", -1, 1e300])
def test_damaged_scale_is_refused(scale):
    with pytest.raises(ValueError, match="values_per_unit is"):
        decode_depth(".png", replaced_text(".png", changed(values_per_unit=scale)))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_depth(path, some_depth(), kind="z", camera=some_camera())
    data = path.read_bytes()
    for length in (*range(60), *range(60, len(data), 97), len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"damaged|not a|truncated") as caught:
            read_depth(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_truncation_is_refused_where_pillow_is_told_to_go_on(suffix, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode_depth(suffix, some_depth(), kind="z")[""]
    for length in (len(data) - 1, len(data) - 50, len(data) // 2):
        with pytest.raises(ValueError, match="truncated"):
            decode_depth(suffix, {"": data[:length]})


@pytest.mark.parametrize("seed", range(60))
def test_one_flipped_bit_in_a_png_is_refused(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(encode_depth(".png", some_depth(), kind="z")[""])
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    with pytest.raises(ValueError, match="PNG"):
        decode_depth(".png", {"": bytes(data)})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_content_under_the_suffix_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for other in {*SUFFIXES, ".txt"} - {suffix}:
        if {suffix, other} == {".tif", ".tiff"}:
            continue
        content = b"hello"
        if other != ".txt":
            content = encode_depth(other, some_depth(), kind="z")[""]
        path.write_bytes(content)
        (tmp_path / f"a{suffix}.json").write_text("{}")
        with pytest.raises(ValueError, match="not a") as caught:
            read_depth(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "said"),
    [("L", "8-bit grey"), ("RGB", "8-bit RGB"), ("P", "1-bit palette"), ("1", "1-bit grey"),
     ("RGBA", "8-bit RGBA"), ("LA", "8-bit grey and alpha")],
)  # fmt: skip
def test_png_of_another_type_is_refused(tmp_path, mode, said):
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"a PNG of {said} pixels; expected 16-bit grey"):
        read_depth(tmp_path / "a.png")


def test_png_and_tiff_of_other_programs_are_refused(tmp_path):
    imageio.v3.imwrite(tmp_path / "a.png", np.ones((4, 3), dtype=np.uint16))
    Image.new("F", (4, 3), 1.0).save(tmp_path / "a.tiff", description="a holiday")
    Image.new("F", (4, 3), 1.0).save(tmp_path / "b.tiff")
    for name in ("a.png", "a.tiff", "b.tiff"):
        with pytest.raises(ValueError, match=f"{name}: no raydepth metadata in the file"):
            read_depth(tmp_path / name)


def test_png_with_the_text_behind_the_pixels_is_read():
    data = encode_depth(".png", some_depth(), kind="ray")[""]
    header, text, *pixels, end = png_chunks(data)
    image = decode_depth(".png", {"": png_of([header, *pixels, text, end])})
    assert image.kind == "ray"


def test_tiff_of_another_type_is_refused():
    text = encode_depth(".npy", some_depth(), kind="z")[".json"].decode()
    buffer = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT)).save(buffer, format="tiff", description=text)
    with pytest.raises(ValueError, match="holds uint8 pixels; expected float32 or float64"):
        decode_depth(".tiff", {"": buffer.getvalue()})


def test_npy_without_its_json_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", some_depth())
    with pytest.raises(ValueError, match=r"a\.npy: no raydepth metadata: expected a\.npy\.json"):
        read_depth(tmp_path / "a.npy")
    (tmp_path / "a.npy.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.npy: its \.json file is damaged"):
        read_depth(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((2, 2, 2), dtype=np.float32), r"shape \(2, 2, 2\); expected \(height, width\)"),
        (np.ones((0, 2), dtype=np.float32), r"shape \(0, 2\)"),
        (np.ones((2, 2), dtype=np.int64), "holds int64 pixels; expected float32 or float64"),
        (np.array([[1.0, np.nan, 0.0]]), "2 of 3 pixels are not > 0; the file is damaged"),
        (np.array([[1.0, -np.inf]]), "1 of 2 pixels are not > 0"),
        (np.array([[{"a": 1}]], dtype=object), r"damaged or not a \.np. file"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_depth_are_refused(suffix, array, said):
    text = encode_depth(".npy", some_depth(), kind="z")[".json"].decode()
    buffer = io.BytesIO()
    if suffix == ".npy":
        np.save(buffer, array, allow_pickle=True)
    else:
        np.savez(buffer, depth=array, raydepth=text)
    with pytest.raises(ValueError, match=said):
        decode_depth(suffix, {"": buffer.getvalue(), ".json": text.encode()})


def test_npz_of_other_programs_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, depth=some_depth())
    with pytest.raises(ValueError, match="expected arrays named depth and raydepth"):
        decode_depth(".npz", {"": buffer.getvalue()})
    assert zipfile.is_zipfile(buffer)


# --- EXR


@pytest.fixture
def openexr():
    return pytest.importorskip("OpenEXR")


def test_exr_is_one_float32_channel_named_z(openexr, tmp_path):
    write_depth(tmp_path / "a.exr", some_depth(), kind="ray")
    with openexr.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        (name, channel), *others = file.channels().items()
        assert (name, others, channel.pixels.dtype) == ("Z", [], np.float32)
        np.testing.assert_array_equal(channel.pixels, some_depth())
        assert json.loads(file.header()["raydepth"])["kind"] == "ray"


def exr_bytes(openexr, channels, **header) -> bytes:
    buffer = io.BytesIO()
    openexr.File({"type": openexr.scanlineimage, **header}, channels).write(buffer)
    return buffer.getvalue()


def test_exr_of_other_programs_is_refused(openexr):
    z = np.ones((20, 3), dtype=np.float32)
    text = encode_depth(".npy", z, kind="z")[".json"].decode()
    for compression in (openexr.ZIP_COMPRESSION, openexr.PIZ_COMPRESSION, openexr.NO_COMPRESSION):
        data = exr_bytes(openexr, {"Z": z}, compression=compression)
        with pytest.raises(ValueError, match="no raydepth metadata in the file"):
            decode_depth(".exr", {"": data})
        # With the metadata it is read, however it is compressed.
        data = exr_bytes(openexr, {"Z": z}, compression=compression, raydepth=text)
        np.testing.assert_array_equal(decode_depth(".exr", {"": data}).depth, z)
    data = exr_bytes(openexr, {"V": z, "Z": z}, raydepth=text)
    with pytest.raises(ValueError, match="it has channels V, Z; expected Z"):
        decode_depth(".exr", {"": data})
    data = exr_bytes(openexr, {"Z": z.astype(np.float16)}, raydepth=text)
    with pytest.raises(ValueError, match="holds float16 pixels"):
        decode_depth(".exr", {"": data})


def test_a_truncated_exr_is_refused_without_a_word_on_standard_error(openexr, capfd):
    data = encode_depth(".exr", some_depth(), kind="z")[""]
    for length in (len(data) - 1, len(data) // 2, 100, 4):
        with pytest.raises(ValueError, match="damaged or truncated EXR file"):
            decode_depth(".exr", {"": data[:length]})
    assert capfd.readouterr() == ("", "")
