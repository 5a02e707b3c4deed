"""How much memory this process may use."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


@cache
def available_memory() -> int:
    """Bytes of memory of this machine, or of the container if it is allowed less."""
    limits = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no such call on Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no limit is the word "max"
            limits.append(int((CGROUP / name).read_text()))
    return min(limits, default=8 << 30)
