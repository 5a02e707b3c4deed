"""Load, build, render, encode and write many meshes at once, on all cores and in bounded memory.

There is one process for each processor. It takes one mesh after another through all stages (see
worker_process.py), and a thread in this module waits for it. These are processes, not threads,
because the stages spend a third of their time in Python, which runs in one thread of a process at a
time. Large files are begun first, and as many meshes at a time as fit the memory. The outcome of a
mesh does not depend on the others. A mesh that is rendered while other processors are idle uses
them, too. On a CUDA device there are only as many processes as fit its memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from raydepth.cuda import device as cuda_device
from raydepth.dataset.compilation import compile_kernels
from raydepth.dataset.settings import Settings
from raydepth.errors import MeshError
from raydepth.runs import protocol, spawning, worker_process
from raydepth.runs.protocol import Setup
from raydepth.runs.tasks import TIMEOUT, Outcome, Unit, failed, write_unit
from raydepth.runs.worker_client import Worker, WorkerStopped, borrowed_worker
from raydepth.simd.jit import announce_compilation
from raydepth.storage.base import MeshViews
from raydepth.storage.forms import store_of
from raydepth.system import parallel
from raydepth.system.memory import available_memory

# The memory of a mesh while it is rendered: its arrays, the hierarchy and the needs of building it.
BYTES_PER_VERTEX = 100
BYTES_PER_FACE = 250


@dataclass(frozen=True)
class Limits:
    """The limits of a run.

    Attributes
    ----------
    timeout : float
        Seconds for loading a mesh, and as many again for rendering it.
    memory : int or None
        Bytes for loading a mesh, and about as many for all meshes that are rendered at the same
        time; a quarter of the machine's memory if None.
    threads : int or None
        The number of processors; all of them if None.
    """

    timeout: float = TIMEOUT
    memory: int | None = None
    threads: int | None = None


class _UnitInWork:
    """A unit in progress; its meshes are finished in any order.

    A mesh whose file does not exist fails here, before anything is compiled or started.
    """

    def __init__(self, unit: Unit, folder: Path) -> None:
        self.unit = unit
        self.outcomes: list[Outcome | None] = [None] * len(unit.tasks)
        self.views: list[MeshViews | None] = [None] * len(unit.tasks)
        for place, task in enumerate(unit.tasks):
            if not os.path.lexists(folder / task.path):
                self.outcomes[place] = failed(task, "load", MeshError("no such file"), {})

    @property
    def todo(self) -> list[int]:
        """The indices, in the unit, of the meshes that are not finished."""
        return [place for place, outcome in enumerate(self.outcomes) if outcome is None]


def render_units(
    units: Sequence[Unit],
    settings: Settings,
    out: Path,
    *,
    limits: Limits,
    folder: str | None = None,
    keep_others: bool = True,
    on_views: Callable[[int], object] = lambda n_views: None,
    on_word: Callable[[str], object] = lambda line: None,
) -> Iterator[Outcome]:
    """Render and write units, each whole or not at all.

    Parameters
    ----------
    units : sequence of Unit
        No two meshes have the same name.
    folder : str, optional
        The folder that paths are relative to; by default the working directory.
    keep_others : bool
        True to refuse a mesh if other depth maps are in its place; False to replace them.
    on_views : callable
        Called, from any thread, with the number of views finished since its last call.
    on_word : callable
        Called, from any thread, with a line for the user when kernels are compiled.

    Yields
    ------
    Outcome
        One for each task, as tasks are finished; those of a unit together, after it is written.

    Raises
    ------
    OSError
        For example, the disk is full. This is not a mesh's fault, so the run ends.
    DeviceError
        The device cannot be used, or fails.
    """
    folder = folder or os.getcwd()
    setup = Setup(settings, str(out), folder, keep_others)
    pipeline = _Pipeline(units, setup, out, limits, on_views, on_word)
    try:
        yield from pipeline.outcomes()
    finally:
        pipeline.stop()


class _Pipeline:
    def __init__(
        self,
        units: Sequence[Unit],
        setup: Setup,
        out: Path,
        limits: Limits,
        on_views: Callable[[int], object],
        on_word: Callable[[str], object],
    ) -> None:
        self._setup = setup
        self._store = store_of(setup.settings.file_format)
        self._out = out
        self._timeout = limits.timeout
        # Bytes for loading a mesh; bytes for all meshes that are rendered at the same time.
        self._memory = self._room = limits.memory or available_memory() // 4
        self._on_views = on_views
        self._on_word = on_word
        self._compiling = threading.Lock()
        self._is_compiled = False
        self._n_units = len(units)
        self._n_processors = parallel.checked_threads(limits.threads)
        self._finished: SimpleQueue[list[Outcome] | BaseException] = SimpleQueue()
        in_work = [_UnitInWork(unit, Path(setup.folder)) for unit in units]
        for unit in in_work:
            if not unit.todo:
                self._finished.put([outcome for outcome in unit.outcomes if outcome is not None])
        self._n_todo = sum(len(unit.todo) for unit in in_work)
        self._todo = _parts(in_work)
        self._n_busy = 0
        self._bytes_in_work = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker] = []

    def outcomes(self) -> Iterator[Outcome]:
        """Start the threads, and yield the outcomes that they finish."""
        n_workers = min(self._n_processors, self._n_todo)
        if self._setup.settings.device == "cuda":
            n_fitting, n_bytes = cuda_device.room_for_processes()
            n_workers, self._room = min(n_workers, n_fitting), min(self._room, n_bytes)
        self._fork(n_workers)
        for _ in range(n_workers):
            thread = threading.Thread(target=self._work, name="raydepth-pipeline", daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(self._n_units):
            finished = self._finished.get()
            if isinstance(finished, BaseException):
                raise finished
            yield from finished

    def stop(self) -> None:
        """End all threads; give up the meshes that are not finished."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            for worker in self._workers:
                worker.stop()
        for thread in self._threads:
            thread.join()

    def _fork(self, n_workers: int) -> None:
        """Load the kernels once for all workers, if they can be forks of this process."""
        needed = protocol.Compile.of(self._setup.settings)
        # A GPU that a process has begun to use cannot be used in its forks.
        if n_workers and needed.device == "cpu" and spawning.can_fork():
            with announce_compilation(self._on_word):
                compile_kernels(*needed[:2], affine=needed.affine)
            spawning.fork_early(n_workers, worker_process.main)

    def _work(self) -> None:
        """Take one mesh after another through a worker. This is what each thread runs."""
        try:
            with borrowed_worker() as worker:
                with self._changed:
                    self._workers.append(worker)
                try:
                    self._compile(worker)
                    while (part := self._next()) is not None:
                        self._render(worker, *part)
                finally:
                    # From here on, the worker may belong to another run.
                    with self._changed:
                        self._workers.remove(worker)
        except WorkerStopped:
            pass
        except BaseException as error:
            self._finished.put(error)

    def _compile(self, worker: Worker) -> None:
        """Let one worker compile; the others then load the kernels from the disk."""
        needed = protocol.Compile.of(self._setup.settings)
        with self._compiling:
            if not self._is_compiled:
                worker.compile(needed, self._on_word)
                self._is_compiled = True
                return
        worker.compile(needed, self._on_word)

    def _next(self) -> tuple[_UnitInWork, int] | None:
        with self._changed:
            if self._stopping:
                raise WorkerStopped
            if not self._n_todo:
                return None
            self._n_todo -= 1
            self._n_busy += 1
            return next(self._todo)

    def _render(self, worker: Worker, unit: _UnitInWork, place: int) -> None:
        try:
            outcome, views = worker.render(
                self._setup,
                unit.unit.tasks[place],
                unit.unit.number,
                timeout=self._timeout,
                memory=self._memory,
                admitted=self._admitted,
                on_views=self._on_views,
                on_word=self._on_word,
            )
        finally:
            with self._changed:
                self._n_busy -= 1
        self._finish(unit, place, outcome, views)

    @contextlib.contextmanager
    def _admitted(self, n_vertices: int, n_faces: int) -> Iterator[int]:
        """Wait until there is memory for a mesh; yield the number of processors for it."""
        n_bytes = BYTES_PER_VERTEX * n_vertices + BYTES_PER_FACE * n_faces
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping
                    or self._bytes_in_work == 0
                    or self._bytes_in_work + n_bytes <= self._room
                )
            )
            if self._stopping:
                raise WorkerStopped
            self._bytes_in_work += n_bytes
            # Towards the end there are more processors than meshes.
            threads = max(1, self._n_processors // (self._n_busy + self._n_todo))
        try:
            yield threads
        finally:
            with self._changed:
                self._bytes_in_work -= n_bytes
                self._changed.notify_all()

    def _finish(
        self, unit: _UnitInWork, place: int, outcome: Outcome, views: MeshViews | None
    ) -> None:
        """Count a mesh as finished, and write its unit if it was the last mesh of it."""
        with self._changed:
            unit.outcomes[place] = outcome
            unit.views[place] = views
            is_last = None not in unit.outcomes
        if not is_last:
            return
        outcomes = [outcome for outcome in unit.outcomes if outcome is not None]
        meshes = [views for views in unit.views if views is not None]
        if meshes:
            try:
                write_unit(self._store, self._out, meshes, unit.unit.number)
            except (ValueError, FileExistsError) as error:
                outcomes = [
                    outcome if outcome.failure else failed(outcome.task, "write", error, {})
                    for outcome in outcomes
                ]
        self._finished.put(outcomes)


def _parts(units: Sequence[_UnitInWork]) -> Iterator[tuple[_UnitInWork, int]]:
    """Yield all meshes, the largest units first, so that no large one is begun at the end."""
    for unit in sorted(units, key=lambda unit: -unit.unit.weight):
        for place in unit.todo:
            yield unit, place
