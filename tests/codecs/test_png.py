"""PNG files: every pixel comes back, by other readers and by a strict reading of the standard."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import imageio.v3
import numpy as np
import pytest
from PIL import Image

import raydepth as rd
from raydepth.codecs import deflate, png
from raydepth.codecs.png import encode_png
from raydepth.mesh.shapes import torus_knot

GREY, RGB = (16, 0), (8, 2)


def strictly_decoded(data: bytes) -> tuple[np.ndarray, dict[str, str]]:
    """Pixels and texts of a PNG, read after the letter of the standard; fails on any oddity."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, start = [], 8
    while start < len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        kind, content = data[start + 4 : start + 8], data[start + 8 : start + 8 + length]
        assert len(content) == length < 1 << 31
        (checksum,) = struct.unpack(">I", data[start + 8 + length : start + 12 + length])
        assert zlib.crc32(kind + content) == checksum
        chunks.append((kind, content))
        start += 12 + length
    assert start == len(data)
    kinds = [kind for kind, _ in chunks]
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    assert kinds.count(b"IHDR") == kinds.count(b"IEND") == 1
    assert set(kinds) <= {b"IHDR", b"tEXt", b"IDAT", b"IEND"}
    first, n_data = kinds.index(b"IDAT"), kinds.count(b"IDAT")
    assert kinds[first : first + n_data] == [b"IDAT"] * n_data  # they follow each other
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert rest == [0, 0, 0]
    assert (bits, colour) in (GREY, RGB)
    pixel_bytes = 2 if colour == 0 else 3
    decompressor = zlib.decompressobj()
    stream = decompressor.decompress(b"".join(c for kind, c in chunks if kind == b"IDAT"))
    assert decompressor.eof
    assert decompressor.unused_data == b""
    assert len(stream) == height * (1 + width * pixel_bytes)
    rows = np.frombuffer(stream, np.uint8).reshape(height, -1)
    image = np.zeros((height + 1, pixel_bytes + width * pixel_bytes), dtype=np.int64)
    for y, (kind, *differences) in enumerate(rows.tolist(), start=1):
        assert kind in (0, 1, 2, 4)
        row, above = image[y], image[y - 1]
        for i, value in enumerate(differences, start=pixel_bytes):
            a, b, c = row[i - pixel_bytes], above[i], above[i - pixel_bytes]
            nearest = min((a, b, c), key=lambda x, p=a + b - c: abs(p - x))  # the first of equals
            row[i] = (value + {0: 0, 1: a, 2: b, 4: nearest}[kind]) % 256
    values = image[1:, pixel_bytes:].astype(np.uint8)
    texts = [c.decode("latin-1").split("\0") for kind, c in chunks if kind == b"tEXt"]
    pixels = values.reshape(height, width, pixel_bytes)
    return pixels.view(">u2")[..., 0] if colour == 0 else pixels, dict(texts)


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :57]
    hill = (20000 - 11 * (x - 30) ** 2 - 7 * (y - 18) ** 2).astype(np.uint16)
    stripes = np.repeat(rng.integers(0, 65536, (40, 1)), 57, axis=1).astype(np.uint16)
    return {
        "noise": rng.integers(0, 65536, (23, 31)).astype(np.uint16),
        "hill": hill,
        "plane": (17 * x + 300 * y).astype(np.uint16),
        "rows alike": np.repeat(stripes[:, :1].T, 30, axis=0),
        "constant rows": stripes,
        "empty": np.zeros((19, 5), dtype=np.uint16),
        "extremes": np.where((x + y) % 2, 65535, 0).astype(np.uint16),
        "one pixel": np.array([[65535]], dtype=np.uint16),
        "one row": rng.integers(0, 9, (1, 300)).astype(np.uint16),
        "one column": rng.integers(0, 65536, (300, 1)).astype(np.uint16),
        "colours": rng.integers(0, 256, (9, 14, 3)).astype(np.uint8),
        "one colour": np.full((3, 1, 3), (1, 128, 255), dtype=np.uint8),
        "big-endian": hill.astype(">u2"),
        "not in rows": np.asfortranarray(hill)[::2, ::-3],
    }


@pytest.mark.parametrize("name", images())
def test_every_pixel_comes_back(name):
    pixels = images()[name]
    before = pixels.copy()
    data = encode_png(pixels, {"a": "b", "raydepth": "{} \xe9"})
    found, texts = strictly_decoded(data)
    assert texts == {"a": "b", "raydepth": "{} \xe9"}
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        by_pillow = np.asarray(picture)
        assert picture.text == texts
    assert imageio.v3.imread(data).dtype == pixels.dtype.newbyteorder("=")
    for read in (found, by_pillow, imageio.v3.imread(data)):
        np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(pixels, before)


