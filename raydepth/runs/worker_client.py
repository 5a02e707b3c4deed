"""Processes that load and render meshes. If one hangs, grows or crashes, only its mesh fails."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from raydepth.errors import MeshError
from raydepth.mesh.mesh import Mesh
from raydepth.runs import protocol, spawning
from raydepth.runs.deadlines import watch
from raydepth.runs.tasks import Outcome, Task, failed, rendering_takes_too_long
from raydepth.storage.base import MeshViews

# A worker itself ends a rendering that takes too long, between two steps. A worker that hangs is
# killed after this many times the timeout.
PATIENCE = 2.0
# Seconds that a worker has to remove files that are half written.
FAREWELL = 5.0
FOREVER = threading.TIMEOUT_MAX


class WorkerStopped(Exception):
    """`Worker.stop` was called while the worker was working."""


class _Lost(Exception):
    """The process ended; `how` is the reason, `timed_out` is True if this end killed it."""

    def __init__(self, how: str, timed_out: bool) -> None:
        super().__init__(how)
        self.how, self.timed_out = how, timed_out


class Worker:
    """One process, started when first needed and again after it was lost; used by one thread."""

    def __init__(self) -> None:
        self._process: spawning.Process | None = None
        self._ready = False
        self._compiled_for: protocol.Compile | None = None
        self._setup: protocol.Setup | None = None
        self._closed = False

    def load(self, path: str, *, folder: str, normalize: str, timeout: float, memory: int) -> Mesh:
        """Load a mesh in the process, as `load_mesh` does.

        Parameters
        ----------
        path : str
            Relative to `folder`.
        timeout : float
            Seconds after which the process is killed.
        memory : int
            Bytes that loading may take in addition to what the process has already, on Linux.

        Raises
        ------
        MeshError
            One line with the path and the reason: the message of `load_mesh`, more time or memory
            than allowed, or two crashes.
        WorkerStopped
            `stop` was called.
        """
        request = protocol.Load(path, folder, normalize, memory)

        def attempt() -> Mesh | protocol.Refused:
            answer = self._ask(request, timeout)
            return answer.mesh if isinstance(answer, protocol.Loaded) else answer

        try:
            answer = self._twice(attempt)
        except _Lost as lost:
            raise MeshError(f"{path}: {_why_not_loaded(lost, timeout)}") from None
        if isinstance(answer, protocol.Refused):
            raise MeshError(_why_refused(answer, path, memory))
        return answer

    def compile(self, request: protocol.Compile, on_word: Callable[[str], object]) -> None:
        """Compile what a data set needs, or load it from the disk cache.

        Parameters
        ----------
        on_word : callable
            Called with a line for the user when compiling takes time, and when it is done.

        Raises
        ------
        DeviceError
            The device cannot be used.
        WorkerStopped
            `stop` was called.
        """

        def attempt() -> Any:
            self.start()
            if self._compiled_for == request:
                return protocol.Compiled()
            answer = self._ask(request, FOREVER, on_word=on_word)
            if isinstance(answer, protocol.Broken):
                raise answer.error
            self._compiled_for = request
            return answer

        try:
            self._twice(attempt)
        except _Lost as lost:
            raise RuntimeError(f"the process that compiles kernels crashed ({lost.how})") from None

    def render(
        self,
        setup: protocol.Setup,
        task: Task,
        unit_number: int,
        *,
        timeout: float,
        memory: int,
        admitted: Callable[[int, int], contextlib.AbstractContextManager[int]],
        on_views: Callable[[int], object],
        on_word: Callable[[str], object] = lambda line: None,
    ) -> tuple[Outcome, MeshViews | None]:
        """Load, render and, if it is a unit of its own, write a mesh.

        Parameters
        ----------
        timeout : float
            Seconds for loading, and as many again for rendering.
        memory : int
            As for `load`.
        admitted : callable
            Called with the numbers of vertices and faces. Returns a context manager that waits
            until there is room for such a mesh, and gives the number of threads to render with.
        on_word : callable
            Called with a line for the user when kernels are compiled.

        Returns
        -------
        Outcome, MeshViews or None
            As `TaskRenderer.render`. Errors in loading, and crashes, are outcomes, too.

        Raises
        ------
        WorkerStopped
            `stop` was called.
        OSError, DeviceError
            As `TaskRenderer.render`.
        """
        stage = "load"
        request = protocol.Render(task, unit_number, memory)

        def attempt() -> tuple[Outcome, MeshViews | None]:
            nonlocal stage
            stage = "load"
            self._prepare(setup)
            answer = self._ask(request, timeout)
            if isinstance(answer, protocol.Refused):
                error = MeshError(_why_refused(answer, task.path, memory))
                return failed(task, "load", error, {"load": answer.seconds}), None
            stage = "render"
            with admitted(answer.n_vertices, answer.n_faces) as threads:
                go = protocol.Go(threads, timeout)
                answer = self._ask(go, PATIENCE * timeout, on_views, on_word)
            if isinstance(answer, protocol.Broken):
                raise answer.error
            on_views(answer.n_views)
            return answer.outcome, answer.views

        try:
            return self._twice(attempt)
        except _Lost as lost:
            if stage == "load":
                reason = _why_not_loaded(lost, timeout)
            elif lost.timed_out:
                reason = rendering_takes_too_long(timeout)
            else:
                reason = f"crashes the process that renders it ({lost.how})"
            return failed(task, stage, MeshError(reason), {}), None

    def start(self) -> None:
        """Start the process if there is none, without waiting for it."""
        if self._process is None:
            self._ready, self._compiled_for, self._setup = False, None, None
            self._process = spawning.spawned()
            if self._closed:
                self._process.kill()

    def stop(self) -> None:
        """Ask the process to end while another thread waits for it; kill it after FAREWELL."""
        self._closed = True
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):
            protocol.send(process.stdin, protocol.Stop())
        killer = threading.Timer(FAREWELL, process.kill)
        killer.daemon = True
        killer.start()

    def close(self) -> None:
        """End the process, and close its pipes."""
        self.stop()
        if self._process is not None:
            self._process.wait()
        self._clear()

    def _twice(self, attempt: Callable[[], Any]) -> Any:
        """Try again once if the process is lost.

        A first crash may have come from outside (a user's kill -9, or the system's out-of-memory
        killer because of other processes), or between two meshes.
        """
        try:
            return attempt()
        except _Lost as lost:
            if lost.timed_out:
                raise
        return attempt()

    def _prepare(self, setup: protocol.Setup) -> None:
        """Send the settings that all renderings share, unless the process has them."""
        self.start()
        if self._setup is not setup:
            self._say(setup)
            self._setup = setup

    def _ask(
        self,
        request: Any,
        timeout: float,
        on_views: Callable[[int], object] = lambda n_views: None,
        on_word: Callable[[str], object] = lambda line: None,
    ) -> Any:
        """Send a request, and return the final answer of the process."""
        self.start()
        process = self._process
        assert process is not None
        if not self._ready:
            self._hear()
            self._ready = True
        timed_out = False

        def give_up() -> None:
            nonlocal timed_out
            timed_out = True
            process.kill()

        try:
            with watch.within(timeout, give_up):
                self._say(request)
                while isinstance(answer := self._hear(), (protocol.Progress, protocol.Said)):
                    if isinstance(answer, protocol.Progress):
                        on_views(answer.n_views)
                    else:
                        on_word(answer.line)
                return answer
        except _Lost as lost:
            lost.timed_out = timed_out
            raise

    def _say(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            protocol.send(self._process.stdin, message)
        except BrokenPipeError:
            raise self._lost() from None

    def _hear(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            return protocol.receive(self._process.stdout)
        except EOFError:
            raise self._lost() from None

    def _lost(self) -> _Lost | WorkerStopped:
        how = self._clear()
        return WorkerStopped() if self._closed else _Lost(how, timed_out=False)

    def _clear(self) -> str:
        """Kill the process if it still runs, close its pipes, and return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "it did not start"
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


def _why_not_loaded(lost: _Lost, timeout: float) -> str:
    if lost.timed_out:
        return f"loading takes more than {timeout:g} s"
    return f"crashes the process that loads it ({lost.how})"


def _why_refused(answer: protocol.Refused, path: str, memory: int) -> str:
    if answer.out_of_memory:
        return f"{path}: loading takes more than {memory / 2**30:.3g} GiB of memory"
    return answer.reason


# Starting a process takes as long as rendering many meshes, so idle ones are kept for the next run.
_idle: list[Worker] = []
_idle_lock = threading.Lock()


@contextlib.contextmanager
def borrowed_worker() -> Iterator[Worker]:
    """Lend a worker to the block; afterwards its process is kept for the next block."""
    with _idle_lock:
        worker = _idle.pop() if _idle else Worker()
    try:
        yield worker
    except BaseException:
        # The process may be in any state; do not reuse it.
        worker.close()
        raise
    with _idle_lock:
        _idle.append(worker)


@atexit.register
def close_idle_workers() -> None:
    """End the processes that wait for work."""
    spawning.end_early()
    with _idle_lock:
        while _idle:
            _idle.pop().close()


# Two processes cannot share a pipe.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
