"""Lines for the user about what raydepth does for itself, such as compiling.

The library never prints. A line goes to the listener that `heard_by` names, as the command line
does, else to the logger "raydepth", which shows warnings on standard error unless a program says
otherwise.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

Say = Callable[[str], object]

_log = logging.getLogger("raydepth")
_listeners: list[Say] = []

# Listeners belong to the process that named them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_listeners.clear)


def say(line: str) -> None:
    """Give a line to the listener that came last, or to the logger."""
    if _listeners:
        _listeners[-1](line)
    else:
        _log.warning("raydepth: %s", line)


@contextlib.contextmanager
def heard_by(listener: Say) -> Iterator[None]:
    """Within the block, in all threads, let `listener` take the lines."""
    _listeners.append(listener)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # in a fork
            _listeners.remove(listener)
