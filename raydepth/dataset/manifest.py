"""The meshes of a data set and their names: OUT/meshes.jsonl, one line per mesh, in order."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from raydepth.system.atomic_files import whole_file

MANIFEST_FILE = "meshes.jsonl"


class Entry(NamedTuple):
    """One mesh of a data set.

    Attributes
    ----------
    name : str
        The name of the mesh in the data set.
    path : str
        The path as it was given.
    n_bytes : int or None
        The size of the file when the data set was begun; None if there was no file. Shards are
        balanced by these sizes; they are kept here so that all jobs see the same.
    """

    name: str
    path: str
    n_bytes: int | None

    def to_line(self) -> str:
        """The line of meshes.jsonl, with its newline."""
        return json.dumps({"name": self.name, "path": self.path, "bytes": self.n_bytes}) + "\n"


def new_entries(paths: Sequence[Path], names: Sequence[str]) -> list[Entry]:
    """Make the entries of meshes that are not in the data set yet."""
    return [Entry(name, str(path), _size(path)) for path, name in zip(paths, names, strict=True)]


def write_manifest(out: Path, entries: Sequence[Entry]) -> None:
    """Write OUT/meshes.jsonl, whole or not at all."""
    with whole_file(out / MANIFEST_FILE) as temporary:
        temporary.write_text("".join(entry.to_line() for entry in entries), encoding="utf-8")


def read_manifest(out: Path) -> list[Entry]:
    """Read the entries that `write_manifest` wrote.

    Raises
    ------
    ValueError
        A line is damaged.
    OSError
        The file does not exist or cannot be read.
    """
    path = out / MANIFEST_FILE
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            data = json.loads(line)
            entry = Entry(data["name"], data["path"], data["bytes"])
            if not (isinstance(entry.name, str) and isinstance(entry.path, str)):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path}, line {number}: expected name, path and bytes") from None
        entries.append(entry)
    return entries


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
