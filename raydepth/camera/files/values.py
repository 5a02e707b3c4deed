"""Checks of values from other programs' files; each error names the field and its value."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np


def parsed_json(path: Path) -> Any:
    """Return the contents of a JSON file.

    Raises
    ------
    ValueError
        It is not valid JSON.
    OSError
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not valid JSON: {error}") from None


def as_number(value: Any, name: str, where: str) -> float:
    """Return the value as a float; it must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} of {where} is {value!r}; expected a number")
    return float(value)


def as_size(value: Any, name: str, where: str) -> int:
    """Return a whole number of pixels; some programs write 640.0."""
    number = as_number(value, name, where)
    if number != int(number):
        raise ValueError(f"{name} of {where} is {value!r}; expected a whole number of pixels")
    return int(number)


def as_array(value: Any, name: str, where: str, *shapes: tuple[int, ...]) -> np.ndarray:
    """Return finite numbers as float64, in one of the shapes."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} of {where} is not an array of numbers") from None
    if array.shape not in shapes:
        expected = " or ".join("x".join(map(str, shape)) for shape in shapes)
        raise ValueError(f"{name} of {where} has shape {array.shape}; expected {expected} numbers")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} of {where} is not finite")
    return array


def same_size(sizes: list[tuple[int, int]], what: str) -> tuple[int, int]:
    """Return the size that all views share."""
    for i, size in enumerate(sizes):
        if size != sizes[0]:
            raise ValueError(
                f"{what} {i} is {size[0]}x{size[1]} pixels and {what} 0 "
                f"{sizes[0][0]}x{sizes[0][1]}; expected one size for all"
            )
    return sizes[0]


def same_model(models: list[str], what: str) -> str:
    """Return the model that all views share."""
    for i, model in enumerate(models):
        if model != models[0]:
            raise ValueError(
                f"{what} {i} is a {model} camera and {what} 0 a {models[0]} one; "
                "expected one model for all"
            )
    return models[0]


def padded(parameters: list[list[float]]) -> list[list[float]] | None:
    """Pad the distortion of all views to one length; return None if no view is distorted."""
    if not any(any(view) for view in parameters):
        return None
    longest = max(map(len, parameters))
    return [[*view, *[0.0] * (longest - len(view))] for view in parameters]
