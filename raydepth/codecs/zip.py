"""Write a ZIP file of members that were compressed beforehand, on any thread.

The layout is that of PKWARE's APPNOTE 6.3.10, without data descriptors; the ZIP64 records (4.3.14,
4.3.15, 4.5.3) are written for files beyond 4 GiB. The same members give the same bytes, because the
time stamp is fixed.
"""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from raydepth.codecs.deflate import crc32, raw_deflate

STORED, DEFLATED = 0, 8
DATE = 1 << 5 | 1  # 1 January 1980, the earliest day that ZIP can store
UTF8 = 1 << 11
LIMIT_32, LIMIT_16 = 0xFFFFFFFF, 0xFFFF


@dataclass(frozen=True)
class Member:
    """One file of an archive: its CRC-32, its size, and its content as stored."""

    crc: int
    size: int
    content: bytes
    method: int

    @classmethod
    def deflated(cls, data: bytes) -> Member:
        """Return a member that holds `data` compressed."""
        return cls(crc32(data), len(data), raw_deflate(data), DEFLATED)

    @classmethod
    def stored(cls, data: bytes) -> Member:
        """Return a member that holds `data` uncompressed."""
        return cls(crc32(data), len(data), data, STORED)


def stored_content(file: BinaryIO, name: str) -> bytes:
    """Return the content of a member as the archive stores it; KeyError if there is none."""
    entry = zipfile.ZipFile(file).getinfo(name)
    file.seek(entry.header_offset + 26)
    n_name, n_extra = struct.unpack("<HH", file.read(4))
    file.seek(n_name + n_extra, os.SEEK_CUR)
    return file.read(entry.compress_size)


class ZipWriter:
    """A writer of one archive to a file opened for writing, from the beginning of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._central = bytearray()
        self._offset = self._n_members = 0

    def add(self, name: str, member: Member) -> None:
        """Write one member.

        Raises
        ------
        ValueError
            The member is 4 GiB or larger.
        """
        encoded, offset = name.encode(), self._offset
        if member.size >= LIMIT_32 or len(member.content) >= LIMIT_32:
            raise ValueError(f"{name} has {member.size} bytes; a member must be below 4 GiB")
        # The fields that the header before the content shares with the one in the directory.
        shared = struct.pack(
            "<HHHHHIIIH",
            *(45 if offset >= LIMIT_32 else 20, UTF8, member.method, 0, DATE),
            *(member.crc, len(member.content), member.size, len(encoded)),
        )
        self._file.write(b"PK\x03\x04" + shared + struct.pack("<H", 0) + encoded)
        self._file.write(member.content)
        extra = struct.pack("<HHQ", 1, 8, offset) if offset >= LIMIT_32 else b""
        self._central += b"PK\x01\x02" + struct.pack("<H", 45) + shared
        self._central += struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, min(offset, LIMIT_32))
        self._central += encoded + extra
        self._offset += 30 + len(encoded) + len(member.content)
        self._n_members += 1

    def finish(self) -> None:
        """Write the directory; without it the file is not an archive."""
        size, offset, n_members = len(self._central), self._offset, self._n_members
        self._file.write(self._central)
        if offset + size >= LIMIT_32 or n_members >= LIMIT_16:
            end = (n_members, n_members, size, offset)
            self._file.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, *end))
            self._file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, offset + size, 1))
        count = min(n_members, LIMIT_16)
        end_32 = (count, count, min(size, LIMIT_32), min(offset, LIMIT_32))
        self._file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, *end_32, 0))
