"""Find the meshes of a run in files, folders, patterns and lists, in a fixed order."""

from __future__ import annotations

import csv
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# The column of a CSV list that holds the files.
COLUMN = "path"


def find_meshes(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], suffixes: Iterable[str]
) -> list[Path]:
    """Find the files that the inputs name, in the order given; in folders and patterns, by name.

    Parameters
    ----------
    inputs : path or iterable of paths
        A file is taken as it is, whether it exists or not. A folder stands for the mesh files
        below it, without hidden ones. A path that does not exist and has `*`, `?` or `[` is a
        pattern (`**` crosses folders) for mesh files and folders of them.
    suffixes : iterable of str
        The ends of mesh files' names, in lower case.

    Raises
    ------
    ValueError
        There are no inputs, or a folder or a pattern has no mesh file.
    """
    given = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    known = frozenset(suffixes)
    found = [path for name in given for path in _of_one_input(os.fspath(name), known)]
    if not found:
        raise ValueError("no meshes are given; expected files, folders or patterns")
    return found


def read_list(content: bytes, name: str) -> list[Path]:
    """Read the paths in a list: one per line, or the column "path" of a CSV file with a header.

    Relative paths are relative to the working directory, as on the command line.

    Parameters
    ----------
    content : bytes
        UTF-8; other bytes are kept, as in file names.
    name : str
        The name of the list, for messages. The list is a CSV file if its name ends in .csv, or if
        its first line has several columns and one of them is "path".

    Raises
    ------
    ValueError
        A CSV file lacks that column, a row of it has no path, or a list has no paths.
    """
    lines = content.decode("utf-8-sig", errors="surrogateescape").splitlines()
    header = next(csv.reader(lines[:1]), [])
    if name.lower().endswith(".csv") or (len(header) > 1 and COLUMN in header):
        paths = list(_of_csv(lines, name))
    else:
        paths = [Path(line) for line in lines if line.strip()]
    if not paths:
        raise ValueError(f"{name} lists no meshes; expected one path per line, or a CSV file")
    return paths


def output_names(paths: Sequence[Path]) -> list[str]:
    """Choose a name for each mesh: its stem, and more of its path where stems are the same.

    First the suffix is added ("bunny_ply"), then the folders above ("scans_bunny_ply"). Names that
    differ only in case count as the same, as in some file systems. Names that are still the same
    are numbered. No name begins with a dot, because such folders are unfinished meshes.

    Raises
    ------
    ValueError
        A file is given twice.
    """
    resolved = [Path(os.path.abspath(path)) for path in paths]
    for path, times in Counter(resolved).items():
        if times > 1:
            raise ValueError(f"{path} is given {times} times; expected each mesh once")
    names = [path.stem.lstrip(".") or "mesh" for path in resolved]
    for n_parents in range(max((len(path.parts) for path in resolved), default=0)):
        for i in _repeated(names):
            *parents, _ = resolved[i].parts[1:]
            above = parents[max(0, len(parents) - n_parents) :]
            names[i] = "_".join([*above, resolved[i].stem, resolved[i].suffix[1:]]).lstrip(".")
    for i in _repeated(names):
        names[i] = f"{resolved[i].stem}_{resolved[i].suffix[1:]}_{i}".lstrip(".")
    return names


def _of_one_input(name: str, suffixes: frozenset[str]) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        found = list(_below(path, suffixes))
        if not found:
            raise ValueError(f"{name} holds no mesh files ({', '.join(sorted(suffixes))})")
        return found
    if not glob.has_magic(name) or os.path.lexists(path):
        return [path]
    found = []
    # A recursive pattern matches a folder and also the files in it, which are taken once.
    seen = set()
    for match in sorted(glob.glob(name, recursive=True)):
        match_path = Path(match)
        inside = _below(match_path, suffixes) if match_path.is_dir() else [match_path]
        for file in inside:
            if file.suffix.lower() in suffixes and file not in seen:
                seen.add(file)
                found.append(file)
    if not found:
        raise ValueError(f"no mesh file matches {name}")
    return found


def _below(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield the mesh files below a folder, by name; skip hidden ones of other programs."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(parent, name)


def _of_csv(lines: list[str], name: str) -> Iterator[Path]:
    rows = csv.DictReader(lines)
    columns = rows.fieldnames or []
    if COLUMN not in columns:
        raise ValueError(f"{name} has no column {COLUMN!r}; its columns are {', '.join(columns)}")
    for row in rows:
        if not row[COLUMN]:
            raise ValueError(f"{name}, line {rows.line_num}: expected a file in column {COLUMN!r}")
        yield Path(row[COLUMN])


def _repeated(names: Sequence[str]) -> list[int]:
    """The indices of the names that occur more than once, in any case."""
    counts = Counter(name.casefold() for name in names)
    return [i for i, name in enumerate(names) if counts[name.casefold()] > 1]
