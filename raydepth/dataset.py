"""One mesh, many views, in one form of storage (see `stores`).

    OUT/bunny/000.png ...   depth maps
    OUT/bunny/views.json    source, mesh, cameras, kind, scale; per view its range and hit count
    OUT/bunny/preview.png   a contact sheet with one colour scale

or OUT/bunny.npz with the same inside. A mesh appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.cameras import Cameras
from raydepth.export import (
    as_number,
    checked_scale,
    fitting_values_per_unit,
)
from raydepth.mesh import Mesh
from raydepth.png import encode_png
from raydepth.preview import ContactSheet
from raydepth.quantize import MAX_VALUE
from raydepth.render import build_bvh, chosen_device, render
from raydepth.stores import MeshViews, Store, located, store_of
from raydepth.stores.description import FORMAT_NAME, FORMAT_VERSION
from raydepth.version import __version__

# Pixels rendered at once: bounds memory however many views there are, and paces the progress.
CHUNK_PIXELS = 1 << 22

# Two meshes have the same depth maps if these entries of their descriptions agree.
SETTINGS = {
    "source": "another mesh file",
    "mesh": "another mesh or normalization",
    "kind": "another kind of depth",
    "file_format": "another file format",
    "values_per_unit": "another scale",
    "views": "other cameras",
}


@dataclass(frozen=True)
class Written:
    """What `write_views` did; `place` is the folder or file of the mesh."""

    place: Path
    n_views: int
    n_rays: int
    n_hits: int
    render_seconds: float
    device: str


def write_views(
    mesh: Mesh,
    cameras: Cameras,
    folder: Path,
    *,
    kind: str = "z",
    file_format: str = "png16",
    values_per_unit: float = 10000,
    device: str = "auto",
    progress: Callable[[int], Any] = lambda n_views: None,
) -> Written:
    """Render all views of a mesh into a folder, or a file.

    What already holds the same views is written again, with the same bytes.

    Parameters
    ----------
    folder : Path
        OUT/bunny. Made with its parents; the forms that have a file for each mesh add their suffix.
    kind : "z" or "ray"
    file_format : str
        The name of a form of storage with one mesh in a unit, see `stores.STORES`.
    values_per_unit : float
        The scale of 16-bit forms; the others hold units.
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
    store = store_of(file_format)
    if store.meshes_per_unit != 1:
        raise ValueError(f"format {file_format} is for data sets of many meshes, not for one")
    checked_scale(values_per_unit)
    description = describe_views(
        mesh,
        cameras,
        store,
        kind=kind,
        values_per_unit=values_per_unit,
        device=chosen_device(device),
    )
    out, name = folder.parent, folder.name
    finished = MeshViews(name, description, ())
    seconds = 0.0

    def views() -> Iterator[Any]:
        """Each view encoded; then the rest of `finished` is known."""
        nonlocal seconds
        refuse_other_contents(out, name, description)
        sheet = ContactSheet(len(cameras), kind=kind)
        build_bvh(mesh)  # so that the time below is that of the rays
        per_chunk = max(1, CHUNK_PIXELS // (cameras.width * cameras.height))
        scale, n_unfit = description["values_per_unit"], 0
        for first in range(0, len(cameras), per_chunk):
            chunk = cameras[first : first + per_chunk]
            start = time.perf_counter()
            rendering = render(mesh, chunk, kind=kind, device=device)
            seconds += time.perf_counter() - start
            for i, depth in enumerate(rendering.depth, start=first):
                description["views"][i].update(_statistics(depth))
                sheet.add(i, depth)
                if scale is not None:
                    n_unfit += _count_unfit(depth, description["views"][i], scale)
                # After a misfit the rest is rendered for its range only, to say what would fit.
                if n_unfit == 0:
                    yield store.encode(
                        depth,
                        kind=kind,
                        camera=cameras[i],
                        mesh=description["mesh"],
                        values_per_unit=values_per_unit,
                    )
                progress(1)
        if n_unfit:
            raise ValueError(_why_unfit(n_unfit, description["views"], scale))
        finished.preview = encode_png(sheet.image())

    finished.views = views()
    store.write(out, [finished])
    return Written(
        store.place(out, name),
        n_views=len(cameras),
        n_rays=len(cameras) * cameras.width * cameras.height,
        n_hits=sum(view["hits"] for view in description["views"]),
        render_seconds=seconds,
        device=description["device"],
    )


def describe_views(
    mesh: Mesh,
    cameras: Cameras,
    store: Store,
    *,
    kind: str,
    values_per_unit: float,
    device: str,
) -> dict[str, Any]:
    """The description of a mesh's views before they are rendered: without ranges and hits."""
    scale = as_number(checked_scale(values_per_unit)) if store.stores_uint16 else None
    return {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "raydepth_version": __version__,
        "source": {"path": mesh.source, "sha256": mesh.source_sha256},
        "mesh": mesh.to_json(),
        "notes": list(mesh.notes),
        "kind": kind,
        "file_format": store.file_format,
        "values_per_unit": scale,
        "miss": "inf" if scale is None else 0,
        "device": device,
        "views": [
            {"file": store.file_of(i, len(cameras)), "camera": cameras[i].to_json()}
            for i in range(len(cameras))
        ],
    }


def refuse_other_contents(out: Path, name: str, description: dict[str, Any]) -> None:
    """Raise FileExistsError unless a mesh is not there yet, or with the same views."""
    there = located(out, name)
    if there is None:
        return
    place, found = there
    try:
        found["views"] = [{key: view[key] for key in ("file", "camera")} for view in found["views"]]
        other = [what for key, what in SETTINGS.items() if found[key] != description[key]]
    except (KeyError, TypeError):
        raise FileExistsError(
            f"{place} exists and describes no views of raydepth; choose another place"
        ) from None
    if other:
        raise FileExistsError(
            f"{place} already holds depth maps made with {other[0]}; "
            "remove it or choose another place"
        )


def read_cameras(path: Path) -> Cameras:
    """The cameras of a views.json, or of a JSON file that holds what `Cameras.to_json` gives.

    Raises
    ------
    ValueError
        The file is not of that kind; the message names it.
    OSError
        It cannot be read.
    """
    content = path.read_bytes()
    try:
        data = json.loads(content)
        if isinstance(data, dict) and data.get("format") == FORMAT_NAME:
            data = [view["camera"] for view in data["views"]]
        return Cameras.from_json(data)
    except Exception as error:  # a foreign file fails in as many ways as JSON has shapes
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} holds no cameras ({reason})") from None


