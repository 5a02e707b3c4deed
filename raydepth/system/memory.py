"""The memory that this process may use."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


@cache
def available_memory() -> int:
    """Return the memory of this machine in bytes, or the container's limit if that is lower."""
    limits = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no such call on Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the word "max" means no limit
            limits.append(int((CGROUP / name).read_text()))
    return min(limits, default=8 << 30)
