"""JSON objects in which some values are already JSON text, so that this text is made only once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class JsonText(str):
    """JSON text, which `dumps` inserts unchanged."""


def dumps(data: Mapping[str, Any]) -> str:
    """Return the text that `json.dumps` gives for `data`, with each `JsonText` inserted unchanged.

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
