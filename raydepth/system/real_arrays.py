"""Arrays of real numbers from what users have, and arrays that stay as they were checked."""

from __future__ import annotations

from typing import Any

import numpy as np


def real_array(value: Any, name: str) -> np.ndarray:
    """Return a value as a float64 array, copied only where it has to be.

    Parameters
    ----------
    name : str
        For messages.

    Raises
    ------
    ValueError
        The value is not an array of real numbers, or a conversion would drop a mask, imaginary
        parts or the unit of dates.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name}: masked array; expected plain numbers")
    try:
        array = np.asarray(value)
        if array.dtype.kind in "cmM":
            raise ValueError(f"{name}: {array.dtype} values; expected real numbers")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise ValueError(f"{name} is not an array of numbers") from None


def write_protected(value: Any) -> Any:
    """Protect all arrays in a value, its tuples and its dicts from being written; return it."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, tuple):
        for part in value:
            write_protected(part)
    elif isinstance(value, dict):
        for part in value.values():
            write_protected(part)
    return value