def output_names(paths: Sequence[Path]) -> list[str]:
    """A folder name for each mesh: its stem, and more of its path where stems are the same.

    First the suffix is added ("bunny_ply"), then the folders above ("scans_bunny_ply"). Names are
    told apart without regard to case, as some file systems do; what differs in nothing else is
    numbered. No name begins with a dot: those are folders in the making.

    Raises
    ------
    ValueError
        A file is given twice.
    """
    resolved = [Path(os.path.abspath(path)) for path in paths]
    for path, times in Counter(resolved).items():
        if times > 1:
            raise ValueError(f"{path} is given {times} times; expected each mesh once")
    names = [path.stem.lstrip(".") or "mesh" for path in resolved]
    for n_parents in range(max((len(path.parts) for path in resolved), default=0)):
        for i in _repeated(names):
            *parents, _ = resolved[i].parts[1:]
            above = parents[max(0, len(parents) - n_parents) :]
            names[i] = "_".join([*above, resolved[i].stem, resolved[i].suffix[1:]]).lstrip(".")
    for i in _repeated(names):
        names[i] = f"{resolved[i].stem}_{resolved[i].suffix[1:]}_{i}".lstrip(".")
    return names


def _repeated(names: Sequence[str]) -> list[int]:
    """Indices of the names that occur more than once."""
    counts = Counter(name.casefold() for name in names)
    return [i for i, name in enumerate(names) if counts[name.casefold()] > 1]


def _statistics(depth: np.ndarray) -> dict[str, Any]:
    hit = np.isfinite(depth)
    n_hits = int(np.count_nonzero(hit))
    return {
        "hits": n_hits,
        "nearest": float(depth.min()) if n_hits else None,
        "farthest": float(depth.max(where=hit, initial=0)) if n_hits else None,
    }


def _count_unfit(depth: np.ndarray, view: dict[str, Any], scale: float) -> int:
    """How many depths do not fit 16 bits at this scale; `view` has their range."""
    ends = [view["nearest"], view["farthest"]]
    if not view["hits"] or not _unfit(np.array(ends), scale).any():
        return 0
    return int(np.count_nonzero(_unfit(depth[np.isfinite(depth)], scale)))


def _unfit(depths: np.ndarray, scale: float) -> np.ndarray:
    values = np.rint(np.multiply(depths, scale, dtype=np.float64))
    return (values < 1) | (values > MAX_VALUE)


def _why_unfit(n_unfit: int, views: list[dict[str, Any]], scale: float) -> str:
    """One line: how many pixels do not fit 16 bits, by how much, and what would fit all views."""
    nearest = min(view["nearest"] for view in views if view["hits"])
    farthest = max(view["farthest"] for view in views if view["hits"])
    fitting = fitting_values_per_unit(nearest, farthest)
    return (
        f"{n_unfit:,} pixels hold a depth that does not fit 16 bits at values_per_unit={scale:.9g} "
        f"({1 / scale:.9g} to {MAX_VALUE / scale:.9g} units): in {len(views)} views depth goes "
        f"from {nearest:.9g} to {farthest:.9g} units; "
        + (
            f"values_per_unit={fitting:.9g} would fit"
            if fitting is not None
            else "no values_per_unit fits both ends, a float format does"
        )
    )
