"""Notices to the user, in one line each, about what raydepth does on its own, such as compiling.

The library never prints. A line goes to the listener that was set with `heard_by`, as the command
line does, otherwise to the logger "raydepth", which shows warnings on standard error unless the
program configures it differently.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

Say = Callable[[str], object]

_log = logging.getLogger("raydepth")
_listeners: list[Say] = []

# Listeners belong to the process that set them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_listeners.clear)


def say(line: str) -> None:
    """Send a line to the listener that was set last, or to the logger."""
    if _listeners:
        _listeners[-1](line)
    else:
        _log.warning("raydepth: %s", line)


@contextlib.contextmanager
def heard_by(listener: Say) -> Iterator[None]:
    """Send the lines of all threads to `listener` during the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # in a fork
            _listeners.remove(listener)
