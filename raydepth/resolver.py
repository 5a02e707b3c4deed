"""From the face of each pixel to all outputs of a rendering, some rows of a view at a time."""

from __future__ import annotations

import math
import weakref
from functools import cached_property

import numpy as np

from raydepth import kernels, layers, recycling, surface, tiles
from raydepth.bvh import Bvh
from raydepth.camera import Cameras
from raydepth.mesh import Mesh
from raydepth.outputs import ON_DEVICE, OUTPUTS, shape_of

DESCRIBED = (
    "normal", "normal_camera", "smooth_normal", "smooth_normal_camera", "barycentric", "uv",
    "facing",
)  # fmt: skip
RESOLVED = ("z", "ray", "disparity", "point", "point_camera")
WEIGHTED = ("smooth_normal", "smooth_normal_camera", "barycentric", "uv")

# Samples along each side of a pixel, for its coverage.
SAMPLES = 4


class Tables:
    """What `surface.describe` looks up for a hierarchy: three numbers a row, and one at the end."""

    def __init__(self, bvh: Bvh) -> None:
        self.bvh = weakref.proxy(bvh)

    @cached_property
    def vertices(self) -> np.ndarray:
        return _padded(self.bvh.vertices)

    @cached_property
    def corners(self) -> np.ndarray:
        return _padded(self.bvh.mesh_faces)

    @cached_property
    def face_normals(self) -> np.ndarray:
        table = _empty_table(len(self.bvh.faces))
        surface.face_normals(self.bvh.vertices, self.bvh.mesh_faces, _rows(table))
        return table

    @cached_property
    def vertex_normals(self) -> np.ndarray:
        table = _empty_table(len(self.bvh.vertices))
        surface.vertex_normals(
            self.bvh.vertices, self.bvh.mesh_faces, _rows(self.face_normals), _rows(table)
        )
        return table


def _empty_table(n_rows: int) -> np.ndarray:
    return np.zeros(3 * n_rows + 1)


def _rows(table: np.ndarray) -> np.ndarray:
    return table[:-1].reshape(-1, 3)


def _padded(rows: np.ndarray) -> np.ndarray:
    return np.append(rows.ravel(), rows.dtype.type(0))


# Tables live as long as what they were made of.
_tables: weakref.WeakKeyDictionary[Bvh, Tables] = weakref.WeakKeyDictionary()
_uv_tables: weakref.WeakKeyDictionary[Mesh, tuple[np.ndarray, np.ndarray]] = (
    weakref.WeakKeyDictionary()
)
_NO_NUMBERS, _NO_CORNERS = np.zeros(1), np.zeros(1, np.int32)


