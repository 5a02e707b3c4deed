"""The program of a loading process: mesh files in, checked meshes out, over its two pipes.

A request is a pickled `Request`; an answer is a pickled `Answer` and, for a mesh, its arrays as
raw bytes. Each pickle and each array has its length in front. See loaders.py for the other end.
"""

from __future__ import annotations

import os
import pickle
import struct
from typing import IO, NamedTuple

from raydepth.loading import load_mesh

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LENGTH = struct.Struct("<Q")


class Request(NamedTuple):
    """What to load, from where, in how much memory."""

    path: str
    folder: str
    normalize: str
    memory: int
    uv: bool


class Answer(NamedTuple):
    """A pickled mesh whose arrays follow, or what is wrong with its file."""

    mesh: bytes | None
    array_sizes: tuple[int, ...]
    reason: str | None
    out_of_memory: bool


def write_message(pipe: IO[bytes], content: bytes | memoryview) -> None:
    """Write bytes with their length in front."""
    pipe.write(LENGTH.pack(len(content)))
    pipe.write(content)


def read_message(pipe: IO[bytes]) -> bytearray:
    """Read what `write_message` wrote; EOFError when the other end is gone."""
    (length,) = LENGTH.unpack(read_exactly(pipe, LENGTH.size))
    return read_exactly(pipe, length)


def read_exactly(pipe: IO[bytes], length: int) -> bytearray:
    """Read so many bytes; EOFError when the other end is gone before."""
    content = bytearray(length)
    view, filled = memoryview(content), 0
    while filled < length:
        n_bytes = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not n_bytes:
            raise EOFError
        filled += n_bytes
    return content


def answer(request: Request) -> tuple[Answer, list[memoryview]]:
    """Load one mesh; whatever is wrong with it becomes the answer's reason."""
    try:
        os.chdir(request.folder)
        _limit_memory(request.memory)
        mesh = load_mesh(request.path, normalize=request.normalize, uv=request.uv)
        mesh.sha256  # noqa: B018  kept by the mesh, so that nobody else needs to compute it
        arrays: list[pickle.PickleBuffer] = []
        content = pickle.dumps(mesh, protocol=5, buffer_callback=arrays.append)
    except MemoryError:
        return Answer(None, (), "", True), []
    except (ValueError, OSError) as error:
        return Answer(None, (), str(error), False), []
    except Exception as error:  # a fault of raydepth's; the other meshes are not to suffer from it
        return Answer(None, (), f"{type(error).__name__}: {error}", False), []
    views = [array.raw() for array in arrays]
    return Answer(content, tuple(view.nbytes for view in views), None, False), views


def _limit_memory(n_bytes: int) -> None:
    """Let allocations fail (MemoryError) beyond so many bytes from now on, where that is possible.

    It is the address space that is limited: what was reserved and never touched counts too.
    """
    if resource is None or not os.path.exists("/proc/self/statm"):
        return
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = in_use + n_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def main() -> None:
    """Answer requests from standard input until it ends."""
    # Whatever a library prints must not get into the answers.
    with (
        os.fdopen(os.dup(0), "rb") as requests,
        os.fdopen(os.dup(1), "wb", buffering=1 << 16) as answers,
    ):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        write_message(answers, b"ready")
        answers.flush()
        while True:
            try:
                request = Request(*pickle.loads(read_message(requests)))
            except EOFError:
                return
            reply, arrays = answer(request)
            try:
                write_message(answers, pickle.dumps(tuple(reply), protocol=5))
                for array in arrays:
                    answers.write(array)
                answers.flush()
            except BrokenPipeError:
                return
            del reply, arrays


if __name__ == "__main__":
    main()
