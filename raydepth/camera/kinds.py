"""The kinds of depth, and their check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

KINDS = ("z", "ray")


def checked_kind(kind: Any) -> str:
    """Return one kind of depth.

    Raises
    ------
    ValueError
        It is neither "z" nor "ray".
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected 'z' or 'ray'")
    return kind


def checked_kinds(kind: str | Sequence[str]) -> tuple[str, ...]:
    """Return the requested kinds of depth, in the order requested.

    Raises
    ------
    ValueError
        A kind is neither "z" nor "ray" or comes twice, or there is none.
    """
    if isinstance(kind, str):
        return (checked_kind(kind),)
    kinds = tuple(kind)
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kind is {kind!r}; expected 'z', 'ray' or ('z', 'ray')")
    return kinds
