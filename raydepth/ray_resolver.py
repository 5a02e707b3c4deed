"""From the rays of any camera model, and the faces that they meet, to all outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raydepth import rays
from raydepth.ray_by_ray import RowsOfRays
from raydepth.resolver import Resolver
from raydepth.tables import tables_of


class RayResolver(Resolver):
    """A `Resolver` that starts from rays, one by one."""

    def fill(
        self, view: int, rows: tuple[int, int], triangle_id: np.ndarray, found: RowsOfRays
    ) -> None:
        """Fill rows of a view of any model from its rays, whose faces stand in `triangle_id`."""
        wanted, part, scale = self._wanted, slice(*rows), self._bvh.scale
        face = triangle_id[part].reshape(-1)
        seen = face >= 0
        face, along = face[seen], found.in_camera[seen]
        distance = found.distance[seen] / scale
        x, y, z = along.T
        length = np.sqrt(x * x + y * y + z * z) if self._has_z else 1.0
        frame = self._frames[view]
        rotation = frame[:9].reshape(3, 3)

        def put(name: str, values: np.ndarray, miss: float) -> None:
            array = self.arrays[name][view, part]
            pixels = array.reshape(-1, *array.shape[2:])
            pixels[:] = miss
            pixels[seen] = values

        if "z" in self.arrays:
            put("z", distance, wanted.miss)
        if "ray" in self.arrays:
            put("ray", distance * length, wanted.miss)
        if "disparity" in self.arrays:
            put("disparity", 1.0 / distance, 0.0)
        if "point" in self.arrays:
            put(
                "point", distance[:, None] * found.in_world[seen] + frame[9:12] + frame[12:], np.nan
            )
        if "point_camera" in self.arrays:
            put("point_camera", distance[:, None] * along, np.nan)
        self._fill_from_ids(view, rows, triangle_id)
        if self._describes:
            self._put_described(put, face, found.barycentric[seen], found.in_world[seen], rotation)
        if wanted.asks("hits", "thickness"):
            origins = np.broadcast_to(frame[9:12] * scale, found.in_world.shape).copy()
            _, _, first_t, last_t = self._crossings(
                view, origins, found.in_world, triangle_id[part].reshape(-1)
            )
            if self._has_z:
                x, y, z = found.in_camera.T
                length = np.sqrt(x * x + y * y + z * z)
            shape = triangle_id[part].shape
            if "hits" in self.arrays:
                for hit in range(wanted.n_hits):
                    t = (first_t[:, hit] / scale * length).reshape(shape)
                    t[~np.isfinite(t)] = wanted.miss
                    self.arrays["hits"][view, hit, part] = t
            if "thickness" in self.arrays:
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
        """The outputs of `surface.describe` for rays that see a face each."""
        _, _, of_vertices, _ = self._tables
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
            assert self._wanted.mesh is not None
            assert self._wanted.mesh.texture is not None
            uv, faces = self._wanted.mesh.texture
            put("uv", (weights[:, :, None] * uv[faces[face]]).sum(axis=1), np.nan)
