"""Locks on files and folders that the system lifts when a process ends, however it ends.

Where there are no such locks (Windows, some file systems), every lock is granted: it is left to the
user that no two processes do the same.
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
    """Take an open file or folder for this process, without waiting; False if another has it."""
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
    """Whether a file exists and no process has its lock, as far as the system can tell."""
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
    """Hold the lock of a folder for the block; waits until no other process has it."""
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
    """Try to hold the lock of a folder for the block; gives whether this process has it."""
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
    """Whether a path leads to what was opened as `handle`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
