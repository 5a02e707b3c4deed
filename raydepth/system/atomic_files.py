"""Files that appear whole or not at all: written aside, then renamed over the target.

A reader, a second process or a resumed job never meets a half-written file, whatever killed the
writer. There is no fsync: after a power failure the last files may be missing or empty.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

# Of the names of files in the making.
PREFIX, SUFFIX = ".raydepth-", ".tmp"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` at the end of the block.

    Whatever exception leaves the block (KeyboardInterrupt included), the temporary file is removed
    and what stood at `path` before stays as it was. An OSError names `path`, also where the system
    names no file (a full disk) or the temporary one.

    Parameters
    ----------
    path : path
        The file to make. Its folder must exist; a file that stands there is replaced.

    Yields
    ------
    temporary : Path
        A name nobody else uses, in the same folder, ending in ".tmp" so that a search for finished
        files does not find it. The block creates it.

    Raises
    ------
    OSError
        The folder does not exist, `path` is something other than a file, or writing failed.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist")
    # A rename would silently replace a device or a pipe by a plain file.
    if target.exists() and not target.is_file():
        raise OSError(f"{target}: exists and is not a file")
    temporary = target.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # An error without a number is not the system's: it has words of its own.
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and str(error.filename) in ("None", str(temporary))
        ):
            error.filename = str(target)
            del error.filename2
        raise


def write_whole(contents: Mapping[Path, bytes | memoryview]) -> None:
    """Write files that belong together; the last one appears last.

    So whoever sees the last file finds the others, and finds them matching: one that stood there
    before is taken away before any of the others is exchanged.

    Parameters
    ----------
    contents : mapping from path to bytes
        Several files must not repeat a path.

    Raises
    ------
    OSError
        As for `whole_file`. Nothing was exchanged if writing failed.
    """
    with contextlib.ExitStack() as stack:
        # The stack is unwound from its top, so the last file, entered first, is renamed last.
        for path, content in reversed(list(contents.items())):
            temporary = stack.enter_context(whole_file(path))
            with open(temporary, "xb") as file:
                file.write(content)
        if len(contents) > 1:
            list(contents)[-1].unlink(missing_ok=True)


def write_new(path: str, content: bytes) -> None:
    """Write a file that is not there yet: three calls of the system and nothing around them.

    Raises
    ------
    OSError
        It is there, or cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left below a folder in which nobody is writing files."""
    for left in folder.rglob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            left.unlink()
