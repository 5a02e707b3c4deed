"""The program of a worker process, which loads, renders and writes meshes one after the other.

It reads requests from its standard input, and sends answers over its original standard output (see
protocol.py). worker_client.py is the other end. The process ends at once when that end is gone.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from raydepth.dataset.compilation import compile_kernels
from raydepth.mesh.load import load_mesh
from raydepth.mesh.mesh import Mesh
from raydepth.runs import protocol
from raydepth.runs.tasks import TaskRenderer
from raydepth.simd.jit import announce_compilation
from raydepth.system.notices import heard_by

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Least seconds between two messages on the progress of a rendering.
PACE = 0.1


class _Worker:
    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self._todo: SimpleQueue[Any] = SimpleQueue()
        self._folder = "."
        self._normalize = "none"
        self._uv = False
        self._renderer: TaskRenderer | None = None
        self._lock = threading.Lock()

    def work(self) -> None:
        """Do what is requested until asked to stop."""
        with heard_by(self._tell):
            self._work()

    def _work(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        self._say(protocol.Ready())
        while True:
            request = self._todo.get()
            if isinstance(request, protocol.Stop):
                return
            if isinstance(request, protocol.Compile):
                self._compile(request)
            elif isinstance(request, protocol.Setup):
                self._folder = request.folder
                self._normalize = request.settings.normalize
                self._uv = "uv" in request.settings.outputs
                self._renderer = TaskRenderer(
                    request.settings, Path(request.out), request.keep_others
                )
            elif isinstance(request, protocol.Load):
                answer = _load(*request)
                self._say(protocol.Loaded(answer) if isinstance(answer, Mesh) else answer)
            else:
                self._render(request)

    def _listen(self) -> None:
        """Pass requests on; end the process at once when the other end is gone."""
        while True:
            try:
                request = protocol.receive(self._requests)
            except EOFError:
                os._exit(0)
            self._todo.put(request)
            if isinstance(request, protocol.Stop):
                # The main thread then removes files that are half written.
                _thread.interrupt_main()

    def _say(self, message: Any) -> None:
        with self._lock:
            protocol.send(self._answers, message)

    def _tell(self, line: str) -> None:
        """Send a line for the user, from any thread."""
        self._say(protocol.Said(line))

    def _compile(self, request: protocol.Compile) -> None:
        try:
            with announce_compilation(self._tell):
                compile_kernels(request.device, request.outputs, affine=request.affine)
        except Exception as error:
            self._say(protocol.Broken(_picklable(error)))
        else:
            self._say(protocol.Compiled())

    def _render(self, request: protocol.Render) -> None:
        assert self._renderer is not None
        start = time.perf_counter()
        mesh = _load(request.task.path, self._folder, self._normalize, request.memory, uv=self._uv)
        if isinstance(mesh, protocol.Refused):
            self._say(mesh)
            return
        seconds = time.perf_counter() - start
        self._say(protocol.Weighed(len(mesh.vertices), len(mesh.faces), seconds))
        go = self._todo.get()
        if isinstance(go, protocol.Stop):
            raise KeyboardInterrupt
        said, n_views = time.monotonic(), 0

        def progress(n_more: int) -> None:
            nonlocal said, n_views
            n_views += n_more
            # Each message needs a processor at the other end, which interrupts a worker there.
            if time.monotonic() > said + PACE:
                self._say(protocol.Progress(n_views))
                said, n_views = time.monotonic(), 0

        try:
            outcome, views = self._renderer.render(
                mesh,
                request.task,
                request.unit_number,
                load_seconds=seconds,
                timeout=go.timeout,
                threads=go.threads,
                on_views=progress,
            )
        except Exception as error:
            self._say(protocol.Broken(_picklable(error)))
        else:
            self._say(protocol.Rendered(outcome, views, n_views))


def _load(
    path: str, folder: str, normalize: str, memory: int, *, uv: bool = False
) -> Mesh | protocol.Refused:
    """Load one mesh, or return the reason why it cannot be loaded."""
    start = time.perf_counter()
    try:
        os.chdir(folder)
        with _limited_memory(memory):
            mesh = load_mesh(path, normalize=normalize, uv=uv)
            mesh.sha256  # noqa: B018  the mesh keeps it, so that it is computed once
    except MemoryError:
        return protocol.Refused("", True, time.perf_counter() - start)
    except (ValueError, OSError) as error:
        return protocol.Refused(str(error), False, time.perf_counter() - start)
    except Exception as error:  # a bug in raydepth, which must not affect the other meshes
        reason = f"{path}: {type(error).__name__}: {error}"
        return protocol.Refused(reason, False, time.perf_counter() - start)
    return mesh


@contextlib.contextmanager
def _limited_memory(n_bytes: int) -> Iterator[None]:
    """Let allocations fail (MemoryError) beyond `n_bytes` more than now, where that is possible.

    The limit is on the address space: memory that was reserved and never touched counts, too.
    """
    if resource is None or not os.path.exists("/proc/self/statm"):
        yield
        return
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = in_use + n_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def _picklable(error: Exception) -> Exception:
    """Return the error itself, or a RuntimeError with its text if it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def main() -> None:
    """Work for the process at the other ends of standard input and output."""
    # All objects made so far stay, so the garbage collector need not search them again and again.
    gc.freeze()
    # Text that a library prints must not get into the answers.
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _Worker(requests, answers).work()
    os._exit(0)


if __name__ == "__main__":
    main()
