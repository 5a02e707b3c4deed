"""Render units on a Ray cluster: each task renders a few units and writes them itself.

All nodes must see the folder of the data set and have raydepth installed. The files do not depend
on the node. If a node is lost, Ray runs its tasks again elsewhere; what they had finished is
written again with the same bytes. See ray.io.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from raydepth.dataset.failure_log import Failure
from raydepth.dataset.settings import Settings
from raydepth.errors import DeviceError
from raydepth.runs.scheduler import Limits, render_units
from raydepth.runs.tasks import Outcome, Unit

INSTALL = "engine 'ray' needs Ray: pip install 'raydepth[ray]'"

# Meshes per task: enough that the time to start a task does not matter, and few enough that little
# is lost with a task.
MESHES_PER_TASK = 16

# How often Ray runs a task again after its process or its node was lost.
MOST_RETRIES = 8

# Tasks given to Ray in advance, for each processor of the cluster, or for each GPU on CUDA.
TASKS_AHEAD = 2


def render_units_on_ray(
    units: Sequence[Unit],
    settings: Settings,
    out: Path,
    *,
    limits: Limits,
    keep_others: bool,
    address: str | None,
    on_views: Callable[[int], object],
) -> Iterator[Outcome]:
    """Render and write units on a cluster, as `scheduler.render_units` does on one machine.

    A task claims one processor. If the device is CUDA, it claims one GPU and an equal share of the
    cluster's processors. Paths are relative to the driver's working directory, on all nodes.

    Parameters
    ----------
    address : str or None
        The address of the cluster: "auto", "host:port" or "ray://host:port". None takes the
        cluster that this process is connected to or that RAY_ADDRESS names, or starts one on this
        machine.

    Raises
    ------
    ValueError
        Ray is not installed.
    ConnectionError
        There is no cluster at the address.
    DeviceError
        The device is CUDA, and the cluster has no GPU.
    """
    try:
        import ray
    except ImportError:
        raise ValueError(INSTALL) from None
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    resources = ray.cluster_resources()
    n_processors = max(1, int(resources.get("CPU", 1)))
    n_gpus = int(resources.get("GPU", 0)) if settings.device == "cuda" else 0
    if settings.device == "cuda" and not n_gpus:
        raise DeviceError("device 'cuda': Ray finds no GPU in this cluster (see: ray status)")
    claim: dict[str, Any] = {"num_cpus": 1}
    if n_gpus:
        claim = {"num_cpus": max(1, n_processors // n_gpus), "num_gpus": 1}
    task_limits = replace(limits, threads=claim["num_cpus"])
    remote = ray.remote(**claim, max_retries=MOST_RETRIES)(_render_batch)
    most_ahead = TASKS_AHEAD * (n_gpus or n_processors)
    shared = ray.put((settings, str(out.absolute()), task_limits, os.getcwd(), keep_others))
    todo = _batches(units)
    running: dict[Any, tuple[Unit, ...]] = {}

    def submit() -> None:
        while len(running) < most_ahead and (batch := next(todo, None)):
            running[remote.remote(batch, shared)] = batch

    submit()
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        batch = running.pop(done)
        try:
            outcomes = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            # For example a full disk or a lost device. As on one machine, no mesh is at fault.
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            if len(batch) > 1:
                # One of the units crashes the process every time. Each is run alone to find it.
                for unit in batch:
                    running[remote.remote((unit,), shared)] = (unit,)
                continue
            outcomes = list(_lost(batch[0], error))
        on_views(sum(outcome.n_views for outcome in outcomes))
        yield from outcomes
        submit()


def _render_batch(batch: tuple[Unit, ...], shared: tuple[Any, ...]) -> list[Outcome]:
    """Render the units of one task, on any node."""
    settings, out, limits, folder, keep_others = shared
    return list(
        render_units(
            batch, settings, Path(out), limits=limits, folder=folder, keep_others=keep_others
        )
    )


def _batches(units: Sequence[Unit]) -> Iterator[tuple[Unit, ...]]:
    """Group units, in their order, into batches of about MESHES_PER_TASK meshes."""
    batch: list[Unit] = []
    for unit in units:
        batch.append(unit)
        if sum(len(unit.tasks) for unit in batch) >= MESHES_PER_TASK:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


def _lost(unit: Unit, error: Exception) -> Iterator[Outcome]:
    """Yield the failures of a unit whose process was lost in every attempt."""
    kind = type(error).__name__
    for task in unit.tasks:
        reason = f"crashes the process that renders it ({kind}, {MOST_RETRIES + 1} times)"
        yield Outcome(task, Failure(task.path, "render", reason))
