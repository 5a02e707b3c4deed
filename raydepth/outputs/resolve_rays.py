"""Compute all outputs from the rays of any camera model and the faces that they meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from raydepth.outputs.resolver import Resolver
from raydepth.outputs.table import OUTPUTS
from raydepth.outputs.vertex_tables import tables_of
from raydepth.trace import rays
from raydepth.trace.view_frame import CENTRE, PLACE, ROTATION


class RayResolver(Resolver):
    """A `Resolver` that starts from rays, one by one."""

    def fill(
        self, view: int, rows: tuple[int, int], triangle_id: np.ndarray, found: RowsOfRays
    ) -> None:
        """Fill rows of a view of any model from its rays; `triangle_id` holds their faces."""
        request, part, scale = self._request, slice(*rows), self._bvh.scale
        face = triangle_id[part].reshape(-1)
        seen = face >= 0
        face, along = face[seen], found.in_camera[seen]
        distance = found.distance[seen] / scale
        x, y, z = along.T
        length = np.sqrt(x * x + y * y + z * z) if self._has_z else 1.0
        frame = self._frames.frame[view]
        rotation = frame[ROTATION:PLACE].reshape(3, 3)

        filled = set()

        def put(name: str, values: np.ndarray, miss: float) -> None:
            filled.add(name)
            array = self.arrays[name][view, part]
            pixels = array.reshape(-1, *array.shape[2:])
            pixels[:] = miss
            pixels[seen] = values

        if "z" in self.arrays:
            put("z", distance, request.miss)
        if "ray" in self.arrays:
            put("ray", distance * length, request.miss)
        if "disparity" in self.arrays:
            put("disparity", 1.0 / distance, 0.0)
        if "point" in self.arrays:
            from_camera = distance[:, None] * found.in_world[seen]
            put("point", from_camera + frame[PLACE:CENTRE] + frame[CENTRE:], np.nan)
        if "point_camera" in self.arrays:
            put("point_camera", distance[:, None] * along, np.nan)
        self._fill_from_ids(view, rows, triangle_id)
        if self._describes:
            self._put_described(put, face, found.barycentric[seen], found.in_world[seen], rotation)
        for name in self.arrays.keys() - filled:
            if OUTPUTS[name].filler in ("depth", "describe"):
                raise NotImplementedError(f"nothing fills output {name!r} from rays")
        if request.asks("hits", "thickness"):
            origins = np.broadcast_to(frame[PLACE:CENTRE] * scale, found.in_world.shape).copy()
            _, _, first_t, last_t = self._crossings(
                view, origins, found.in_world, triangle_id[part].reshape(-1)
            )
            if self._has_z:
                x, y, z = found.in_camera.T
                length = np.sqrt(x * x + y * y + z * z)
            shape = triangle_id[part].shape
            if "hits" in self.arrays:
                for hit in range(request.n_hits):
                    with np.errstate(invalid="ignore"):  # a miss in no direction
                        t = (first_t[:, hit] / scale * length).reshape(shape)
                    t[~np.isfinite(t)] = request.miss
                    self.arrays["hits"][view, hit, part] = t
            if "thickness" in self.arrays:
                with np.errstate(invalid="ignore"):
                    near, far = (t / scale * length for t in (found.distance, last_t))
                missed = ~seen.reshape(shape)
                self._put_thickness(view, part, near.reshape(shape), far.reshape(shape), missed)

    def _put_described(
        self,
        put: Callable[[str, np.ndarray, float], None],
        face: np.ndarray,
        weights: np.ndarray,
        directions: np.ndarray,
        rotation: np.ndarray,
    ) -> None:
        """Put the outputs of `surface.describe` for rays that see a face each."""
        assert self._tables is not None
        of_vertices = self._tables.vertex_normals
        of_faces = tables_of(self._bvh).face_normals
        corners = self._bvh.mesh_faces[face]
        rays.put_in_mesh_order(weights, face, self._bvh.faces, self._bvh.mesh_faces)
        names = self.arrays.keys()
        if names & {"normal", "normal_camera", "facing"}:
            normals = of_faces[face, :3]
            if "normal" in names:
                put("normal", normals, 0.0)
            if "normal_camera" in names:
                put("normal_camera", normals @ rotation, 0.0)
            if "facing" in names:
                front = (normals * directions).sum(axis=1) < 0.0
                put("facing", np.where(front, 1, -1), 0)
        if names & {"smooth_normal", "smooth_normal_camera"}:
            normals = (weights[:, :, None] * of_vertices[corners, :3]).sum(axis=1)
            length = np.sqrt((normals * normals).sum(axis=1, keepdims=True))
            with np.errstate(invalid="ignore"):
                normals = np.where(length > 0.0, normals / length, of_faces[face, :3])
            if "smooth_normal" in names:
                put("smooth_normal", normals, 0.0)
            if "smooth_normal_camera" in names:
                put("smooth_normal_camera", normals @ rotation, 0.0)
        if "barycentric" in names:
            put("barycentric", weights, np.nan)
        if "uv" in names:
            assert self._mesh is not None
            assert self._mesh.texture is not None
            uv, faces = self._mesh.texture
            put("uv", (weights[:, :, None] * uv[faces[face]]).sum(axis=1), np.nan)


class RowsOfRays(NamedTuple):
    """The rays of some rows of a view, and what they hit."""

    in_camera: np.ndarray  # (n_rays, 3) directions in the camera's frame
    in_world: np.ndarray  # (n_rays, 3), the same directions in the world's frame
    distance: np.ndarray  # (n_rays,) in lengths of the directions, local frame; +inf = miss
    barycentric: np.ndarray  # (n_rays, 3), corners in the hierarchy's order
