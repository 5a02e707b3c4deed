"""Pipes between processes with larger buffers, so that neither end waits often."""

from __future__ import annotations

import contextlib

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PIPE_BYTES = 1 << 20  # the most that Linux gives without privileges


def widened(pipe: int) -> int:
    """Enlarge a pipe's buffer to PIPE_BYTES if the system allows it, and return the pipe."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the system's limit may be lower
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pipe
