"""Many meshes, each with its views, in one go."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from raydepth import parallel
from raydepth.camera import Cameras
from raydepth.export import checked_scale, encode_uint16
from raydepth.mesh import Mesh
from raydepth.outputs import checked_kinds
from raydepth.rendering import (
    Rendering,
    build_bvh,
    check_for_cuda,
    chosen_device,
    local_ray_basis,
    projections,
    render,
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
    device = chosen_device(device)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}; expected float32 or float64")
    scale = None if values_per_unit is None else float(checked_scale(values_per_unit))
    n_threads = parallel.checked_threads(threads)
    run = _on_cuda if device == "cuda" else _on_cpu
    return run(_checked(pairs, kinds, device), kinds, float(miss), dtype, scale, n_threads)


def _checked(
    pairs: Iterable[tuple[Mesh, Cameras]], kinds: tuple[str, ...], device: str
) -> Iterator[tuple[Mesh, Cameras]]:
    for i, (mesh, cameras) in enumerate(pairs):
        if not isinstance(mesh, Mesh) or not isinstance(cameras, Cameras):
            raise TypeError(
                f"pair {i} is a {type(mesh).__name__} and a {type(cameras).__name__}; "
                "expected a raydepth.Mesh and raydepth.Cameras"
            )
        cameras.check_kinds(kinds)
        if device == "cuda":
            check_for_cuda(cameras)
            if not cameras.is_affine:
                raise ValueError(
                    f"pair {i} has {cameras.in_words} cameras, whose rays are not affine in the "
                    "pixel; expected others, or raydepth.render for each"
                )
        yield mesh, cameras


def _on_cpu(
    pairs: Iterator[tuple[Mesh, Cameras]],
    kinds: tuple[str, ...],
    miss: float,
    dtype: np.dtype,
    scale: float | None,
    n_threads: int,
) -> Iterator[Rendering]:
    for mesh, cameras in pairs:
        if scale is None:
            yield render(
                mesh, cameras, kind=kinds, device="cpu", miss=miss, dtype=dtype, threads=n_threads
            )
        else:
            yield _in_16_bits(mesh, cameras, kinds, scale, n_threads)


def _in_16_bits(
    mesh: Mesh, cameras: Cameras, kinds: tuple[str, ...], scale: float, n_threads: int
) -> Rendering:
    """The CPU's rendering in 16 bits; ValueError if that cannot hold it."""
    rendering = render(mesh, cameras, kind=kinds, device="cpu", threads=n_threads)
    depths = {
        name: np.stack([encode_uint16(view, scale) for view in rendering._of_kind(name)])
        for name in kinds
    }
    return Rendering(rendering.triangle_id, kinds, 0.0, "cpu", cameras, depths)


def _on_cuda(
    pairs: Iterator[tuple[Mesh, Cameras]],
    kinds: tuple[str, ...],
    miss: float,
    dtype: np.dtype,
    scale: float | None,
    n_threads: int,
) -> Iterator[Rendering]:
    from raydepth.cuda.batch import BatchOptions, Views, flat_arrays
    from raydepth.cuda.images import render_batch

    def prepare(mesh: Mesh, cameras: Cameras) -> Views:
        bvh = build_bvh(mesh)
        basis = local_ray_basis(bvh, cameras)
        size = cameras.width, cameras.height
        return Views(flat_arrays(bvh), bvh.scale, basis, projections(basis, cameras.model), size)

    given: collections.deque[tuple[Mesh, Cameras]] = collections.deque()
    with ThreadPoolExecutor(n_threads) as pool:

        def prepared() -> Iterator[Views]:
            ahead: collections.deque[Future[Views]] = collections.deque()
            for mesh, cameras in pairs:
                given.append((mesh, cameras))
                ahead.append(pool.submit(prepare, mesh, cameras))
                if len(ahead) > AHEAD * n_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

        if scale is None:
            options = BatchOptions(kinds, dtype, miss)
        else:
            options = BatchOptions(kinds, np.dtype(np.uint16), 0.0, scale)
        for views in render_batch(prepared(), options):
            mesh, cameras = given.popleft()
            if views.misfits:
                # Of this or of a mesh beside it: the CPU knows, and says which depth.
                yield _in_16_bits(mesh, cameras, kinds, options.values_per_unit, n_threads)
                continue
            yield Rendering(views.triangle_id, kinds, options.miss, "cuda", cameras, views.depths)
