"""Render depth of meshes: choose the device, find the visible faces, resolve their depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raydepth.bvh import Bvh
from raydepth.camera.camera import Cameras
from raydepth.cuda.build import DeviceMesh
from raydepth.errors import DeviceMemoryError
from raydepth.mesh.mesh import Mesh
from raydepth.outputs.request import RenderRequest, bytes_needed, check_available, checked_request
from raydepth.outputs.table import ON_DEVICE
from raydepth.rendering.cuda_views import render_to_device
from raydepth.rendering.devices import choose_device
from raydepth.rendering.dispatch import rendered
from raydepth.rendering.hierarchies import hierarchy_of
from raydepth.rendering.result import Rendering
from raydepth.system.memory import available_memory

DESTINATIONS = ("host", "device")


# Up to this many bytes of results, the available memory is not checked.
SMALL = 1 << 26


def render(
    mesh: Mesh | Bvh | DeviceMesh,
    cameras: Cameras,
    *,
    kind: str | Sequence[str] = "z",
    outputs: str | Sequence[str] | None = None,
    hits: int = 4,
    device: str = "auto",
    miss: float = np.inf,
    dtype: Any = np.float32,
    threads: int | None = None,
    to: str = "host",
) -> Rendering:
    """Cast one ray through the centre of every pixel and return exact depth, or more.

    Both sides of a face are seen. Depth is the float64 intersection of the ray with the face,
    rounded once to `dtype`. The same input gives the same bits for any number of threads.

    Parameters
    ----------
    mesh : Mesh, Bvh or DeviceMesh
    cameras : Cameras
    kind : "z", "ray" or both
        "z" is the distance along the camera's z axis, "ray" the Euclidean distance from the
        camera's centre. Orthographic rays start on the camera's plane, so both kinds are equal.
        Fisheye, equirectangular and cubemap views have no z depth. `("z", "ray")` gives both from
        one pass.
    outputs : sequence of str, optional
        All outputs to compute for each pixel in one pass; replaces `kind`. Names, shapes, types
        and misses are in `outputs.OUTPUTS` and docs/outputs.md.
    hits : int
        The number of hits of each ray that the output "hits" holds, 1 to 64.
    device : "auto", "cpu" or "cuda"
        "auto" uses CUDA if a device can be used, gives the CPU's bits in a test that runs once per
        process (a warning tells if it does not), and has room for the mesh; otherwise the CPU. The
        result names the device that was used. "cuda" never falls back to the CPU.
    miss : float
        The depth of a pixel that sees nothing.
    dtype : numpy.float32 or numpy.float64
    threads : int, optional
        By default one per processor.
    to : "host" or "device"
        Where the results go. "device" leaves them in the memory of a CUDA device, as arrays that
        Torch and CuPy read without a copy (`__cuda_array_interface__`, DLPack).

    Returns
    -------
    Rendering

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    DeviceError
        If the device cannot be used here, or fails.
    MemoryError
        If the results do not fit into memory.
    """
    if not isinstance(cameras, Cameras):
        raise TypeError(f"cameras is a {type(cameras).__name__}; expected raydepth.Cameras")
    request = checked_request(kind, outputs, hits=hits, miss=miss, dtype=dtype, threads=threads)
    cameras.check_kinds(request.outputs)
    if to not in DESTINATIONS:
        raise ValueError(f"to is {to!r}; expected one of {', '.join(DESTINATIONS)}")
    if isinstance(mesh, DeviceMesh) and device == "auto":
        device = "cuda"
    choice = choose_device(device)

    if isinstance(mesh, DeviceMesh):
        if choice.name != "cuda":
            raise ValueError("the mesh is on the CUDA device; expected device='cuda' or 'auto'")
        if request.on_the_host:
            raise ValueError(
                f"{request.on_the_host[0]} is not available for a DeviceMesh; expected outputs "
                f"among {', '.join(ON_DEVICE)}, or a Mesh"
            )
        bvh: Bvh | DeviceMesh = mesh
    else:
        bvh = hierarchy_of(mesh)
        check_available(mesh, request.outputs)
    if to == "device":
        if choice.name != "cuda":
            raise ValueError("to is 'device', but the CPU renders; expected device='cuda'")
        if request.on_the_host:
            raise ValueError(
                f"to is 'device', but {request.on_the_host[0]} is computed on the host; expected "
                f"outputs among {', '.join(ON_DEVICE)}, or to='host'"
            )
        on_device = render_to_device(bvh, cameras, request)
        return rendering_of(request, cameras, "cuda", on_device)
    n_bytes = bytes_needed(request, cameras)
    too_large = (
        f"{cameras} need {n_bytes / 2**30:.1f} GiB; render fewer views at a time, or smaller ones"
    )
    # The system may grant more memory than it has, and kill the process when it is used.
    if n_bytes > SMALL and n_bytes > available_memory():
        raise MemoryError(too_large)
    scene = mesh if isinstance(mesh, Mesh) else None
    try:
        images, device = choice.run(lambda device: rendered(bvh, scene, cameras, request, device))
    except DeviceMemoryError:
        raise
    except MemoryError:
        raise MemoryError(too_large) from None
    return rendering_of(request, cameras, device, images)


def rendering_of(
    request: RenderRequest, cameras: Cameras, device: str, images: tuple[Any, dict[str, Any]]
) -> Rendering:
    """Wrap the images of a request in a `Rendering`."""
    triangle_id, arrays = images
    return Rendering(triangle_id, request.outputs, request.miss, device, cameras, arrays)
