"""Folders that appear complete or not at all: filled under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from raydepth.system.file_locks import trying_lock

# Seconds to wait for another process that is filling the same folder.
LOCK_SECONDS = 5.0


@contextlib.contextmanager
def whole_folder(folder: Path, last: str) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; it becomes `folder` at the end of the block.

    If any exception leaves the block (KeyboardInterrupt included), the new folder is removed and
    `folder` stays as it was. The next process removes what a killed process left.

    Parameters
    ----------
    folder : Path
        Made with its parents. If it exists, its files are replaced one by one.
    last : str
        The file that is then replaced after all others, as a path relative to the folder.

    Yields
    ------
    aside : Path
        ".<name>.partial" in the same parent.

    Raises
    ------
    OSError
        If another process is filling the same folder, or if the location cannot be written.
    """
    aside = folder.parent / f".{folder.name}.partial"
    with _made_and_locked(aside, folder):
        for left in aside.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
        try:
            yield aside
            if folder.exists():
                _move_files(aside, folder, last)
                shutil.rmtree(aside)
            else:
                aside.rename(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def removed(folder: Path) -> None:
    """Remove a folder in one step: a partly removed folder is never seen under its name."""
    if not os.path.lexists(folder):
        return
    aside = folder.parent / f".{folder.name}.partial"
    with _made_and_locked(aside, folder):
        # If this process is killed here, the next writer empties `aside`.
        folder.rename(aside / f"{folder.name}.removed")
        shutil.rmtree(aside)


def _move_files(aside: Path, folder: Path, last: str) -> None:
    """Move each file to its place in `folder`, `last` after all others."""
    files = [
        os.path.relpath(os.path.join(above, name), aside)
        for above, _, names in os.walk(aside)
        for name in names
    ]
    for file in sorted(files, key=lambda file: file == os.path.normpath(last)):
        target = folder / file
        target.parent.mkdir(exist_ok=True, parents=True)
        os.replace(aside / file, target)


@contextlib.contextmanager
def _made_and_locked(aside: Path, folder: Path) -> Iterator[None]:
    """Make the folder `aside` and lock it against other processes.

    The system releases the lock of a killed process. The worker of a killed run ends soon, but not
    at once, so this waits for the lock.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    try:
        while True:
            aside.mkdir(parents=True, exist_ok=True)
            with trying_lock(aside) as is_ours:
                if is_ours:
                    yield
                    return
            if time.monotonic() > deadline:
                raise FileExistsError(f"{folder} is being written by another process")
            time.sleep(0.02)
    except BaseException:
        # An interruption may come at any moment and leave an empty folder that no process locks.
        with contextlib.suppress(OSError), trying_lock(aside) as is_ours:
            if is_ours:
                aside.rmdir()
        raise
