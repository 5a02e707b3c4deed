"""The JSON object that describes one mesh of a data set: its source, its views, their cameras.

Every form of storage keeps the same object: a folder as views.json, the others inside. Its keys are
what `dataset.write_views` puts there.
"""

from __future__ import annotations

import json
from typing import Any

FORMAT_NAME = "raydepth-views"
FORMAT_VERSION = 1

KEYS = ("mesh", "kind", "file_format", "values_per_unit", "miss", "views")


def description_text(description: dict[str, Any]) -> str:
    """As it stands in files: an entry a line, and a view a line.

    Python's encoder is ten times as fast as its indenting one.
    """
    rest = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in description.items() if k != "views"]
    views = ",\n  ".join(json.dumps(view) for view in description["views"])
    return "{\n " + ",\n ".join(rest) + ',\n "views": [\n  ' + views + "\n ]\n}"


def output_files(description: dict[str, Any]) -> list[str]:
    """The names of all files of further outputs."""
    return [
        output["file"]
        for view in description["views"]
        for output in view.get("outputs", {}).values()
    ]


def parsed_description(text: str | bytes) -> dict[str, Any]:
    """The object of a text, checked."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its description is no JSON ({error})") from None
    return checked_description(data)


def checked_description(data: Any) -> dict[str, Any]:
    """`data`, or a ValueError that says why it describes no views that this version can read."""
    if not isinstance(data, dict) or data.get("format") != FORMAT_NAME:
        raise ValueError(f"its description does not say format {FORMAT_NAME!r}")
    if data.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"format_version is {data.get('format_version')!r}; this raydepth reads "
            f"{FORMAT_VERSION}"
        )
    lacking = [key for key in KEYS if key not in data]
    if lacking:
        raise ValueError(f"its description lacks {', '.join(lacking)}")
    views = data["views"]
    if not (
        isinstance(views, list)
        and views
        and all(isinstance(view, dict) and {"file", "camera"} <= view.keys() for view in views)
    ):
        raise ValueError("its description holds no views with a file and a camera each")
    return data
