"""Results in pinned memory, which the device fills without a detour.

Pinning is slow, so memory that a result no longer needs is kept for the next one. It is also taken
from everybody else on the machine, so a program that keeps many results gets ordinary memory.
"""

from __future__ import annotations

from typing import Any

from raydepth.system.array_pool import ArrayPool

# Memory of results that are gone, kept for new ones, and of results that are not: at most so many
# bytes each.
KEPT = 1 << 30
LENT = 1 << 31
LEAST = 1 << 16


def pinned_pool(device: Any, kept: int = KEPT, lent: int = LENT) -> ArrayPool:
    """A pool of the pinned memory that `device.pinned(n_bytes)` gives."""
    return ArrayPool(device.pinned, kept=kept, lent=lent, least=LEAST)
