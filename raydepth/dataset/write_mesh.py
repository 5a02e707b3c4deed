"""Render many views of one mesh into one form of storage (see `storage.forms`).

    OUT/bunny/000.png ...   depth maps
    OUT/bunny/views.json    source, mesh, cameras, kind, scale; per view its range and hit count
    OUT/bunny/preview.png   a contact sheet with one colour scale

or OUT/bunny.npz with the same inside. A mesh appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.dataset.settings import Settings
from raydepth.dataset.view_encoder import Clock, StageError, ViewRenderer
from raydepth.mesh.mesh import Mesh
from raydepth.rendering.devices import chosen_device
from raydepth.storage.forms import located, scale_or_default

# Two meshes have the same depth maps if these entries of their descriptions agree.
SETTINGS = {
    "source": "another mesh file",
    "mesh": "another mesh or normalization",
    "kind": "another kind of depth",
    "file_format": "another file format",
    "values_per_unit": "another scale",
    "outputs": "other outputs",
    "hits": "another number of hits",
    "views": "other cameras",
}


@dataclass(frozen=True)
class Written:
    """The result of `write_views`.

    Attributes
    ----------
    place : Path
        The folder or file of the mesh.
    views : list of dict
        The entries of the views in its description.
    """

    place: Path
    views: list[dict[str, Any]]
    n_rays: int
    n_hits: int
    render_seconds: float
    device: str

    @property
    def n_views(self) -> int:
        return len(self.views)


def write_views(
    mesh: Mesh,
    cameras: Cameras,
    folder: Path,
    *,
    kind: str = "z",
    file_format: str = "png16",
    values_per_unit: float | None = None,
    device: str = "auto",
    outputs: tuple[str, ...] = (),
    hits: int = 4,
    labels: Sequence[dict[str, Any]] | None = None,
    progress: Callable[[int], Any] = lambda n_views: None,
) -> Written:
    """Render all views of a mesh into a folder or a file.

    A place that already holds the same views is written again. The same device gives the same
    bytes.

    Parameters
    ----------
    folder : Path
        Such as OUT/bunny. Made with its parents. Forms with a file for each mesh add their suffix.
    kind : "z" or "ray"
    file_format : str
        The name of a form of storage with one mesh in a unit, see `forms.STORES`.
    values_per_unit : float, optional
        The scale of 16-bit forms; by default 10000, or the layout's. The other forms hold units.
    outputs, hits
        The outputs to store besides depth, see `render_dataset`.
    labels : sequence of dict, optional
        JSON data for each view, to keep with it in the description.
    progress : callable
        Called with the number of views finished since its last call.

    Raises
    ------
    ValueError
        An argument is not as above, or a depth does not fit the format; nothing was written.
    FileExistsError
        The place holds something else; nothing was changed.
    OSError
        The place cannot be written.
    """
    settings = Settings(
        cameras,
        kind=kind,
        file_format=file_format,
        values_per_unit=scale_or_default(values_per_unit, file_format),
        device=chosen_device(device),
        previews=True,
        outputs=outputs,
        hits=hits,
    )
    renderer = ViewRenderer(settings)
    if renderer.store.meshes_per_unit != 1:
        raise ValueError(f"format {file_format} is for data sets of many meshes, not for one")
    out, name = folder.parent, folder.name
    clock = Clock()
    description = renderer.describe(mesh, labels)
    refuse_other_contents(out, name, description)
    try:
        with renderer.store.unit(out) as begin, begin(name, description) as writer:
            renderer.write(mesh, description, writer, clock=clock, progress=progress)
    except StageError as error:
        raise error.cause from None
    views = description["views"]
    return Written(
        renderer.store.place(out, name),
        views,
        n_rays=len(cameras) * cameras.width * cameras.height,
        n_hits=sum(view["hits"] for view in views),
        render_seconds=clock.seconds["render"],
        device=settings.device,
    )


def refuse_other_contents(out: Path, name: str, description: dict[str, Any]) -> None:
    """Raise FileExistsError if a mesh's place holds anything but the same views of it."""
    there = located(out, name)
    if there is None:
        return
    place, found = there
    try:
        old, new = _before_rendering(found), _before_rendering(description)
        other = [what for key, what in SETTINGS.items() if old[key] != new[key]]
    except (KeyError, TypeError):
        raise FileExistsError(
            f"{place} exists but was not written by raydepth; choose another place"
        ) from None
    if other:
        raise FileExistsError(
            f"{place} already holds depth maps made with {other[0]}; "
            "remove it or choose another place"
        )


def _before_rendering(description: dict[str, Any]) -> dict[str, Any]:
    """The part of a description that is known before the views are rendered."""
    views = [{key: view[key] for key in ("file", "camera")} for view in description["views"]]
    return {"outputs": None, "hits": None, **description, "views": views}
