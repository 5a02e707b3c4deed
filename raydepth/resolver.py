"""What fills the outputs of a rendering, some rows of a view at a time, from visible faces.

`Resolver` is what affine_resolver.py and ray_resolver.py, for one kind of camera each, share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raydepth import layers, surface
from raydepth.camera import Cameras
from raydepth.tables import NO_NUMBERS, tables_of, uv_table
from raydepth.wanted import Wanted, empty_arrays

DESCRIBED = (
    "normal", "normal_camera", "smooth_normal", "smooth_normal_camera", "barycentric", "uv",
    "facing",
)  # fmt: skip


class Resolver:
    """The outputs of some views, filled some rows at a time from the faces that they see.

    Parameters
    ----------
    bvh : Bvh
        A DeviceMesh will do for depth from rays.
    cameras : Cameras
    wanted : Wanted

    Attributes
    ----------
    arrays : dict
        An array for each output but "triangle_id".

    Raises
    ------
    MemoryError
    """

    def __init__(self, bvh: Any, cameras: Cameras, wanted: Wanted) -> None:
        self._bvh, self._wanted = bvh, wanted
        self.arrays = empty_arrays(wanted, cameras)
        self._has_z = cameras.has_z
        self._frames = frames(bvh.centre, cameras)
        # In the local frame; on ray depth where there is no z.
        self._near, self._far = (limit * bvh.scale for limit in cameras.limits())
        self._describes = wanted.asks(*DESCRIBED)
        self._tables: tuple[np.ndarray, ...] = ()
        if self._describes:
            self._tables = self._tables_for(wanted)
        self._instances = np.empty(0, np.int32)
        if wanted.asks("instance"):
            assert wanted.mesh is not None
            self._instances = wanted.mesh.instance_of_faces

    def _tables_for(self, wanted: Wanted) -> tuple[np.ndarray, ...]:
        tables = tables_of(self._bvh)
        smooth = wanted.asks("smooth_normal", "smooth_normal_camera")
        corners, uv = tables.corners, NO_NUMBERS
        if wanted.asks("uv"):
            assert wanted.mesh is not None
            uv = uv_table(wanted.mesh, tables)
            corners = uv.view(np.int32)
        return tables.vertices, corners, tables.vertex_normals if smooth else NO_NUMBERS, uv

    def _fill_from_ids(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        if "instance" in self.arrays:
            surface.look_up(self._instances, *rows, triangle_id, self.arrays["instance"][view])
        if "hit" in self.arrays:
            part = slice(*rows)
            np.greater_equal(triangle_id[part], 0, out=self.arrays["hit"][view, part])

    def _put_thickness(
        self, view: int, part: slice, near: np.ndarray, far: np.ndarray, missed: np.ndarray
    ) -> None:
        with np.errstate(invalid="ignore"):
            # Below 0 for faces seen so thin that rounding decides which is the nearer.
            between = np.maximum(far - near, 0.0)
        between[missed] = np.nan
        self.arrays["thickness"][view, part] = between

    def _crossings(
        self, view: int, origins: np.ndarray, directions: np.ndarray, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The faces of the first hits and of the last, and their distances along the rays."""
        n_rays, bvh = len(origins), self._bvh
        n_hits = self._wanted.n_hits if "hits" in self.arrays else 0
        n_last = n_rays if "thickness" in self.arrays else 0
        first, first_t = np.empty((n_rays, n_hits), np.int32), np.empty((n_rays, n_hits))
        last, last_t = np.empty(n_last, np.int32), np.empty(n_last)
        # z depth is the length along a direction whose z is 1.
        length = 1.0 if self._has_z else np.sqrt((directions**2).sum(axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            near, far = (
                np.broadcast_to(limit[view] / length, n_rays).copy()
                for limit in (self._near, self._far)
            )
        layers.crossings(
            bvh.wide.nodes, bvh.wide.leaves, bvh.vertices, bvh.faces,
            origins, directions, near, far, seen, first, first_t, last, last_t,
        )  # fmt: skip
        return first, last, first_t, last_t


def frames(centre: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Where views stand: (n_views, 15) float64.

    The rotation of `world_from_camera` row by row, the camera's place from the mesh's centre, and
    that centre; in world units.
    """
    result = np.empty((len(cameras), 15))
    result[:, :9] = cameras.world_from_camera[:, :3, :3].reshape(-1, 9)
    result[:, 9:12] = cameras.centres - centre
    result[:, 12:] = centre
    return result
