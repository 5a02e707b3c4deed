"""DEFLATE and CRC-32: by ISA-L where the package isal is installed, else by zlib.

ISA-L (Intel Intelligent Storage Acceleration Library) takes a tenth of zlib's time at level 1 and
makes files of about the same size. Both release the interpreter's lock.

The same input gives the same compressed bytes with isal 1.6 to 1.9 on every x86-64 processor that
has SSE4.2, which is all since 2008 (compared on emulated ones up to AVX-512). On ARM and by zlib
the pixels are the same and the compressed bytes are not: compare what is decompressed.

Once in some hundred runs ISA-L (isal 1.9.1) has made other bytes than before, of a few kilobytes as
a rule. Why is not known; it may be that two threads made the first calls of their process, at which
it chooses its functions for the processor: hence the calls below, and zlib for what is small.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

try:
    from isal import isal_zlib as _library
except ImportError:  # no wheel for this platform
    import zlib as _library  # type: ignore[no-redef]

LEVEL = 1

# While there is one thread: see above.
_library.crc32(_library.compress(bytes(range(256)) * 256, LEVEL))

# Bytes below which zlib compresses.
SMALL = 1 << 14

Data = bytes | memoryview | np.ndarray


def zlib_stream(data: Data) -> bytes:
    """Compress to a zlib stream (RFC 1950), as PNG wants it."""
    return _library_for(data).compress(data, LEVEL, zlib.MAX_WBITS)


def raw_deflate(data: Data) -> bytes:
    """Compress to DEFLATE without a header (RFC 1951), as ZIP wants it."""
    return _library_for(data).compress(data, LEVEL, -zlib.MAX_WBITS)


def crc32(data: Data, start: int = 0) -> int:
    """CRC-32 of PNG and ZIP; `start` is that of what came before."""
    return _library.crc32(data, start)


def _library_for(data: Data) -> Any:
    n_bytes = len(data) if isinstance(data, bytes) else data.nbytes
    return zlib if n_bytes < SMALL else _library
