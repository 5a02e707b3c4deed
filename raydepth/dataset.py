"""One mesh, many views, one folder of files.

    OUT/bunny/000.png ...   depth maps, in one of `FILE_FORMATS`
    OUT/bunny/views.json    source, mesh, cameras, kind, scale; per view its range and hit count
    OUT/bunny/preview.png   a contact sheet with one colour scale

The folder appears whole or not at all (see `folders`).
"""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.cameras import Cameras
from raydepth.export import (
    MAX_VALUE,
    as_number,
    checked_scale,
    encode_depth,
    fitting_values_per_unit,
)
from raydepth.folders import whole_folder
from raydepth.mesh import Mesh
from raydepth.preview import ContactSheet
from raydepth.render import build_bvh, chosen_device, render
from raydepth.version import __version__

FILE_FORMATS = {"png16": ".png", "npy": ".npy", "npz": ".npz", "tiff": ".tiff"}
FORMAT_NAME = "raydepth-views"
FORMAT_VERSION = 1
VIEWS_FILE = "views.json"

# Pixels rendered at once: bounds memory however many views there are, and paces the progress.
CHUNK_PIXELS = 1 << 22

# Two folders hold the same depth maps if these entries of their views.json agree.
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
    """What `write_views` did; `views` are the entries of views.json."""

    folder: Path
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
    values_per_unit: float = 10000,
    device: str = "auto",
    labels: Sequence[dict[str, Any]] | None = None,
    progress: Callable[[int], Any] = lambda n_views: None,
) -> Written:
    """Render all views of a mesh into a folder.

    A folder that already holds the same views is written again, with the same bytes.

    Parameters
    ----------
    folder : Path
        Made with its parents.
    kind : "z" or "ray"
    file_format : one of FILE_FORMATS
    values_per_unit : float
        The scale of png16; the others hold units.
    labels : sequence of dict, optional
        JSON data to keep in views.json with each view.
    progress : callable
        Called with the number of views finished since its last call.

    Raises
    ------
    ValueError
        An argument is not as above, or a depth does not fit the format; nothing was written.
    FileExistsError
        The folder holds something else; nothing was changed.
    OSError
        The folder cannot be written.
    """
    if file_format not in FILE_FORMATS:
        raise ValueError(f"format is {file_format!r}; expected one of {', '.join(FILE_FORMATS)}")
    scale = as_number(checked_scale(values_per_unit)) if file_format == "png16" else None
    suffix = FILE_FORMATS[file_format]
    digits = max(3, len(str(len(cameras) - 1)))
    views: list[dict[str, Any]] = [
        {"file": f"{i:0{digits}}{suffix}", "camera": cameras[i].to_json()}
        | (dict(labels[i]) if labels else {})
        for i in range(len(cameras))
    ]
    description = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "raydepth_version": __version__,
        "source": {"path": mesh.source, "sha256": mesh.source_sha256},
        "mesh": mesh.to_json(),
        "notes": list(mesh.notes),
        "kind": kind,
        "file_format": file_format,
        "values_per_unit": scale,
        "miss": "inf" if scale is None else 0,
        "device": chosen_device(device),
        "views": views,
    }
    with whole_folder(folder, last=VIEWS_FILE) as aside:
        _refuse_other_contents(folder, description)
        sheet = ContactSheet(len(cameras), kind=kind)
        build_bvh(mesh)  # so that the time below is that of the rays
        per_chunk = max(1, CHUNK_PIXELS // (cameras.width * cameras.height))
        render_seconds, n_unfit = 0.0, 0
        for first in range(0, len(cameras), per_chunk):
            chunk = cameras[first : first + per_chunk]
            start = time.perf_counter()
            rendering = render(mesh, chunk, kind=kind, device=device)
            render_seconds += time.perf_counter() - start
            for i, depth in enumerate(rendering.depth, start=first):
                views[i].update(_statistics(depth))
                sheet.add(i, depth)
                if scale is not None:
                    n_unfit += _count_unfit(depth, scale)
                # After a misfit the rest is rendered for its range only, to say what would fit.
                if n_unfit == 0:
                    parts = encode_depth(
                        suffix,
                        depth,
                        kind=kind,
                        camera=cameras[i],
                        mesh=description["mesh"],
                        values_per_unit=values_per_unit,
                    )
                    for addition, content in parts.items():
                        (aside / f"{views[i]['file']}{addition}").write_bytes(content)
                progress(1)
        if scale is not None and n_unfit:
            raise ValueError(_why_unfit(n_unfit, views, scale))
        (aside / "preview.png").write_bytes(_png(sheet.image()))
        (aside / VIEWS_FILE).write_text(json.dumps(description, indent=1), encoding="utf-8")
    return Written(
        folder,
        views,
        n_rays=len(cameras) * cameras.width * cameras.height,
        n_hits=sum(view["hits"] for view in views),
        render_seconds=render_seconds,
        device=chosen_device(device),
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


def _refuse_other_contents(folder: Path, description: dict[str, Any]) -> None:
    """Raise FileExistsError unless the folder is new or holds the same views."""
    if not os.path.lexists(folder):
        return
    try:
        found = json.loads((folder / VIEWS_FILE).read_bytes())
        if found["format"] != FORMAT_NAME:
            raise ValueError
        wanted = {**description, "views": _files_and_cameras(description["views"])}
        found["views"] = _files_and_cameras(found["views"])
        other = [what for key, what in SETTINGS.items() if found[key] != wanted[key]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise FileExistsError(
            f"{folder} exists and holds no {VIEWS_FILE} of raydepth; choose another place"
        ) from None
    if other:
        raise FileExistsError(
            f"{folder} already holds depth maps made with {other[0]}; "
            "remove it or choose another place"
        )


def _files_and_cameras(views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was known of the views before they were rendered."""
    return [{key: view[key] for key in ("file", "camera")} for view in views]


def _statistics(depth: np.ndarray) -> dict[str, Any]:
    hit = np.isfinite(depth)
    n_hits = int(np.count_nonzero(hit))
    return {
        "hits": n_hits,
        "nearest": float(depth.min()) if n_hits else None,
        "farthest": float(depth.max(where=hit, initial=0)) if n_hits else None,
    }


def _count_unfit(depth: np.ndarray, scale: float) -> int:
    """How many depths do not fit 16 bits at this scale."""
    values = np.rint(np.multiply(depth[np.isfinite(depth)], scale, dtype=np.float64))
    return int(np.count_nonzero((values < 1) | (values > MAX_VALUE)))


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


def _png(pixels: np.ndarray) -> bytes:
    import imageio.v3 as iio

    buffer = io.BytesIO()
    iio.imwrite(buffer, pixels, extension=".png", plugin="pillow")
    return buffer.getvalue()
