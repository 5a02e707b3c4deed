"""Cut a batch of meshes and views into chunks that fit the device's memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

# Most rows of one launch's job table: the device's limit on blocks in y.
MAX_JOBS = 65535


class Request(NamedTuple):
    """The memory that one mesh and its views need.

    Attributes
    ----------
    mesh_bytes : bytes of the mesh in the chunk's buffer; 0 if it is on the device already
    n_views : int
    view_bytes : bytes of all outputs of one view
    size : (width, height); a chunk has views of one size
    payload : any object that belongs to the request
    """

    mesh_bytes: int
    n_views: int
    view_bytes: int
    size: tuple[int, int]
    payload: Any


class Piece(NamedTuple):
    """The views from `first` to `last` (exclusive) of a request."""

    request: Request
    first: int
    last: int


def chunks(
    requests: Iterable[Request],
    mesh_budget: int,
    output_budget: int,
    max_jobs: int = MAX_JOBS,
) -> Iterator[list[Piece]]:
    """Yield chunks: pieces in order, gathered until a budget is full. Requests are read as needed.

    A budget is exceeded only if one mesh, or one view, exceeds it by itself.
    """
    chunk: list[Piece] = []
    mesh_bytes = output_bytes = n_jobs = 0
    for request in requests:
        first = 0
        while first < request.n_views:
            fits = min(
                (output_budget - output_bytes) // max(request.view_bytes, 1), max_jobs - n_jobs
            )
            too_much = mesh_bytes + request.mesh_bytes > mesh_budget
            if chunk and (fits < 1 or too_much or request.size != chunk[0].request.size):
                yield chunk
                chunk, mesh_bytes, output_bytes, n_jobs = [], 0, 0, 0
                continue
            n_views = min(max(fits, 1), request.n_views - first)
            chunk.append(Piece(request, first, first + n_views))
            mesh_bytes += request.mesh_bytes
            output_bytes += n_views * request.view_bytes
            n_jobs += n_views
            first += n_views
    if chunk:
        yield chunk
