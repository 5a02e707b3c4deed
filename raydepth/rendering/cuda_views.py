"""Render affine views on the CUDA device."""

from __future__ import annotations

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras
from raydepth.cuda import api
from raydepth.cuda.batch import Views
from raydepth.cuda.build import DeviceMesh
from raydepth.cuda.resident import Flat, Resident
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.request import Images, RenderRequest
from raydepth.outputs.resolve_affine import AffineResolver
from raydepth.rendering.affine_views import coverage_of, for_bands
from raydepth.rendering.frames import frames_of


def render_on_cuda(bvh: Bvh, mesh: Mesh | None, cameras: Cameras, request: RenderRequest) -> Images:
    """Render affine views: faces and depths on the device, the rest on the host from the faces."""
    views = api.render_to_host(views_for_cuda(api.resident(bvh), bvh, cameras), request)
    triangle_id, arrays = views.triangle_id, dict(views.depths)
    assert triangle_id is not None
    if request.on_the_host:
        rest = request._replace(outputs=request.on_the_host)
        coverage = coverage_of(bvh, cameras, rest, views.frames)
        resolver = AffineResolver(bvh, mesh, cameras, rest, views.frames, coverage)
        for_bands(
            lambda view, rows: resolver.fill(view, rows, triangle_id[view]),
            cameras,
            request.n_threads,
        )
        arrays |= resolver.arrays
    return triangle_id, arrays


def render_to_device(
    bvh: Bvh | DeviceMesh, cameras: Cameras, request: RenderRequest
) -> tuple[api.DeviceArray, dict[str, api.DeviceArray]]:
    """Render affine views and leave the results on the device.

    Raises
    ------
    ValueError
        If the rays of the cameras are not affine in the pixel.
    """
    if not cameras.is_affine:
        raise ValueError(
            f"to is 'device', but {cameras.in_words} views go to main memory; expected to='host'"
        )
    return api.render_to_device(views_for_cuda(api.resident(bvh), bvh, cameras), request)


def views_for_cuda(mesh: Flat | Resident, bvh: Bvh | DeviceMesh, cameras: Cameras) -> Views:
    """Return affine cameras as views for the device; `mesh` is the hierarchy in its layout."""
    size = cameras.width, cameras.height
    return Views(mesh, bvh.scale, frames_of(cameras, bvh), size)