def _uv_table(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    found = _uv_tables.get(mesh)
    if found is None:
        assert mesh.texture is not None
        uv, faces = mesh.texture
        rows = np.column_stack((uv, np.zeros(len(uv))))
        found = _uv_tables[mesh] = _padded(rows), _padded(faces)
    return found


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


def frames(bvh: Bvh, cameras: Cameras) -> np.ndarray:
    """Where views stand, (n_views, 15) float64: world_from_camera's rotation, row by row, the

    camera's place from the mesh's centre, and that centre, in world units.
    """
    result = np.empty((len(cameras), 15))
    result[:, :9] = cameras.world_from_camera[:, :3, :3].reshape(-1, 9)
    result[:, 9:12] = cameras.centres - bvh.centre
    result[:, 12:] = bvh.centre
    return result


class Resolver:
    """The outputs of some views, which `fill` fills.

    Parameters
    ----------
    bvh : Bvh
    mesh : Mesh or None
        What the hierarchy was built for; needed for "uv" and "instance".
    basis, projection : (n_views, 6, 3), (n_views, 14) float64
        Of the views, see `render.local_ray_basis` and `render.projections`.
    names : tuple of str
        Outputs to fill, without "triangle_id".
    n_hits : int
        Of "hits".

    Attributes
    ----------
    basis, projection
        As given.
    arrays : dict
        An array for each name.

    Raises
    ------
    MemoryError
    """

    def __init__(
        self,
        bvh: Bvh,
        mesh: Mesh | None,
        cameras: Cameras,
        basis: np.ndarray,
        projection: np.ndarray,
        names: tuple[str, ...],
        dtype: np.dtype,
        miss: float,
        n_hits: int,
    ) -> None:
        self._bvh, self.basis, self.projection = bvh, basis, projection
        self._miss = miss
        size = len(cameras), cameras.height, cameras.width
        self.arrays = {}
        for name in names:
            kept = OUTPUTS[name].dtype
            self.arrays[name] = recycling.empty(
                shape_of(name, *size, n_hits), dtype if kept == "float" else np.dtype(kept)
            )
        # What is not asked for has no elements; all of one type, so that kernels are few.
        self._absent = {
            name: np.empty(
                (0, 0) if OUTPUTS[name].channels == 1 else (0, 0, OUTPUTS[name].channels),
                np.int8 if name == "facing" else dtype,
            )
            for name in (*RESOLVED, *DESCRIBED)
        }
        self._frames = frames(bvh, cameras)
        self._is_resolved = any(name in names for name in RESOLVED)
        self._is_described = any(name in names for name in DESCRIBED)
        self._tables = self._tables_for(mesh, names) if self._is_described else ()
        self._instances = _NO_CORNERS
        if "instance" in names:
            assert mesh is not None
            self._instances = mesh.instance_of_faces
        self._links = bvh.nodes.view(np.int32)

    def _tables_for(self, mesh: Mesh | None, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        tables = _tables.get(self._bvh)
        if tables is None:
            tables = _tables[self._bvh] = Tables(self._bvh)
        weighted = any(name in names for name in WEIGHTED)
        normals = any("normal" in name or name == "facing" for name in names)
        smooth = any(name.startswith("smooth") for name in names)
        uv, uv_corners = _NO_NUMBERS, _NO_CORNERS
        if "uv" in names:
            assert mesh is not None
            uv, uv_corners = _uv_table(mesh)
        return (
            tables.vertices if weighted else _NO_NUMBERS,
            tables.corners if weighted else _NO_CORNERS,
            tables.face_normals if normals else _NO_NUMBERS,
            tables.vertex_normals if smooth else _NO_NUMBERS,
            uv,
            uv_corners,
        )

    def fill(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """Fill rows of a view, whose `triangle_id` (height, width) is known there."""
        if self._is_resolved:
            self._resolve(view, rows, triangle_id, [self._of(name, view) for name in RESOLVED])
        if self._is_described:
            surface.describe(
                self.basis[view], self._frames[view], *rows, triangle_id, self._tables,
                tuple(self._of(name, view) for name in DESCRIBED),
            )  # fmt: skip
        part = slice(*rows)
        if "instance" in self.arrays:
            surface.look_up(self._instances, *rows, triangle_id, self.arrays["instance"][view])
        if "hit" in self.arrays:
            np.greater_equal(triangle_id[part], 0, out=self.arrays["hit"][view, part])
        if "hits" in self.arrays or "thickness" in self.arrays:
            self._fill_layers(view, rows, triangle_id)
        if "coverage" in self.arrays:
            self._fill_coverage(view, rows)

    def _of(self, name: str, view: int) -> np.ndarray:
        return self.arrays[name][view] if name in self.arrays else self._absent[name]

    def _resolve(
        self, view: int, rows: tuple[int, int], triangle_id: np.ndarray, outputs: list[np.ndarray]
    ) -> None:
        kernels.resolve(
            self._bvh.vertices, self._bvh.faces, self.basis[view], self.projection[view],
            self._frames[view], self._bvh.scale, *rows, triangle_id, self._miss, *outputs,
        )  # fmt: skip

    def _ray_depth(
        self, view: int, rows: tuple[int, int], seen: np.ndarray, into: np.ndarray
    ) -> None:
        absent = {
            name: np.empty((0, 0, 3) if "point" in name else (0, 0), into.dtype)
            for name in RESOLVED
        }
        self._resolve(view, rows, seen, [*(absent | {"ray": into}).values()])

    def _fill_layers(self, view: int, rows: tuple[int, int], triangle_id: np.ndarray) -> None:
        """The first hits and the last: their faces, and then their depths like any other's."""
        height, width = triangle_id.shape
        n_rows = rows[1] - rows[0]
        hits, thickness = self.arrays.get("hits"), self.arrays.get("thickness")
        n_hits = 0 if hits is None else hits.shape[1]
        first = np.empty((n_rows * width, n_hits), np.int32)
        last = np.empty(0 if thickness is None else n_rows * width, np.int32)
        origins, directions = self._rays(view, rows, width)
        bvh = self._bvh
        layers.crossings(
            bvh.nodes, self._links, bvh.slot_face, bvh.vertices, bvh.faces,
            origins, directions, np.empty(n_hits), first, last,
        )  # fmt: skip
        part = slice(*rows)
        # Of a view's size, of which only these rows are touched.
        seen = np.empty((height, width), np.int32)
        for hit in range(n_hits):
            assert hits is not None
            seen[part] = first[:, hit].reshape(n_rows, width)
            self._ray_depth(view, rows, seen, hits[view, hit])
        if thickness is not None:
            near, far = np.empty((2, height, width))
            self._ray_depth(view, rows, triangle_id, near)
            seen[part] = last.reshape(n_rows, width)
            self._ray_depth(view, rows, seen, far)
            missed = triangle_id[part] < 0
            near[part][missed] = far[part][missed] = np.nan
            # Of faces seen so thin that rounding decides which is the nearer.
            thickness[view, part] = np.maximum(far[part] - near[part], 0.0)

    def _rays(self, view: int, rows: tuple[int, int], width: int) -> tuple[np.ndarray, np.ndarray]:
        """The rays of some rows in the local frame, as `kernels.pixel_ray` gives them."""
        basis = self.basis[view]
        x = (np.arange(width) + 0.5)[None, :, None]
        y = (np.arange(*rows) + 0.5)[:, None, None]
        both = (basis[first] + x * basis[first + 1] + y * basis[first + 2] for first in (0, 3))
        origins, directions = (ends.reshape(-1, 3) for ends in both)
        return origins, directions

    def _fill_coverage(self, view: int, rows: tuple[int, int]) -> None:
        """The share of SAMPLES x SAMPLES rays through each pixel that meet something."""
        coverage = self.arrays["coverage"][view]
        n_rows, width = SAMPLES * (rows[1] - rows[0]), SAMPLES * coverage.shape[1]
        # The rows from the first on as a view of their own, whose pixels are the samples.
        basis = self.basis[view].copy()
        for first in (0, 3):
            basis[first] += rows[0] * basis[first + 2]
            basis[first + 1 : first + 3] /= SAMPLES
        projection = self.projection[view].copy()
        x, y, along = projection[:12].reshape(3, 4)
        y -= rows[0] * (along if projection[12] else np.array([0.0, 0.0, 0.0, 1.0]))
        x *= SAMPLES
        y *= SAMPLES
        seen = np.empty((n_rows, width), np.int32)
        work = np.zeros(len(tiles.WORK), np.int64)
        bvh = self._bvh
        tiles.visibility(
            *bvh.wide, bvh.vertices, bvh.faces, basis, projection, 0, n_rows, seen, work
        )
        blocks = (seen >= 0).reshape(-1, SAMPLES, coverage.shape[1], SAMPLES)
        coverage[slice(*rows)] = blocks.mean(axis=(1, 3))


def bytes_needed(names: tuple[str, ...], cameras: Cameras, dtype: np.dtype, n_hits: int) -> int:
    """Of all arrays, and of triangle_id."""
    total = 4 * len(cameras) * cameras.height * cameras.width
    for name in set(names) - {"triangle_id"}:
        kept = OUTPUTS[name].dtype
        item = dtype.itemsize if kept == "float" else np.dtype(kept).itemsize
        total += item * math.prod(
            shape_of(name, len(cameras), cameras.height, cameras.width, n_hits)
        )
    return total


def on_the_host(names: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs that no device gives by itself."""
    return tuple(name for name in names if name not in ON_DEVICE)
