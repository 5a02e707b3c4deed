"""The settings of a data set: the same for all its meshes, kept in OUT/dataset.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.camera.kinds import KINDS, checked_kind
from raydepth.codecs.uint16 import as_number, checked_scale
from raydepth.export import check_format
from raydepth.mesh.mesh import checked_normalization
from raydepth.outputs.table import OUTPUTS, checked_hits
from raydepth.storage.forms import STORES, store_of
from raydepth.system.atomic_files import whole_file
from raydepth.version import __version__

SETTINGS_FILE = "dataset.json"
FORMAT_NAME = "raydepth-dataset"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Settings:
    """Everything that determines the depth maps of a mesh, besides the mesh.

    Parameters
    ----------
    cameras : Cameras
        All views; every mesh is rendered with them.
    normalize : {"none", "sphere", "cube"}
    kind : {"z", "ray"}
    file_format : str
        A form of storage, see `forms.STORES`.
    values_per_unit : float
        The scale of 16-bit forms; the other forms hold units.
    device : {"cpu", "cuda"}
        The device that renders. Where faces lie within float32 resolution of each other, two
        devices may see different ones.
    previews : bool
        True if each mesh has a contact sheet.
    outputs : tuple of str
        The outputs that are stored besides depth, see `outputs.OUTPUTS`.
    hits : int
        The number of hits that the output "hits" holds.

    Raises
    ------
    TypeError
        `cameras` is not a Cameras.
    ValueError
        An argument is not as above.
    """

    cameras: Cameras
    normalize: str = "none"
    kind: str = "z"
    file_format: str = "png16"
    values_per_unit: float = 10000
    device: str = "cpu"
    previews: bool = False
    outputs: tuple[str, ...] = ()
    hits: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.cameras, Cameras):
            raise TypeError(f"cameras is a {type(self.cameras).__name__}; expected Cameras")
        checked_normalization(self.normalize)
        checked_kind(self.kind)
        self.cameras.check_kinds((self.kind,))
        scale = checked_scale(self.values_per_unit)
        store_of(self.file_format).check(self.cameras, self.kind, scale)
        checked_hits(self.hits)
        for name in self.outputs:
            self._check_output(name)

    def _check_output(self, name: str) -> None:
        known = [known for known in OUTPUTS if known not in KINDS]
        if name not in known:
            raise ValueError(f"outputs hold {name!r}; expected some of {', '.join(known)}")
        if self.outputs.count(name) > 1:
            raise ValueError(f"outputs hold {name!r} twice")
        if name not in store_of(self.file_format).outputs:
            able = [form for form, store in STORES.items() if name in store.outputs]
            raise ValueError(
                f"format {self.file_format} does not hold {name!r}; expected one of "
                f"{', '.join(able)}"
            )

    def to_json(self) -> dict[str, Any]:
        """The JSON object of dataset.json."""
        scale = None
        if store_of(self.file_format).stores_uint16:
            scale = as_number(checked_scale(self.values_per_unit))
        return {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "raydepth_version": __version__,
            "normalization": self.normalize,
            "kind": self.kind,
            "file_format": self.file_format,
            "values_per_unit": scale,
            "device": self.device,
            "previews": self.previews,
            # Left out where only depth is stored, so that such files stay as they were before.
            **({"outputs": list(self.outputs)} if self.outputs else {}),
            **({"hits": self.hits} if "hits" in self.outputs else {}),
            "cameras": [self.cameras[i].to_json() for i in range(len(self.cameras))],
        }

    def write(self, out: Path) -> None:
        """Write OUT/dataset.json, whole or not at all."""
        with whole_file(out / SETTINGS_FILE) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")


def read_settings(out: Path) -> dict[str, Any] | None:
    """Read OUT/dataset.json; return None if there is no such file.

    Raises
    ------
    ValueError
        The file is damaged, or of a format that this version does not read.
    OSError
    """
    path = out / SETTINGS_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    try:
        check_format(data, FORMAT_NAME, FORMAT_VERSION)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return data


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Say in words how settings differ from those that are wanted; None if they are the same."""
    for key in (
        "file_format", "kind", "normalization", "values_per_unit", "device", "previews",
        "outputs", "hits",
    ):  # fmt: skip
        there, here = found.get(key), wanted.get(key)
        if there != here:
            return f"{key} {json.dumps(there)}; this run has {json.dumps(here)}"
    there, here = found.get("cameras"), wanted["cameras"]
    if there == here:
        return None
    if not isinstance(there, list) or not there:
        return "no cameras"
    for what in ("views", "width", "height"):
        n_there, n_here = (
            len(views) if what == "views" else views[0].get(what) for views in (there, here)
        )
        if n_there != n_here:
            noun = "" if what == "views" else f"{what} "
            return f"{noun}{n_there}{' views' if not noun else ''}; this run has {n_here}"
    place = next(i for i, (a, b) in enumerate(zip(there, here, strict=True)) if a != b)
    keys = [
        key
        for key in {**here[place], **there[place]}
        if there[place].get(key) != here[place].get(key)
    ]
    return f"other cameras (view {place} differs in {', '.join(keys)})"
