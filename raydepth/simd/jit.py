"""The only decorator for compiled functions, and the announcement of their compilation."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba.core import event
from numba.core.compiler import CompileResult

from raydepth.system import code_cache
from raydepth.system.code_cache import CodeCache
from raydepth.system.notices import Say, heard_by, say

# Seconds; compilations with shorter pauses between them are announced as one.
PAUSE = 1.0


def jit(function: Callable | None = None, *, forceinline: bool = False) -> Any:
    """Compile a function at its first call, or load it from the disk cache.

    The compiled function runs without the GIL. Division follows NumPy: x / 0 is an infinity or
    NaN, not an error.

    Parameters
    ----------
    function : callable
    forceinline : bool
        True if LLVM must inline the function into each of its callers.
    """
    if function is None:
        return lambda function: jit(function, forceinline=forceinline)
    options: dict[str, Any] = {"forceinline": True} if forceinline else {}
    compiled: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
    if hasattr(compiled, "py_func"):  # compilation may be switched off (NUMBA_DISABLE_JIT)
        compiled._cache = CodeCache(function, _reduced, _rebuilt)
    return compiled


def _reduced(result: Any) -> Any:
    """The parts of a compiled function that can be cached; None if it cannot be.

    After Numba's CompileResultCacheImpl.
    """
    if any(not lifted.can_cache for lifted in result.lifted) or result.library.has_dynamic_globals:
        return None
    return result._reduce()


def _rebuilt(target_context: Any, reduced: Any) -> CompileResult:
    return CompileResult._rebuild(target_context, *reduced)


class _Watch(event.Listener):
    """A listener that times compilations of raydepth's functions and says when one begins.

    Functions that come from the disk cache trigger no event.

    Attributes
    ----------
    seconds : float
        Time spent on compiling since it was last reported.
    is_said : bool
        True if the present compilation was announced.
    n_blocks : int
        The number of open blocks of `announce_compilation`.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Reset all state, as after a fork."""
        self.seconds = 0.0
        self.is_said = False
        self.n_blocks = 0
        self._depth = 0
        self._start = self._end = 0.0

    def on_start(self, event: event.Event) -> None:
        if not _is_ours(event):
            return
        if self._depth == 0:
            self._start = time.perf_counter()
            if self.n_blocks == 0 and self._start - self._end >= PAUSE:
                self.is_said = False
            if not self.is_said:
                self.is_said = True
                say("compiling for this machine, once; this takes some seconds ...")
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        if not _is_ours(event):
            return
        self._depth -= 1
        if self._depth == 0:
            self._end = time.perf_counter()
            self.seconds += self._end - self._start


def _is_ours(event: event.Event) -> bool:
    return event.data["dispatcher"].py_func.__module__.startswith("raydepth.")


_watch = _Watch()
event.register("numba:compile", _watch)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch.begin_anew)


@contextlib.contextmanager
def announce_compilation(listener: Say) -> Iterator[None]:
    """Within the block, pass `listener` a line when compilation begins, and one at the end."""
    _watch.is_said, _watch.seconds = False, 0.0
    _watch.n_blocks += 1
    try:
        with heard_by(listener):
            yield
            if _watch.seconds:
                rest = "; the next start will not need to" if code_cache.keeps_all() else ""
                say(f"compiled in {_watch.seconds:.0f} s{rest}")
                _watch.seconds = 0.0
    finally:
        _watch.n_blocks -= 1
        _watch.is_said = False
