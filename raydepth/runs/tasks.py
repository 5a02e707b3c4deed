"""One mesh of a run: its task, how it is rendered and written, and its outcome."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from raydepth.dataset.failure_log import Failure
from raydepth.dataset.settings import Settings
from raydepth.dataset.view_encoder import Clock, StageError, ViewRenderer
from raydepth.dataset.write_mesh import refuse_other_contents
from raydepth.errors import DeviceError, MeshError, one_line
from raydepth.mesh.mesh import Mesh
from raydepth.storage.base import MeshViews, MeshWriter, Store

# Default seconds that a mesh may take to load, and as many again to render.
TIMEOUT = 300.0


class Task(NamedTuple):
    """One mesh of a run: its name in the data set and its file."""

    name: str
    path: str


class Unit(NamedTuple):
    """Meshes that are written together; `number` is the index of the unit in the data set."""

    number: int
    tasks: tuple[Task, ...]
    weight: int  # the approximate work, in bytes of files


@dataclass(frozen=True)
class Outcome:
    """The outcome of one mesh.

    Attributes
    ----------
    failure : Failure or None
        None if it was rendered and written.
    unit_index : int
        The index of the unit that the mesh was written with.
    n_faces, n_hits : int
        The faces of the mesh, and the hits in all its views.
    n_views : int
        The number of views that were rendered.
    notes : tuple of str
        The changes that loading made to the file's contents.
    seconds : dict
        The seconds spent in each stage.
    """

    task: Task
    failure: Failure | None = None
    unit_index: int = 0
    n_faces: int = 0
    n_hits: int = 0
    n_views: int = 0
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


class TaskRenderer:
    """Renders the tasks of one run, one after the other.

    Parameters
    ----------
    settings : Settings
    out : Path
        The folder of the data set.
    keep_others : bool
        True to refuse a mesh if other depth maps are in its place; False to replace them.
    """

    def __init__(self, settings: Settings, out: Path, keep_others: bool) -> None:
        self._renderer = ViewRenderer(settings)
        self._out = out
        self._keep_others = keep_others

    def render(
        self,
        mesh: Mesh,
        task: Task,
        unit_number: int,
        *,
        load_seconds: float,
        timeout: float,
        threads: int,
        on_views: Callable[[int], object],
    ) -> tuple[Outcome, MeshViews | None]:
        """Render a mesh, and write it if it is a unit of its own.

        Returns
        -------
        Outcome
        MeshViews or None
            The encoded views of a mesh that is to be written with others; None if the mesh failed
            or is written already.

        Raises
        ------
        OSError
            For example, the disk is full. This is not the mesh's fault.
        DeviceError
            The device failed.
        """
        store = self._renderer.store
        clock = Clock()
        clock.seconds["load"] = load_seconds
        start = time.perf_counter()

        def progress(n_views: int) -> None:
            on_views(n_views)
            if time.perf_counter() - start > timeout:
                raise StageError("render", MeshError(rendering_takes_too_long(timeout)))

        description = self._renderer.describe(mesh)
        in_memory = None
        try:
            if self._keep_others:
                refuse_other_contents(self._out, task.name, description)
            with contextlib.ExitStack() as stack:
                writer: MeshWriter
                if store.meshes_per_unit > 1:
                    writer = in_memory = MeshViews(task.name, description)
                else:
                    stack.enter_context(_naming(store, self._out, task.name, unit_number))
                    begin = stack.enter_context(store.unit(self._out, index=unit_number))
                    writer = stack.enter_context(begin(task.name, description))
                self._renderer.write(
                    mesh, description, writer, clock=clock, threads=lambda: threads,
                    progress=progress,
                )  # fmt: skip
        except StageError as error:
            if isinstance(error.cause, DeviceError):
                raise error.cause from None
            return failed(task, error.stage, error.cause, dict(clock.seconds)), None
        except (ValueError, FileExistsError) as error:
            return failed(task, "write", error, dict(clock.seconds)), None
        entries = description["views"]
        outcome = Outcome(
            task,
            unit_index=unit_number,
            n_faces=len(mesh.faces),
            n_hits=sum(entry["hits"] for entry in entries),
            n_views=len(entries),
            notes=mesh.notes,
            seconds=dict(clock.seconds),
        )
        return outcome, in_memory


def write_unit(store: Store, out: Path, meshes: Sequence[MeshViews], number: int) -> None:
    """Write a unit with `Store.write`; name its place in an error that names no file."""
    with _naming(store, out, meshes[0].name, number):
        store.write(out, meshes, index=number)


@contextlib.contextmanager
def _naming(store: Store, out: Path, name: str, number: int) -> Iterator[None]:
    """Add the place of a unit to an OSError that names no file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(store.place(out, name, index=number))
        raise


def rendering_takes_too_long(timeout: float) -> str:
    """The reason why the rendering of a mesh was ended."""
    return f"rendering takes more than {timeout:g} s"


def failed(task: Task, stage: str, error: BaseException, seconds: dict[str, float]) -> Outcome:
    """The outcome of a mesh that could not be rendered."""
    reason = one_line(error)
    if not isinstance(error, (ValueError, OSError)):
        reason = f"{type(error).__name__}: {reason}"
    failure = Failure(task.path, stage, reason.removeprefix(f"{task.path}: "))
    return Outcome(task, failure, seconds=seconds)
