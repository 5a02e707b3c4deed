"""Load, build, render, encode and write many meshes at once, on all cores and in bounded memory.

    loading processes        rendering threads
    (one thread each      ->  build, render, encode:     ->  write
     waits for its own)       one mesh a thread

Meshes are taken in the order of the run, so many at a time, and so many as fit the memory; what
becomes of one does not depend on the others. A thread that renders while others have nothing to do
uses their processors, too. Numba's kernels, the encoders and the system calls release the GIL.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from raydepth import parallel
from raydepth.dataset import refuse_other_contents
from raydepth.errors import DeviceError, MeshError, one_line
from raydepth.failures import Failure
from raydepth.loaders import Loader, LoaderStopped, borrowed_loader
from raydepth.memory import available_memory
from raydepth.mesh import Mesh
from raydepth.settings import Settings
from raydepth.stores import MeshViews
from raydepth.views import Clock, StageError, ViewRenderer

# Seconds that a mesh may take to load, and again to render, if nothing else is said.
TIMEOUT = 300.0

# What a mesh takes while it is rendered: its arrays, the hierarchy and what building needs.
BYTES_PER_VERTEX = 100
BYTES_PER_FACE = 250


class Task(NamedTuple):
    """One mesh of a run: its name in the data set and its file."""

    name: str
    path: str


class Unit(NamedTuple):
    """Meshes that are written together; `number` counts the units of the data set."""

    number: int
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one mesh.

    Attributes
    ----------
    failure : Failure or None
        None if it was rendered and written.
    unit_index : int
        Of the unit it was written with.
    n_faces, n_hits : int
        Of what was rendered.
    views : list of dict
        The entries of its description.
    notes : tuple of str
        What loading did to the file's contents.
    seconds : dict
        In each stage.
    """

    task: Task
    failure: Failure | None = None
    unit_index: int = 0
    n_faces: int = 0
    n_hits: int = 0
    views: list[dict] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What a run may take.

    Attributes
    ----------
    timeout : float
        Seconds for loading a mesh, and for rendering it.
    memory : int or None
        Bytes for loading a mesh, and about as many for all that are rendered at a time; a quarter
        of what there is if None.
    threads : int or None
        Processors; all there are if None.
    """

    timeout: float = TIMEOUT
    memory: int | None = None
    threads: int | None = None


class _Loaded(NamedTuple):
    part: _Part
    mesh: Mesh
    seconds: float
    n_bytes: int


class _Part(NamedTuple):
    unit: _UnitInWork
    place: int

    @property
    def task(self) -> Task:
        return self.unit.unit.tasks[self.place]


class _UnitInWork:
    """A unit whose meshes are finished in any order."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.outcomes: list[Outcome | None] = [None] * len(unit.tasks)
        self.views: list[MeshViews | None] = [None] * len(unit.tasks)


class _Stopped(Exception):
    """The run is over before its end."""


def render_units(
    units: Sequence[Unit],
    settings: Settings,
    out: Path,
    *,
    limits: Limits,
    folder: str | None = None,
    keep_others: bool = True,
    on_views: Callable[[int], object] = lambda n_views: None,
) -> Iterator[Outcome]:
    """Render and write units, each whole or not at all.

    Parameters
    ----------
    units : sequence of Unit
        No name twice. They are begun in this order.
    folder : str, optional
        What paths are relative to; by default the working directory.
    keep_others : bool
        Whether to refuse a mesh in whose place other depth maps are; else they are replaced.
    on_views : callable
        Called, from any thread, with the number of views finished since its last call.

    Yields
    ------
    Outcome
        One for each task, as they are finished; those of a unit together, after it was written.

    Raises
    ------
    OSError
        The disk is full, for one. It is not the mesh's fault, so the run is over.
    DeviceError
    """
    pipeline = _Pipeline(units, settings, out, limits, folder, keep_others, on_views)
    try:
        yield from pipeline.outcomes()
    finally:
        pipeline.stop()


