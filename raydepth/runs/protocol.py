"""The messages between a run and its worker processes: pickles, each after its length.

To a worker                    From the worker
                                   Ready(), once, when it is ready
    Compile(...)                   Said(...), if it takes time; then Compiled() or Broken(...)
    Setup(...)                     nothing
    Load(...)                      Loaded(...) or Refused(...)
    Render(...)                    Weighed(...) or Refused(...)
        Go(...)                        Progress(...), now and then
                                       Rendered(...) or Broken(...)
    Stop()                         nothing; the process ends as soon as it can
"""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any, NamedTuple

from raydepth.dataset.settings import Settings
from raydepth.mesh.mesh import Mesh
from raydepth.runs.tasks import Outcome, Task
from raydepth.storage.base import MeshViews

LENGTH = struct.Struct("<Q")


class Ready(NamedTuple):
    """Everything is imported; time limits from now on measure the mesh alone."""


class Compile(NamedTuple):
    """Compile all that rendering needs, or load it from the disk cache."""

    device: str
    outputs: tuple[str, ...]
    affine: bool

    @classmethod
    def of(cls, settings: Settings) -> Compile:
        """Make the request for the data set of these settings."""
        outputs = (settings.kind, *settings.outputs)
        return cls(settings.device, outputs, settings.cameras.is_affine)


class Said(NamedTuple):
    """A line for the user."""

    line: str


class Compiled(NamedTuple):
    """All that rendering needs is compiled."""


class Setup(NamedTuple):
    """The settings that all renderings of a run share."""

    settings: Settings
    out: str
    folder: str  # that all paths are relative to
    keep_others: bool


class Load(NamedTuple):
    """Load a mesh and send it back."""

    path: str
    folder: str
    normalize: str
    memory: int  # bytes


class Loaded(NamedTuple):
    """The mesh that was loaded."""

    mesh: Mesh


class Refused(NamedTuple):
    """The reason why a mesh could not be loaded."""

    reason: str
    out_of_memory: bool
    seconds: float


class Render(NamedTuple):
    """Load a mesh and say how large it is; then wait for `Go`."""

    task: Task
    unit_number: int
    memory: int  # bytes


class Weighed(NamedTuple):
    """The size of the mesh."""

    n_vertices: int
    n_faces: int
    seconds: float


class Go(NamedTuple):
    """Render the mesh, and write it if it is a unit of its own."""

    threads: int
    timeout: float


class Progress(NamedTuple):
    """The number of views finished since the last message."""

    n_views: int


class Rendered(NamedTuple):
    """The outcome of a mesh, and its views if the unit is not written yet."""

    outcome: Outcome
    views: MeshViews | None
    n_views: int  # finished since the last message


class Broken(NamedTuple):
    """An error after which the run cannot go on."""

    error: BaseException


class Stop(NamedTuple):
    """End the process; its results are not needed any more."""


def send(pipe: IO[bytes], message: Any) -> None:
    """Write a message, and after it its arrays, without copying them."""
    arrays: list[pickle.PickleBuffer] = []
    content = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    raw = [array.raw() for array in arrays]
    sizes = pickle.dumps([view.nbytes for view in raw])
    for part in (sizes, content):
        pipe.write(LENGTH.pack(len(part)))
        pipe.write(part)
    for view in raw:
        pipe.write(view)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read a message of `send`; EOFError if the other end is gone. Arrays are read-only."""
    sizes = pickle.loads(_read_part(pipe))
    content = _read_part(pipe)
    arrays = [memoryview(_read(pipe, size)).toreadonly() for size in sizes]
    return pickle.loads(content, buffers=arrays)


def _read_part(pipe: IO[bytes]) -> bytearray:
    (length,) = LENGTH.unpack(_read(pipe, LENGTH.size))
    return _read(pipe, length)


def _read(pipe: IO[bytes], length: int) -> bytearray:
    content = bytearray(length)
    view, filled = memoryview(content), 0
    while filled < length:
        n_bytes = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not n_bytes:
            raise EOFError
        filled += n_bytes
    return content
