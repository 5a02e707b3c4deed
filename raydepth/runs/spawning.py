"""Start worker processes, also before a run needs them.

On Linux, `python -m raydepth` forks them from itself, so that everything is imported and loaded
already. On other systems, and in a user's program, which may have threads, each is a new Python
process. One that is started early gets ready while the caller does something else.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, NoReturn, Protocol

from raydepth.system.pipes import PIPE_BYTES, widened


class Process(Protocol):
    """The part of `subprocess.Popen` that is used here."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None:
        """End the process, unless it has ended."""

    def wait(self) -> int:
        """Wait for the end; return the exit code, or minus the number of a signal."""


# Processes that are started, and not used yet.
_early: list[Process] = []
_early_lock = threading.Lock()

_is_raydepths = False


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run `main` as all that this process does, and end the process with the code it returns."""
    code = main()
    # What was registered ends as ever: workers, a Ray cluster. Python would then spend a quarter of
    # a second on tearing down Numba's modules. Skip that, as mypy does.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_raydepths_own() -> None:
    """Declare that this process runs nothing but `python -m raydepth`."""
    global _is_raydepths
    _is_raydepths = True


def can_fork() -> bool:
    """True if a fork of this process is as good a worker as a new process."""
    return _is_raydepths and sys.platform == "linux" and threading.active_count() == 1


def start_early(n_processes: int) -> None:
    """Let so many processes get ready before a run needs them, unless they can be forks."""
    if can_fork():
        return
    with _early_lock:
        while len(_early) < n_processes:
            _early.append(_spawn())


def fork_early(n_processes: int, program: Callable[[], object]) -> None:
    """Fork processes that run `program`, for the run that begins now; `can_fork` must be true."""
    with _early_lock:
        for _ in range(n_processes - len(_early)):
            _early.append(_Fork(program))


def spawned() -> Process:
    """Return a process with pipes to its input and output; it will say when it is ready."""
    with _early_lock:
        if _early:
            return _early.pop()
    return _spawn()


@atexit.register
def end_early() -> None:
    """End the processes that were started early and not used."""
    with _early_lock:
        while _early:
            process = _early.pop()
            process.kill()
            process.wait()


def _spawn() -> Process:
    folder = os.getcwd()
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or folder for path in sys.path)
    # NumPy's linear algebra is only used for 4x4 matrices here, and its threads wait by spinning.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    return subprocess.Popen(
        # -P: nothing in the working directory is to be imported.
        [sys.executable, "-P", "-m", "raydepth.runs.worker_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the process that the user sees
        pipesize=PIPE_BYTES,
    )


class _Fork:
    """A fork of this process that runs `program` and ends."""

    def __init__(self, program: Callable[[], object]) -> None:
        requests, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _leave_parent(requests[0], answers[1])
                program()
            finally:
                os._exit(1)
        os.close(requests[0])
        os.close(answers[1])
        self.stdin: IO[bytes] | None = os.fdopen(widened(requests[1]), "wb")
        self.stdout: IO[bytes] | None = os.fdopen(widened(answers[0]), "rb")
        self._code: int | None = None
        self._lock = threading.Lock()

    def kill(self) -> None:
        # Until the process was waited for, no other process can have its number.
        with self._lock:
            if self._code is None:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self._code is None:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            if self._code is None:
                self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self._code


def _leave_parent(requests: int, answers: int) -> None:
    """Close all files of the parent except the pipes; keep only its memory."""
    os.setsid()  # Ctrl-C is for the process that the user sees
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number, file in enumerate((requests, answers, nothing)):
        os.dup2(file, number)
    for file in map(int, os.listdir("/proc/self/fd")):
        if file > 2:
            with contextlib.suppress(OSError):  # the file through which the folder was listed
                os.close(file)
    _early.clear()
