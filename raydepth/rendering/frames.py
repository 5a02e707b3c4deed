"""Turn cameras and a hierarchy into the plain arrays that kernels read."""

from __future__ import annotations

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras
from raydepth.cuda.build import DeviceMesh
from raydepth.trace.view_frame import ViewFrames, view_frames


def frames_of(cameras: Cameras, bvh: Bvh | DeviceMesh) -> ViewFrames:
    """Return the frames of all views, in the hierarchy's local frame."""
    basis = cameras.ray_basis() if cameras.is_affine else None
    return view_frames(
        basis,
        cameras.model == "perspective",
        cameras.world_from_camera,
        cameras.limits(),
        bvh.centre,
        bvh.scale,
    )
