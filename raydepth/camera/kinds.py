"""The kinds of depth, and the one check of them."""

from __future__ import annotations

from collections.abc import Sequence

KINDS = ("z", "ray")


def checked_kinds(kind: str | Sequence[str]) -> tuple[str, ...]:
    """The asked-for kinds of depth, in the order asked for."""
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kind is {kind!r}; expected 'z', 'ray' or ('z', 'ray')")
    return kinds
