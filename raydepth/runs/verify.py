"""Verify a data set on disk: read every file again, and trace some pixels again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.comparison.outline_judge import BAND, RING, judge
from raydepth.dataset.failure_log import FAILURES_FILE, read_failures
from raydepth.dataset.manifest import Entry
from raydepth.dataset.reader import dataset_entries
from raydepth.errors import MeshError, one_line
from raydepth.mesh.contents import transform
from raydepth.mesh.mesh import Mesh
from raydepth.rendering.raycast import cast_rays
from raydepth.runs.tasks import TIMEOUT
from raydepth.runs.worker_client import borrowed_worker
from raydepth.storage.base import StoredMesh
from raydepth.storage.description import description_hash, hashed
from raydepth.storage.forms import store_of
from raydepth.system.memory import available_memory

# Default number of pixels of each mesh that are traced again.
N_SAMPLES = 64

# Entries of a mesh's description that must be those of the data set. Each is checked by itself, so
# that the message can name it.
PER_MESH = ("kind", "file_format", "values_per_unit", "device", "hits")


@dataclass(frozen=True)
class Problem:
    """Something wrong in a data set.

    Attributes
    ----------
    what : {"missing", "damaged", "wrong"}
        "missing" is not there. "damaged" is unreadable or was changed after it was written. "wrong"
        is readable, but not what the mesh and the cameras give.
    name : str
        The name of the mesh.
    reason : str
        One line.
    """

    what: str
    name: str
    reason: str


@dataclass
class Verification:
    """The result of `verify_dataset`.

    Attributes
    ----------
    problems : list of Problem
    n_meshes, n_views, n_pixels : int
        The numbers of meshes and views checked, and of pixels traced again.
    n_failed : int
        The number of meshes that are not there and that failures.jsonl lists.
    n_without_source : int
        The number of meshes without traced pixels, because their file is gone or has changed.
    """

    problems: list[Problem] = field(default_factory=list)
    n_meshes: int = 0
    n_views: int = 0
    n_pixels: int = 0
    n_failed: int = 0
    n_without_source: int = 0


def verify_dataset(
    out: str | Path,
    *,
    n_samples: int = N_SAMPLES,
    on_mesh: Callable[[], Any] = lambda: None,
) -> Verification:
    """Check a data set against its own records, its hashes and its meshes.

    Every mesh of meshes.jsonl must be there or be listed in failures.jsonl. Every view is read and
    compared with its hash, its number of hits, its range and the settings of the data set. Where
    the mesh's file has not changed, some pixels of the mesh are traced again in float64, ray by ray
    (`cast_rays`). Views of perspective and orthographic cameras outside the mesh's box are rendered
    by the tile kernel, so another kernel checks them. All other views are rendered ray by ray
    themselves: for these the check finds wrong files, but not a fault of that kernel.

    Parameters
    ----------
    out : path
    n_samples : int
        The number of pixels of each mesh that are traced again.
    on_mesh : callable
        Called after each mesh.

    Returns
    -------
    Verification

    Raises
    ------
    ValueError
        The folder does not hold a data set, or its records are damaged.
    OSError
    """
    out = Path(out)
    settings, entries = dataset_entries(out)
    failed = {failure.path for failure in read_failures(out / FAILURES_FILE)}
    store = store_of(settings["file_format"])
    stored = {mesh.name: mesh for mesh in store.open(out)}
    found = Verification(n_meshes=len(entries))
    with borrowed_worker() as worker:

        def load(entry: Entry) -> Mesh:
            return worker.load(
                entry.path,
                folder=".",
                normalize=settings["normalization"],
                timeout=TIMEOUT,
                memory=available_memory() // 4,
            )

        for entry in entries:
            mesh = stored.get(entry.name)
            if mesh is not None:
                _check_mesh(mesh, entry, settings, load, n_samples, found)
            elif entry.path in failed:
                found.n_failed += 1
            else:
                reason = f"neither rendered nor in {FAILURES_FILE} ({entry.path})"
                found.problems.append(Problem("missing", entry.name, reason))
            on_mesh()
    known = {entry.name for entry in entries}
    for name in sorted(set(stored) - known):
        found.problems.append(Problem("wrong", name, "is not one of the data set's meshes"))
    return found


def _check_mesh(
    mesh: StoredMesh,
    entry: Entry,
    settings: dict[str, Any],
    load: Callable[[Entry], Mesh],
    n_samples: int,
    found: Verification,
) -> None:
    def problem(what: str, reason: str) -> None:
        found.problems.append(Problem(what, entry.name, reason))

    try:
        description = mesh.metadata
        views = description["views"]
        depths = []
        for reason in _description_problems(description, entry, settings):
            problem("damaged", reason)
        cameras = mesh.cameras
    except (ValueError, KeyError, TypeError, OSError) as error:
        problem("damaged", one_line(error))
        return
    for view in range(len(views)):
        found.n_views += 1
        try:
            depth = mesh.depth(view)
            digest = hashed(mesh.contents(view))
        except (ValueError, OSError, zlib.error) as error:
            missing = isinstance(error, FileNotFoundError)
            problem("missing" if missing else "damaged", one_line(error))
            continue
        try:
            scale = description["values_per_unit"]
            reasons = list(_view_problems(depth, digest, views[view], scale))
        except (KeyError, TypeError) as error:
            reasons = [f"its description is damaged ({one_line(error)})"]
        for name in mesh.outputs:
            try:
                reasons += _output_problems(mesh, name, view, depth)
            except FileNotFoundError as error:
                problem("missing", one_line(error))
            except (KeyError, TypeError, ValueError, OSError, zlib.error) as error:
                problem("damaged", one_line(error))
        for reason in reasons:
            problem("damaged", f"view {views[view]['file']}: {reason}")
        if not reasons:
            depths.append((view, depth))
    if not depths:
        return
    try:
        source = load(entry)
    except MeshError:
        found.n_without_source += 1
        return
    if source.source_sha256 != description["source"]["sha256"]:
        found.n_without_source += 1
        return
    if source.to_json() != description["mesh"]:
        problem("wrong", f"{entry.path} loads as another mesh than the one that was rendered")
        return
    for reason in _traced_again(source, cameras, depths, description, n_samples, found):
        problem("wrong", reason)


def _description_problems(
    description: dict[str, Any], entry: Entry, settings: dict[str, Any]
) -> Iterator[str]:
    """Yield what is wrong in a mesh's description, a line each."""
    if description["sha256"] != description_hash(description):
        yield "its description is not the one that was written (sha256)"
    for key in PER_MESH:
        if description.get(key) != settings.get(key):
            yield f"{key} is {description.get(key)!r}; the data set has {settings.get(key)!r}"
    outputs = list(description.get("outputs", {}))
    if outputs != settings.get("outputs", []):
        yield f"outputs are {outputs}; the data set has {settings.get('outputs', [])}"
    if description["mesh"]["normalization"] != settings["normalization"]:
        yield (
            f"normalization is {description['mesh']['normalization']!r}; the data set has "
            f"{settings['normalization']!r}"
        )
    if description["source"]["path"] != entry.path:
        yield f"was made from {description['source']['path']}, not from {entry.path}"
    cameras = [view["camera"] for view in description["views"]]
    if cameras != settings["cameras"]:
        yield "its cameras are not those of the data set"


