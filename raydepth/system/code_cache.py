"""A disk cache of compiled functions that never returns stale code and never makes a run fail.

A file holds one function compiled for one signature and processor:

| bytes | content                                                                      |
| ----- | ---------------------------------------------------------------------------- |
| 0-15  | MAGIC                                                                        |
| 16-47 | the stamp: a hash of all sources of the package and of the compiler's version |
| 48-79 | a hash of the rest                                                           |
| 80-   | the compiled function, pickled                                               |

A file that has another stamp or is damaged counts as absent and is replaced. Numba's own cache
(numba.core.caching) checks only the source file of the function itself, although the code of the
functions it calls is compiled into it; a damaged file or a folder that cannot be written is an
error there.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numba
from numba.misc.appdirs import AppDirs

from raydepth.system.atomic_files import whole_file
from raydepth.system.notices import say

PACKAGE = Path(__file__).resolve().parents[1]
MAGIC = b"raydepth code 1\n"
STAMP_BYTES = HASH_BYTES = 32
SUFFIX = f".{sys.implementation.cache_tag}.nbc"


def _hashed(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _sources() -> list[str]:
    # Every start does this, so it takes the calls that cost least.
    found = []
    for folder, folders, files in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.join(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def _state() -> list[tuple[str, int, int]]:
    """Return the path, time and size of each source: a cheap test for changes."""
    found = [(path, os.stat(path)) for path in _sources()]
    return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in found]


def _hash_of_sources() -> bytes:
    parts = [numba.__version__.encode(), llvmlite.__version__.encode()]
    for path in _sources():
        with open(path, "rb") as file:
            parts += [path.removeprefix(str(PACKAGE)).encode(), file.read()]
    return _hashed(*parts)


# The sources as this process imports them; computed before any of the kernels is imported.
_state_at_import = _state()
STAMP = _hash_of_sources()


def _is_as_imported() -> bool:
    """Return whether the sources are still those that this process has imported."""
    try:
        return _state() == _state_at_import or _hash_of_sources() == STAMP
    except OSError:
        return False


class _Place(NamedTuple):
    """A folder for compiled code.

    Attributes
    ----------
    folder : Path
    lasts : bool
        True if files are still there after the machine was restarted.
    """

    folder: Path
    lasts: bool


@functools.cache
def _places() -> tuple[_Place, ...]:
    """Return the folders for compiled code, in the order in which they are tried."""
    mine = f"raydepth-{_hashed(str(PACKAGE).encode()).hex()[:16]}"
    chosen = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if chosen:
        places = [_Place(Path(chosen) / mine, True)]
    else:
        of_user = AppDirs(appname="raydepth", appauthor=False).user_cache_dir
        places = [_Place(PACKAGE / "__pycache__", True), _Place(Path(of_user) / mine, True)]
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:  # no folder for temporary files can be written
        return tuple(places)
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    return (*places, _Place(temporary / f"raydepth{user}" / mine, False))


def _is_private(folder: Path) -> bool:
    """Return whether no other user can write to a folder for temporary files.

    Code that is read from the folder is executed.
    """
    try:
        found = folder.lstat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return stat.S_ISDIR(found.st_mode)
    is_mine = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return stat.S_ISDIR(found.st_mode) and is_mine


# Folders that could not be written to, and why.
_failed: dict[Path, str] = {}
_is_said = False
_keeps_all = True


def _write(name: str, content: bytes) -> None:
    """Write a file to the first folder that accepts it; say so once if the file will not last."""
    global _is_said, _keeps_all
    for place in _places():
        if place.folder in _failed:
            continue
        try:
            if not place.lasts:
                place.folder.parent.mkdir(mode=0o700, exist_ok=True)
                if not _is_private(place.folder.parent):
                    raise PermissionError(errno.EPERM, "open to other users")
            place.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(place.folder / name) as temporary, open(temporary, "xb") as file:
                file.write(content)
        except OSError as error:
            _failed[place.folder] = error.strerror or str(error)
            continue
        if place.lasts:
            return
        break
    _keeps_all = False
    if not _is_said:
        _is_said = True
        why = "; ".join(f"{folder}: {reason}" for folder, reason in _failed.items())
        left = [place.folder for place in _places() if place.folder not in _failed]
        where = f"only in {left[0]}" if left else "nowhere, so every start compiles"
        say(f"compiled code is kept {where} ({why}); NUMBA_CACHE_DIR can name another folder")


def keeps_all() -> bool:
    """Return whether the next process will find everything that this one has compiled so far."""
    return _keeps_all


class CodeCache:
    """The cache of one jitted function, in place of Numba's (`numba.core.caching._Cache`).

    Parameters
    ----------
    function : function
        The Python function.
    reduce : callable
        Takes a compiled function; returns what can be pickled of it, or None if it must not be
        kept.
    rebuild : callable
        Takes Numba's target context and what `reduce` returned; returns the compiled function.
    """

    def __init__(
        self,
        function: Any,
        reduce: Callable[[Any], Any],
        rebuild: Callable[[Any, Any], Any],
    ) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}".removeprefix("raydepth.")
        self._reduce, self._rebuild = reduce, rebuild
        self._is_enabled = True

    @property
    def cache_path(self) -> str:
        return str(_places()[0].folder)

    def enable(self) -> None:
        self._is_enabled = True

    def disable(self) -> None:
        self._is_enabled = False

    def flush(self) -> None:
        """Delete the stored code of all signatures."""
        for place in _places():
            for path in place.folder.glob(f"{self._name}-*{SUFFIX}"):
                path.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the function compiled for a signature, or None."""
        if not self._is_enabled:
            return None
        target_context.refresh()
        name = self._file(sig, target_context.codegen())
        for content in _found(name):
            try:
                return self._rebuild(target_context, pickle.loads(content))
            except Exception:  # intact but unusable: compile again
                continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compiled function if possible."""
        global _keeps_all
        if not self._is_enabled:
            return
        # If a source was edited since this process began, the stamp may not match the code.
        reduced = self._reduce(data) if _is_as_imported() else None
        if reduced is None:
            _keeps_all = False
        else:
            content = numba.core.serialize.dumps(reduced)
            head = MAGIC + STAMP + _hashed(content)
            _write(self._file(sig, data.codegen), head + content)

    def _file(self, sig: Any, codegen: Any) -> str:
        key = repr((sig, codegen.magic_tuple())).encode()
        return f"{self._name}-{_hashed(key).hex()[:16]}{SUFFIX}"


def _found(name: str) -> Iterator[bytes]:
    """Yield the contents of intact files with this name and the current stamp."""
    for place in _places():
        if not place.lasts and not _is_private(place.folder.parent):
            continue
        try:
            data = (place.folder / name).read_bytes()
        except OSError:
            continue
        content = data[len(MAGIC) + STAMP_BYTES + HASH_BYTES :]
        if data.startswith(MAGIC + STAMP + _hashed(content)):
            yield content
