"""Render many meshes, each with its own views, in one call."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.codecs.uint16 import checked_scale, encode_uint16
from raydepth.cuda import api
from raydepth.cuda.batch import Views
from raydepth.cuda.resident import flat_arrays
from raydepth.errors import DeviceMemoryError
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.request import RenderRequest, checked_request
from raydepth.rendering.api import render, rendering_of
from raydepth.rendering.cuda_views import views_for_cuda
from raydepth.rendering.devices import DeviceChoice, choose_device
from raydepth.rendering.hierarchies import build_bvh
from raydepth.rendering.result import Rendering

# Hierarchies per thread that are built before the device needs them.
AHEAD = 4


def render_many(
    pairs: Iterable[tuple[Mesh, Cameras]],
    *,
    kind: str | tuple[str, ...] = "z",
    device: str = "auto",
    miss: float = np.inf,
    dtype: Any = np.float32,
    values_per_unit: float | None = None,
    threads: int | None = None,
) -> Iterator[Rendering]:
    """Render each mesh with its cameras: one `Rendering` after the other, in order.

    On a CUDA device many small meshes share a launch, and building, upload, rendering and download
    overlap. Memory holds only a few chunks at a time, for any number of meshes. Results equal
    those of `render`, bit for bit.

    Parameters
    ----------
    pairs : iterable of (Mesh, Cameras)
        Read as needed.
    kind, device, miss, dtype, threads : see `render`
    values_per_unit : float, optional
        Return depth as uint16, as `write_depth` stores it: `round(depth * values_per_unit)` of the
        float32 depth, and 0 for a miss. `miss` and `dtype` are then ignored.

    Yields
    ------
    Rendering

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or a depth does not fit 16 bits.
    DeviceError
        If the device cannot be used here, or fails.
    MemoryError
        If one mesh or one view does not fit into memory.
    """
    request = checked_request(kind, miss=miss, dtype=dtype, threads=threads)
    if values_per_unit is not None:
        scale = float(checked_scale(values_per_unit))
        request = request._replace(dtype=np.dtype(np.uint16), miss=0.0, values_per_unit=scale)
    return _rendered(_checked(pairs, request.kinds), request, choose_device(device))


_Pairs = Iterator[tuple[Mesh, Cameras]]


def _checked(pairs: Iterable[tuple[Mesh, Cameras]], kinds: tuple[str, ...]) -> _Pairs:
    for i, (mesh, cameras) in enumerate(pairs):
        if not isinstance(mesh, Mesh) or not isinstance(cameras, Cameras):
            raise TypeError(
                f"pair {i} is a {type(mesh).__name__} and a {type(cameras).__name__}; "
                "expected a raydepth.Mesh and raydepth.Cameras"
            )
        cameras.check_kinds(kinds)
        yield mesh, cameras


def _rendered(pairs: _Pairs, request: RenderRequest, choice: DeviceChoice) -> Iterator[Rendering]:
    """Render pairs in order; on CUDA, consecutive pairs with affine cameras share launches."""
    for shares, run in itertools.groupby(
        pairs, key=lambda pair: choice.name == "cuda" and pair[1].is_affine
    ):
        if shares:
            yield from _in_batches(run, request, choice)
        else:
            for mesh, cameras in run:
                yield _by_itself(mesh, cameras, request, "auto" if choice.is_auto else choice.name)


def _by_itself(mesh: Mesh, cameras: Cameras, request: RenderRequest, device: str) -> Rendering:
    """Render one mesh; raise ValueError if 16-bit depth is wanted and a depth does not fit."""
    scale = request.values_per_unit
    dtype, miss = (request.dtype, request.miss) if scale is None else (np.float32, np.inf)
    rendering = render(
        mesh, cameras, kind=request.kinds, device=device, miss=miss, dtype=dtype,
        threads=request.n_threads,
    )  # fmt: skip
    if scale is None:
        return rendering
    depths = {
        name: np.stack([encode_uint16(view, scale) for view in rendering[name]])
        for name in request.kinds
    }
    return rendering_of(request, cameras, rendering.device, (rendering.triangle_id, depths))


def _in_batches(pairs: _Pairs, request: RenderRequest, choice: DeviceChoice) -> Iterator[Rendering]:
    """Render pairs on the device; with "auto", those that do not fit it go to the CPU."""
    given: collections.deque[tuple[Mesh, Cameras]] = collections.deque()
    pool = ThreadPoolExecutor(request.n_threads)
    try:
        while True:
            try:
                yield from _on_device(pairs, request, given, pool)
                return
            except DeviceMemoryError:
                if not (choice.is_auto and given):
                    raise
            while given:
                yield _by_itself(*given.popleft(), request, "cpu")
    finally:
        # Without waiting, because any thread may close an unfinished generator.
        pool.shutdown(wait=False, cancel_futures=True)


def _on_device(
    pairs: _Pairs,
    request: RenderRequest,
    given: collections.deque[tuple[Mesh, Cameras]],
    pool: ThreadPoolExecutor,
) -> Iterator[Rendering]:
    """Render pairs in batches; `given` holds those that were taken and are not finished."""

    def prepare(mesh: Mesh, cameras: Cameras) -> Views:
        bvh = build_bvh(mesh)
        return views_for_cuda(flat_arrays(bvh), bvh, cameras)

    def prepared() -> Iterator[Views]:
        ahead: collections.deque[Future[Views]] = collections.deque()
        for mesh, cameras in pairs:
            given.append((mesh, cameras))
            ahead.append(pool.submit(prepare, mesh, cameras))
            if len(ahead) > AHEAD * request.n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    for views in api.render_batch(prepared(), request):
        mesh, cameras = given.popleft()
        if views.misfits:
            # The misfit may belong to another mesh in the chunk. The CPU's error names the depth.
            yield _by_itself(mesh, cameras, request, "cpu")
            continue
        yield rendering_of(request, cameras, "cuda", (views.triangle_id, views.depths))
