"""Render many views of many meshes: a data set that can be interrupted, continued and split.

    OUT/dataset.json      its settings: cameras, kind, format, scale, normalization
    OUT/meshes.jsonl      its meshes: name, path, size
    OUT/<name>/...        one mesh, in the chosen form of storage (see `storage.forms`)
    OUT/failures.jsonl    the meshes that failed: path, stage, reason

Each mesh appears whole or not at all. The same call again renders what is missing. The files are
the same, byte for byte, no matter which process renders a mesh, and when.
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

# By default, each mesh has a contact sheet in data sets of at most this many; people look at few.
MOST_PREVIEWED = 16


@dataclass(frozen=True)
class Report:
    """The result of `render_dataset`.

    Attributes
    ----------
    n_meshes : int
        The number of meshes of this run, or of this shard of it.
    n_rendered, n_there : int
        The numbers of meshes that this run rendered, and that were there already.
    failures : list of Failure
        The failures of the other meshes, in the order of the data set, including those of earlier
        runs.
    n_views : int
        The number of views of each mesh.
    seconds : float
        The seconds of the whole run.
    stage_seconds : dict
        The seconds in each stage, summed over all meshes, which are rendered in parallel.
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
    """Render many views of many meshes into a folder, and keep what is there already.

    A mesh that cannot be rendered becomes a line in OUT/failures.jsonl, and the others are
    rendered. After an interruption of any kind, the same call renders the rest; the data set is
    then the same as without the interruption.

    Parameters
    ----------
    inputs : path or iterable of paths
        Mesh files, folders of them and patterns (see `inputs.find_meshes`). Meshes that the data
        set does not have yet are added to it.
    out : path
        The folder of the data set; made with its parents.
    cameras : Cameras
        All views; every mesh is rendered with them.
    normalize : {"none", "sphere", "cube"}
        See `Mesh.normalized`.
    kind : {"z", "ray"}
    file_format : str
        The form of storage, one of `forms.STORES`; "nerf", "bop" and "tum" are layouts that other
        programs read (see `storage.layouts`).
    values_per_unit : float, optional
        The scale of 16-bit forms; by default 10000, or the layout's.
    device : {"auto", "cpu", "cuda"}
        See `render`. For a data set that is there already, "auto" is the device it was begun
        with; otherwise, on a Ray cluster, it is the CPU.
    previews : bool, optional
        True to make a contact sheet of each mesh; by default, True for a data set begun with at
        most 16 meshes.
    outputs : sequence of str
        The outputs to store besides depth (see `outputs.OUTPUTS` and `storage.output_files`), such
        as ("normal", "instance"); "z" or "ray" among them is the kind of depth.
    hits : int
        The number of hits that the output "hits" holds.
    timeout : float
        Seconds that loading a mesh may take; rendering it may take as many again.
    memory : int, optional
        Bytes that loading a mesh may take (on Linux), and about as many for all meshes that are
        rendered at the same time; by default a quarter of the machine's memory.
    threads : int, optional
        The number of processors to use; by default all of them.
    shard : Shard or str, optional
        "I/N", with I counted from 0: the part of the meshes that this job renders, balanced by file
        size. All N jobs, at any time and on any machine, make the same data set as a single job.
        "slurm" takes I and N from SLURM's variables.
    overwrite : bool
        Remove the data set that the folder holds, and begin a new one.
    retry_failed : bool
        Try again to render the meshes that failed in an earlier run.
    engine : {"local", "ray"}
        This machine, or a Ray cluster (see `ray_cluster`).
    ray_address : str, optional
        The address of the cluster; by default the one that Ray finds.
    on_plan : callable
        Called with the plan, once the work is known.
    on_views : callable
        Called, from any thread, with the number of views finished since the last call.
    on_mesh : callable
        Called with the outcome of each mesh, in the order in which the meshes are finished.
    on_word : callable
        Called, from any thread, with a line for the user when kernels are compiled, which happens
        once on a machine.

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
        The device cannot be used, or fails.
    OSError
        For example, the disk is full. Files already written are complete.
    """
    start = time.perf_counter()
    out = Path(out)
    part = checked_shard(shard)
    kind, others = depth_and_others(kind, outputs)
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    if overwrite and part.count > 1:
        raise ValueError(
            "overwrite and shard exclude each other: jobs would remove each other's work"
        )
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
            # Another job may have begun the data set since `found` was read.
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
