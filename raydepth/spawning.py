"""Start worker processes, also before anything else of raydepth is imported."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading

PIPE_BYTES = 1 << 20  # the most that Linux gives without asking

# Started, and not asked for yet.
_early: list[subprocess.Popen[bytes]] = []
_early_lock = threading.Lock()


def spawn_early() -> None:
    """Start a process before a run needs it, so that it gets ready meanwhile."""
    with _early_lock:
        _early.append(_spawn())


def spawned() -> subprocess.Popen[bytes]:
    """A process, with pipes to its standard input and output, that will say when it is ready."""
    with _early_lock:
        if _early:
            return _early.pop()
    return _spawn()


@atexit.register
def _end() -> None:
    """End what nobody asked for."""
    with _early_lock:
        for process in _early:
            process.kill()
            process.wait()


def _spawn() -> subprocess.Popen[bytes]:
    folder = os.getcwd()
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or folder for path in sys.path)
    # NumPy's linear algebra is only asked for 4x4 matrices here, and its threads wait by spinning.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    return subprocess.Popen(
        # -P: what lies in the working directory is not to be imported.
        [sys.executable, "-P", "-m", "raydepth.worker_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the process that the user sees
        pipesize=PIPE_BYTES,
    )