class _Pipeline:
    def __init__(
        self,
        units: Sequence[Unit],
        settings: Settings,
        out: Path,
        limits: Limits,
        folder: str | None,
        keep_others: bool,
        on_views: Callable[[int], object],
    ) -> None:
        self._renderer = ViewRenderer(settings)
        self._store = self._renderer.store
        self._settings = settings
        self._out = out
        self._timeout = limits.timeout
        self._memory = limits.memory or available_memory() // 4
        self._folder = folder or os.getcwd()
        self._keep_others = keep_others
        self._on_views = on_views
        self._n_units = len(units)
        self._n_processors = parallel.checked_threads(limits.threads)
        n_tasks = sum(len(unit.tasks) for unit in units)
        self._most_workers = min(self._n_processors, n_tasks)
        # Enough that nobody waits for a mesh, few enough that they fit into memory.
        self._most_in_work = 3 * self._most_workers
        self._todo = _parts(units)
        self._n_todo = n_tasks
        self._n_in_work = 0
        self._n_loading = 0
        self._n_busy = 0
        self._bytes_in_work = 0
        self._loaded: deque[_Loaded] = deque()
        self._finished: SimpleQueue[list[Outcome] | BaseException] = SimpleQueue()
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._loaders: list[Loader] = []
        self._n_feeders = 0

    def outcomes(self) -> Iterator[Outcome]:
        """Start the threads, and give what they finish."""
        with self._changed:
            for _ in range(self._most_workers):
                self._start(self._render_meshes)
        for _ in range(self._n_units):
            finished = self._finished.get()
            if isinstance(finished, BaseException):
                raise finished
            yield from finished

    def stop(self) -> None:
        """End all threads; what they have not finished is given up."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            for loader in self._loaders:
                loader.stop()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except (_Stopped, LoaderStopped):
                pass
            except BaseException as error:
                self._finished.put(error)

        thread = threading.Thread(target=guarded, name="raydepth-pipeline", daemon=True)
        self._threads.append(thread)
        thread.start()

    # --- Loading

    def _load_meshes(self) -> None:
        with borrowed_loader() as loader:
            with self._changed:
                self._loaders.append(loader)
            try:
                while (part := self._next()) is not None:
                    self._load(loader, part)
            finally:
                # Now it may be another run's.
                with self._changed:
                    self._loaders.remove(loader)

    def _next(self) -> _Part | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or not self._n_todo or self._n_in_work < self._most_in_work
            )
            if self._stopping:
                raise _Stopped
            if not self._n_todo:
                return None
            self._n_todo -= 1
            self._n_in_work += 1
            self._n_loading += 1
            return next(self._todo)

    def _load(self, loader: Loader, part: _Part) -> None:
        start = time.perf_counter()
        try:
            mesh = loader.load(
                part.task.path,
                folder=self._folder,
                normalize=self._settings.normalize,
                timeout=self._timeout,
                memory=self._memory,
                uv="uv" in self._settings.outputs,
            )
        except MeshError as error:
            with self._changed:
                self._n_loading -= 1
            seconds = {"load": time.perf_counter() - start}
            self._finish(part, _failed(part.task, "load", error, seconds), None)
            return
        seconds_taken = time.perf_counter() - start
        n_bytes = BYTES_PER_VERTEX * len(mesh.vertices) + BYTES_PER_FACE * len(mesh.faces)
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping
                    or self._bytes_in_work == 0
                    or self._bytes_in_work + n_bytes <= self._memory
                )
            )
            self._n_loading -= 1
            self._bytes_in_work += n_bytes
            self._loaded.append(_Loaded(part, mesh, seconds_taken, n_bytes))
            self._changed.notify_all()

    # --- Rendering

    def _render_meshes(self) -> None:
        while (loaded := self._take()) is not None:
            self._render(loaded)

    def _take(self) -> _Loaded | None:
        with self._changed:
            while not self._loaded:
                if self._stopping:
                    raise _Stopped
                if not self._n_todo and not self._n_loading:
                    return None
                # Nothing is left to do for this thread: loading is what takes so long.
                if self._n_todo and self._n_feeders < self._most_workers:
                    self._n_feeders += 1
                    self._start(self._load_meshes)
                self._changed.wait()
            if self._stopping:
                raise _Stopped
            self._n_busy += 1
            return self._loaded.popleft()

    def _render(self, loaded: _Loaded) -> None:
        task, mesh = loaded.part.task, loaded.mesh
        clock = Clock()
        clock.seconds["load"] = loaded.seconds
        start = time.perf_counter()

        def progress(n_views: int) -> None:
            if self._stopping:
                raise _Stopped
            self._on_views(n_views)
            if time.perf_counter() - start > self._timeout:
                error = MeshError(f"rendering takes more than {self._timeout:g} s")
                raise StageError("render", error)

        views = self._renderer.views(
            mesh, task.name, clock=clock, threads=self._free_processors, progress=progress
        )
        try:
            if self._keep_others:
                refuse_other_contents(self._out, task.name, views.description)
            if self._store.meshes_per_unit > 1:
                views.views = list(views.views)
            else:
                self._write([views], loaded.part.unit.unit.number, clock)
        except StageError as error:
            if isinstance(error.cause, DeviceError):
                raise error.cause from None
            outcome = _failed(task, error.stage, error.cause, dict(clock.seconds))
        except (ValueError, FileExistsError) as error:
            outcome = _failed(task, "write", error, dict(clock.seconds))
        else:
            entries = views.description["views"]
            outcome = Outcome(
                task,
                unit_index=loaded.part.unit.unit.number,
                n_faces=len(mesh.faces),
                n_hits=sum(entry["hits"] for entry in entries),
                views=entries,
                notes=mesh.notes,
                seconds=dict(clock.seconds),
            )
        with self._changed:
            self._n_busy -= 1
            self._bytes_in_work -= loaded.n_bytes
        self._finish(loaded.part, outcome, None if outcome.failure else views)

    def _free_processors(self) -> int:
        """How many one of the threads that render may use."""
        return max(1, self._n_processors // max(1, self._n_busy))

    # --- Writing

    def _write(self, meshes: Sequence[MeshViews], index: int, clock: Clock) -> None:
        before = sum(clock.seconds.values())
        start = time.perf_counter()
        try:
            self._store.write(self._out, meshes, index=index)
        except OSError as error:
            if error.filename is None:
                error.filename = str(self._store.place(self._out, meshes[0].name, index=index))
            raise
        finally:
            # Writing asks for the views, and they are rendered then.
            elsewhere = sum(clock.seconds.values()) - before
            clock.seconds["write"] += time.perf_counter() - start - elsewhere

    def _finish(self, part: _Part, outcome: Outcome, views: MeshViews | None) -> None:
        """Count a mesh as finished, and write its unit if it was the last of it."""
        unit = part.unit
        with self._changed:
            unit.outcomes[part.place] = outcome
            unit.views[part.place] = views
            is_last = None not in unit.outcomes
            self._n_in_work -= 1
            self._changed.notify_all()
        if not is_last:
            return
        outcomes = [outcome for outcome in unit.outcomes if outcome is not None]
        meshes = [views for views in unit.views if views is not None]
        if self._store.meshes_per_unit > 1 and meshes:
            try:
                self._write(meshes, unit.unit.number, Clock())
            except (ValueError, FileExistsError) as error:
                outcomes = [
                    outcome if outcome.failure else _failed(outcome.task, "write", error, {})
                    for outcome in outcomes
                ]
        self._finished.put(outcomes)


def _parts(units: Sequence[Unit]) -> Iterator[_Part]:
    for unit in units:
        in_work = _UnitInWork(unit)
        for place in range(len(unit.tasks)):
            yield _Part(in_work, place)


def _failed(task: Task, stage: str, error: BaseException, seconds: dict[str, float]) -> Outcome:
    reason = one_line(error)
    if not isinstance(error, (ValueError, OSError)):
        reason = f"{type(error).__name__}: {reason}"
    failure = Failure(task.path, stage, reason.removeprefix(f"{task.path}: "))
    return Outcome(task, failure, seconds=seconds)
