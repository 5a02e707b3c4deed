"""Files that appear complete or not at all: written under a temporary name, then renamed.

A reader, a second process or a resumed job never sees a half-written file, even if the writer is
killed. There is no fsync: after a power failure the last files may be missing or empty.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

# The names of files that are not complete yet begin and end with these.
PREFIX, SUFFIX = ".raydepth-", ".tmp"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` at the end of the block.

    If any exception leaves the block (KeyboardInterrupt included), the temporary file is removed
    and a file that was at `path` before is not changed. An OSError names `path`, even if the
    system names the temporary file or none (a full disk).

    Parameters
    ----------
    path : path
        The file to write. Its folder must exist; an existing file is replaced.

    Yields
    ------
    temporary : Path
        A unique name in the same folder that ends in ".tmp", so that a search for finished files
        does not find it. The block creates the file.

    Raises
    ------
    OSError
        If the folder does not exist, `path` is something other than a file, or writing failed.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder {target.parent} does not exist")
    # A rename would silently replace a device or a pipe with a plain file.
    if target.exists() and not target.is_file():
        raise OSError(f"{target}: exists and is not a file")
    temporary = target.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # An error without a number is not the system's and has its own message.
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

    A reader that sees the last file therefore finds the others, and they match it: an old last file
    is removed before any of the others is replaced.

    Parameters
    ----------
    contents : mapping from path to bytes
        Each path names a different file.

    Raises
    ------
    OSError
        As in `whole_file`. If writing failed, no file was replaced.
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
    """Write a file that does not exist yet, by three system calls and nothing else.

    Raises
    ------
    OSError
        If the file exists or cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left below a folder in which no process is writing files."""
    for left in folder.rglob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            left.unlink()