def _view_problems(
    depth: np.ndarray, digest: str, view: dict[str, Any], scale: float | None
) -> Iterator[str]:
    """Yield how a view and its bytes differ from its description, a line each."""
    if digest != view["sha256"]:
        yield "it is not what was written (sha256)"
        return
    hit = np.isfinite(depth)
    n_hits = int(np.count_nonzero(hit))
    if n_hits != view["hits"]:
        yield f"{n_hits} pixels hold a depth; its description says {view['hits']}"
    step = 0.0 if scale is None else 0.5 / scale
    for key, value in (("nearest", depth.min()), ("farthest", depth.max(where=hit, initial=0))):
        # Allow half a step of a 16-bit value, and the rounding of the decoded depth to float32.
        if n_hits and abs(float(value) - view[key]) > step + 1e-7 * view[key]:
            yield f"its {key} depth is {value:.9g}; its description says {view[key]:.9g}"


def _output_problems(mesh: StoredMesh, name: str, view: int, depth: np.ndarray) -> Iterator[str]:
    """Yield how an extra output of a view differs from its description and its depth."""
    values = mesh.output(name, view)
    entry = mesh.metadata["views"][view]["outputs"][name]
    if hashed([mesh.output_content(name, view)]) != entry["sha256"]:
        yield f"its {name} is not what was written (sha256)"
    elif name == "hit" and (values != np.isfinite(depth)).any():
        yield "its hit mask differs from the pixels that hold a depth"


