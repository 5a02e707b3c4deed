"""The JSON object that describes one mesh of a data set: its source, its views, their cameras.

Every form of storage keeps the same object: a folder as views.json, the others inside. Its keys are
what `view_encoder.ViewRenderer` puts there. A view's "sha256" is of the bytes that stand for it in
files (`Store.contents`), an output's of its file, the description's of the rest of its text.
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
    """A view or its camera as a JSON object that keeps its text, once that was asked for.

    A camera stands in the descriptions of many meshes, and a view is hashed before it is written.
    """

    @cached_property
    def text(self) -> str:
        """As `json.dumps` makes it."""
        camera = self.get("camera")
        if not isinstance(camera, Spelled):
            return json.dumps(self)
        return dumps({**self, "camera": JsonText(camera.text)})


def description_text(description: dict[str, Any]) -> str:
    """As it stands in files: an entry a line, and a view a line.

    Python's encoder is ten times as fast as its indenting one.
    """
    rest = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in description.items() if k != "views"]
    views = ",\n  ".join(
        view.text if isinstance(view, Spelled) else json.dumps(view)
        for view in description["views"]
    )
    return "{\n " + ",\n ".join(rest) + ',\n "views": [\n  ' + views + "\n ]\n}"


def description_hash(description: dict[str, Any]) -> str:
    """The "sha256" of a description: of the text of the rest of it."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    return hashed([description_text(rest).encode()])


def hashed(parts: Iterable[bytes]) -> str:
    """Hex SHA-256 of bytes, one behind the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


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
        raise ValueError("its description holds no views with a file and a camera each")
    return data
