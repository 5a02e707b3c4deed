"""DEFLATE and CRC-32: by ISA-L where the package isal is installed, else by zlib.

ISA-L (Intel Intelligent Storage Acceleration Library) takes a tenth of zlib's time at level 1 and
makes files of about the same size. Both release the interpreter's lock.

The same input gives the same compressed bytes with isal 1.6 to 1.9 on every x86-64 processor that
has SSE4.2, which is all since 2008 (compared on emulated ones up to AVX-512). On ARM and by zlib
the pixels are the same and the compressed bytes are not: compare what is decompressed.

ISA-L (up to 2.32.1, isal 1.9.1) puts the second byte of a stream into its table of matches at a
place that it makes from an uninitialised register, the address of its own state as it happens
(`write_first_byte` in igzip_icf_body_h1_gr_bt.asm). So of a thousand threads one or another makes
other bytes of the same input. Its code for the end of a piece, the last 16 bytes, has no such fault
but leaves the last three of them out of the table: therefore `_compressed` hands it the first eight
bytes as a piece of their own, which costs six bytes.
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
    """Compress to a zlib stream (RFC 1950), as PNG wants it."""
    return _compressed(data, zlib.MAX_WBITS)


def raw_deflate(data: Data) -> bytes:
    """Compress to DEFLATE without a header (RFC 1951), as ZIP wants it."""
    return _compressed(data, -zlib.MAX_WBITS)


def crc32(data: Data, start: int = 0) -> int:
    """CRC-32 of PNG and ZIP; `start` is that of what came before."""
    return _library.crc32(data, start)


def _compressed(data: Data, window_bits: int) -> bytes:
    all_bytes = memoryview(data).cast("B")  # type: ignore[arg-type]  # arrays are buffers
    compressor = _library.compressobj(LEVEL, _library.DEFLATED, window_bits)
    first = compressor.compress(all_bytes[:FIRST]) + compressor.flush(_library.Z_SYNC_FLUSH)
    return b"".join((first, compressor.compress(all_bytes[FIRST:]), compressor.flush()))
