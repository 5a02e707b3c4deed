"""From the face of each pixel to all outputs of a rendering, some rows of a view at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from raydepth import kernels, layers, recycling, surface
from raydepth.camera import Cameras
from raydepth.mesh import Mesh
from raydepth.outputs import KINDS, ON_DEVICE, OUTPUTS, shape_of
from raydepth.ray_by_ray import RowsOfRays
from raydepth.tables import NO_CORNERS, NO_NUMBERS, rows_of, tables_of, uv_table

DESCRIBED = (
    "normal", "normal_camera", "smooth_normal", "smooth_normal_camera", "barycentric", "uv",
    "facing",
)  # fmt: skip
FURTHER = ("disparity", "point", "point_camera")
RESOLVED = ("z", "ray", *FURTHER)
WEIGHTED = ("smooth_normal", "smooth_normal_camera", "barycentric", "uv")

# Samples along each side of a pixel, for its coverage.
SAMPLES = 4


# Takes a view's number, its basis and projection, rows from and to, and fills its `triangle_id`.
See = Callable[[int, np.ndarray, np.ndarray, tuple[int, int], np.ndarray], None]


def check_available(mesh: object, names: tuple[str, ...]) -> None:
    """Raise ValueError for an output that needs what the mesh, or a hierarchy alone, lacks."""
    for name in ("instance", "uv"):
        if name in names and not isinstance(mesh, Mesh):
            raise ValueError(
                f"{name} is asked for, but the mesh is a {type(mesh).__name__}; expected a Mesh"
            )
    if "uv" in names and isinstance(mesh, Mesh) and mesh.texture is None:
        raise ValueError(
            f"uv is asked for, but {mesh.name} has no texture coordinates; expected a file that "
            "has them, loaded with uv=True"
        )


class Wanted(NamedTuple):
    """What is wanted of a rendering."""

    names: tuple[str, ...]
    dtype: np.dtype
    miss: float
    n_hits: int
    mesh: Mesh | None  # what "uv" and "instance" come from

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of depth among the outputs."""
        return tuple(name for name in self.names if name in KINDS)

    def asks(self, *names: str) -> bool:
        """Whether one of them is wanted."""
        return any(name in self.names for name in names)


def empty_arrays(wanted: Wanted, cameras: Cameras) -> dict[str, np.ndarray]:
    """Memory for each output but "triangle_id"."""
    size = len(cameras), cameras.height, cameras.width
    arrays = {}
    for name in wanted.names:
        if name != "triangle_id":
            kept = OUTPUTS[name].dtype
            dtype = wanted.dtype if kept == "float" else np.dtype(kept)
            arrays[name] = recycling.empty(shape_of(name, *size, wanted.n_hits), dtype)
    return arrays


def bytes_needed(names: tuple[str, ...], cameras: Cameras, dtype: np.dtype, n_hits: int) -> int:
    """Of all arrays, and of triangle_id."""
    total = 0
    for name in {*names, "triangle_id"}:
        kept = OUTPUTS[name].dtype
        item = dtype.itemsize if kept == "float" else np.dtype(kept).itemsize
        shape = shape_of(name, len(cameras), cameras.height, cameras.width, n_hits)
        total += item * math.prod(shape)
    return total


