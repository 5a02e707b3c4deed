"""Results in pinned memory, which the device fills directly.

Pinning is slow, so memory that a result no longer needs is kept for the next one. Other programs on
the machine cannot use pinned memory, so a program that keeps many results gets ordinary memory.
"""

from __future__ import annotations

from typing import Any

from raydepth.system.array_pool import ArrayPool

# Most bytes that are kept from deleted results for new ones, most bytes of results in use, and
# bytes of the smallest piece.
KEPT = 1 << 30
LENT = 1 << 31
LEAST = 1 << 16


def pinned_pool(device: Any, kept: int = KEPT, lent: int = LENT) -> ArrayPool:
    """Make a pool of the pinned memory that `device.pinned(n_bytes)` returns."""
    return ArrayPool(device.pinned, kept=kept, lent=lent, least=LEAST)
