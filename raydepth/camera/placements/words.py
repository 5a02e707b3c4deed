"""Specs of placements, such as `fibonacci:24,radii=1.5+2,rolls=4,jitter=5,seed=3,up=y`.

    name[:[value][,key=value]...]

A first value without a key is the placement's first parameter. Besides its own parameters, each
placement takes those in CHANGES. Several numbers are joined by "+".
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from typing import Any

from raydepth.camera.placements.table import PLACEMENTS

# The parameters that every placement takes: the kind of their values, and their help.
CHANGES = {
    "azimuth": ("number", "degrees by which all directions are turned around up"),
    "radii": ("numbers", "a shell of views at each radius, in units: radii=1.5+2"),
    "rolls": ("rolls", "rolls of each direction: their number, rolls=4, or degrees, rolls=0+45"),
    "jitter": ("number", "degrees by which each direction is moved at random, at most"),
    "seed": ("whole", "seed of all random numbers (default: 0)"),
    "up": ("axis", "the axis that is up: x, y or z (default: z)"),
}
EXPECTED = {
    "number": "a number",
    "numbers": "numbers joined by +, such as 1.5+2",
    "rolls": "a whole number, or degrees joined by +, such as 0+45",
    "whole": "a whole number",
    "axis": "x, y or z",
}


@dataclass(frozen=True)
class Words:
    """A parsed spec of a placement.

    Attributes
    ----------
    name : str
        A key of `PLACEMENTS`.
    arguments : dict
        The arguments of its function.
    changes : dict
        The parameters in CHANGES that were given.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)


def parse(spec: str) -> Words:
    """Read a placement's spec; `parse("ring:12,elevation=30")` has n 12 and elevation 30.0.

    Raises
    ------
    ValueError
        The name, a parameter or a value is unknown, given twice or contradicts another; the
        message says what was expected.
    """
    name, _, rest = spec.partition(":")
    if name not in PLACEMENTS:
        raise ValueError(f"unknown placement {name!r}; expected one of {', '.join(PLACEMENTS)}")
    known = inspect.signature(PLACEMENTS[name]).parameters
    kinds = {key: "number" if p.annotation == "float" else "whole" for key, p in known.items()}
    every = kinds | {key: kind for key, (kind, _) in CHANGES.items()}
    found: dict[str, Any] = {}
    for position, word in enumerate(rest.split(",") if rest else []):
        key, equals, value = word.partition("=")
        if not equals and position == 0 and known:
            key, value = next(iter(known)), word
        if key not in every or not value:
            raise ValueError(
                f"{spec!r}: {word!r} is not understood; {name} takes {', '.join(every)}"
            )
        if key in found:
            raise ValueError(f"{spec!r}: {key} is given twice; expected it once")
        try:
            found[key] = _value(value, every[key])
        except ValueError:
            raise ValueError(
                f"{spec!r}: {key} is {value!r}; expected {EXPECTED[every[key]]}"
            ) from None
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in found:
            what = "number of views" if key == "n" else key
            raise ValueError(f"{spec!r} lacks its {what}; expected for example {example(name)}")
    if "seed" in found and "seed" not in known and "jitter" not in found:
        raise ValueError(
            f"{spec!r}: seed is {found['seed']}, but {name} draws nothing; expected jitter too"
        )
    changes = {key: value for key, value in found.items() if key in CHANGES}
    return Words(name, {key: value for key, value in found.items() if key in known}, changes)


def example(name: str) -> str:
    """Return a placement's spec with its required parameters."""
    values = {"n": 24, "rows": 3, "columns": 8, "levels": 1}
    known = inspect.signature(PLACEMENTS[name]).parameters
    required = [key for key, p in known.items() if p.default is p.empty]
    words = [f"{key}={values[key]}" if i else f"{values[key]}" for i, key in enumerate(required)]
    return f"{name}:{','.join(words)}" if words else name


def help_text() -> str:
    """Return the help on every placement and every parameter."""
    lines = ["Placements, with their own parameters:", ""]
    for name, function in PLACEMENTS.items():
        parameters = inspect.signature(function).parameters.values()
        optional = [f"{p.name}={p.default:g}" for p in parameters if p.default is not p.empty]
        what = (inspect.getdoc(function) or "").splitlines()[0]
        lines.append(f"  {','.join([example(name), *optional])}")
        lines.append(f"      {what}")
    lines += ["", "Parameters that all of them take:", ""]
    lines += [f"  {key:8} {what}" for key, (_, what) in CHANGES.items()]
    lines += [
        "",
        "For example fibonacci:24,radii=1.5+2,rolls=4,jitter=5,seed=3,up=y. Views are",
        "ordered by shell, then by direction, then by roll.",
    ]
    return "\n".join(lines)


def _value(text: str, kind: str) -> Any:
    if kind == "axis":
        if text not in ("x", "y", "z"):
            raise ValueError
        return text
    if kind == "whole" or (kind == "rolls" and "+" not in text):
        return int(text)
    numbers = tuple(_finite(word) for word in text.split("+" if kind != "number" else ","))
    return numbers[0] if kind == "number" else numbers


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number