def on_the_host(names: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs that no device gives by itself."""
    return tuple(name for name in names if name not in ON_DEVICE)


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


def with_samples(cameras: Cameras) -> Cameras:
    """The same views with SAMPLES x SAMPLES pixels in place of one."""
    intrinsics = cameras.intrinsics.copy()
    intrinsics[:, :2] *= SAMPLES
    size = SAMPLES * cameras.width, SAMPLES * cameras.height
    return Cameras(
        intrinsics,
        cameras.world_from_camera,
        size,
        model=cameras.model,
        distortion=cameras.distortion,
        near=cameras.near,
        far=cameras.far,
    )


def share_of_samples(seen: np.ndarray, coverage: np.ndarray) -> None:
    """Fill `coverage` (height, width) from the faces of its pixels' samples."""
    height, width = coverage.shape
    blocks = (seen >= 0).reshape(height, SAMPLES, width, SAMPLES)
    coverage[:] = blocks.mean(axis=(1, 3))


class Resolver:
    """The outputs of some views, filled some rows at a time from the faces that they see.

    Parameters
    ----------
    bvh : Bvh
        A DeviceMesh will do for depth from rays.
    cameras : Cameras
    wanted : Wanted
    basis, projection : (n_views, 6, 3), (n_views, 14) float64
        Of affine views, see `render.local_ray_basis` and `rendering.projections`.
    see : See, optional
        Finds the faces in rows of an affine view; "coverage" needs it.

    Attributes
    ----------
    arrays : dict
        An array for each output but "triangle_id".

    Raises
    ------
    MemoryError
    """

    def __init__(
        self,
        bvh: Any,
        cameras: Cameras,
        wanted: Wanted,
        basis: np.ndarray | None = None,
        projection: np.ndarray | None = None,
        see: See | None = None,
    ) -> None:
        self._bvh, self._wanted = bvh, wanted
        self._basis = np.empty((0, 6, 3)) if basis is None else basis
        self._projection = np.empty((0, 14)) if projection is None else projection
        self.arrays = empty_arrays(wanted, cameras)
        # What is not asked for has no elements, but a type, so that kernels are few.
        self._absent = _absent(wanted.dtype)
        self._see = see
        self._has_z = cameras.has_z
        self._frames = frames(bvh.centre, cameras)
        # In the local frame; on ray depth where there is no z.
        self._near, self._far = (limit * bvh.scale for limit in cameras.limits())
        self._resolves, self._resolves_further = wanted.asks(*RESOLVED), wanted.asks(*FURTHER)
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
        weighted = wanted.asks(*WEIGHTED)
        smooth = wanted.asks("smooth_normal", "smooth_normal_camera")
        normals = smooth or wanted.asks("normal", "normal_camera", "facing")
        uv, uv_corners = NO_NUMBERS, NO_CORNERS
        if wanted.asks("uv"):
            assert wanted.mesh is not None
            uv, uv_corners = uv_table(wanted.mesh)
        return (
            tables.vertices if weighted else NO_NUMBERS,
            tables.corners if weighted else NO_CORNERS,
            tables.face_normals if normals else NO_NUMBERS,
            tables.vertex_normals if smooth else NO_NUMBERS,
            uv,
            uv_corners,
        )

    def fill(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """Fill rows of an affine view, whose `triangle_id` (height, width) is known there."""
        if self._resolves:
            z, ray = self._of("z", view), self._of("ray", view)
            further = None
            if self._resolves_further:
                further = tuple(self._of(name, view) for name in FURTHER)
            self._resolve(view, rows, triangle_id, z, ray, further)
        if self._describes:
            surface.describe(
                self._basis[view], self._frames[view], *rows, triangle_id, self._tables,
                tuple(self._of(name, view) for name in DESCRIBED),
            )  # fmt: skip
        self._fill_from_ids(view, rows, triangle_id)
        if "hits" in self.arrays or "thickness" in self.arrays:
            self._fill_layers(view, rows, triangle_id)
        if "coverage" in self.arrays:
            self._fill_coverage(view, rows)

    def _of(self, name: str, view: int) -> np.ndarray:
        return self.arrays[name][view] if name in self.arrays else self._absent[name]

    def _fill_from_ids(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        if "instance" in self.arrays:
            surface.look_up(self._instances, *rows, triangle_id, self.arrays["instance"][view])
        if "hit" in self.arrays:
            part = slice(*rows)
            np.greater_equal(triangle_id[part], 0, out=self.arrays["hit"][view, part])

    def _resolve(
        self,
        view: int,
        rows: tuple[int, int],
        triangle_id: np.ndarray,
        z: np.ndarray,
        ray: np.ndarray,
        further: tuple[np.ndarray, ...] | None = None,
    ) -> None:
        kernels.resolve(
            self._bvh.vertices, self._bvh.faces, self._basis[view], self._projection[view],
            self._frames[view], self._bvh.scale, *rows, triangle_id, self._wanted.miss,
            z, ray, further,
        )  # fmt: skip

    def _fill_layers(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """The first hits and the last: their faces, and then their depths like any other's."""
        height, width = triangle_id.shape
        n_rows = rows[1] - rows[0]
        origins, directions = self._rays(view, rows, width)
        first, last, _, _ = self._crossings(
            view, origins, directions, triangle_id[slice(*rows)].reshape(-1)
        )
        part = slice(*rows)
        # Of a view's size, of which only these rows are touched.
        seen = np.empty((height, width), np.int32)
        if "hits" in self.arrays:
            for hit in range(self._wanted.n_hits):
                seen[part] = first[:, hit].reshape(n_rows, width)
                self._resolve(view, rows, seen, self._absent["z"], self.arrays["hits"][view, hit])
        if "thickness" in self.arrays:
            near, far = np.empty((2, height, width))
            no_z = _absent(far.dtype)["z"]
            self._resolve(view, rows, triangle_id, no_z, near)
            seen[part] = last.reshape(n_rows, width)
            self._resolve(view, rows, seen, no_z, far)
            missed = triangle_id[part] < 0
            self._put_thickness(view, part, near[part], far[part], missed)

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
            bvh.nodes, bvh.nodes.view(np.int32), bvh.slot_face, bvh.vertices, bvh.faces,
            origins, directions, near, far, seen, first, first_t, last, last_t,
        )  # fmt: skip
        return first, last, first_t, last_t

    def _rays(self, view: int, rows: tuple[int, int], width: int) -> tuple[np.ndarray, np.ndarray]:
        """The rays of some rows in the local frame, as `kernels.pixel_ray` gives them."""
        basis = self._basis[view]
        x = (np.arange(width) + 0.5)[None, :, None]
        y = (np.arange(*rows) + 0.5)[:, None, None]
        origins, directions = (
            (basis[first] + x * basis[first + 1] + y * basis[first + 2]).reshape(-1, 3)
            for first in (0, 3)
        )
        return origins, directions

    def _fill_coverage(self, view: int, rows: tuple[int, int]) -> None:
        """The share of SAMPLES x SAMPLES rays through each pixel that meet something."""
        coverage = self.arrays["coverage"][view, slice(*rows)]
        n_rows, width = (SAMPLES * side for side in coverage.shape)
        # The rows from the first on as a view of their own, whose pixels are the samples.
        basis = self._basis[view].copy()
        for first in (0, 3):
            basis[first] += rows[0] * basis[first + 2]
            basis[first + 1 : first + 3] /= SAMPLES
        projection = self._projection[view].copy()
        x, y, along = projection[:12].reshape(3, 4)
        y -= rows[0] * (along if projection[12] else np.array([0.0, 0.0, 0.0, 1.0]))
        x *= SAMPLES
        y *= SAMPLES
        seen = np.empty((n_rows, width), np.int32)
        assert self._see is not None
        self._see(view, basis, projection, (0, n_rows), seen)
        share_of_samples(seen, coverage)

    def fill_from_rays(
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
        _, _, of_faces, of_vertices, uv, uv_corners = self._tables
        corners = self._bvh.mesh_faces[face]
        weights = in_mesh_order(weights, self._bvh.faces[face], corners)
        names = self.arrays.keys()
        if names & {"normal", "normal_camera", "facing"}:
            normals = rows_of(of_faces)[face]
            if "normal" in names:
                put("normal", normals, 0.0)
            if "normal_camera" in names:
                put("normal_camera", normals @ rotation, 0.0)
            if "facing" in names:
                front = (normals * directions).sum(axis=1) < 0.0
                put("facing", np.where(front, 1, -1), 0)
        if names & {"smooth_normal", "smooth_normal_camera"}:
            normals = (weights[:, :, None] * rows_of(of_vertices)[corners]).sum(axis=1)
            length = np.sqrt((normals * normals).sum(axis=1, keepdims=True))
            with np.errstate(invalid="ignore"):
                normals = np.where(length > 0.0, normals / length, rows_of(of_faces)[face])
            if "smooth_normal" in names:
                put("smooth_normal", normals, 0.0)
            if "smooth_normal_camera" in names:
                put("smooth_normal_camera", normals @ rotation, 0.0)
        if "barycentric" in names:
            put("barycentric", weights, np.nan)
        if "uv" in names:
            places = rows_of(uv_corners)[face]
            coordinates = (weights[:, :, None] * rows_of(uv)[places]).sum(axis=1)
            put("uv", coordinates[:, :2], np.nan)


def in_mesh_order(weights: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Weights of a face's corners `ours` (the hierarchy's), put into the order of `theirs`."""
    ordered = np.empty_like(weights)
    for corner in range(3):
        place = np.argmax(ours == theirs[:, corner, None], axis=1)
        ordered[:, corner] = np.take_along_axis(weights, place[:, None], axis=1)[:, 0]
    return ordered


@cache
def _absent(dtype: np.dtype) -> dict[str, np.ndarray]:
    """Arrays without elements, for outputs that are not asked for."""
    absent = {}
    for name in (*RESOLVED, *DESCRIBED):
        channels = OUTPUTS[name].channels
        shape = (0, 0) if channels == 1 else (0, 0, channels)
        absent[name] = np.empty(shape, np.int8 if name == "facing" else dtype)
    return absent
