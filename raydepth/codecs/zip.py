"""A ZIP file of members that were compressed beforehand, by whichever threads.

The layout is that of PKWARE's APPNOTE 6.3.10, without data descriptors; the ZIP64 records (4.3.14,
4.3.15, 4.5.3) are written for files beyond 4 GiB. The same members give the same bytes: the time
stamp is fixed.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from raydepth.codecs.deflate import crc32, raw_deflate

STORED, DEFLATED = 0, 8
DATE = 1 << 5 | 1  # 1 January 1980, the first day there is
UTF8 = 1 << 11
LIMIT_32, LIMIT_16 = 0xFFFFFFFF, 0xFFFF


@dataclass(frozen=True)
class Member:
    """One file of an archive: its CRC-32, size, and content as it is stored."""

    crc: int
    size: int
    content: bytes
    method: int

    @classmethod
    def deflated(cls, data: bytes) -> Member:
        """Compress it."""
        return cls(crc32(data), len(data), raw_deflate(data), DEFLATED)

    @classmethod
    def stored(cls, data: bytes) -> Member:
        """Leave it as it is."""
        return cls(crc32(data), len(data), data, STORED)


def stored_content(file: BinaryIO, name: str) -> bytes:
    """The content of an archive's member as it is stored; KeyError where there is none."""
    entry = zipfile.ZipFile(file).getinfo(name)
    file.seek(entry.header_offset + 26)
    n_name, n_extra = struct.unpack("<HH", file.read(4))
    file.seek(n_name + n_extra, os.SEEK_CUR)
    return file.read(entry.compress_size)


def write_zip(file: BinaryIO, members: Iterable[tuple[str, Member]]) -> None:
    """Write an archive to a file opened for writing, from its beginning.

    Raises
    ------
    ValueError
        A member is 4 GiB or larger.
    """
    central, offset, n_members = bytearray(), 0, 0
    for name, member in members:
        encoded = name.encode()
        if member.size >= LIMIT_32 or len(member.content) >= LIMIT_32:
            raise ValueError(f"{name} has {member.size} bytes; a member must be below 4 GiB")
        # What the header in front of the content and the one in the directory share.
        shared = struct.pack(
            "<HHHHHIIIH",
            *(45 if offset >= LIMIT_32 else 20, UTF8, member.method, 0, DATE),
            *(member.crc, len(member.content), member.size, len(encoded)),
        )
        file.write(b"PK\x03\x04" + shared + struct.pack("<H", 0) + encoded)
        file.write(member.content)
        extra = struct.pack("<HHQ", 1, 8, offset) if offset >= LIMIT_32 else b""
        central += b"PK\x01\x02" + struct.pack("<H", 45) + shared
        central += struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, min(offset, LIMIT_32))
        central += encoded + extra
        offset += 30 + len(encoded) + len(member.content)
        n_members += 1
    file.write(central)
    if offset + len(central) >= LIMIT_32 or n_members >= LIMIT_16:
        end = (n_members, n_members, len(central), offset)
        file.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, *end))
        file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, offset + len(central), 1))
    count = min(n_members, LIMIT_16)
    end_32 = (count, count, min(len(central), LIMIT_32), min(offset, LIMIT_32))
    file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, *end_32, 0))
