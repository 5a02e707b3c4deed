"""Encode PNG files fast: "Portable Network Graphics Specification", third edition, W3C 2025.

Rows are filtered by a kernel (see `png_filters`) and compressed at ISA-L's level 1. Both steps
release the interpreter's lock.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from raydepth.codecs.deflate import crc32, zlib_stream
from raydepth.codecs.png_filters import filter_rows

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2
MAX_CHUNK = 1 << 30
LENGTH = struct.Struct(">I")  # of a chunk, and its checksum


def encode_png(pixels: np.ndarray, texts: Mapping[str, str] | None = None) -> bytes:
    """Encode pixels as a PNG file in memory.

    Parameters
    ----------
    pixels : (height, width) uint16 or uint8, or (height, width, 3) uint8
    texts : mapping, optional
        Latin-1 texts by keyword, put into tEXt chunks before the pixels.
    """
    height, width = pixels.shape[:2]
    depth, colour = 8 * pixels.itemsize, GREY if pixels.ndim == 2 else RGB
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [SIGNATURE, *_chunk(b"IHDR", header)]
    for keyword, text in (texts or {}).items():
        parts += _chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1"))
    stream = zlib_stream(_filtered(pixels))
    for start in range(0, len(stream), MAX_CHUNK):
        parts += _chunk(b"IDAT", stream[start : start + MAX_CHUNK])
    return b"".join((*parts, *_chunk(b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    checksum = crc32(content, crc32(kind))
    return LENGTH.pack(len(content)), kind, content, LENGTH.pack(checksum)


def _filtered(pixels: np.ndarray) -> np.ndarray:
    """Return (height, 1 + bytes of a row) uint8: each row after the number of its filter."""
    big_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">"))
    rows = big_endian.view(np.uint8).reshape(len(pixels), -1)
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), dtype=np.uint8)
    filter_rows(rows, rows.shape[1] // pixels.shape[1], filtered)
    return filtered
