"""DEFLATE and CRC-32, with ISA-L if the package isal is installed, else with zlib.

ISA-L (Intel Intelligent Storage Acceleration Library) takes a tenth of zlib's time at level 1 and
makes files of about the same size. Both release the interpreter's lock.

With isal 1.6 to 1.9, the same input gives the same compressed bytes on every x86-64 processor with
SSE4.2, that is, on all since 2008 (compared on emulated processors up to AVX-512). On ARM, and with
zlib, the pixels are the same but the compressed bytes differ: compare decompressed data.

ISA-L (up to 2.32.1, isal 1.9.1) enters the second byte of a stream into its table of matches at a
place computed from an uninitialised register, which happens to hold the address of its own state
(`write_first_byte` in igzip_icf_body_h1_gr_bt.asm). Therefore one or another of a thousand threads
compresses the same input to different bytes. ISA-L's code for the end of a piece, its last 16
bytes, does not have this fault, but leaves the last three of them out of the table. So
`_compressed` passes the first eight bytes as a piece of their own, which costs six bytes.
"""

from __future__ import annotations

import zlib

import numpy as np

try:
    from isal import isal_zlib as _library
except ImportError:  # no wheel for this platform
    import zlib as _library  # type: ignore[no-redef]

LEVEL = 1
# Bytes of the first piece: 4 to 16, see above.
FIRST = 8

Data = bytes | memoryview | np.ndarray


def zlib_stream(data: Data) -> bytes:
    """Compress to a zlib stream (RFC 1950), as PNG needs it."""
    return _compressed(data, zlib.MAX_WBITS)


def raw_deflate(data: Data) -> bytes:
    """Compress to DEFLATE without a header (RFC 1951), as ZIP needs it."""
    return _compressed(data, -zlib.MAX_WBITS)


def crc32(data: Data, start: int = 0) -> int:
    """Return the CRC-32 of PNG and ZIP; `start` is the CRC-32 of the data before."""
    return _library.crc32(data, start)


def _compressed(data: Data, window_bits: int) -> bytes:
    all_bytes = memoryview(data).cast("B")  # type: ignore[arg-type]  # arrays are buffers
    compressor = _library.compressobj(LEVEL, _library.DEFLATED, window_bits)
    first = compressor.compress(all_bytes[:FIRST]) + compressor.flush(_library.Z_SYNC_FLUSH)
    return b"".join((first, compressor.compress(all_bytes[FIRST:]), compressor.flush()))
