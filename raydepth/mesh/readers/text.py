"""Read numbers from text, fast and strictly: every token must be a number."""

from __future__ import annotations

import numpy as np

from raydepth.errors import MeshError

# Appended to every text: if it is not read last, reading stopped at a token that is not a number.
SENTINEL = 87_650_123


def numbers(text: bytes, dtype: type = np.float64) -> np.ndarray:
    """Read all numbers of a text, separated by white space: (n,), correctly rounded.

    Raises
    ------
    MeshError
        If a token is not a number.
    """
    try:
        values: np.ndarray = np.fromstring(b"%b %d" % (text, SENTINEL), dtype=dtype, sep=" ")
    except ValueError:  # older versions of NumPy stop without an error
        values = np.empty(0)
    if not len(values) or values[-1] != SENTINEL:
        raise MeshError(f"{_first_non_number(text, dtype)} is not a number")
    return values[:-1]


def points(rows: list[bytes]) -> np.ndarray:
    """Read the first three numbers of every row, (n_rows, 3) float64, and ignore later ones.

    Raises
    ------
    MeshError
        If a row has fewer than three values, or a value that is not a number.
    """
    if not rows:
        return np.empty((0, 3))
    widths = set(map(len, map(bytes.split, rows)))
    if min(widths) < 3:
        short = next(row for row in rows if len(row.split()) < 3)
        raise MeshError(f"a vertex has fewer than three coordinates: {shown(short)}")
    if len(widths) > 1:
        rows = [b" ".join(row.split()[:3]) for row in rows]
    return numbers(b"\n".join(rows)).reshape(len(rows), -1)[:, :3]


def shown(text: bytes, limit: int = 40) -> str:
    """Quote a piece of a file for an error message: printable and short."""
    quoted = text.decode("utf-8", "backslashreplace")
    return repr(quoted if len(quoted) <= limit else quoted[:limit] + "...")


def _first_non_number(text: bytes, dtype: type) -> str:
    kind = int if np.issubdtype(dtype, np.integer) else float
    for token in text.split():
        try:
            kind(token)
        except ValueError:
            return shown(token)
    return "something"
