"""The meshes that failed: OUT/failures.jsonl, one line per mesh in the order of the data set.

A run, or a shard of one, appends to a file of its own in OUT/.raydepth while it works, so that
nothing is lost if it is killed. At its end it merges that file into failures.jsonl and removes it.
When all have ended, failures.jsonl is the same, however often the work was killed and however it
was split. A line holds neither a time nor a machine.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from raydepth.dataset.shards import Shard
from raydepth.system.atomic_files import remove_leftovers, whole_file
from raydepth.system.file_locks import is_idle, lock, waiting_lock

FAILURES_FILE = "failures.jsonl"
RUNNING = ".raydepth"


@dataclass(frozen=True)
class Failure:
    """A mesh that could not be rendered.

    Attributes
    ----------
    path : str
        The path of the mesh, as it was given.
    stage : str
        The stage that failed: load, build, render, encode or write.
    reason : str
        One line.
    """

    path: str
    stage: str
    reason: str

    def to_line(self) -> str:
        """The line of failures.jsonl, with its newline."""
        return json.dumps(asdict(self)) + "\n"


def read_failures(path: Path) -> list[Failure]:
    """Read the failures in a file; none if there is no such file.

    A last line without a newline was begun by a process that was killed; it is ignored.

    Raises
    ------
    ValueError
        A line is not as `Failure.to_line` makes it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            found.append(Failure(**json.loads(line)))
        except (ValueError, TypeError):
            raise ValueError(f"{path}, line {number}: expected path, stage and reason") from None
    return found


class FailureLog:
    """The failures of a data set, for one run or one shard of it. Made by `open_failure_log`.

    Attributes
    ----------
    known : dict from path to Failure
        The failures that were recorded before, by any shard.
    """

    def __init__(self, out: Path, part: Path, file: BinaryIO, after_a_kill: bool) -> None:
        self._out = out
        self._part = part
        self._file = file
        self._after_a_kill = after_a_kill
        self.known = {failure.path: failure for failure in _recorded(out)}

    def add(self, failures: Iterable[Failure]) -> None:
        """Record failures in a file, so that they outlive this process."""
        text = "".join(failure.to_line() for failure in failures)
        if text:
            self._file.write(text.encode())

    def forget(self) -> None:
        """Remove all failures recorded so far."""
        with waiting_lock(self._out):
            (self._out / FAILURES_FILE).unlink(missing_ok=True)
            for part in _parts(self._out):
                if part != self._part and is_idle(part):
                    part.unlink()
        self._file.truncate(0)
        self.known.clear()

    def finish(self, order: Iterable[str], is_done: Callable[[str], bool]) -> None:
        """Merge the recorded failures into failures.jsonl.

        Parameters
        ----------
        order : iterable of str
            All paths of the data set, in the order of the lines.
        is_done : callable
            Tells whether the mesh of a path is there after all; its old failure is then removed.

        Raises
        ------
        OSError
            For example, the disk is full. Nothing is lost.
        """
        with waiting_lock(self._out):
            # The files of killed processes are merged together with this one's.
            parts = [part for part in _parts(self._out) if part == self._part or is_idle(part)]
            if self._after_a_kill and parts == _parts(self._out):
                remove_leftovers(self._out)
            failures = {failure.path: failure for failure in _recorded(self._out, parts)}
            remaining = [failures[path] for path in order if path in failures and not is_done(path)]
            _write_failures(self._out, remaining)
            for part in parts:
                part.unlink()
            with contextlib.suppress(OSError):
                self._part.parent.rmdir()


@contextlib.contextmanager
def open_failure_log(out: Path, shard: Shard) -> Iterator[FailureLog]:
    """Open the log of a run or a shard; no other process writes it during the block.

    Raises
    ------
    FileExistsError
        Another process renders the same shard, or a run that is split in another way.
    OSError
        The folder cannot be written.
    """
    part = out / RUNNING / f"failures-{shard.index}-of-{shard.count}.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with waiting_lock(out):
            part.parent.mkdir(exist_ok=True)
            for other in _parts(out):
                if not other.name.endswith(f"-of-{shard.count}.jsonl") and not is_idle(other):
                    raise FileExistsError(
                        f"{out} is being rendered by another process, which splits the work "
                        f"differently ({other.name})"
                    )
            # A run removes its file when it ends, so a file without a process is of a killed run.
            after_a_kill = any(is_idle(other) for other in _parts(out))
            # Unbuffered, so that the system has each line at once.
            file = stack.enter_context(open(part, "ab", buffering=0))
            if not lock(file.fileno()):
                which = f"shard {shard} of " if shard.count > 1 else ""
                raise FileExistsError(f"{which}{out} is being rendered by another process")
        _drop_torn_line(part)
        try:
            yield FailureLog(out, part, file, after_a_kill)
        finally:
            _remove_if_empty(part)


def _remove_if_empty(part: Path) -> None:
    """Remove the file of a run that was refused or had nothing to record."""
    with contextlib.suppress(OSError), waiting_lock(part.parent.parent):
        if part.stat().st_size == 0:
            part.unlink()
        part.parent.rmdir()


def _parts(out: Path) -> list[Path]:
    """The files of runs that are in progress or were killed."""
    return sorted((out / RUNNING).glob("failures-*.jsonl"))


def _recorded(out: Path, parts: Iterable[Path] | None = None) -> Iterator[Failure]:
    """Yield all failures; those recorded later come later."""
    # Read the parts first: a part is removed only after failures.jsonl holds its lines.
    files = _parts(out) if parts is None else parts
    in_parts = [failure for file in files for failure in read_failures(file)]
    yield from read_failures(out / FAILURES_FILE)
    yield from in_parts


def _write_failures(out: Path, failures: list[Failure]) -> None:
    if not failures:
        (out / FAILURES_FILE).unlink(missing_ok=True)
        return
    with whole_file(out / FAILURES_FILE) as temporary:
        temporary.write_text("".join(failure.to_line() for failure in failures), encoding="utf-8")


def _drop_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