def _traced_again(
    mesh: Mesh,
    cameras: Cameras,
    depths: list[tuple[int, np.ndarray]],
    description: dict[str, Any],
    n_samples: int,
    found: Verification,
) -> Iterator[str]:
    """Trace some pixels again, and yield a line if depth differs."""
    # Seeded by the mesh's name, so that the pixels are the same every time.
    seed = zlib.crc32(description["mesh"]["name"].encode())
    rng = np.random.default_rng(seed)
    scale = description["values_per_unit"]
    place = rng.integers(len(depths), size=n_samples)
    row = rng.integers(cameras.height, size=n_samples)
    column = rng.integers(cameras.width, size=n_samples)
    view = np.array([number for number, _ in depths])[place]
    expected = np.empty(n_samples)
    for number in np.unique(view):
        these = view == number
        pixels = np.stack([column[these], row[these]], axis=1) + 0.5
        expected[these], _ = _traced(mesh, cameras[int(number)], pixels, description["kind"])
    seen = np.array([depths[p][1][r, c] for p, r, c in zip(place, row, column, strict=True)])
    found.n_pixels += n_samples
    step = 0.0 if scale is None else 0.5 / scale
    with np.errstate(invalid="ignore"):
        same = np.abs(seen - expected) <= step + 2e-7 * np.abs(expected)
    same |= np.isinf(seen) & np.isinf(expected)
    for sample in np.flatnonzero(~same):
        # Where an outline passes through a pixel's centre, rounding decides which face is hit.
        same[sample] = _excused(mesh, cameras[int(view[sample])], row[sample], column[sample])
    bad = np.flatnonzero(~same)
    if bad.size:
        first = bad[0]
        file = description["views"][view[first]]["file"]
        yield (
            f"{bad.size} of {n_samples} pixels traced again differ; the first: view {file}, row "
            f"{row[first]}, column {column[first]} holds {seen[first]:.9g} units, and the ray "
            f"meets the mesh at {expected[first]:.9g}"
        )


def _traced(
    mesh: Mesh, camera: Cameras, pixels: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Trace image coordinates (n, 2) of one view; return their depth of `kind` and their faces."""
    origins, directions = camera.rays(pixels[None])
    (near,), (far,) = camera.limits()
    # A ray's parameter is its z depth, or its ray depth where there is no z.
    distance, face, _ = cast_rays(mesh, origins[0], directions[0], t_min=near, device="cpu")
    distance, face = np.where(distance > far, np.inf, distance), np.where(distance > far, -1, face)
    if kind == "ray" and camera.has_z:
        distance = distance * np.linalg.norm(directions[0], axis=1)
    return distance, face


def _excused(mesh: Mesh, camera: Cameras, row: int, column: int) -> bool:
    """True if the visible face changes within `outline_judge.BAND` of a pixel's centre."""
    if not camera.is_affine or camera.has_limits:
        angle = 2.0 * np.pi * np.arange(RING) / RING
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        pixels = np.array([column, row]) + 0.5 + np.concatenate([[[0.0, 0.0]], BAND * ring])
        _, face = _traced(mesh, camera, pixels, "ray")
        return bool((face != face[0]).any())
    corners = transform(camera.camera_from_world[0], mesh.vertices)[mesh.faces]
    pixel = np.array([[row, column]])
    judgement = judge(pixel, np.full(1, np.inf), corners, camera.intrinsics[0], camera.model)
    return bool(judgement.in_band[0])