def test_opencv_reads_the_same_values():
    cv2 = pytest.importorskip("cv2")
    for pixels in images().values():
        read = cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
        assert read.dtype == pixels.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read, pixels if pixels.ndim == 2 else pixels[..., ::-1])


def filters_of(pixels: np.ndarray) -> set[int]:
    return set(png._filtered(pixels)[:, 0].tolist())


def test_rows_take_the_filter_that_suits_them():
    some = images()
    assert set(png._filtered(some["rows alike"])[1:, 0].tolist()) == {2}
    assert filters_of(some["constant rows"]) == {1}
    assert filters_of(np.zeros((3, 3), dtype=np.uint16)) == {2}
    # What repeats downwards on one half and sideways on the other suits neither Up nor Sub.
    both = np.hstack([some["constant rows"].T[:40, :40], some["constant rows"][:, :40]])
    assert set(png._filtered(both)[1:, 0].tolist()) == {4}


def test_long_streams_are_cut_into_chunks(monkeypatch):
    monkeypatch.setattr(png, "MAX_CHUNK", 100)
    pixels = images()["noise"]
    data = encode_png(pixels)
    assert data.count(b"IDAT") > 10
    np.testing.assert_array_equal(strictly_decoded(data)[0], pixels)
    np.testing.assert_array_equal(imageio.v3.imread(data), pixels)


def test_without_isal_pixels_are_the_same(monkeypatch):
    """zlib stands in for it, with the same interface."""
    pytest.importorskip("isal")
    monkeypatch.setattr(deflate, "_library", zlib)
    for pixels in images().values():
        np.testing.assert_array_equal(strictly_decoded(encode_png(pixels))[0], pixels)
    assert deflate.crc32(b"raydepth", 7) == zlib.crc32(b"raydepth", 7)
    assert zlib.decompress(deflate.raw_deflate(b"depth"), -15) == b"depth"


@pytest.mark.parametrize("data", [b"", b"x" * 100_000, memoryview(b"abc" * 1000), np.arange(9.0)])
def test_streams_decompress(data):
    assert zlib.decompress(deflate.zlib_stream(data)) == bytes(data)
    assert zlib.decompress(deflate.raw_deflate(data), -15) == bytes(data)
    assert deflate.crc32(data) == zlib.crc32(data)


def test_the_same_input_gives_the_same_bytes_on_every_thread():
    """ISA-L alone makes other bytes on some 12 of 4000 threads, by where their stacks lie."""
    rendering = rd.render(torus_knot(), rd.cameras.fibonacci(4, size=512)[2], miss=0.0)
    data = np.rint(rendering.z_depth[0] * 10000).astype(np.uint16).tobytes()
    streams, all_done, lock = set(), threading.Event(), threading.Lock()
    n_threads, n_done = 1500, 0

    def compress() -> None:
        nonlocal n_done
        with lock:
            streams.add(deflate.raw_deflate(data))
            n_done += 1
            if n_done == n_threads:
                all_done.set()
        all_done.wait()

    before = threading.stack_size(1 << 17)
    threads = [threading.Thread(target=compress) for _ in range(n_threads)]
    try:
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(before)
    for thread in threads:
        thread.join()
    assert len(streams) == 1


def test_the_first_bytes_are_a_block_of_their_own():
    """What keeps ISA-L deterministic, see deflate.py: a flush ends with an empty stored block."""
    data = bytes(range(256)) * 100
    first, flush, rest = deflate.raw_deflate(data).partition(b"\x00\x00\xff\xff")
    assert zlib.decompressobj(-15).decompress(first + flush) == data[:8]
    assert rest


def test_smooth_depth_is_no_larger_than_other_encoders_make_it():
    y, x = np.mgrid[:256, :256] / 255 - 0.5
    inside = x**2 + y**2 < 0.16
    depth = np.where(inside, 1.5 - np.sqrt(np.maximum(0.17 - x**2 - y**2, 0)), 0)
    values = np.rint(depth * 10000).astype(np.uint16)
    buffer = io.BytesIO()
    imageio.v3.imwrite(buffer, values, extension=".png", plugin="pillow", compress_level=1)
    assert len(encode_png(values)) <= len(buffer.getvalue())
