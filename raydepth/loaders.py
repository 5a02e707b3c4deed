"""Processes that load meshes: one that hangs, grows or crashes takes only its mesh with it."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

from raydepth.errors import MeshError
from raydepth.loader_process import (
    Answer,
    Request,
    read_exactly,
    read_message,
    write_message,
)
from raydepth.mesh import Mesh

PIPE_BYTES = 1 << 20  # the most that Linux gives without asking


class LoaderStopped(Exception):
    """`Loader.stop` was called while it was loading."""


class Loader:
    """One loading process; started when it is first needed, and again when it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._timed_out = False

    def load(
        self,
        path: str,
        *,
        folder: str,
        normalize: str,
        timeout: float,
        memory: int,
        uv: bool = False,
    ) -> Mesh:
        """Load a mesh as `load_mesh` does, in the process.

        Parameters
        ----------
        path : str
            Relative to `folder`.
        timeout : float
            Seconds after which the process is killed.
        memory : int
            Bytes that loading may take besides what the process has already, on Linux.
        uv : bool
            Whether to read texture coordinates, too.

        Raises
        ------
        MeshError
            One line with the path and the reason: what `load_mesh` says, more time or memory than
            allowed, or a crash, twice.
        LoaderStopped
            `stop` was called.
        """
        request = Request(path, folder, normalize, memory, uv)
        # A first crash may have come from outside (someone's kill -9, the system's out-of-memory
        # killer because of others), or between two meshes.
        for attempt in range(2):
            try:
                answer, arrays = self._ask(request, timeout)
            except (EOFError, BrokenPipeError):
                how = self._lost()
                if self._closed:
                    raise LoaderStopped from None
                if self._timed_out:
                    raise MeshError(f"{path}: loading takes more than {timeout:g} s") from None
                if attempt:
                    raise MeshError(f"{path}: crashes the process that loads it ({how})") from None
            else:
                break
        if answer.out_of_memory:
            raise MeshError(f"{path}: loading takes more than {memory / 2**30:.3g} GiB of memory")
        if answer.mesh is None:
            raise MeshError(answer.reason)
        return pickle.loads(
            answer.mesh, buffers=[memoryview(array).toreadonly() for array in arrays]
        )

    def stop(self) -> None:
        """Kill the process while another thread waits for it."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Kill the process and clear it away."""
        self.stop()
        self._lost()

    def _ask(self, request: Request, timeout: float) -> tuple[Answer, list[bytearray]]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        self._timed_out = False
        timer = threading.Timer(timeout, self._give_up, [process])
        timer.daemon = True
        timer.start()
        try:
            write_message(process.stdin, pickle.dumps(tuple(request)))
            process.stdin.flush()
            answer = Answer(*pickle.loads(read_message(process.stdout)))
            arrays = [read_exactly(process.stdout, size) for size in answer.array_sizes]
        finally:
            timer.cancel()
        return answer, arrays

    def _give_up(self, process: subprocess.Popen[bytes]) -> None:
        self._timed_out = True
        process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        """The process, waiting for requests."""
        if self._process is None:
            self._process = _spawn()
            if self._closed:
                self._process.kill()
            assert self._process.stdout is not None
            read_message(self._process.stdout)  # "ready": importing is not part of anyone's time
        return self._process

    def _lost(self) -> str:
        """Clear away what is left of the process; says how it ended."""
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


# Starting a process takes as long as loading many meshes, so idle ones are kept for the next run.
_idle: list[Loader] = []
_idle_lock = threading.Lock()


@contextlib.contextmanager
def borrowed_loader() -> Iterator[Loader]:
    """A loader for the block; at its end the process stays for the next block."""
    with _idle_lock:
        loader = _idle.pop() if _idle else Loader()
    try:
        yield loader
    except BaseException:
        # Whoever knows in what state the process is now.
        loader.close()
        raise
    with _idle_lock:
        _idle.append(loader)


@atexit.register
def close_idle_loaders() -> None:
    """End the processes that wait for work."""
    with _idle_lock:
        while _idle:
            _idle.pop().close()


# Two processes cannot share a pipe.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


def _spawn() -> subprocess.Popen[bytes]:
    folder = os.getcwd()
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or folder for path in sys.path)
    return subprocess.Popen(
        # -P: what lies in the working directory is not to be imported.
        [sys.executable, "-P", "-m", "raydepth.loader_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the process that the user sees
        pipesize=PIPE_BYTES,
    )
