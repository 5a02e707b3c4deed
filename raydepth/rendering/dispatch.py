"""Send a checked request to the code that renders it: affine views or single rays, CPU or CUDA."""

from __future__ import annotations

from typing import Any

from raydepth.camera.camera import Cameras
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.request import Images, RenderRequest
from raydepth.rendering.affine_views import render_affine
from raydepth.rendering.cuda_views import render_on_cuda
from raydepth.rendering.ray_views import render_rays


def rendered(
    bvh: Any, mesh: Mesh | None, cameras: Cameras, request: RenderRequest, device: str
) -> Images:
    """Render all views on a device.

    Parameters
    ----------
    bvh : Bvh, or DeviceMesh on CUDA
    mesh : Mesh or None
        The mesh in which "uv" and "instance" are looked up.
    device : "cpu" or "cuda"
    """
    if not cameras.is_affine:
        return render_rays(bvh, mesh, cameras, request, device)
    render_views = render_on_cuda if device == "cuda" else render_affine
    return render_views(bvh, mesh, cameras, request)
