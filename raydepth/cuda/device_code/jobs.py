"""The job table: one row of 51 words of 8 bytes per view, all that a kernel knows about the view.

| word | type    | meaning                                                                       |
| ---- | ------- | ----------------------------------------------------------------------------- |
| 0-3  | address | of the mesh: nodes, triangles (layout.py), vertices, faces (as in a `Bvh`)    |
| 4    | address | triangle_id output, (height, width) int32, or 0: not asked for                |
| 5, 6 | address | z depth and ray depth outputs, (height, width) of the launch's type, or 0     |
| 7    | int64   | width + (height << 32); for single rays: their number                         |
| 8    | address | int32 that is set to 1 if a depth does not fit 16 bits                        |
| 9    | float64 | world units per unit of the local frame, a power of two                       |
| 10   | float64 | the depth of a miss                                                           |
| 11   | float64 | values per unit, of 16-bit output                                             |
| 12   | float64 | the 18 numbers of the view's ray basis in the local frame                     |
| 30   | float64 | the projection, 14 numbers: view_frame.py                                     |
| 44   | address | of the beams' records (beams.py), which the device fills                      |
| 45   | address | single rays: origins, directions (n_rays, 3) float64 in the local frame       |
| 47   | address | single rays: distances (n_rays,) and barycentric (n_rays, 3), float64 outputs |
| 49   | float64 | near and far limits of what counts, in local units; 0 and inf: no limits      |

Meshes and images are given by address, so one launch handles any number of them.
"""

from __future__ import annotations

import numpy as np

WORDS = 51

NODES, TRIANGLES, VERTICES, FACES = 0, 1, 2, 3
TRIANGLE_ID, Z, RAY, SIZE, MISFIT = 4, 5, 6, 7, 8
TO_WORLD, MISS, VALUES_PER_UNIT, BASIS, PROJECTION = 9, 10, 11, 12, 30
BEAMS, ORIGINS, DIRECTIONS, DISTANCE, BARYCENTRIC, NEAR, FAR = 44, 45, 46, 47, 48, 49, 50


def table(n_views: int) -> tuple[np.ndarray, np.ndarray]:
    """Make rows of zeros: (n_views, 51) as int64, and the same memory as float64."""
    rows = np.zeros((n_views, WORDS), np.int64)
    return rows, rows.view(np.float64)


def fill_views(
    rows: np.ndarray,
    mesh: tuple[int, int, int, int],
    basis: np.ndarray,
    projection: np.ndarray,
    size: tuple[int, int],
    limits: tuple[np.ndarray | float, np.ndarray | float] = (0.0, np.inf),
    *,
    scale: float,
    miss: float,
    values_per_unit: float = 0.0,
) -> None:
    """Fill the mesh, camera and limits of each view; `fill_outputs` fills in where outputs go.

    Parameters
    ----------
    rows : (n_views, 51) int64
    mesh : addresses of nodes, triangles, vertices and faces
    basis : (n_views, 6, 3) float64
    projection : (n_views, 14) float64
    size : (width, height)
    limits : near and far, (n_views,) float64 each, or one for all views
    """
    numbers = rows.view(np.float64)
    rows[:, NODES : FACES + 1] = mesh
    rows[:, SIZE] = size[0] + (size[1] << 32)
    numbers[:, TO_WORLD] = 1.0 / scale
    numbers[:, MISS] = miss
    numbers[:, VALUES_PER_UNIT] = values_per_unit
    numbers[:, BASIS:PROJECTION] = basis.reshape(-1, 18)
    numbers[:, PROJECTION:BEAMS] = projection
    numbers[:, NEAR], numbers[:, FAR] = limits


def fill_outputs(rows: np.ndarray, word: int, address: int, n_bytes: int) -> None:
    """Place the outputs of consecutive views, each of `n_bytes`, one after the other."""
    rows[:, word] = address + n_bytes * np.arange(len(rows))
