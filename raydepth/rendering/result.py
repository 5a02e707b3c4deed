"""The result of `render`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raydepth.camera.camera import Cameras
from raydepth.camera.conversions import points_from_depth
from raydepth.camera.kinds import KINDS
from raydepth.rendering.point_cloud import PointCloud


@dataclass(frozen=True, eq=False)
class Rendering:
    """The images that `render` returns.

    Attributes
    ----------
    triangle_id : (n_views, height, width) int32
        The face each pixel sees, an index into the mesh's faces; -1 = miss. This and the depths
        are NumPy arrays, or `raydepth.cuda.arrays.DeviceArray` if `to` was "device".
    outputs : tuple of str
        The requested outputs, see `outputs.OUTPUTS`; `rendering["normal"]` gives one.
    miss : float
        The depth of a pixel that sees nothing.
    device : str
        The device that rendered: "cpu" or "cuda".
    cameras : Cameras
    """

    triangle_id: Any
    outputs: tuple[str, ...]
    miss: float
    device: str
    cameras: Cameras
    _arrays: dict[str, Any] = field(repr=False)

    def __getitem__(self, output: str) -> Any:
        """Return an output by its name; shapes, types and misses are in `outputs.OUTPUTS`."""
        if output == "triangle_id":
            return self.triangle_id
        if output not in self._arrays:
            expected = ", ".join(["triangle_id", *self._arrays])
            raise KeyError(f"{output!r} was not rendered; there are {expected}")
        return self._arrays[output]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of depth among the outputs."""
        return tuple(name for name in self.outputs if name in KINDS)

    @property
    def depth(self) -> Any:
        """The depth of the one requested kind, (n_views, height, width), in units."""
        if len(self.kinds) != 1:
            rendered = "both kinds of depth were rendered; use z_depth or ray_depth"
            raise ValueError(rendered if self.kinds else "no depth was rendered; ask for 'z'")
        return self._arrays[self.kinds[0]]

    @property
    def z_depth(self) -> Any:
        """The distance along the camera's z axis, (n_views, height, width), in units."""
        return self._of_kind("z")

    @property
    def ray_depth(self) -> Any:
        """The distance from the camera's centre, (n_views, height, width), in units."""
        return self._of_kind("ray")

    def points(self, normals: bool = False) -> PointCloud:
        """Return the surface points that all pixels see, in world coordinates.

        They are the output "point" if it was rendered, otherwise they are computed from z or ray
        depth. `normals` adds the output "normal".

        Raises
        ------
        ValueError
            If none of these outputs was rendered, if `normals` is set and "normal" was not
            rendered, or if the results are on a device.
        """
        if not isinstance(self.triangle_id, np.ndarray):
            raise ValueError("the results are on a device; expected to='host' for points")
        if normals and "normal" not in self._arrays:
            raise ValueError("'normal' was not rendered; expected it among the outputs for normals")
        view, row, column = np.nonzero(self.triangle_id >= 0)
        if "point" in self._arrays:
            points = self._arrays["point"][view, row, column].astype(np.float64)
        elif self.kinds:
            depth = self._arrays[self.kinds[0]].astype(np.float64)
            depth[self.triangle_id < 0] = np.inf
            points = points_from_depth(depth, self.cameras, self.kinds[0])[view, row, column]
        else:
            raise ValueError("no points or depth were rendered; expected 'point', 'z' or 'ray'")
        return PointCloud(
            points,
            self._arrays["normal"][view, row, column].astype(np.float64) if normals else None,
            view.astype(np.int32),
            np.stack((row, column), axis=1).astype(np.int32),
        )

    def _of_kind(self, kind: str) -> Any:
        if kind not in self._arrays:
            raise ValueError(f"{kind} depth was not rendered; ask for it: kind=('z', 'ray')")
        return self._arrays[kind]
