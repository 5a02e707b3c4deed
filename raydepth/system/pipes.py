"""Pipes between processes that hold more than by default, so that neither end waits often."""

from __future__ import annotations

import contextlib

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PIPE_BYTES = 1 << 20  # the most that Linux gives without asking


def widened(pipe: int) -> int:
    """The same pipe, with room for PIPE_BYTES where the system allows that."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the system's limit may be lower
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pipe
