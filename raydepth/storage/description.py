"""The JSON object that describes one mesh of a data set: its source, its views, their cameras.

Every form of storage keeps the same object: folders as views.json, the other forms inside their
files. `view_encoder.ViewRenderer` makes its entries. The "sha256" of a view is of its bytes in
files (`Store.contents`), that of an output is of its file, and that of the description is of its
text without that entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from raydepth.codecs.json_text import JsonText, dumps
from raydepth.export import check_format

FORMAT_NAME = "raydepth-views"
FORMAT_VERSION = 1

KEYS = ("mesh", "kind", "file_format", "values_per_unit", "miss", "views")


class Spelled(dict):
    """A view or its camera as a JSON object that keeps its text after the first use.

    The text is used again: a camera is in the descriptions of many meshes, and a view is hashed
    before it is written.
    """

    @cached_property
    def text(self) -> str:
        """The text that `json.dumps` makes of the object."""
        camera = self.get("camera")
        if not isinstance(camera, Spelled):
            return json.dumps(self)
        return dumps({**self, "camera": JsonText(camera.text)})


def description_text(description: dict[str, Any]) -> str:
    """The text of a description in files: one entry per line, and one view per line.

    Each line is made by Python's plain encoder, which is ten times as fast as its indenting one.
    """
    rest = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in description.items() if k != "views"]
    views = ",\n  ".join(
        view.text if isinstance(view, Spelled) else json.dumps(view)
        for view in description["views"]
    )
    return "{\n " + ",\n ".join(rest) + ',\n "views": [\n  ' + views + "\n ]\n}"


def description_hash(description: dict[str, Any]) -> str:
    """The "sha256" of a description: the hash of its text without that entry."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    return hashed([description_text(rest).encode()])


def hashed(parts: Iterable[bytes]) -> str:
    """The hex SHA-256 of several parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def output_files(description: dict[str, Any]) -> list[str]:
    """The names of all files of extra outputs."""
    return [
        output["file"]
        for view in description["views"]
        for output in view.get("outputs", {}).values()
    ]


def parsed_description(text: str | bytes) -> dict[str, Any]:
    """Parse and check the text of a description; ValueError if it is damaged."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its description is not JSON ({error})") from None
    return checked_description(data)


def checked_description(data: Any) -> dict[str, Any]:
    """Return `data`, or raise a ValueError that says why this version cannot read it."""
    check_format(data, FORMAT_NAME, FORMAT_VERSION)
    lacking = [key for key in KEYS if key not in data]
    if lacking:
        raise ValueError(f"its description lacks {', '.join(lacking)}")
    views = data["views"]
    if not (
        isinstance(views, list)
        and views
        and all(isinstance(view, dict) and {"file", "camera"} <= view.keys() for view in views)
    ):
        raise ValueError("invalid views in its description; expected objects with file and camera")
    return data
