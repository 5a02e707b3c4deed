"""JSON objects of which some values are JSON text already, so that it is made only once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class JsonText(str):
    """JSON text, which `dumps` puts in as it is."""


def dumps(data: Mapping[str, Any]) -> str:
    """What `json.dumps` gives for the object that `data` stands for.

    Raises
    ------
    ValueError, TypeError
        A value is not JSON data; infinities and NaN are not.
    """
    entries = (
        f"{json.dumps(key)}: "
        f"{value if isinstance(value, JsonText) else json.dumps(value, allow_nan=False)}"
        for key, value in data.items()
    )
    return "{" + ", ".join(entries) + "}"
