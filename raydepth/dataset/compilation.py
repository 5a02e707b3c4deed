"""Compile kernels before they are needed, so that no later step spends time on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raydepth.accel.builder import SUBTREE
from raydepth.camera.camera import Cameras
from raydepth.camera.intrinsics import equirectangular_intrinsics, orthographic_intrinsics
from raydepth.camera.kinds import KINDS
from raydepth.cameras import ring
from raydepth.codecs.formats import FORMATS
from raydepth.codecs.png import encode_png
from raydepth.codecs.uint16 import encode_uint16
from raydepth.dataset.depth_range import depth_range
from raydepth.export import encode_depth
from raydepth.mesh.contents import Texture
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.table import OUTPUTS
from raydepth.rendering.api import render
from raydepth.rendering.hierarchies import build_bvh
from raydepth.rendering.raycast import cast_rays


def compile_kernels(
    device: str = "auto", outputs: Sequence[str] = ("z",), *, affine: bool = True
) -> None:
    """Compile what rendering these outputs on a device needs, or load it from the disk cache.

    Parameters
    ----------
    device, outputs
        As for `render`.
    affine : bool
        True if the cameras' rays are affine in the pixel.
    """
    # The camera is outside the mesh, as most are; a camera among the faces uses another kernel. One
    # thread, so that this process can still be forked.
    if affine:
        cameras = ring(1, size=1)
    else:
        # A panorama has no z depth; single rays give both kinds by the same kernels.
        cameras = _panorama()
        outputs = tuple({"ray" if name == "z" else name: None for name in outputs})
    render(_strip(), cameras, outputs=outputs, device=device, threads=1)
    depth_range(np.ones(1, dtype=np.float32))
    encode_png(encode_uint16(np.ones((1, 1), dtype=np.float32)))


def compile_everything(device: str = "auto") -> None:
    """Compile all kernels that `render`, `cast_rays` and the files of data sets can need.

    For container images, and for the first minute on a machine: `python -m raydepth compile`.
    """
    mesh = _strip()
    outside = ring(2, size=40)
    poses = outside.world_from_camera
    among = poses.copy()
    among[:, :3, 3] *= 0.01
    inside = Cameras(outside.intrinsics, among, 40)
    limited = Cameras(outside.intrinsics, poses, 40, near=1.2, far=1.6)
    parallel = Cameras(orthographic_intrinsics(1.0, 40), poses, 40, model="orthographic")
    names = [name for name in OUTPUTS if name not in KINDS]
    for dtype in (np.float32, np.float64):
        for kinds in (("z", "ray"), ("z",), ("ray",)):
            render(mesh, outside, kind=kinds, dtype=dtype, device=device)
        for cameras in (outside, inside, limited, parallel):
            render(mesh, cameras, outputs=(*KINDS, *names), dtype=dtype, device=device)
        for name in names:
            render(mesh, outside, outputs=(name,), dtype=dtype, device=device)
        render(mesh, _panorama(), outputs=("ray", *names), dtype=dtype, device=device)
        depth_range(np.ones(1, dtype))
        encode_uint16(np.ones((1, 1), dtype))
    cast_rays(mesh, [0.0, 0.0, 1.0], [0.0, 0.0, -1.0], device=device)
    build_bvh(mesh).refit(mesh.vertices)
    for suffix, form in FORMATS.items():
        if form.package is None:
            encode_depth(suffix, np.ones((1, 1), np.float32), kind="z")
    encode_png(np.ones((1, 1), np.uint8))


def _strip() -> Mesh:
    """A strip with more faces than one thread's subtree, so that all of the builder is used."""
    i = np.arange(SUBTREE + 3)
    vertices = np.column_stack((i, i % 2, np.zeros_like(i)))
    faces = np.column_stack((i[:-2], i[1:-1], i[2:]))
    texture = Texture(np.zeros((1, 2)), np.zeros_like(faces))
    return Mesh(vertices, faces, texture=texture).normalized("sphere")


def _panorama() -> Cameras:
    """A small view whose rays are not affine in the pixel."""
    pose = ring(1, size=1).world_from_camera
    return Cameras(equirectangular_intrinsics((4, 2)), pose, (4, 2), model="equirectangular")
