"""ZIP files: read back by Python's own module, beyond the limits of 32 bits too."""

from __future__ import annotations

import io
import os
import zipfile

import pytest

from raydepth.codecs import zip
from raydepth.codecs.zip import Member, ZipWriter


def archive_of(members) -> bytes:
    buffer = io.BytesIO()
    writer = ZipWriter(buffer)
    for name, member in members:
        writer.add(name, member)
    writer.finish()
    return buffer.getvalue()


CONTENTS = {"000.npy": b"depth" * 1000, "ünï/☃.txt": b"", "stored": os.urandom(99)}


def some_members():
    for name, data in CONTENTS.items():
        yield name, Member.stored(data) if name == "stored" else Member.deflated(data)


def test_what_went_in_comes_out():
    with zipfile.ZipFile(io.BytesIO(archive_of(some_members()))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        infos = archive.infolist()
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert infos[0].compress_size < infos[0].file_size


def test_an_empty_archive():
    assert zipfile.ZipFile(io.BytesIO(archive_of([]))).namelist() == []


def test_the_same_members_give_the_same_bytes():
    assert archive_of(some_members()) == archive_of(some_members())


def test_more_members_than_16_bits_count():
    data = archive_of((f"{i}", Member.stored(b"")) for i in range(70_000))
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 70_000


def test_offsets_beyond_the_limit_are_written_in_64_bits(monkeypatch):
    """As if 32 bits ended at 1000: the reader takes what is beyond from the ZIP64 records."""
    monkeypatch.setattr(zip, "LIMIT_32", 1000)
    parts = [(f"{i}", Member.stored(bytes([i]) * 300)) for i in range(9)]
    data = bytearray(archive_of(parts))
    # The reader looks for 0xFFFFFFFF where this wrote its limit.
    limit, real = (1000).to_bytes(4, "little"), b"\xff" * 4
    start = data.index(b"PK\x01\x02")
    data[start:] = data[start:].replace(limit, real)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [archive.read(f"{i}") for i in range(9)] == [bytes([i]) * 300 for i in range(9)]


def test_a_member_that_is_too_large_is_refused():
    huge = Member(0, 1 << 32, b"", zip.DEFLATED)
    with pytest.raises(ValueError, match="a has 4294967296 bytes; a member must be below 4 GiB"):
        archive_of([("a", huge)])
