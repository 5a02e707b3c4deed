"""What `render` returns."""

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
    """What `render` returns.

    Attributes
    ----------
    triangle_id : (n_views, height, width) int32
        The face each pixel sees, an index into the mesh's faces; -1 = miss. It and the depths are
        NumPy arrays, or `raydepth.cuda.arrays.DeviceArray` where they were asked to stay there.
    outputs : tuple of str
        What was asked for, see `outputs.OUTPUTS`; `rendering["normal"]` gives one.
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
        """An output by its name; shapes, types and misses are in `outputs.OUTPUTS`."""
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
        """(n_views, height, width) depth of the one kind that was asked for, in units."""
        if len(self.kinds) != 1:
            rendered = "both kinds of depth were rendered; use z_depth or ray_depth"
            raise ValueError(rendered if self.kinds else "no depth was rendered; ask for 'z'")
        return self._arrays[self.kinds[0]]

    @property
    def z_depth(self) -> Any:
        """(n_views, height, width) distance along the camera's z axis, in units."""
        return self._of_kind("z")

    @property
    def ray_depth(self) -> Any:
        """(n_views, height, width) distance from the camera's centre, in units."""
        return self._of_kind("ray")

    def points(self, normals: bool = False) -> PointCloud:
        """What all pixels see, as points in the world.

        From the output "point" where that was rendered, else from z or ray depth; `normals` takes
        the output "normal".

        Raises
        ------
        ValueError
            None of them was rendered, or not "normal", or the results are on a device.
        """
        if not isinstance(self.triangle_id, np.ndarray):
            raise ValueError("the results are on a device; expected to='host' for points")
        if normals and "normal" not in self._arrays:
            raise ValueError("normals are asked for; expected 'normal' among the outputs")
        view, row, column = np.nonzero(self.triangle_id >= 0)
        if "point" in self._arrays:
            points = self._arrays["point"][view, row, column].astype(np.float64)
        elif self.kinds:
            depth = self._arrays[self.kinds[0]].astype(np.float64)
            depth[self.triangle_id < 0] = np.inf
            points = points_from_depth(depth, self.cameras, self.kinds[0])[view, row, column]
        else:
            raise ValueError("points are asked for; expected 'point', 'z' or 'ray' among outputs")
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
