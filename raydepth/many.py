"""Many meshes, each with its views, in one go."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from raydepth import parallel
from raydepth.camera import Cameras
from raydepth.errors import DeviceMemoryError
from raydepth.export import checked_scale, encode_uint16
from raydepth.mesh import Mesh
from raydepth.outputs import checked_kinds
from raydepth.rendering import (
    Rendering,
    build_bvh,
    chosen_device,
    render,
    views_for_cuda,
)

# Meshes that are built ahead of the device, for each thread.
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
    overlap; memory holds a few chunks at a time however many meshes there are. Results are
    `render`'s, bit for bit.

    Parameters
    ----------
    pairs : of Mesh and Cameras; read as needed
    kind, device, miss, dtype, threads : see `render`
    values_per_unit : float, optional
        Depth comes as uint16, `round(depth * values_per_unit)` of its float32 value and 0 for a
        miss, as `write_depth` stores it; `miss` and `dtype` have no meaning then.

    Raises
    ------
    TypeError, ValueError
        An argument is not what was expected, or a depth does not fit 16 bits.
    DeviceError
        The device cannot be used here, or fails.
    MemoryError
        One mesh or one view does not fit into memory.
    """
    kinds = checked_kinds(kind)
    is_auto, device = device == "auto", chosen_device(device)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    scale = None if values_per_unit is None else float(checked_scale(values_per_unit))
    n_threads = parallel.checked_threads(threads)
    if scale is None:
        how = _How(is_auto, kinds, dtype, float(miss), scale, n_threads)
    else:
        how = _How(is_auto, kinds, np.dtype(np.float32), np.inf, scale, n_threads)
    return _rendered(_checked(pairs, kinds), how, device)


_Pairs = collections.deque[tuple[Mesh, Cameras]]


class _How(NamedTuple):
    """What all pairs share; with a scale, depths come as 16 bits."""

    is_auto: bool
    kinds: tuple[str, ...]
    dtype: np.dtype
    miss: float
    scale: float | None
    n_threads: int


def _checked(
    pairs: Iterable[tuple[Mesh, Cameras]], kinds: tuple[str, ...]
) -> Iterator[tuple[Mesh, Cameras]]:
    for i, (mesh, cameras) in enumerate(pairs):
        if not isinstance(mesh, Mesh) or not isinstance(cameras, Cameras):
            raise TypeError(
                f"pair {i} is a {type(mesh).__name__} and a {type(cameras).__name__}; "
                "expected a raydepth.Mesh and raydepth.Cameras"
            )
        cameras.check_kinds(kinds)
        yield mesh, cameras


def _rendered(pairs: Iterator[tuple[Mesh, Cameras]], how: _How, device: str) -> Iterator[Rendering]:
    """On CUDA views whose rays are affine in the pixel share launches, as long as they follow."""
    for shares, run in itertools.groupby(
        pairs, key=lambda pair: device == "cuda" and pair[1].is_affine
    ):
        if shares:
            yield from _in_batches(run, how)
        else:
            for mesh, cameras in run:
                yield _by_itself(mesh, cameras, how, "auto" if how.is_auto else device)


def _by_itself(mesh: Mesh, cameras: Cameras, how: _How, device: str) -> Rendering:
    """ValueError if depths do not fit 16 bits where they are to."""
    rendering = render(
        mesh, cameras, kind=how.kinds, device=device, miss=how.miss, dtype=how.dtype,
        threads=how.n_threads,
    )  # fmt: skip
    scale = how.scale
    if scale is None:
        return rendering
    depths = {
        name: np.stack([encode_uint16(view, scale) for view in rendering._of_kind(name)])
        for name in how.kinds
    }
    return Rendering(rendering.triangle_id, how.kinds, 0.0, rendering.device, cameras, depths)


def _in_batches(pairs: Iterator[tuple[Mesh, Cameras]], how: _How) -> Iterator[Rendering]:
    given: _Pairs = collections.deque()
    pool = ThreadPoolExecutor(how.n_threads)
    try:
        while True:
            try:
                yield from _on_device(pairs, how, given, pool)
                return
            except DeviceMemoryError:
                if not (how.is_auto and given):
                    raise
            while given:
                yield _by_itself(*given.popleft(), how, "cpu")
    finally:
        # Not waiting for it: if nobody finished this generator, who knows which thread ends it.
        pool.shutdown(wait=False, cancel_futures=True)


def _on_device(
    pairs: Iterator[tuple[Mesh, Cameras]], how: _How, given: _Pairs, pool: ThreadPoolExecutor
) -> Iterator[Rendering]:
    """`given` holds the pairs that were taken and are not done."""
    from raydepth.cuda.batch import BatchOptions, Views
    from raydepth.cuda.images import render_batch
    from raydepth.cuda.resident import flat_arrays

    def prepare(mesh: Mesh, cameras: Cameras) -> Views:
        bvh = build_bvh(mesh)
        return views_for_cuda(flat_arrays(bvh), bvh, cameras)

    def prepared() -> Iterator[Views]:
        ahead: collections.deque[Future[Views]] = collections.deque()
        for mesh, cameras in pairs:
            given.append((mesh, cameras))
            ahead.append(pool.submit(prepare, mesh, cameras))
            if len(ahead) > AHEAD * how.n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    if how.scale is None:
        options = BatchOptions(how.kinds, how.dtype, how.miss)
    else:
        options = BatchOptions(how.kinds, np.dtype(np.uint16), 0.0, how.scale)
    for views in render_batch(prepared(), options):
        mesh, cameras = given.popleft()
        if views.misfits:
            # Of this or of a mesh beside it: the CPU knows, and says which depth.
            yield _by_itself(mesh, cameras, how, "cpu")
            continue
        yield Rendering(views.triangle_id, how.kinds, options.miss, "cuda", cameras, views.depths)
