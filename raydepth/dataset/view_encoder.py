"""Turn a mesh into views in memory, ready to be written: build, render, measure, encode."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from raydepth.codecs.png import encode_png
from raydepth.codecs.uint16 import MAX_VALUE, fitting_values_per_unit, quantize
from raydepth.dataset.depth_range import depth_range
from raydepth.dataset.settings import Settings
from raydepth.export import Metadata, StoredDepth, stored_depth
from raydepth.mesh.mesh import Mesh
from raydepth.pictures.contact_sheet import ContactSheet
from raydepth.rendering.api import render
from raydepth.rendering.hierarchies import build_bvh
from raydepth.rendering.result import Rendering
from raydepth.storage.base import MeshWriter
from raydepth.storage.description import (
    FORMAT_NAME,
    FORMAT_VERSION,
    Spelled,
    description_hash,
    hashed,
)
from raydepth.storage.forms import store_of
from raydepth.storage.output_files import WithOutputs
from raydepth.system import parallel
from raydepth.version import __version__

# Pixels rendered in one call. This bounds memory for any number of views, and it sets how often
# progress is reported.
CHUNK_PIXELS = 1 << 22


class StageError(Exception):
    """The failure of a mesh in a stage; `cause` is the error behind it."""

    def __init__(self, stage: str, cause: Exception) -> None:
        super().__init__(stage)
        self.stage = stage
        self.cause = cause


class Clock:
    """The seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the block's time to a stage, and raise its errors as StageError."""
        with self.counting(stage):
            try:
                yield
            except Exception as error:
                raise StageError(stage, error) from error

    @contextlib.contextmanager
    def counting(self, stage: str) -> Iterator[None]:
        """Add the block's time to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


class ViewRenderer:
    """Renders the views of any mesh with the settings of one data set. Many threads may use it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = store_of(settings.file_format)
        self._json = settings.to_json()
        n_views = len(settings.cameras)
        # Made once, because the time for each view adds up over many meshes.
        self._cameras = [settings.cameras[view] for view in range(n_views)]
        self._entries = [
            {"file": self.store.file_of(view, n_views), "camera": Spelled(camera.to_json())}
            for view, camera in enumerate(self._cameras)
        ]
        per_chunk = max(1, CHUNK_PIXELS // (settings.cameras.width * settings.cameras.height))
        self._chunks = [
            (first, settings.cameras[first : first + per_chunk])
            for first in range(0, n_views, per_chunk)
        ]

    @property
    def n_views(self) -> int:
        """The number of views of each mesh."""
        return len(self._cameras)

    def describe(
        self, mesh: Mesh, labels: Sequence[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Describe a mesh's views before they are rendered, without ranges, hits and hashes."""
        settings = self._json
        scale, names = settings["values_per_unit"], self.settings.outputs
        return {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "raydepth_version": __version__,
            "source": {"path": mesh.source, "sha256": mesh.source_sha256},
            "mesh": mesh.to_json(),
            "notes": list(mesh.notes),
            "kind": settings["kind"],
            "file_format": settings["file_format"],
            "values_per_unit": scale,
            "miss": "inf" if scale is None else 0,
            "device": settings["device"],
            **({"outputs": self.store.describe_outputs(names)} if names else {}),
            **({"hits": settings["hits"]} if "hits" in settings else {}),
            **({"instances": list(mesh.instances)} if "instance" in names else {}),
            "views": [
                Spelled(entry | (dict(labels[view]) if labels else {}))
                for view, entry in enumerate(self._entries)
            ],
        }

    def write(
        self,
        mesh: Mesh,
        description: dict[str, Any],
        writer: MeshWriter,
        *,
        clock: Clock,
        threads: Callable[[], int] = parallel.default_threads,
        progress: Callable[[int], Any] = lambda n_views: None,
    ) -> None:
        """Render a mesh, some views at a time, and pass them to a writer.

        Parameters
        ----------
        description : dict
            As `describe` gives it; it is completed here.
        clock : Clock
            Receives the seconds of each stage.
        threads : callable
            Returns the number of processors to use; called before each step.
        progress : callable
            Called with the number of views finished since its last call. An exception that it
            raises ends the work.

        Raises
        ------
        StageError
            A stage failed; the writer was not finished.
        ValueError, OSError
            As the writer raises them.
        """
        settings = self.settings
        sheet = ContactSheet(self.n_views, kind=settings.kind) if settings.previews else None
        with clock("build"):
            build_bvh(mesh, threads=threads())
        n_unfit = 0
        for first, cameras in self._chunks:
            with clock("render"):
                rendering = render(
                    mesh,
                    cameras,
                    outputs=(settings.kind, *settings.outputs),
                    hits=settings.hits,
                    device=settings.device,
                    threads=threads(),
                )
            with clock("encode"):
                # Once a depth does not fit, the remaining views are rendered for their range only,
                # so that the error can name a scale that fits.
                encoded, n_more_unfit = self._encoded(
                    rendering, first, description, n_unfit == 0, threads()
                )
                n_unfit += n_more_unfit
                if sheet is not None:
                    for view, depth in enumerate(rendering.depth, start=first):
                        sheet.add(view, depth)
            if n_unfit == 0:
                with clock.counting("write"):
                    for view in encoded:
                        writer.add(view)
            progress(len(cameras))
        with clock("encode"):
            if n_unfit:
                scale = description["values_per_unit"]
                raise ValueError(_why_unfit(n_unfit, description["views"], scale))
            preview = None if sheet is None else encode_png(sheet.image())
            description["sha256"] = description_hash(description)
        with clock.counting("write"):
            writer.finish(description, preview)

    def _encoded(
        self,
        rendering: Rendering,
        first: int,
        description: dict[str, Any],
        as_bytes: bool,
        n_threads: int,
    ) -> tuple[list[Any], int]:
        """Encode some views and complete `description`; also count the depths that do not fit."""
        settings, store = self.settings, self.store
        depths = rendering.depth
        scale = float(settings.values_per_unit) if store.stores_uint16 else None
        # One object for all views, so that their common text is made once.
        metadata = Metadata(settings.kind, scale, description["mesh"])
        encoded: list[Any] = [None] * len(depths)
        unfit = [0] * len(depths)

        def encode(place: int) -> None:
            depth, view = depths[place], first + place
            entry, camera = description["views"][view], self._cameras[view]
            n_hits, nearest, farthest = depth_range(depth.reshape(-1))
            entry.update(
                hits=n_hits,
                nearest=float(nearest) if n_hits else None,
                farthest=float(farthest) if n_hits else None,
            )
            if scale is None:
                pixels = stored_depth("float32", depth, kind=settings.kind).pixels
            else:
                pixels = np.empty(depth.shape, np.uint16)
                miss: Any = np.float32(np.inf)
                unfit[place] = quantize(depth.reshape(-1), scale, miss, pixels.reshape(-1))
            if as_bytes and not unfit[place]:
                encoded[place] = store.encode(StoredDepth(pixels, camera, metadata))
                entry["sha256"] = hashed(store.contents(encoded[place]))
                if settings.outputs:
                    files = self._output_files(rendering, place, entry)
                    encoded[place] = WithOutputs(encoded[place], files)

        parallel.for_each(encode, len(depths), n_threads)
        return encoded, sum(unfit)

    def _output_files(
        self, rendering: Rendering, place: int, entry: dict[str, Any]
    ) -> dict[str, bytes]:
        """Encode a view's extra outputs as files, and name them in its entry of the description."""
        files = {}
        entry["outputs"] = {}
        for name in self.settings.outputs:
            file = self.store.output_file(entry["file"], name)
            files[file] = self.store.encode_output(name, rendering[name][place])
            entry["outputs"][name] = {"file": file, "sha256": hashed([files[file]])}
        return files


def _why_unfit(n_unfit: int, views: list[dict[str, Any]], scale: float) -> str:
    """Say in one line how many pixels do not fit 16 bits, by how much, and what would fit."""
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
