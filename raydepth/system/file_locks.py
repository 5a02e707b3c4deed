"""Locks on files and folders that the system releases when a process ends, even if it is killed.

Where such locks do not exist (Windows, some file systems), every lock is granted, and the user must
make sure that no two processes do the same work.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(handle: int) -> bool:
    """Lock an open file or folder without waiting; return False if another process has the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def is_idle(path: Path) -> bool:
    """Return whether a file exists and no process has its lock, as far as the system can tell."""
    if fcntl is None:
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return lock(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def waiting_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder during the block; wait until no other process has it."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def trying_lock(folder: Path) -> Iterator[bool]:
    """Try to hold the lock of a folder during the block; yield whether this process has it."""
    if fcntl is None:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # The process that had the lock may have renamed the folder.
        yield lock(handle) and leads_to(folder, handle)
    finally:
        os.close(handle)


def leads_to(path: Path, handle: int) -> bool:
    """Return whether a path leads to the file or folder that was opened as `handle`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
