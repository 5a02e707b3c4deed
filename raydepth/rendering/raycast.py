"""Cast arbitrary rays against a mesh and find the nearest hit of each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from raydepth.bvh import Bvh
from raydepth.cuda import api
from raydepth.mesh.mesh import Mesh
from raydepth.rendering.devices import choose_device
from raydepth.rendering.hierarchies import hierarchy_of
from raydepth.system import parallel
from raydepth.system.real_arrays import real_array
from raydepth.trace import rays

RAYS_PER_TASK = 1 << 13


class RayHits(NamedTuple):
    """The result of `cast_rays`; `...` is the shape of the rays without their last axis.

    Attributes
    ----------
    distance : (...) float64
        In lengths of the ray's direction, so the hit is at `origin + distance * direction`; in
        units if directions have length 1. +inf = miss.
    triangle_id : (...) int32
        The face that was hit, an index into the mesh's faces; -1 = miss.
    barycentric : (..., 3) float64
        Weights of the face's three vertices at the hit, in their order in the mesh; their sum is
        1. NaN = miss.
    """

    distance: np.ndarray
    triangle_id: np.ndarray
    barycentric: np.ndarray


def cast_rays(
    mesh: Mesh | Bvh,
    origins: Any,
    directions: Any,
    *,
    t_min: float = 0.0,
    device: str = "auto",
    threads: int | None = None,
) -> RayHits:
    """Find the first face that each ray meets, in float64; both sides of a face are seen.

    Parameters
    ----------
    mesh : Mesh or Bvh
    origins, directions : (..., 3) float
        In world coordinates; broadcast against each other. Directions need not have length 1; a
        direction of length 0 hits nothing, nor does a ray that is not finite.
    t_min : float
        The least distance of a hit, in lengths of the direction; finite, 0 or more. A hit at this
        distance counts, so a ray that starts on a face hits that face at 0.
    device : "auto", "cpu" or "cuda"
        See `render`. The results are the same, bit for bit.
    threads : int, optional
        By default one per processor.

    Returns
    -------
    RayHits

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    DeviceError
        If the device cannot be used here, or fails.
    """
    choice = choose_device(device)
    bvh = hierarchy_of(mesh)
    rays_in = [_points(origins, "origins"), _points(directions, "directions")]
    try:
        origin, direction = np.broadcast_arrays(*rays_in)
    except ValueError:
        shapes = " and ".join(str(points.shape) for points in rays_in)
        raise ValueError(
            f"origins and directions have shapes {shapes}; expected shapes that broadcast"
        ) from None
    shape = origin.shape[:-1]
    origin, direction = origin.reshape(-1, 3), direction.reshape(-1, 3)
    finite = np.isfinite(origin).all(axis=1) & np.isfinite(direction).all(axis=1)
    if not finite.all():
        # A ray without a direction hits nothing.
        origin, direction = (np.where(finite[:, None], part, 0.0) for part in (origin, direction))
    n_threads = parallel.checked_threads(threads)
    if not 0.0 <= t_min < np.inf:
        raise ValueError(f"t_min is {t_min}; expected a finite number, 0 or more")

    def cast(device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if device == "cuda":
            return _cast_on_cuda(bvh, origin, direction, t_min)
        return _cast_on_cpu(bvh, origin, direction, t_min, n_threads)

    (distance, triangle_id, barycentric), _ = choice.run(cast)
    return RayHits(
        distance.reshape(shape), triangle_id.reshape(shape), barycentric.reshape(*shape, 3)
    )


def _cast_on_cpu(
    bvh: Bvh, origin: np.ndarray, direction: np.ndarray, t_min: float, n_threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cast rays given in world coordinates, on threads: distance, triangle_id, barycentric."""
    n_rays = len(origin)
    distance = np.empty(n_rays)
    triangle_id = np.empty(n_rays, np.int32)
    barycentric = np.empty((n_rays, 3))

    def cast(task: int) -> None:
        some = slice(task * RAYS_PER_TASK, (task + 1) * RAYS_PER_TASK)
        origins, directions = _local(bvh, origin[some]), np.ascontiguousarray(direction[some])
        rays.cast(
            *bvh.wide, bvh.vertices, bvh.faces, origins, directions,
            distance[some], triangle_id[some], barycentric[some], t_min * bvh.scale,
        )  # fmt: skip
        _put_into_world(bvh, distance[some], triangle_id[some], barycentric[some])

    parallel.for_each(cast, -(-n_rays // RAYS_PER_TASK), n_threads)
    return distance, triangle_id, barycentric


def _cast_on_cuda(
    bvh: Bvh, origin: np.ndarray, direction: np.ndarray, t_min: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do the work of `_cast_on_cpu` on the device, all rays at once."""
    distance, triangle_id, barycentric = api.cast_rays(
        bvh, _local(bvh, origin), np.ascontiguousarray(direction), t_min * bvh.scale
    )
    _put_into_world(bvh, distance, triangle_id, barycentric)
    return distance, triangle_id, barycentric


def _put_into_world(
    bvh: Bvh, distance: np.ndarray, triangle_id: np.ndarray, barycentric: np.ndarray
) -> None:
    """Turn hits in the local frame into those of the mesh as it was given, in place."""
    with np.errstate(over="ignore"):
        distance /= bvh.scale
    rays.put_in_mesh_order(barycentric, triangle_id, bvh.faces, bvh.mesh_faces)
    if bvh.scale < 1.0:
        # A hit is finite; farther away than float64 reaches, there is none.
        lost = np.isinf(distance) & (triangle_id >= 0)
        triangle_id[lost], barycentric[lost] = -1, np.nan


def _local(bvh: Bvh, origins: np.ndarray) -> np.ndarray:
    """Transform origins to the hierarchy's local frame."""
    with np.errstate(over="ignore"):  # infinitely far away is a miss
        return (origins - bvh.centre) * bvh.scale


def _points(value: Any, name: str) -> np.ndarray:
    points = real_array(value, name)
    if points.ndim == 0 or points.shape[-1] != 3:
        raise ValueError(f"{name} has shape {points.shape}; expected (..., 3)")
    return points
