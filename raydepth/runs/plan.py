"""Compare a data set on disk with a request: find what is there and what is to be rendered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydepth.dataset.failure_log import FAILURES_FILE, Failure, FailureLog
from raydepth.dataset.inputs import output_names
from raydepth.dataset.manifest import (
    MANIFEST_FILE,
    Entry,
    new_entries,
    read_manifest,
    write_manifest,
)
from raydepth.dataset.settings import SETTINGS_FILE, Settings, difference, read_settings
from raydepth.dataset.shards import BYTES_PER_MESH, Shard, members
from raydepth.errors import DeviceError
from raydepth.rendering.devices import DEVICES, chosen_device
from raydepth.runs.tasks import Task, Unit
from raydepth.storage.base import Store
from raydepth.storage.forms import STORES, store_of


@dataclass(frozen=True)
class Plan:
    """The work of a run.

    Attributes
    ----------
    entries : list of Entry
        All meshes of the data set, in their order.
    units : list of Unit
        The units to be rendered now.
    n_meshes : int
        The number of meshes of this run, or of this shard of it.
    there : list of str
        The names of the meshes that are there already.
    known_failures : list of Failure
        The failures of meshes that failed before and are not tried again.
    settings : Settings
    """

    entries: list[Entry]
    units: list[Unit]
    n_meshes: int
    there: list[str]
    known_failures: list[Failure]
    settings: Settings

    @property
    def n_todo(self) -> int:
        """The number of meshes to be rendered now."""
        return sum(len(unit.tasks) for unit in self.units)


def remove_dataset(out: Path, names: Sequence[str]) -> None:
    """Remove the data set that a folder holds, and any depth maps under `names`."""
    found = read_settings(out)
    there = {entry.name for entry in read_manifest(out)} if found else set()
    for store in {type(store): store for store in STORES.values()}.values():
        for name in sorted(there | set(names)):
            # A file that is not raydepth's stays; writing the mesh will report it.
            with contextlib.suppress(FileExistsError):
                if store.found(out, name) is not None:
                    store.remove(out, name)
    # The settings last: until then, the folder is a data set that lacks meshes.
    (out / SETTINGS_FILE).unlink(missing_ok=True)
    (out / MANIFEST_FILE).unlink(missing_ok=True)


def device_for(device: str, out: Path, found: dict[str, Any] | None, engine: str) -> str:
    """Choose the device of a run; "auto" is the device of a data set that is there already."""
    if device != "auto":
        return chosen_device(device)
    begun_with = found.get("device") if found else None
    if begun_with not in DEVICES:
        # It is not known here which devices the nodes of a cluster have.
        return "cpu" if engine == "ray" else chosen_device("auto")
    try:
        chosen_device(begun_with)
    except DeviceError as error:
        raise DeviceError(f"{out} was begun with {error}") from None
    if begun_with == "cuda" and chosen_device("auto") != "cuda":
        raise DeviceError(f"{out} was begun with device 'cuda', and CUDA failed a test here")
    return begun_with


def checked_shard(shard: Shard | str | None) -> Shard:
    if shard is None:
        return Shard(0, 1)
    return Shard.parse(shard, os.environ) if isinstance(shard, str) else shard


def is_empty(out: Path) -> bool:
    """True if a folder holds neither meshes nor anything that could be in their places."""
    records = (SETTINGS_FILE, MANIFEST_FILE, FAILURES_FILE)
    with os.scandir(out) as there:
        return all(entry.name.startswith(".") or entry.name in records for entry in there)


def agreed_entries(
    out: Path, settings: Settings, paths: Sequence[Path], names: Sequence[str], shard: Shard
) -> tuple[list[Entry], bool]:
    """Add this run's meshes to the data set on disk; return all of them, and True if it is new."""
    found = read_settings(out)
    if found is None:
        entries = new_entries(paths, names)
        write_manifest(out, entries)
        settings.write(out)
        return entries, True
    other = difference(found, settings.to_json())
    if other:
        raise FileExistsError(
            f"{out} holds a data set with {other}; choose another folder, or --overwrite it"
        )
    there = read_manifest(out)
    known = {entry.path for entry in there}
    further = [path for path in paths if str(path) not in known]
    if not further:
        return there, False
    if shard.count > 1 or store_of(settings.file_format).meshes_per_unit > 1:
        raise FileExistsError(
            f"{out} holds a data set of {len(there)} meshes, and {further[0]} is not one of them; "
            "choose another folder, or --overwrite it"
        )
    taken = {entry.name.casefold(): entry.path for entry in there}
    added = new_entries(further, output_names(further))
    for entry in added:
        if entry.name.casefold() in taken:
            raise FileExistsError(
                f"{out} already holds {entry.name}, made from {taken[entry.name.casefold()]} and "
                f"not from {entry.path}; choose another folder"
            )
    write_manifest(out, [*there, *added])
    return [*there, *added], False


def planned(
    out: Path,
    settings: Settings,
    entries: list[Entry],
    chosen: Sequence[str],
    shard: Shard,
    log: FailureLog,
    retry_failed: bool,
    is_new: bool,
) -> Plan:
    """Plan the meshes that are missing of this run, or of this shard of it."""
    store = store_of(settings.file_format)
    size = store.meshes_per_unit
    # Units of one mesh are in the order of this run. Others must be in the order of the data set.
    if size == 1:
        by_path = {entry.path: entry for entry in entries}
        units = [[by_path[path]] for path in chosen]
    else:
        units = [entries[first : first + size] for first in range(0, len(entries), size)]
    weights = [sum((entry.n_bytes or 0) + BYTES_PER_MESH for entry in unit) for unit in units]
    is_there = finished_test(out, store)
    todo = []
    known_failures = []
    n_meshes = 0
    all_there = []
    for index in members(weights, shard):
        unit = units[index]
        n_meshes += len(unit)
        # In a new data set, depth maps that are already in the folder are only compared when the
        # same mesh is written.
        there = {entry.path for entry in unit if not is_new and is_there(entry)}
        failed = {} if retry_failed else log.known
        to_render = [entry for entry in unit if entry.path in there or entry.path not in failed]
        known_failures += [
            failed[entry.path] for entry in unit if entry.path in failed and entry.path not in there
        ]
        if all(entry.path in there for entry in to_render):
            all_there += [entry.name for entry in to_render]
        else:
            tasks = tuple(Task(entry.name, entry.path) for entry in to_render)
            todo.append(Unit(index, tasks, weights[index]))
    return Plan(entries, todo, n_meshes, all_there, known_failures, settings)


def finished_test(out: Path, store: Store) -> Callable[[Entry], bool]:
    """Return a function that tells whether a mesh is there."""
    if store.meshes_per_unit > 1:
        # Each tar shard is opened once for all its meshes.
        names = {mesh.name for mesh in store.open(out)}
        return lambda entry: entry.name in names

    def is_whole(entry: Entry) -> bool:
        try:
            return store.is_whole(out, entry.name)
        except FileExistsError:
            return False  # something else, which writing the mesh will report

    return is_whole
