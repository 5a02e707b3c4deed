"""Many meshes, many views: a data set that can be interrupted, continued and shared out.

    OUT/dataset.json      what it is rendered with: cameras, kind, format, scale, normalization
    OUT/meshes.jsonl      its meshes: name, path, size
    OUT/<name>/...        one mesh, in the chosen form of storage (see `stores`)
    OUT/failures.jsonl    the meshes that failed: path, stage, reason

Each mesh appears whole or not at all. The same call again does what is missing. Which process does
what, and when, leaves no trace: the files are the same, byte for byte.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raydepth.camera.camera import Cameras
from raydepth.dataset.failure_log import Failure, FailureLog, open_failure_log
from raydepth.dataset.inputs import find_meshes, output_names
from raydepth.dataset.manifest import (
    Entry,
)
from raydepth.dataset.settings import Settings, read_settings
from raydepth.dataset.shards import Shard
from raydepth.mesh.load import FORMATS
from raydepth.outputs.table import depth_and_others
from raydepth.runs.plan import (
    Plan,
    agreed_entries,
    checked_shard,
    device_for,
    finished_test,
    is_empty,
    planned,
    remove_dataset,
)
from raydepth.runs.ray_cluster import render_units_on_ray
from raydepth.runs.scheduler import Limits, render_units
from raydepth.runs.tasks import Outcome
from raydepth.storage.forms import scale_or_default, store_of

ENGINES = ("local", "ray")

# Up to so many meshes have a contact sheet each, if nothing else is said: people look at few.
MOST_PREVIEWED = 16


@dataclass(frozen=True)
class Report:
    """What `render_dataset` did.

    Attributes
    ----------
    n_meshes : int
        How many meshes this run, or this shard of it, was about.
    n_rendered, n_there : int
        How many it rendered, and how many were there already.
    failures : list of Failure
        The others, in the order of the inputs, also those that failed in an earlier run.
    n_views : int
        Of each mesh.
    seconds : float
        In all.
    stage_seconds : dict
        In each stage, of all threads together.
    """

    n_meshes: int
    n_rendered: int
    n_there: int
    failures: list[Failure]
    n_views: int
    seconds: float
    stage_seconds: dict[str, float]


def render_dataset(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    cameras: Cameras,
    *,
    normalize: str = "none",
    kind: str = "z",
    file_format: str = "png16",
    values_per_unit: float | None = None,
    device: str = "auto",
    previews: bool | None = None,
    outputs: Sequence[str] = (),
    hits: int = 4,
    timeout: float = Limits.timeout,
    memory: int | None = None,
    threads: int | None = None,
    shard: Shard | str | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    engine: str = "local",
    ray_address: str | None = None,
    on_plan: Callable[[Plan], object] = lambda plan: None,
    on_views: Callable[[int], object] = lambda n_views: None,
    on_mesh: Callable[[Outcome], object] = lambda outcome: None,
    on_word: Callable[[str], object] = lambda line: None,
) -> Report:
    """Render many views of many meshes into a folder; what is there already stays.

    A mesh that cannot be rendered becomes a line in OUT/failures.jsonl and the others go on. After
    an interruption of any kind the same call does the rest, and the data set is what it would have
    been without.

    Parameters
    ----------
    inputs : path or iterable of paths
        Mesh files, folders of them and patterns (see `inputs.find_meshes`). Meshes that the data
        set does not have yet are added to it.
    out : path
        The folder of the data set; made with its parents.
    cameras : Cameras
        All views, of every mesh.
    normalize : {"none", "sphere", "cube"}
        See `Mesh.normalized`.
    kind : {"z", "ray"}
    file_format : str
        The form of storage, one of `stores.STORES`; "nerf", "bop" and "tum" are layouts that other
        programs read (see `stores.layouts`).
    values_per_unit : float, optional
        Of 16-bit forms; 10000, or the layout's, if not given.
    device : {"auto", "cpu", "cuda"}
        See `render`; where there is a data set already, "auto" is the device it was begun with,
        and else on a Ray cluster the CPU.
    previews : bool, optional
        Whether each mesh gets a contact sheet; by default those of a data set begun with at most
        16 meshes do.
    outputs : sequence of str
        What to store besides depth (see `outputs.OUTPUTS` and `stores.output_files`), such as
        ("normal", "instance"); "z" or "ray" among them is the kind of depth.
    hits : int
        How many hits the output "hits" holds.
    timeout : float
        Seconds that loading a mesh may take, and rendering it.
    memory : int, optional
        Bytes that loading a mesh may take (on Linux), and about what all meshes that are rendered
        at the same time may; a quarter of the machine's if not given.
    threads : int, optional
        Processors to use; all of them if not given.
    shard : Shard or str, optional
        "I/N", I from 0: the part of the meshes that this job renders, balanced by file size. All N
        jobs, at any times and places, make the data set that one would. "slurm" takes I and N from
        SLURM's variables.
    overwrite : bool
        Remove the data set that the folder holds, and begin anew.
    retry_failed : bool
        Try meshes again that failed in an earlier run.
    engine : {"local", "ray"}
        This machine, or a Ray cluster (see `ray_engine`).
    ray_address : str, optional
        Of the cluster; by default what Ray finds.
    on_plan, on_views, on_mesh, on_word : callable
        Called once the work is known; from any thread, with the number of views finished since the
        last call; for each mesh, in the order in which they are finished; from any thread, with a
        line for the user when kernels are compiled, which happens once on a machine.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        An argument is not as above, or there are no meshes.
    FileExistsError
        The folder holds a data set with other settings or other meshes under the same names, or is
        being written by another process. Nothing was changed.
    DeviceError
    OSError
        The disk is full, for one. What is there is whole.
    """
    start = time.perf_counter()
    out = Path(out)
    part = checked_shard(shard)
    kind, others = depth_and_others(kind, outputs)
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    if overwrite and part.count > 1:
        raise ValueError("overwrite and shard exclude each other: jobs would remove each other's")
    paths = find_meshes(inputs, FORMATS)
    found = None if overwrite else read_settings(out)
    if previews is None:
        previews = found["previews"] if found else len(paths) <= MOST_PREVIEWED
    settings = Settings(
        cameras,
        normalize,
        kind,
        file_format,
        scale_or_default(values_per_unit, file_format),
        device_for(device, out, found, engine),
        previews,
        others,
        hits,
    )
    names = output_names(paths)
    limits = Limits(timeout, memory, threads)
    with open_failure_log(out, part) as log:
        if overwrite:
            remove_dataset(out, names)
            log.forget()
        if device == "auto" and found is None:
            # Another job may have begun it just now.
            found = read_settings(out)
            settings = replace(settings, device=device_for(device, out, found, engine))
        was_empty = is_empty(out)
        entries, is_new = agreed_entries(out, settings, paths, names, part)
        chosen = [str(path) for path in paths]
        plan = planned(out, settings, entries, chosen, part, log, retry_failed, is_new)
        on_plan(plan)
        totals: Counter[str] = Counter()
        failures = {failure.path: failure for failure in plan.known_failures}
        n_rendered = 0
        try:
            for outcome in _outcomes(
                plan, out, limits, is_new and not was_empty, on_views, on_word, engine, ray_address
            ):
                if outcome.failure:
                    log.add([outcome.failure])
                    failures[outcome.task.path] = outcome.failure
                else:
                    n_rendered += 1
                totals.update(outcome.seconds)
                on_mesh(outcome)
        except BaseException:
            with contextlib.suppress(OSError):
                _finish(out, settings, entries, log)
            raise
        _finish(out, settings, entries, log)
    order = {entry.path: place for place, entry in enumerate(entries)}
    return Report(
        n_meshes=plan.n_meshes,
        n_rendered=n_rendered,
        n_there=len(plan.there),
        failures=sorted(failures.values(), key=lambda failure: order[failure.path]),
        n_views=len(cameras),
        seconds=time.perf_counter() - start,
        stage_seconds=dict(totals),
    )


def _outcomes(
    plan: Plan,
    out: Path,
    limits: Limits,
    keep_others: bool,
    on_views: Callable[[int], object],
    on_word: Callable[[str], object],
    engine: str,
    ray_address: str | None,
) -> Iterator[Outcome]:
    if engine == "ray":
        return render_units_on_ray(
            plan.units, plan.settings, out, limits=limits, keep_others=keep_others,
            address=ray_address, on_views=on_views,
        )  # fmt: skip
    return render_units(
        plan.units, plan.settings, out, limits=limits, keep_others=keep_others, on_views=on_views,
        on_word=on_word,
    )  # fmt: skip


def _finish(out: Path, settings: Settings, entries: Sequence[Entry], log: FailureLog) -> None:
    is_there = finished_test(out, store_of(settings.file_format))
    by_path = {entry.path: entry for entry in entries}
    log.finish(by_path, lambda path: is_there(by_path[path]))
