"""Folder layouts that programs for known data sets read: NeRF, BOP, TUM.

    OUT/bunny/depth/000000.png ...   z depth, 16 bits, 0 = miss
    OUT/bunny/views.json             raydepth's own description, as in every folder

and beside them the files of the layout: transforms.json (instant-ngp, nerfstudio),
scene_camera.json (BOP), or depth.txt, groundtruth.txt and calibration.txt (TUM).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.camera.files import bop, nerf
from raydepth.camera.files.rigid import quaternion_from_rotation

LAYOUT_FOLDER = "depth"
TUM_SCALE = 5000


class Layout(ABC):
    """The files beside the depth maps of a mesh, and the cameras they can hold. Has no state."""

    name: str
    beside: tuple[str, ...]
    folder = LAYOUT_FOLDER
    values_per_unit: float = 10000

    def file_of(self, view: int) -> str:
        """The path of a view's depth map in the mesh's folder."""
        return f"{self.folder}/{view:06}.png"

    def check(self, cameras: Cameras, kind: str, values_per_unit: float) -> None:
        """Raise ValueError if the layout cannot hold such views."""
        if kind != "z":
            raise ValueError(f"kind is {kind!r}, but layout {self.name} holds z depth")
        self._check_cameras(cameras)

    def files(self, description: dict[str, Any]) -> dict[str, str]:
        """The texts of the files beside the depth maps, by file name."""
        views = description["views"]
        cameras = Cameras.from_json([view["camera"] for view in views])
        names = [view["file"] for view in views]
        return self._files(cameras, names, description["values_per_unit"])

    @abstractmethod
    def _check_cameras(self, cameras: Cameras) -> None: ...

    @abstractmethod
    def _files(
        self, cameras: Cameras, names: list[str], values_per_unit: float
    ) -> dict[str, str]: ...


class NerfLayout(Layout):
    """transforms.json with depth, as instant-ngp and nerfstudio read it.

    instant-ngp reads `depth_path`; z depth in the file's units is value * `integer_depth_scale`.
    nerfstudio reads `depth_file_path`; its option `depth_unit_scale_factor` must be that number.
    Both expect a colour image at `file_path`; until there is one, it names the depth map.
    """

    name = "nerf"
    beside = ("transforms.json",)

    def _check_cameras(self, cameras: Cameras) -> None:
        if cameras.model != "perspective":
            raise ValueError(f"the cameras are {cameras.model}; layout nerf holds perspective ones")
        nerf.check(cameras)

    def _files(self, cameras: Cameras, names: list[str], values_per_unit: float) -> dict[str, str]:
        more = {"enable_depth_loading": True, "integer_depth_scale": 1.0 / values_per_unit}
        frames = [
            {"file_path": name, "depth_file_path": name, "depth_path": name} for name in names
        ]
        return {"transforms.json": nerf.text(cameras, frames, more)}


class BopLayout(Layout):
    """scene_camera.json: z depth in mm is value * depth_scale; one unit is one mm."""

    name = "bop"
    beside = (bop.NAME,)

    def _check_cameras(self, cameras: Cameras) -> None:
        bop.check(cameras)

    def _files(self, cameras: Cameras, names: list[str], values_per_unit: float) -> dict[str, str]:
        return {bop.NAME: bop.text(cameras, depth_scale=1.0 / values_per_unit)}


class TumLayout(Layout):
    """The text files of the TUM RGB-D benchmark: 5000 values per unit (in TUM, per metre).

    The number of a view is its time in seconds. groundtruth.txt has the position and the quaternion
    (x, y, z, w) of camera to world, in OpenCV axes. TUM gives intrinsics only in its documentation;
    here calibration.txt has "fx fy cx cy", with pixel centres at whole numbers, as in TUM, where
    the centre of 640 columns is 319.5.
    """

    name = "tum"
    beside = ("depth.txt", "groundtruth.txt", "calibration.txt")
    values_per_unit: float = TUM_SCALE

    def check(self, cameras: Cameras, kind: str, values_per_unit: float) -> None:
        super().check(cameras, kind, values_per_unit)
        if values_per_unit != TUM_SCALE:
            raise ValueError(
                f"values_per_unit is {values_per_unit:g}, but layout tum has {TUM_SCALE}; "
                "other layouts and formats take other scales"
            )

    def _check_cameras(self, cameras: Cameras) -> None:
        if cameras.model != "perspective" or not cameras.is_affine:
            raise ValueError(
                f"the cameras are {cameras.in_words}; layout tum holds perspective ones without "
                "distortion"
            )
        if cameras.intrinsics[:, 0, 1].any():
            raise ValueError("the cameras have skew; layout tum cannot hold it")
        other = (cameras.intrinsics != cameras.intrinsics[0]).any(axis=(1, 2))
        if other.any():
            raise ValueError(
                f"view {int(other.argmax())} has other intrinsics than view 0; layout tum holds "
                "one set of intrinsics for all views"
            )

    def _files(self, cameras: Cameras, names: list[str], values_per_unit: float) -> dict[str, str]:
        depth = ["# timestamp filename"]
        truth = ["# timestamp tx ty tz qx qy qz qw"]
        for view, name in enumerate(names):
            pose = cameras.world_from_camera[view]
            w, x, y, z = quaternion_from_rotation(pose[:3, :3]).tolist()
            numbers = [*pose[:3, 3].tolist(), x, y, z, w]
            depth.append(f"{view}.000000 {name}")
            truth.append(f"{view}.000000 " + " ".join(map(json.dumps, numbers)))
        (fx, _, cx), (_, fy, cy), _ = cameras.intrinsics[0].tolist()
        lens = [fx, fy, cx - bop.PIXEL_CENTRE, cy - bop.PIXEL_CENTRE]
        return {
            "depth.txt": "\n".join(depth) + "\n",
            "groundtruth.txt": "\n".join(truth) + "\n",
            "calibration.txt": "# fx fy cx cy\n" + " ".join(map(json.dumps, lens)) + "\n",
        }


LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (NerfLayout(), BopLayout(), TumLayout())
}
