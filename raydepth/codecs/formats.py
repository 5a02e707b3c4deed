"""File formats for depth maps: convert pixels and one JSON text to bytes in memory, and back.

`export` defines what the pixels mean. Each format is one entry of `FORMATS`.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydepth.codecs.deflate import crc32
from raydepth.codecs.png import SIGNATURE, encode_png
from raydepth.system.optional_packages import needed

EXR_SIGNATURE = b"v/1\x01"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXR_PACKAGE = ("OpenEXR", "exr")
EXR_ZIP, EXR_ZIP_ROWS = 3, 16  # the number of this compression, and the rows per block
PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}

# A file as bytes in memory, by the suffix appended to its name: {"": the file}, or {".json": ...,
# "": ...} with a second file beside it; in the order in which they should appear on disk.
Parts = dict[str, bytes]


@dataclass(frozen=True)
class Format:
    """One kind of file, with the functions that make it in memory and read it back.

    Attributes
    ----------
    stores : "uint16", "float32", or "float" (float32 or float64, as given)
    encode : (pixels, JSON text) -> Parts
    decode : Parts -> (pixels, JSON text or None)
    sidecar : the suffix appended to the name for a second file, or ""
    package : the module it needs and the extra of raydepth that installs it, or None
    """

    stores: str
    encode: Callable[[np.ndarray, str], Parts]
    decode: Callable[[Parts], tuple[np.ndarray, Any]]
    sidecar: str = ""
    package: tuple[str, str] | None = None


def _encode_png(values: np.ndarray, text: str) -> Parts:
    return {"": encode_png(values, {"raydepth": text})}


def _decode_png(parts: Parts) -> tuple[np.ndarray, Any]:
    return decode_grey_png(parts, 16)


def decode_grey_png(parts: Parts, bits: int) -> tuple[np.ndarray, Any]:
    """Return the pixels and the text "raydepth" (or None) of one grey PNG of 8 or 16 bits.

    Raises
    ------
    ValueError
        The data is not such a PNG, or is damaged or truncated.
    """
    import imageio.v3

    data = parts[""]
    _check_png(data, bits)
    with (
        as_value_error("damaged PNG file"),
        imageio.v3.imopen(data, "r", extension=".png", plugin="pillow") as file,
    ):
        # The text may follow the pixels if another program saved the file again.
        return file.read(index=0), file.metadata(index=0).get("raydepth")


def _check_png(data: bytes, expected: int) -> None:
    """Raise ValueError unless the data is one complete grey PNG of the expected bits.

    Pillow reads a damaged or missing end of a file as zeros if a program has asked it to
    (LOAD_TRUNCATED_IMAGES), and zeros would be misses. So every chunk's checksum is checked here.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG file")
    start, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        kind = data[start + 4 : start + 8]
        if len(data) < end + 4:
            raise ValueError("truncated PNG file")
        if crc32(memoryview(data)[start + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ValueError(f"damaged PNG file: chunk {kind!r} fails its checksum")
        if kind == b"IHDR":
            bits, colour = struct.unpack_from("BB", data, start + 16)
            if (bits, colour) != (expected, 0):
                name = PNG_COLOURS.get(colour, f"colour type {colour}")
                raise ValueError(f"a PNG of {bits}-bit {name} pixels; expected {expected}-bit grey")
        start = end + 4


def _encode_npy(pixels: np.ndarray, text: str) -> Parts:
    return {".json": f"{text}\n".encode(), "": npy(pixels)}


def _decode_npy(parts: Parts) -> tuple[np.ndarray, Any]:
    with as_value_error("damaged or not a .npy file"):
        pixels = np.load(io.BytesIO(parts[""]), allow_pickle=False)
        if not isinstance(pixels, np.ndarray):
            raise ValueError("it is a .npz archive")
    with as_value_error("its .json file is damaged"):
        return pixels, parts[".json"].decode()


def _encode_npz(pixels: np.ndarray, text: str) -> Parts:
    # Not numpy.savez_compressed: here the time stamp is fixed, and level 1 is faster at the cost of
    # a few percent in size.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in (("depth", pixels), ("raydepth", np.array(text))):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, npy(array), zipfile.ZIP_DEFLATED, compresslevel=1)
    return {"": buffer.getvalue()}


def _decode_npz(parts: Parts) -> tuple[np.ndarray, Any]:
    with as_value_error("damaged or not a .npz file"):
        archive = np.load(io.BytesIO(parts[""]), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it is a .npy file")
        with archive:
            if {"depth", "raydepth"} <= set(archive):
                return archive["depth"], str(archive["raydepth"])
    raise ValueError("not written by raydepth: expected arrays named depth and raydepth")


def npy(array: np.ndarray) -> bytes:
    """Return an array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _encode_tiff(pixels: np.ndarray, text: str) -> Parts:
    import imageio.v3

    buffer = io.BytesIO()
    imageio.v3.imwrite(buffer, pixels, extension=".tiff", plugin="pillow", description=text)
    return {"": buffer.getvalue()}


def _decode_tiff(parts: Parts) -> tuple[np.ndarray, Any]:
    import imageio.v3

    data = parts[""]
    # Pillow opens every format that it knows, even if the file is named .tiff.
    if not data.startswith(TIFF_SIGNATURES):
        raise ValueError("not a TIFF file")
    with (
        as_value_error("damaged TIFF file"),
        imageio.v3.imopen(data, "r", extension=".tiff", plugin="pillow") as file,
    ):
        tags = file.metadata(index=0)
        # Pillow can be told (LOAD_TRUNCATED_IMAGES) to fill missing data with zeros.
        ends = np.add(tags.get("StripOffsets", 0), tags.get("StripByteCounts", 0))
        if np.max(ends) > len(data):
            raise ValueError("truncated")
        pixels = file.read(index=0)
    text = tags.get("ImageDescription")
    # Other programs write prose into this tag.
    return pixels, text if str(text).startswith("{") else None


def _encode_exr(pixels: np.ndarray, text: str) -> Parts:
    exr = needed(*EXR_PACKAGE)
    header = {
        "compression": exr.ZIP_COMPRESSION,
        "type": exr.scanlineimage,
        "raydepth": text,
    }
    buffer = io.BytesIO()
    exr.File(header, {"Z": pixels.astype("=f4", copy=False)}, num_threads=0).write(buffer)
    return {"": buffer.getvalue()}


def _decode_exr(parts: Parts) -> tuple[np.ndarray, Any]:
    exr = needed(*EXR_PACKAGE)
    data = parts[""]
    _check_exr(data)
    with as_value_error("damaged EXR file"):
        file = exr.File(io.BytesIO(data), separate_channels=True, num_threads=0)
        channels, text = file.channels(), file.header().get("raydepth")
        if set(channels) != {"Z"}:
            raise ValueError(f"it has channels {', '.join(channels)}; expected Z")
        return np.ascontiguousarray(channels["Z"].pixels), text


def _check_exr(data: bytes) -> None:
    """Raise ValueError if the data is not an EXR file, or if it ends early.

    The OpenEXR library would report an early end on standard error. According to "OpenEXR File
    Layout", the header's attributes are (name, type, size, value). Then follow 8 bytes for the
    place of each block, and the blocks, each preceded by its first row and its size.
    """
    if not data.startswith(EXR_SIGNATURE):
        raise ValueError("not an EXR file")
    with as_value_error("damaged or truncated EXR file"):
        attributes, start = {}, 8
        while data[start]:
            name_end = data.index(b"\0", start)
            value = data.index(b"\0", name_end + 1) + 5
            (size,) = struct.unpack_from("<I", data, value - 4)
            attributes[data[start:name_end]] = data[value : value + size]
            start = value + size
        if attributes[b"compression"] != bytes([EXR_ZIP]):
            return  # not written by raydepth, so its blocks may have another height
        first, last = struct.unpack_from("<4xi4xi", attributes[b"dataWindow"])
        n_blocks = -(-(last - first + 1) // EXR_ZIP_ROWS)
        for place in struct.unpack_from(f"<{n_blocks}Q", data, start + 1):
            (size,) = struct.unpack_from("<4xI", data, place)
            if place + 8 + size > len(data):
                raise ValueError("a block ends after the end of the file")


FORMATS = {
    ".png": Format("uint16", _encode_png, _decode_png),
    ".npy": Format("float", _encode_npy, _decode_npy, sidecar=".json"),
    ".npz": Format("float", _encode_npz, _decode_npz),
    ".exr": Format("float32", _encode_exr, _decode_exr, package=EXR_PACKAGE),
    ".tif": Format("float32", _encode_tiff, _decode_tiff),
    ".tiff": Format("float32", _encode_tiff, _decode_tiff),
}


def format_of(suffix: str) -> Format:
    """Return the format of a suffix, in upper or lower case; ValueError if it is unknown."""
    try:
        return FORMATS[suffix.lower()]
    except KeyError:
        raise ValueError(f"unknown suffix {suffix!r}; expected {', '.join(FORMATS)}") from None


@contextlib.contextmanager
def as_value_error(what: str) -> Iterator[None]:
    """Turn every error into a ValueError that says in one line what is damaged.

    On unexpected bytes, the underlying readers raise SyntaxError, struct.error, zlib.error,
    BadZipFile and more, so every kind is caught.
    """
    try:
        yield
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{what} ({lines[0]})") from error
