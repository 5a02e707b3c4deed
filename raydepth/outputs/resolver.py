"""The outputs of a rendering, filled from visible faces, some rows of a view at a time.

`Resolver` is the base class of those in resolve_affine.py and resolve_rays.py, each for one kind of
camera.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.mesh.mesh import Mesh
from raydepth.outputs import surface
from raydepth.outputs.depth import Depths, Points
from raydepth.outputs.request import RenderRequest, empty_arrays
from raydepth.outputs.surface import Described, FaceTables
from raydepth.outputs.table import OUTPUTS
from raydepth.outputs.vertex_tables import NO_NUMBERS, tables_of, uv_table
from raydepth.trace import crossings
from raydepth.trace.view_frame import ViewFrames

# The names of the passes, as `filler` in OUTPUTS gives them, and the outputs that each fills.
FILLERS = {
    "visibility": ("triangle_id",),
    "depth": (*Depths._fields, *Points._fields),
    "describe": Described._fields,
    "look_up": ("instance", "hit"),
    "crossings": ("hits", "thickness"),
    "coverage": ("coverage",),
}


class Resolver:
    """The outputs of some views, filled some rows at a time from the faces that they see.

    Parameters
    ----------
    bvh : Bvh
        A DeviceMesh is enough for depth from rays.
    mesh : Mesh or None
        The mesh in which "uv" and "instance" are looked up.
    cameras : Cameras
    request : RenderRequest
    frames : ViewFrames

    Attributes
    ----------
    arrays : dict
        An array for each output except "triangle_id".

    Raises
    ------
    NotImplementedError
        No pass fills one of the requested outputs.
    MemoryError
    """

    def __init__(
        self,
        bvh: Any,
        mesh: Mesh | None,
        cameras: Cameras,
        request: RenderRequest,
        frames: ViewFrames,
    ) -> None:
        check_filled(request.outputs)
        self._bvh, self._mesh, self._request, self._frames = bvh, mesh, request, frames
        self.arrays = empty_arrays(request, cameras)
        self._has_z = cameras.has_z
        self._describes = request.asks(*FILLERS["describe"])
        self._tables: FaceTables | None = None
        if self._describes:
            self._tables = self._tables_for(request)
        self._instances = np.empty(0, np.int32)
        if request.asks("instance"):
            assert mesh is not None
            self._instances = mesh.instance_of_faces

    def _tables_for(self, request: RenderRequest) -> FaceTables:
        tables = tables_of(self._bvh)
        smooth = request.asks("smooth_normal", "smooth_normal_camera")
        corners, uv = tables.corners, NO_NUMBERS
        if request.asks("uv"):
            assert self._mesh is not None
            uv = uv_table(self._mesh, tables)
            corners = uv.view(np.int32)
        vertex_normals = tables.vertex_normals if smooth else NO_NUMBERS
        return FaceTables(tables.vertices, corners, vertex_normals, uv)

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
            # It is below 0 for faces seen so thin that rounding decides which is the nearer.
            between = np.maximum(far - near, 0.0)
        between[missed] = np.nan
        self.arrays["thickness"][view, part] = between

    def _crossings(
        self, view: int, origins: np.ndarray, directions: np.ndarray, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the faces of the first hits and of the last, and the distances along the rays."""
        n_rays, bvh = len(origins), self._bvh
        n_hits = self._request.n_hits if "hits" in self.arrays else 0
        n_last = n_rays if "thickness" in self.arrays else 0
        first, first_t = np.empty((n_rays, n_hits), np.int32), np.empty((n_rays, n_hits))
        last, last_t = np.empty(n_last, np.int32), np.empty(n_last)
        # Directions have z = 1 if there is z depth, so that the limits are lengths along them.
        length = 1.0 if self._has_z else np.sqrt((directions**2).sum(axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            near, far = (
                np.broadcast_to(limit[view] / length, n_rays).copy()
                for limit in (self._frames.near, self._frames.far)
            )
        crossings.crossings(
            bvh.wide.nodes, bvh.wide.leaves, bvh.vertices, bvh.faces,
            origins, directions, near, far, seen, first, first_t, last, last_t,
        )  # fmt: skip
        return first, last, first_t, last_t


def check_filled(names: tuple[str, ...]) -> None:
    """Raise NotImplementedError for an output that no pass fills."""
    for name in names:
        filler = OUTPUTS[name].filler
        if name not in FILLERS.get(filler, ()):
            raise NotImplementedError(
                f"output {name!r} has the filler {filler!r}, which does not fill it"
            )
